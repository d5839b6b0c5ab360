//! A member that finds no leader says so now and then, and who is missing: nothing else tells why it
//! does not serve.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use base::MemberId;
use peer::Peers;
use state::membership::Member;

use crate::shared::Shared;

/// Elections take their time.
const FIRST: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_mins(1);

/// When that was last said, since there was a leader.
#[derive(Debug, Default)]
pub(crate) struct Leaderless {
    said: Option<Duration>,
}

impl Leaderless {
    /// Called with every tick.
    pub(crate) fn tick(&mut self, shared: &Shared, now: Duration) {
        let Some(since) = shared.leaderless_since() else {
            self.said = None;
            return;
        };
        let due = self.said.map_or(since + FIRST, |said| said + AGAIN);
        if now < due {
            return;
        }
        self.said = Some(now);
        let members = shared.reader.members();
        let voters = members.members.values().filter(|member| !member.learner);
        let status = shared.peers.get().map(Peers::status).unwrap_or_default();
        let is_in_touch = |id: MemberId| {
            let is_active =
                |id| status.iter().any(|one| one.id == id && one.active_since.is_some());
            id == shared.identity.member || is_active(id)
        };
        let text = text(&voters.collect::<Vec<_>>(), is_in_touch);
        let waited = now.saturating_sub(since).as_secs();
        tracing::warn!("no leader for {waited} s: {text}");
    }
}

impl Shared {
    /// Since when there is no leader, by the clock that never goes back; `None` if there is one.
    pub(crate) fn leaderless_since(&self) -> Option<Duration> {
        let standing = &self.standing;
        let has_leader = standing.leader.load(Relaxed) != 0;
        let since = Duration::from_nanos(standing.leaderless_since.load(Relaxed));
        (!has_leader).then_some(since)
    }
}

fn text(voters: &[&Member], is_in_touch: impl Fn(MemberId) -> bool) -> String {
    let missing: Vec<_> = voters
        .iter()
        .filter(|member| !is_in_touch(member.id))
        .map(|member| format!("{} at {}", member.id, member.peer_urls.join(",")))
        .collect();
    let (all, quorum) = (voters.len(), voters.len() / 2 + 1);
    let found = all - missing.len();
    let who =
        if missing.is_empty() { String::new() } else { format!(" (not {})", missing.join("; ")) };
    format!(
        "of {all} voting members {found} are in touch{who}, and it takes {quorum}. Until there is a \
         leader nothing is written, and a member that has just started serves no client"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_who_is_missing_and_how_many_it_takes() {
        let member = |id: u64| Member {
            id: MemberId(id),
            name: String::new(),
            peer_urls: vec![format!("http://m{id}")],
            client_urls: Vec::new(),
            learner: false,
            version: String::new(),
        };
        let members = [1, 2, 3].map(member);
        let voters: Vec<_> = members.iter().collect();
        let one = text(&voters, |id| id == MemberId(1));
        let expected = "of 3 voting members 1 are in touch (not 2 at http://m2; 3 at http://m3), and it \
                        takes 2.";
        assert!(one.starts_with(expected), "{one}");
        let all = text(&voters, |_| true);
        assert!(all.starts_with("of 3 voting members 3 are in touch, and it takes 2."), "{all}");
    }
}
