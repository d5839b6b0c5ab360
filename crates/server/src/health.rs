//! Whether enough members can be reached for a change of the members (etcd 3).

use std::time::Duration;

use base::{MemberId, UnixNanos};
use peer::{PeerStatus, Peers};
use state::{apply::membership_change::Change, membership::Members};

use crate::Handle;

/// Members count that have been reachable for so long (etcd).
const STEADY: Duration = Duration::from_secs(5);

impl Handle {
    /// Whether a change leaves the voters that can be reached able to go on: all of them must be
    /// there for one to come, and one that can be reached may go while enough others can.
    pub(crate) fn is_healthy_for(&self, change: &Change) -> bool {
        let members = self.shared.reader.members();
        let peers = self.peers().map(Peers::status).unwrap_or_default();
        is_healthy(&members, &peers, (self.member_id(), self.shared.clock.wall()), change)
    }
}

fn is_healthy(
    members: &Members,
    peers: &[PeerStatus],
    (own, now): (MemberId, UnixNanos),
    change: &Change,
) -> bool {
    let voters = || members.members.values().filter(|member| !member.learner).map(|one| one.id);
    let active_since = |id| peers.iter().find(|peer| peer.id == id)?.active_since;
    let is_steady = |id: &MemberId| {
        *id == own || active_since(*id).is_some_and(|since| since.saturating_add(STEADY) <= now)
    };
    match change {
        Change::Add(_) => voters().all(|id| is_steady(&id)),
        Change::Update(_) => true,
        Change::Remove(id) => {
            let is_voter = voters().any(|voter| voter == *id);
            // Whoever is down is no part of a quorum.
            let is_down = *id != own && active_since(*id).is_none();
            let (count, steady) = (voters().count(), voters().filter(is_steady).count());
            !is_voter || is_down || steady > count.saturating_sub(1) / 2 + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use peer::RoundTrips;
    use proto::command;

    use super::*;

    const NOW: UnixNanos = UnixNanos(100_000_000_000);

    /// `s`: steady; `n`: reachable, but not for long; `d`: down. The first one asks.
    fn check(voters: &str, change: &Change, expected: bool) {
        let mut members = Members::default();
        let mut peers = Vec::new();
        for (id, state) in (1..).map(MemberId).zip(voters.chars()) {
            let member = command::Member { id: id.0, ..command::Member::default() };
            members.members.insert(id, member.into());
            let ago = |secs: i64| Some(UnixNanos(NOW.0 - secs * 1_000_000_000));
            peers.push(PeerStatus {
                id,
                active_since: match state {
                    's' => ago(5),
                    'n' => ago(4),
                    _ => None,
                },
                sent: 0,
                sent_bytes: 0,
                failed: 0,
                received_bytes: 0,
                disconnected: 0,
                round_trips: RoundTrips::default(),
            });
        }
        let peers = peers.split_off(1);
        let healthy = is_healthy(&members, &peers, (MemberId(1), NOW), change);
        assert_eq!(healthy, expected, "{voters}: {change:?}");
    }

    #[test]
    fn one_may_come_while_all_are_there_and_go_while_enough_are() {
        let add = Change::Add(command::Member { id: 9, ..command::Member::default() });
        let update = Change::Update(command::Member { id: 2, ..command::Member::default() });
        let remove = |id| Change::Remove(MemberId(id));
        check("s", &add, true);
        check("sss", &add, true);
        check("ssn", &add, false);
        check("ssd", &add, false);
        check("ssd", &update, true);
        check("sss", &remove(3), true);
        check("sss", &remove(1), true);
        check("ssd", &remove(3), true);
        check("ssd", &remove(2), false);
        check("ssd", &remove(1), false);
        check("ssssd", &remove(2), true);
        check("sssdd", &remove(2), false);
        check("sss", &remove(7), true);
    }
}
