//! Counters of `/v2/stats/store`.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::command::KeysMethod;

/// Counters of `/v2/stats/store`. Writes count where they are applied, reads where they are served.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named as on the wire")]
pub struct Stats {
    pub gets_success: AtomicU64,
    pub gets_fail: AtomicU64,
    pub sets_success: AtomicU64,
    pub sets_fail: AtomicU64,
    pub delete_success: AtomicU64,
    pub delete_fail: AtomicU64,
    pub update_success: AtomicU64,
    pub update_fail: AtomicU64,
    pub create_success: AtomicU64,
    pub create_fail: AtomicU64,
    pub compare_and_swap_success: AtomicU64,
    pub compare_and_swap_fail: AtomicU64,
    pub compare_and_delete_success: AtomicU64,
    pub compare_and_delete_fail: AtomicU64,
    pub expire_count: AtomicU64,
}

impl Stats {
    /// Counts a write. (2.3.8 counts some refused ones as successes, since an error was returned
    /// past the counter.)
    pub(super) fn count_write(&self, method: KeysMethod, success: bool) {
        let (succeeded, failed) = match method {
            KeysMethod::Set => (&self.sets_success, &self.sets_fail),
            KeysMethod::Create | KeysMethod::CreateInOrder => {
                (&self.create_success, &self.create_fail)
            }
            KeysMethod::Update => (&self.update_success, &self.update_fail),
            KeysMethod::CompareAndSwap => {
                (&self.compare_and_swap_success, &self.compare_and_swap_fail)
            }
            KeysMethod::Delete => (&self.delete_success, &self.delete_fail),
            KeysMethod::CompareAndDelete => {
                (&self.compare_and_delete_success, &self.compare_and_delete_fail)
            }
        };
        bump(if success { succeeded } else { failed });
    }

    pub(super) fn count_expiry(&self) {
        bump(&self.expire_count);
    }

    pub(crate) fn count_get(&self, success: bool) {
        bump(if success { &self.gets_success } else { &self.gets_fail });
    }
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
