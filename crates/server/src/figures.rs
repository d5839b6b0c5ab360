//! Figures for `/metrics`.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use mvcc::{Commit, Kind};
use parking_lot::Mutex;

/// Figures of a member as it is now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub proposals_pending: u64,
    pub keyspace_bytes: u64,
    pub keyspace_bytes_in_use: u64,
    pub writes: WriteFigures,
}

/// What was written since the start of the process, through whichever API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteFigures {
    pub puts: u64,
    /// Of names and values.
    pub put_bytes: u64,
    pub deletes: u64,
    /// Revisions that changed more than one key.
    pub txns: u64,
}

/// The same as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    puts: AtomicU64,
    put_bytes: AtomicU64,
    deletes: AtomicU64,
    txns: AtomicU64,
}

impl Writes {
    /// Counts what these commits did to keys.
    pub(crate) fn count(&self, commits: &[Arc<Commit>]) {
        for commit in commits {
            let keys = commit.records.iter().filter(|record| record.kind == Kind::Key);
            let (mut puts, mut put_bytes, mut deletes) = (0, 0, 0);
            for record in keys {
                if record.deleted {
                    deletes += 1;
                } else {
                    puts += 1;
                    put_bytes += (record.name.len() + record.value.len()) as u64;
                }
            }
            self.puts.fetch_add(puts, Relaxed);
            self.put_bytes.fetch_add(put_bytes, Relaxed);
            self.deletes.fetch_add(deletes, Relaxed);
            self.txns.fetch_add(u64::from(puts + deletes > 1), Relaxed);
        }
    }

    pub(crate) fn figures(&self) -> WriteFigures {
        WriteFigures {
            puts: self.puts.load(Relaxed),
            put_bytes: self.put_bytes.load(Relaxed),
            deletes: self.deletes.load(Relaxed),
            txns: self.txns.load(Relaxed),
        }
    }
}

/// Messages with entries that went one way, and how often they do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AppendFigures {
    /// Since the start of the process.
    pub count: u64,
    /// Of the last [`RECENT`] ones; zero once a second has passed without any.
    pub per_second: f64,
    pub bytes_per_second: f64,
}

/// How many messages a rate looks back at, as in etcd 2.
const RECENT: usize = 200;
/// Without any message for so long, there is no rate.
const SILENCE: Duration = Duration::from_secs(1);

/// Messages with entries as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Appends(Mutex<(u64, VecDeque<(Duration, usize)>)>);

impl Appends {
    pub(crate) fn note(&self, bytes: usize, now: Duration) {
        let (count, recent) = &mut *self.0.lock();
        *count += 1;
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((now, bytes));
    }

    pub(crate) fn figures(&self, now: Duration) -> AppendFigures {
        let (count, recent) = &*self.0.lock();
        let mut figures = AppendFigures { count: *count, ..AppendFigures::default() };
        if let (Some((first, _)), Some((last, _))) = (recent.front(), recent.back())
            && first < last
            && now.saturating_sub(*last) <= SILENCE
        {
            let span = last.saturating_sub(*first).as_secs_f64();
            let bytes: usize = recent.iter().map(|(_, bytes)| bytes).sum();
            #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
            let (messages, bytes) = (recent.len() as f64, bytes as f64);
            (figures.per_second, figures.bytes_per_second) = (messages / span, bytes / span);
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_looks_back_at_the_last_messages_and_ends_with_a_second_of_silence() {
        let appends = Appends::default();
        let at = Duration::from_millis;
        assert_eq!(appends.figures(at(0)), AppendFigures::default());
        appends.note(7, at(0));
        assert_eq!(appends.figures(at(1)), AppendFigures { count: 1, ..AppendFigures::default() });
        for time in 1..=400 {
            appends.note(100, at(time * 5));
        }
        let figures = appends.figures(at(2_900));
        assert_eq!(figures.count, 401);
        // 200 messages from 1.005 to 2 s.
        assert!((figures.per_second - 200.0 / 0.995).abs() < 1e-6, "{figures:?}");
        assert!((figures.bytes_per_second - 20_000.0 / 0.995).abs() < 1e-6, "{figures:?}");
        let silent = appends.figures(at(3_001));
        assert_eq!(silent, AppendFigures { count: 401, ..AppendFigures::default() });
    }
}
