//! Why a proposal got no answer in time, as far as its member can guess.

use std::time::Duration;

use base::MemberId;

use crate::Unserved;

/// What a member knows of the time in which a proposal got no answer, by the clock that never goes back.
pub(crate) struct Late {
    pub(crate) asked: Duration,
    /// When it heard of its leader, or of the last one.
    pub(crate) elected: Duration,
    /// The election timeout.
    pub(crate) election: Duration,
    pub(crate) leader: Option<MemberId>,
}

impl Late {
    /// The reason (etcd 3.6): it was lost with a leader if another one was elected after it, and not
    /// much later than a leader is missed; or else with the connections to the leader, if they have
    /// not been there all the time.
    pub(crate) fn why(&self, was_in_touch_with: impl FnOnce(MemberId) -> bool) -> Unserved {
        let lost = self.elected.saturating_sub(2 * self.election);
        if self.asked > lost && self.asked < self.elected {
            return Unserved::TimeoutLeaderFailed;
        }
        match self.leader {
            Some(leader) if !was_in_touch_with(leader) => Unserved::TimeoutConnectionLost,
            Some(_) | None => Unserved::Timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_proposal_is_explained_as_by_the_original() {
        let check = |asked, elected, leader: u64, in_touch, expected| {
            let late = Late {
                asked: Duration::from_secs(asked),
                elected: Duration::from_secs(elected),
                election: Duration::from_secs(1),
                leader: (leader != 0).then_some(MemberId(leader)),
            };
            let why = late.why(|asked| asked == MemberId(leader) && in_touch);
            assert_eq!(why, expected, "{asked} {elected} {leader} {in_touch}");
        };
        // One leader all the time.
        check(10, 5, 1, true, Unserved::Timeout);
        check(10, 5, 1, false, Unserved::TimeoutConnectionLost);
        // Another one came a moment after the question, and may be gone again.
        check(10, 11, 1, true, Unserved::TimeoutLeaderFailed);
        check(10, 11, 1, false, Unserved::TimeoutLeaderFailed);
        check(10, 11, 0, false, Unserved::TimeoutLeaderFailed);
        // It came so late that the one before was there when it was asked.
        check(10, 12, 1, true, Unserved::Timeout);
        check(10, 15, 1, false, Unserved::TimeoutConnectionLost);
        // Nobody leads.
        check(10, 5, 0, true, Unserved::Timeout);
        check(10, 10, 0, true, Unserved::Timeout);
    }
}
