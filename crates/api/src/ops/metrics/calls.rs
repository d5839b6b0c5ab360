//! What was asked through gRPC, under the names of etcd 3 and of its Prometheus middleware.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    Page,
    grpc::{CODES, Calls, GrpcCounters},
};
use crate::v3::methods::{METHODS, Method};

/// The codes of gRPC, by number, as the middleware names them.
const CODE_NAMES: [&str; CODES] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// All methods are there from the beginning, and so are all codes.
pub(crate) fn of_grpc(page: &mut Page, counters: &GrpcCounters) {
    let name = "etcd_server_client_requests_total";
    page.begin(name, "Calls by kind and by the version of the client.", "counter");
    for (kind, counts) in ["unary", "stream"].into_iter().zip(&counters.clients) {
        for (version, count) in counts.all() {
            let labels = [("client_api_version", &*escaped(version)), ("type", kind)];
            page.sample(name, &labels, count);
        }
    }
    let mut counter = |name, help, of: fn(&Calls) -> &AtomicU64| {
        page.begin(name, help, "counter");
        for (method, calls) in METHODS.iter().zip(&counters.methods) {
            page.sample(name, &labels(method), of(calls).load(Relaxed));
        }
    };
    counter("grpc_server_started_total", "Calls that have begun.", |calls| &calls.started);
    let help = "Messages of clients.";
    counter("grpc_server_msg_received_total", help, |calls| &calls.received);
    let help = "Messages to clients.";
    counter("grpc_server_msg_sent_total", help, |calls| &calls.sent);
    let name = "grpc_server_handled_total";
    page.begin(name, "Calls that have ended, whatever came of them.", "counter");
    for (method, calls) in METHODS.iter().zip(&counters.methods) {
        for (code, count) in CODE_NAMES.into_iter().zip(&calls.handled) {
            let [method, service, kind] = labels(method);
            let labels = [("grpc_code", code), method, service, kind];
            page.sample(name, &labels, count.load(Relaxed));
        }
    }
    durations(page, counters);
}

/// How long calls took: by the middleware's bounds, if that is wanted, and by etcd's.
fn durations(page: &mut Page, counters: &GrpcCounters) {
    let all = || METHODS.iter().zip(&counters.methods);
    if all().any(|(_, calls)| calls.durations.is_some()) {
        let name = "grpc_server_handling_seconds";
        page.begin(name, "Time until calls ended, whatever came of them.", "histogram");
        for (method, calls) in all() {
            if let Some(durations) = &calls.durations {
                page.durations(name, &labels(method), durations);
            }
        }
    }
    let name = "etcd_server_request_duration_seconds";
    page.begin(name, "Time until requests were answered.", "histogram");
    for (method, calls) in all().filter(|(method, _)| method.is_unary()) {
        for (succeeded, durations) in ["false", "true"].into_iter().zip(&calls.requests) {
            if durations.count() > 0 {
                page.durations(name, &[("success", succeeded), ("type", kind(method))], durations);
            }
        }
    }
    let name = "etcd_server_range_duration_seconds";
    page.begin(name, "Time that reading ranges takes.", "histogram");
    for (succeeded, durations) in ["false", "true"].into_iter().zip(&counters.range_durations) {
        if durations.count() > 0 {
            page.durations(name, &[("success", succeeded)], durations);
        }
    }
}

/// What clients' connections carry, and on which streams they failed.
pub(super) fn of_traffic(page: &mut Page, counters: &GrpcCounters) {
    let (received, sent) = counters.traffic.bytes();
    let help = "Bytes received from clients over HTTP/2.";
    page.counter("etcd_network_client_grpc_received_bytes_total", help, received);
    let help = "Bytes sent to clients over HTTP/2.";
    page.counter("etcd_network_client_grpc_sent_bytes_total", help, sent);
    let name = "etcd_network_server_stream_failures_total";
    page.begin(name, "Streams on which a client could not be understood.", "counter");
    for (api, on) in [("lease-keepalive", &counters.keep_alive), ("watch", &counters.watch)] {
        page.sample(name, &[("API", api), ("Type", "receive")], on.failures.load(Relaxed));
    }
}

/// As etcd 3.7 names the kind of a request.
fn kind(method: &Method) -> &'static str {
    if method.name == "Compact" { "Compaction" } else { method.name }
}

fn labels(method: &'static Method) -> [(&'static str, &'static str); 3] {
    [
        ("grpc_method", method.name),
        ("grpc_service", method.service),
        ("grpc_type", method.kind.name()),
    ]
}

/// As the value of a label is written.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
