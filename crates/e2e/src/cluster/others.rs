//! The two others of a cluster of three in which the member under test is a follower.

use super::{COMPLAINTS, PATIENCE, state};
use crate::{Member, Start, eventually, ports};

impl Member {
    /// Whether it takes itself for a follower.
    pub fn follows(&self) -> bool {
        state(self).is_some_and(|state| state == "StateFollower")
    }

    /// Fails the test if it was to ask a follower, and the member is none any more: others were to lead.
    #[track_caller]
    pub fn expect_role(&self) {
        assert!(self.others().is_none() || self.follows(), "it does not follow any more");
    }
}

/// Two members that lead a cluster of three. They end with this value.
pub struct Others {
    members: Vec<Member>,
    initial_cluster: String,
}

impl Others {
    /// Starts two members of a cluster that has a third, `name` at `peer_url`, and waits until one
    /// of them leads: the third comes too late for that.
    pub fn start(name: &str, peer_url: &str, token: &str) -> Self {
        let urls = [(); 2].map(|()| format!("http://127.0.0.1:{}", ports::free()));
        let rows = urls.iter().enumerate().map(|(at, url)| format!("other{at}={url}"));
        let rows: Vec<_> = rows.chain([format!("{name}={peer_url}")]).collect();
        let initial_cluster = rows.join(",");
        let start = |(at, url): (usize, &String)| {
            let start = Start::new().peer_url(url).flag(&format!("--name=other{at}"));
            let start = start.flag(&format!("--initial-cluster={initial_cluster}"));
            let mut member = start.flag(&format!("--initial-cluster-token={token}")).spawn();
            for complaint in COMPLAINTS {
                member.allow(complaint);
            }
            member
        };
        let members: Vec<_> = urls.iter().enumerate().map(start).collect();
        let leads = |member| state(member).is_some_and(|state| state == "StateLeader");
        eventually(PATIENCE, "one of two leads", || members.iter().any(leads).then_some(()));
        Self { members, initial_cluster }
    }

    /// For the third.
    pub fn initial_cluster(&self) -> &str {
        &self.initial_cluster
    }

    /// Where both serve clients.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(Member::url).collect()
    }

    /// What the third may say of the others while they come and go.
    pub fn complaints() -> [&'static str; 9] {
        COMPLAINTS
    }
}
