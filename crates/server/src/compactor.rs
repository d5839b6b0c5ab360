//! Compaction by the clock or by the number of revisions, where the operator asks for it: the
//! leader's (etcd 3.6).

use std::{collections::VecDeque, time::Duration};

use base::Refused;
use proto::command::{Compact, Op};
use state::Response;
use tokio::time;

use crate::{Done, Handle};

/// What history is kept, by `--auto-compaction-mode` and `--auto-compaction-retention`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// All of it: nothing is compacted unless a client asks.
    Never,
    /// Of so long a time. Looked at every tenth of it, or of an hour if it is longer; compacted as
    /// often as it is long, or every hour.
    Periodic(Duration),
    /// So many revisions. Looked at every five minutes.
    Revision(i64),
}

const HOUR: Duration = Duration::from_hours(1);
/// Looks in the time between two compactions.
const LOOKS: u32 = 10;
/// Between two looks at the number of revisions.
const REVISIONS_LOOK: Duration = Duration::from_mins(5);

/// Decides when to compact, and at which revision.
#[derive(Debug)]
enum Compactor {
    Periodic(Periodic),
    Revision { kept: i64, last: i64 },
}

#[derive(Debug)]
struct Periodic {
    period: Duration,
    /// Where the store stood at the last looks; the first is a period ago.
    seen: VecDeque<i64>,
    last: i64,
    /// When it was compacted, or began to be watched.
    since: Duration,
    has_compacted: bool,
}

impl Compactor {
    fn new(mode: AutoCompaction, now: Duration) -> Option<Self> {
        match mode {
            AutoCompaction::Periodic(period) if !period.is_zero() => {
                let (seen, last, since) = (VecDeque::new(), 0, now);
                Some(Self::Periodic(Periodic { period, seen, last, since, has_compacted: false }))
            }
            AutoCompaction::Revision(kept) if kept > 0 => Some(Self::Revision { kept, last: 0 }),
            AutoCompaction::Never | AutoCompaction::Periodic(_) | AutoCompaction::Revision(_) => {
                None
            }
        }
    }

    /// Between two looks.
    fn look(&self) -> Duration {
        match self {
            Self::Periodic(one) => one.look(),
            Self::Revision { .. } => REVISIONS_LOOK,
        }
    }

    /// Before each wait.
    fn see(&mut self, revision: i64) {
        if let Self::Periodic(one) = self {
            one.seen.push_back(revision);
            let looks = one.period.as_nanos() / one.look().as_nanos().max(1) + 1;
            if one.seen.len() as u128 > looks {
                one.seen.pop_front();
            }
        }
    }

    /// After each wait: the revision to compact at, if it is time.
    fn due(&self, revision: i64, now: Duration) -> Option<i64> {
        match self {
            Self::Periodic(one) => {
                // History is as long as the period before the first goes.
                let every = if one.has_compacted { one.period.min(HOUR) } else { one.period };
                let first = one.seen.front().copied()?;
                (now.saturating_sub(one.since) >= every && first != one.last).then_some(first)
            }
            Self::Revision { kept, last } => {
                Some(revision - kept).filter(|due| *due > 0 && due != last)
            }
        }
    }

    fn compacted(&mut self, at: i64, now: Duration) {
        match self {
            Self::Periodic(one) => {
                (one.last, one.since, one.has_compacted) = (at, now, true);
            }
            Self::Revision { last, .. } => *last = at,
        }
    }
}

impl Periodic {
    fn look(&self) -> Duration {
        self.period.min(HOUR) / LOOKS
    }
}

/// Compacts until the member stops.
pub(crate) async fn run(handle: Handle, mode: AutoCompaction) {
    let shared = &handle.shared;
    let Some(mut compactor) = Compactor::new(mode, shared.now()) else { return };
    let mut stopped = shared.stopped.subscribe();
    let compacts = async {
        loop {
            compactor.see(shared.reader.store().revision());
            time::sleep(compactor.look()).await;
            if !handle.status().is_leader {
                continue;
            }
            let now = shared.reader.store().revision();
            if let Some(revision) = compactor.due(now, shared.now())
                && compact(&handle, revision).await
            {
                compactor.compacted(revision, shared.now());
            }
        }
    };
    tokio::select! {
        () = compacts => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// True if it is compacted there now.
async fn compact(handle: &Handle, revision: i64) -> bool {
    let began = handle.shared.now();
    tracing::info!(revision, "starting auto compaction");
    let why = match handle.write(Op::Compact(Compact { revision })).await {
        Ok(Done { response: Response::V3(Ok(_) | Err(Refused::Compacted)), .. }) => {
            let took = handle.shared.now().saturating_sub(began);
            tracing::info!(revision, ?took, "completed auto compaction");
            return true;
        }
        Ok(Done { response, .. }) => format!("{response:?}"),
        Err(why) => why.to_string(),
    };
    tracing::warn!(revision, why, "failed auto compaction: it is tried again");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Revisions grow by `per_look` at each look; those at which it is compacted, with the look's
    /// number.
    fn compactions(mode: AutoCompaction, looks: u32, per_look: i64) -> Vec<(u32, i64)> {
        let mut compactor = Compactor::new(mode, Duration::ZERO).unwrap();
        let (mut now, mut revision, mut all) = (Duration::ZERO, 1, Vec::new());
        for look in 1..=looks {
            compactor.see(revision);
            now += compactor.look();
            revision += per_look;
            if let Some(at) = compactor.due(revision, now) {
                compactor.compacted(at, now);
                all.push((look, at));
            }
        }
        all
    }

    #[test]
    fn a_period_keeps_history_of_its_length_and_looks_ten_times_in_it() {
        let compactor = Compactor::new(AutoCompaction::Periodic(HOUR), Duration::ZERO).unwrap();
        assert_eq!(compactor.look(), 6 * MINUTE);
        let found = compactions(AutoCompaction::Periodic(HOUR), 30, 10);
        assert_eq!(found, [(10, 1), (20, 91), (30, 191)]);
        let found = compactions(AutoCompaction::Periodic(Duration::from_secs(5)), 25, 1);
        assert_eq!(found, [(10, 1), (20, 10)]);
    }

    #[test]
    fn a_period_of_more_than_an_hour_is_compacted_every_hour_once_it_has_passed() {
        let found = compactions(AutoCompaction::Periodic(3 * HOUR), 51, 1);
        assert_eq!(found, [(30, 1), (40, 10), (50, 20)]);
    }

    #[test]
    fn where_nothing_is_written_nothing_is_compacted() {
        assert_eq!(compactions(AutoCompaction::Periodic(HOUR), 50, 0), [(10, 1)]);
        assert_eq!(compactions(AutoCompaction::Revision(10), 50, 0), []);
    }

    #[test]
    fn what_could_not_be_compacted_is_tried_at_the_next_look() {
        let mut compactor = Compactor::new(AutoCompaction::Periodic(HOUR), Duration::ZERO).unwrap();
        for revision in 1..=11 {
            compactor.see(revision);
        }
        assert_eq!(compactor.due(11, 66 * MINUTE), Some(1));
        compactor.see(12);
        assert_eq!(compactor.due(12, 72 * MINUTE), Some(2));
        compactor.compacted(2, 72 * MINUTE);
        compactor.see(13);
        assert_eq!(compactor.due(13, 78 * MINUTE), None);
    }

    #[test]
    fn so_many_revisions_are_kept() {
        let found = compactions(AutoCompaction::Revision(100), 5, 40);
        assert_eq!(found, [(3, 21), (4, 61), (5, 101)]);
        assert_eq!(
            Compactor::new(AutoCompaction::Revision(1), Duration::ZERO).unwrap().look(),
            5 * MINUTE
        );
    }

    #[test]
    fn never_is_never() {
        for mode in [
            AutoCompaction::Never,
            AutoCompaction::Periodic(Duration::ZERO),
            AutoCompaction::Revision(0),
        ] {
            assert!(Compactor::new(mode, Duration::ZERO).is_none());
        }
    }
}
