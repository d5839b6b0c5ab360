//! What is counted, under the original's names.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use api::Figure;

#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Reads that were answered from the cache, and those that were not.
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    /// Watches that go along with another one.
    pub(crate) watchers: AtomicU64,
    /// Answers of members that were told to more than one watch: once for each beyond the first.
    pub(crate) events: AtomicU64,
    /// Watches of the members that are open.
    pub(crate) upstream: AtomicU64,
    /// Renewals of leases that went along with another one.
    pub(crate) renewals: AtomicU64,
}

impl Figures {
    /// `cached`: how many answers are in the cache.
    pub(crate) fn all(&self, cached: usize) -> Vec<Figure> {
        let figure = |name, help, is_counter, value| Figure { name, help, is_counter, value };
        let of = |count: &AtomicU64| count.load(Relaxed);
        vec![
            figure(
                "etcd_grpc_proxy_cache_hits_total",
                "Reads that were answered from the cache.",
                false,
                of(&self.hits),
            ),
            figure(
                "etcd_grpc_proxy_cache_misses_total",
                "Serializable reads that were not in the cache.",
                false,
                of(&self.misses),
            ),
            figure(
                "etcd_grpc_proxy_cache_keys_total",
                "Answers in the cache.",
                false,
                cached as u64,
            ),
            figure(
                "etcd_grpc_proxy_watchers_coalescing_total",
                "Watches that go along with another one.",
                false,
                of(&self.watchers),
            ),
            figure(
                "etcd_grpc_proxy_events_coalescing_total",
                "Answers that were told to more than one watch.",
                true,
                of(&self.events),
            ),
            figure(
                "retcd_grpc_proxy_upstream_watches",
                "Watches of the members that are open.",
                false,
                of(&self.upstream),
            ),
            figure(
                "retcd_grpc_proxy_renewals_coalescing_total",
                "Renewals of leases that went along with another one.",
                true,
                of(&self.renewals),
            ),
        ]
    }
}
