//! Lines of the log that come no more often than somebody can read, however often there is cause.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

const INTERVAL: Duration = Duration::from_secs(1);

/// Says when something is to be said: once a second at most. Takes no lock.
#[derive(Debug, Default)]
pub struct Pace {
    /// Not before, in nanoseconds of a clock that never goes back.
    next: AtomicU64,
    /// How often there was cause since it was last said.
    unsaid: AtomicU64,
}

impl Pace {
    /// There is cause, at this time. If it is to be said: how often there was since it was last said,
    /// this time included.
    pub fn note(&self, now: Duration) -> Option<u64> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.unsaid.fetch_add(1, Relaxed);
        let next = self.next.load(Relaxed);
        let is_due = next <= nanos(now);
        let after = nanos(now.saturating_add(INTERVAL));
        // Of several at once one says it.
        let says = is_due && self.next.compare_exchange(next, after, Relaxed, Relaxed).is_ok();
        says.then(|| self.unsaid.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_second_and_how_often_there_was_cause() {
        let pace = Pace::default();
        let millis = Duration::from_millis;
        assert_eq!(pace.note(millis(0)), Some(1));
        assert_eq!(pace.note(millis(1)), None);
        assert_eq!(pace.note(millis(999)), None);
        assert_eq!(pace.note(millis(1_000)), Some(3));
        assert_eq!(pace.note(millis(9_000)), Some(1));
    }
}
