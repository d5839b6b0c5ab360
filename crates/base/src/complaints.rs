//! What goes wrong again and again is said at once, and then once a minute.

use std::{collections::BTreeMap, mem, time::Duration};

use crate::limits;

/// The same is said again after so long.
const REMINDER: Duration = Duration::from_mins(1);

/// What was said of late; `K` is what it was about.
#[derive(Debug)]
pub struct Complaints<K> {
    said: BTreeMap<K, Said>,
}

#[derive(Debug)]
struct Said {
    at: Duration,
    /// When it last happened, said or not.
    happened: Duration,
    /// How often it has happened since, and was not said.
    unsaid: u64,
}

impl<K> Default for Complaints<K> {
    fn default() -> Self {
        Self { said: BTreeMap::new() }
    }
}

impl<K: Ord> Complaints<K> {
    /// Something has gone wrong, at this time of a clock that never goes back. If it is to be said
    /// now: how often it has since it was last said, this time included.
    ///
    /// Of more different things in a minute than anybody reads
    /// ([`limits::COMPLAINTS_MAX`]) the rest is not said.
    pub fn note(&mut self, what: K, now: Duration) -> Option<u64> {
        let is_old = |said: &Said| now >= said.at + REMINDER;
        if let Some(said) = self.said.get_mut(&what) {
            let is_due = is_old(said);
            if now >= said.happened + REMINDER {
                // That is over.
                said.unsaid = 0;
            }
            (said.happened, said.unsaid) = (now, said.unsaid + 1);
            if !is_due {
                return None;
            }
            said.at = now;
            return Some(mem::take(&mut said.unsaid));
        }
        if self.said.len() >= limits::COMPLAINTS_MAX {
            self.said.retain(|_, said| !is_old(said));
        }
        let has_room = self.said.len() < limits::COMPLAINTS_MAX;
        has_room.then(|| {
            self.said.insert(what, Said { at: now, happened: now, unsaid: 0 });
            1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_same_is_said_at_once_and_then_once_a_minute_with_a_count() {
        let mut complaints = Complaints::default();
        let said = (0..1_500).filter_map(|tenth| {
            let times = complaints.note("lost", SECOND * tenth / 10)?;
            Some((tenth, times))
        });
        assert_eq!(said.collect::<Vec<_>>(), [(0, 1), (600, 600), (1_200, 600)]);
        assert_eq!(complaints.note("full", SECOND * 150), Some(1), "something else is said");
        assert_eq!(complaints.note("lost", SECOND * 150), None);
        assert_eq!(complaints.note("lost", SECOND * 500), Some(1), "the one before was over");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut complaints = Complaints::default();
        let max = limits::COMPLAINTS_MAX;
        for what in 0..max {
            assert_eq!(complaints.note(what, SECOND), Some(1));
        }
        assert_eq!(complaints.note(max, SECOND), None);
        assert_eq!(complaints.note(max, SECOND * 61), Some(1), "the others are long past");
        assert_eq!(complaints.said.len(), 1);
    }
}
