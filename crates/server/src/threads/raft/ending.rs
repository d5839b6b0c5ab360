//! How a member stops: what it has accepted is done first, and a leader hands over. Batches that are still to be
//! written then are not: nobody was told of them.

use std::time::Duration;

use base::{MemberId, Term};

use super::Raft;
use crate::{Unserved, inbox::Work};

/// How long a stopping member waits for what it has accepted; and, without a leader, for what it has
/// passed on, since the next one may carry it out.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
const STOP_PATIENCE_LEADERLESS: Duration = Duration::from_secs(1);

/// How often a stopping member looks whether anybody still waits: the last ones may be answered,
/// or refused, by other threads, which do not wake this one.
const STOP_LOOK: Duration = Duration::from_millis(2);

/// How far a stopping member is.
#[derive(Default)]
pub(super) struct Ending {
    /// Until when it waits for what it has accepted.
    by: Option<Duration>,
    /// How a stopping leader waits for another to take over.
    hand_over: Option<HandOver>,
    /// It has done what it could.
    pub(super) is_done: bool,
}

/// Leadership on its way to another member.
#[derive(Clone, Copy)]
struct HandOver {
    heir: MemberId,
    /// In which this member leads.
    term: Term,
    /// Until when it waits.
    by: Duration,
}

impl Ending {
    /// When a stopping member is to look again.
    pub(super) fn looks_at(&self, now: Duration) -> Option<Duration> {
        self.by.map(|_| now + STOP_LOOK)
    }
}

impl Raft {
    /// The member is about to stop, and refuses what waits for a leader that is not there. Where the
    /// lead is just changing hands, there is one in a moment.
    pub(super) fn close(&mut self) {
        let now = self.shared.now();
        self.ending.by.get_or_insert(now + STOP_PATIENCE);
        let Some(since) = self.shared.leaderless_since() else { return };
        let leaderless = now.saturating_sub(since);
        if leaderless > 2 * self.shared.config.heartbeat {
            let waiting = self.shared.inbox.give_up();
            self.refuse_for(waiting, Unserved::Stopped);
        }
        if leaderless > STOP_PATIENCE_LEADERLESS {
            self.shared.refuse_all();
        }
    }

    /// Whether a stopping member is done with what it has accepted, or cannot be; and has handed
    /// over, if it leads.
    pub(super) fn may_stop(&mut self, work: &Work) -> bool {
        let now = self.shared.now();
        let done = work.proposals.is_empty() && self.shared.waiters.waiting() == 0;
        if !done && self.ending.by.is_none_or(|by| now < by) {
            return false;
        }
        self.has_handed_over(now)
    }

    /// Whether another member has taken over, or none will.
    fn has_handed_over(&mut self, now: Duration) -> bool {
        let role = self.core.role();
        // Whoever was removed leads nobody any more.
        let removed = *self.shared.removed.borrow();
        let leads = role.leads && !self.core.is_alone() && !removed;
        match self.ending.hand_over {
            None if leads => {
                let Some(heir) = self.core.transfer_leadership(None) else { return true };
                tracing::info!(to = %heir, term = %role.term, "this leader stops: it hands over");
                let by = now + self.shared.config.election;
                self.ending.hand_over = Some(HandOver { heir, term: role.term, by });
                false
            }
            Some(HandOver { by, .. }) if leads && now < by => false,
            Some(HandOver { heir, term, .. }) => {
                if role.term > term {
                    tracing::info!(to = %heir, term = %role.term, "leadership is handed over");
                } else {
                    tracing::info!(to = %heir, "leadership was not taken over in time");
                }
                true
            }
            None => true,
        }
    }
}
