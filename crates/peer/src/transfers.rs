//! Snapshots that are counted, one way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base::Histogram;
use tokio::time::Instant;

/// Snapshots that go to a peer, or come from it.
#[derive(Debug)]
pub struct Transfers {
    /// Under way.
    pub under_way: AtomicU64,
    pub succeeded: AtomicU64,
    pub failed: AtomicU64,
    /// Of those that succeeded.
    pub durations: Histogram,
}

impl Default for Transfers {
    /// With etcd's bounds.
    fn default() -> Self {
        Self {
            under_way: AtomicU64::default(),
            succeeded: AtomicU64::default(),
            failed: AtomicU64::default(),
            durations: Histogram::doubling(Duration::from_millis(100), 10),
        }
    }
}

/// One that is under way: it has failed, unless somebody says otherwise.
pub(crate) struct Transfer {
    of: Arc<Transfers>,
    began: Instant,
    has_succeeded: bool,
}

impl Transfer {
    pub(crate) fn begin(of: &Arc<Transfers>) -> Self {
        of.under_way.fetch_add(1, Relaxed);
        Self { of: Arc::clone(of), began: Instant::now(), has_succeeded: false }
    }

    pub(crate) fn end(mut self, has_succeeded: bool) {
        self.has_succeeded = has_succeeded;
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.of.under_way.fetch_sub(1, Relaxed);
        if self.has_succeeded {
            self.of.succeeded.fetch_add(1, Relaxed);
            self.of.durations.record(self.began.elapsed());
        } else {
            self.of.failed.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_has_failed() {
        let transfers = Arc::new(Transfers::default());
        let counts = || {
            [&transfers.under_way, &transfers.succeeded, &transfers.failed]
                .map(|count| count.load(Relaxed))
        };
        let [first, second] = [Transfer::begin(&transfers), Transfer::begin(&transfers)];
        assert_eq!(counts(), [2, 0, 0]);
        drop(first);
        second.end(true);
        assert_eq!((counts(), transfers.durations.count()), ([0, 1, 1], 1));
    }
}
