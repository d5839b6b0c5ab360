//! What the system knows of this process.

use base::UnixNanos;

use super::Page;
use crate::ops::process;

pub(crate) fn of_process(page: &mut Page, started_at: UnixNanos) {
    let process = process::read();
    let help = "User and system time of this process.";
    page.counter("process_cpu_seconds_total", help, process.cpu_seconds);
    page.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
    page.gauge("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes);
    #[allow(clippy::cast_precision_loss, reason = "as Go tells it: no bound is 2^64")]
    let most = process.max_virtual_bytes.unwrap_or(u64::MAX) as f64;
    let help = "Most virtual memory.";
    page.gauge("process_virtual_memory_max_bytes", help, format_args!("{most:e}"));
    page.gauge("process_open_fds", "Open file descriptors.", process.open_fds);
    page.gauge("process_max_fds", "Most file descriptors.", process.max_fds);
    // The same, as etcd 3 and 2 call them.
    page.gauge("os_fd_used", "Open file descriptors.", process.open_fds);
    page.gauge("os_fd_limit", "Most file descriptors.", process.max_fds);
    let help = "Open file descriptors.";
    page.gauge("etcd_server_file_descriptors_used_total", help, process.open_fds);
    page.gauge("process_threads", "Threads.", process.threads);
    let help = "Bytes received in this process's network namespace.";
    page.counter("process_network_receive_bytes_total", help, process.received_bytes);
    let help = "Bytes sent in this process's network namespace.";
    page.counter("process_network_transmit_bytes_total", help, process.sent_bytes);
    #[allow(clippy::cast_precision_loss, reason = "a time to the microsecond is good enough")]
    let started = started_at.0 as f64 / 1e9;
    page.gauge("process_start_time_seconds", "When it started, since 1970.", started);
}

/// What Go's library tells of its own page. `pages`: asked for, this one included.
pub(super) fn of_pages(page: &mut Page, pages: u64) {
    let help = "Pages of metrics that are being made: this one.";
    page.gauge("promhttp_metric_handler_requests_in_flight", help, 1);
    let name = "promhttp_metric_handler_requests_total";
    page.begin(name, "Pages of metrics that were made before this one.", "counter");
    page.sample(name, &[("code", "200")], pages.saturating_sub(1));
}
