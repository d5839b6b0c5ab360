//! `/metrics` of a proxy, under the original's names.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use base::Histogram;
use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::Proxy;
use crate::{
    ops::metrics::{self, Page},
    reply::Reply,
};

/// Methods by name; all others go with the last, so that clients cannot make up series.
const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "other"];

/// Why a request got no member's answer, or an attempt none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    NoEndpoint,
    NotSent,
    NoResponse,
}

const REASONS: [&str; 3] = ["zero_endpoints", "failed_sending_request", "failed_getting_response"];

/// Counts requests.
#[derive(Debug, Default)]
pub(super) struct Figures {
    by_method: [Requests; METHODS.len()],
}

#[derive(Debug)]
struct Requests {
    received: AtomicU64,
    dropped: [AtomicU64; REASONS.len()],
    /// By the status of the member's answer.
    handled: Mutex<BTreeMap<u16, u64>>,
    durations: Histogram,
}

impl Default for Requests {
    fn default() -> Self {
        let (received, dropped) = (AtomicU64::default(), Default::default());
        Self { received, dropped, handled: Mutex::default(), durations: metrics::of_requests() }
    }
}

impl Figures {
    fn of(&self, method: &Method) -> Option<&Requests> {
        let known = METHODS.iter().position(|name| *name == method.as_str());
        self.by_method.get(known.unwrap_or(METHODS.len() - 1))
    }

    pub(super) fn received(&self, method: &Method) {
        let Some(requests) = self.of(method) else { return };
        requests.received.fetch_add(1, Relaxed);
    }

    /// A member has answered, after so long.
    pub(super) fn handled(&self, method: &Method, status: StatusCode, took: Duration) {
        let Some(requests) = self.of(method) else { return };
        *requests.handled.lock().entry(status.as_u16()).or_default() += 1;
        requests.durations.record(took);
    }

    pub(super) fn dropped(&self, method: &Method, why: Dropped) {
        let count = self.of(method).and_then(|requests| requests.dropped.get(why as usize));
        let Some(count) = count else { return };
        count.fetch_add(1, Relaxed);
    }

    fn write(&self, page: &mut Page) {
        let all = || METHODS.iter().copied().zip(&self.by_method);
        let name = "etcd_proxy_requests_total";
        page.begin(name, "Requests to the proxy.", "counter");
        for (method, requests) in all() {
            sample(page, name, &[("method", method)], requests.received.load(Relaxed));
        }
        let name = "etcd_proxy_handled_total";
        page.begin(name, "Requests that a member has answered.", "counter");
        for (method, requests) in all() {
            for (status, count) in requests.handled.lock().iter() {
                let code = status.to_string();
                sample(page, name, &[("code", code.as_str()), ("method", method)], *count);
            }
        }
        let name = "etcd_proxy_dropped_total";
        page.begin(name, "Attempts and requests that no member has answered.", "counter");
        for (method, requests) in all() {
            for (why, count) in REASONS.iter().zip(&requests.dropped) {
                let labels = [("method", method), ("proxying_error", why)];
                sample(page, name, &labels, count.load(Relaxed));
            }
        }
        let name = "etcd_proxy_handling_duration_seconds";
        page.begin(name, "Time until a member's answer begins.", "histogram");
        for (method, requests) in all() {
            if requests.durations.count() > 0 {
                page.durations(name, &[("method", method)], &requests.durations);
            }
        }
    }
}

/// As the original: nothing is said of what has never happened.
fn sample(page: &mut Page, name: &str, labels: &[(&str, &str)], count: u64) {
    if count > 0 {
        page.sample(name, labels, count);
    }
}

pub(super) fn answer(proxy: &Proxy, method: &Method) -> Reply {
    metrics::answer_with(method, |page| {
        proxy.figures.write(page);
        let help = "Client URLs of members that can be asked.";
        page.gauge("retcd_proxy_endpoints", help, proxy.endpoints.available().len());
        metrics::of_process(page, proxy.started_at);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_of_what_has_happened_under_the_originals_names() {
        let figures = Figures::default();
        for _ in 0..2 {
            figures.received(&Method::GET);
        }
        figures.received(&Method::from_bytes(b"MADEUP").unwrap());
        figures.handled(&Method::GET, StatusCode::NOT_FOUND, Duration::from_millis(1));
        figures.dropped(&Method::GET, Dropped::NotSent);
        figures.dropped(&Method::GET, Dropped::NoResponse);
        let mut page = Page::default();
        figures.write(&mut page);
        let text = page.text;
        let lines: Vec<_> = text.lines().filter(|line| !line.contains("_bucket")).collect();
        let expected = [
            "# HELP etcd_proxy_requests_total Requests to the proxy.",
            "# TYPE etcd_proxy_requests_total counter",
            "etcd_proxy_requests_total{method=\"GET\"} 2",
            "etcd_proxy_requests_total{method=\"other\"} 1",
            "# HELP etcd_proxy_handled_total Requests that a member has answered.",
            "# TYPE etcd_proxy_handled_total counter",
            "etcd_proxy_handled_total{code=\"404\",method=\"GET\"} 1",
            "# HELP etcd_proxy_dropped_total Attempts and requests that no member has answered.",
            "# TYPE etcd_proxy_dropped_total counter",
            "etcd_proxy_dropped_total{method=\"GET\",proxying_error=\"failed_sending_request\"} 1",
            "etcd_proxy_dropped_total{method=\"GET\",proxying_error=\"failed_getting_response\"} 1",
            "# HELP etcd_proxy_handling_duration_seconds Time until a member's answer begins.",
            "# TYPE etcd_proxy_handling_duration_seconds histogram",
            "etcd_proxy_handling_duration_seconds_sum{method=\"GET\"} 0.001",
            "etcd_proxy_handling_duration_seconds_count{method=\"GET\"} 1",
        ];
        assert_eq!(lines, expected);
        let bucket = "etcd_proxy_handling_duration_seconds_bucket{method=\"GET\",le=";
        for row in ["\"0.0005\"} 0", "\"0.001\"} 1", "\"2.048\"} 1", "\"+Inf\"} 1"] {
            assert!(text.contains(&format!("{bucket}{row}")), "{row}: {text}");
        }
    }
}
