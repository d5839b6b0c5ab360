//! How many write, and how long that takes them.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use base::limits::WRITES_IN_A_CROWD;

/// Who writes, from the request to when its answer is taken: with very many, most of the time goes to
/// waiting for a processor before and behind the log, which those who count in the log do not see.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Within which each should have its answer.
    patience: Duration,
    writes: AtomicUsize,
    /// What the last one took, in nanoseconds: they are served in turn.
    took: AtomicU64,
}

impl Crowd {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, writes: AtomicUsize::default(), took: AtomicU64::default() }
    }

    /// One more writes, until what is returned is dropped.
    pub(crate) fn enter(&self) -> Writing<'_> {
        self.writes.fetch_add(1, Relaxed);
        Writing(self)
    }

    /// One of them has its answer.
    pub(crate) fn left_after(&self, took: Duration) {
        self.took.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Whether it is so many, and takes so long, that others had better not begin.
    pub(crate) fn is_too_large(&self) -> bool {
        self.writes.load(Relaxed) > WRITES_IN_A_CROWD
            && Duration::from_nanos(self.took.load(Relaxed)) > self.patience
    }
}

/// See [`Crowd::enter`].
pub(crate) struct Writing<'a>(&'a Crowd);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writes.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_too_large_while_it_is_large_and_slow() {
        let patience = Duration::from_millis(500);
        let crowd = Crowd::new(patience);
        let mut all: Vec<_> = (0..WRITES_IN_A_CROWD).map(|_| crowd.enter()).collect();
        crowd.left_after(Duration::from_secs(1));
        assert!(!crowd.is_too_large(), "few are never too many");
        all.push(crowd.enter());
        assert!(crowd.is_too_large());
        crowd.left_after(patience);
        assert!(!crowd.is_too_large(), "many that are fast are welcome");
        crowd.left_after(Duration::from_secs(1));
        all.pop();
        assert!(!crowd.is_too_large());
    }
}
