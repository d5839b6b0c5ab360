//! Three cores under a load, of which one is cut off for a while.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};

use backend::Applied;
use base::{Disk as _, Index, MemberId, disk::MemDisk, limits};
use raft::eraftpb::{ConfState, Entry, HardState};

use super::AWAY_AFTER;
use crate::{
    Config, Core, PeerMessage, Progress, Proposal,
    core::{Effects, Role},
    spool::Spool,
    window::Window,
};

const ELECTION_TICKS: usize = 10;
/// Memory keeps only some hundred of them.
const LARGE: usize = 16 << 10;
/// Of these it keeps 4 MB.
const MANY: u64 = 100_000;
const SMALL: usize = 16;
const FEW: u64 = 30;
/// Of large values some 3 MB in ten ticks.
const WRITES_PER_TICK: u64 = 18;
/// How long the stream of a snapshot takes, in ticks.
const TRANSFER_TICKS: usize = 20;

struct Member {
    core: Core,
    disk: MemDisk,
    is_cut_off: bool,
}

struct Cluster {
    members: BTreeMap<u64, Member>,
    messages: VecDeque<PeerMessage>,
    /// Snapshots under way, and for how long yet.
    transfers: Vec<(PeerMessage, usize)>,
    /// How many were sent.
    snapshots: usize,
    /// What comes is lost before it is taken over.
    loses_snapshots: bool,
    written: u64,
    value_bytes: usize,
}

fn member(id: u64, entries_kept: u64) -> Member {
    let config = Config {
        build: base::version::THIS,
        name: "test".to_owned(),
        client_urls: Vec::new(),
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: 1,
        answer_ticks: 70,
        run: id,
        quota_bytes: 0,
        compacts: true,
        lease_grace: Duration::from_secs(1),
        lease_checkpoints: limits::LEASE_CHECKPOINT_INTERVAL,
        catch_up_entries: entries_kept,
        catch_up_bytes: limits::CATCH_UP_BYTES_MAX,
    };
    let disk = MemDisk::new(id);
    let state = HardState { term: 1, vote: 0, commit: 1 };
    let first = Entry { index: 1, term: 1, ..Entry::default() };
    let conf = ConfState::from((vec![1, 2, 3], vec![]));
    let mut window = Window::new(state, conf, (0, 0), vec![first], 1);
    let path = Path::new("/catch-up");
    window.spool_to(Spool::new(Arc::new(disk.clone()), path, config.catch_up_bytes).unwrap());
    let core = Core::new(MemberId(id), config, window, Index(1)).unwrap();
    Member { core, disk, is_cut_off: false }
}

impl Member {
    /// Carries out all but what others hear of.
    fn step(&mut self) -> Option<Effects> {
        let mut effects = self.core.step()?;
        if let Some(install) = effects.install.take() {
            self.core.installed(install).unwrap();
        }
        if let Some(append) = effects.append.take() {
            self.core.persisted(append.ticket).unwrap();
        }
        if let Some(last) = effects.apply.last() {
            let applied = Applied { index: last.index, term: last.term };
            self.core.applied(Progress { applied, switched: Vec::new() }).unwrap();
        }
        Some(effects)
    }
}

impl Cluster {
    /// The first leads. Values are so large, and so many entries stay in memory for everybody.
    fn new(value_bytes: usize, entries_kept: u64) -> Self {
        let mut cluster = Self {
            members: (1..=3).map(|id| (id, member(id, entries_kept))).collect(),
            messages: VecDeque::new(),
            transfers: Vec::new(),
            snapshots: 0,
            loses_snapshots: false,
            written: 0,
            value_bytes,
        };
        cluster.member(1).core.node.campaign().unwrap();
        cluster.run();
        assert!(cluster.role(1).leads);
        cluster
    }

    fn member(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).unwrap()
    }

    fn role(&mut self, id: u64) -> Role {
        self.member(id).core.role()
    }

    fn leader(&self) -> u64 {
        let leads = |member: &Member| member.core.leads() && !member.is_cut_off;
        *self.members.iter().find(|(_, member)| leads(member)).unwrap().0
    }

    fn cut_off(&mut self, id: u64, is_cut_off: bool) {
        self.member(id).is_cut_off = is_cut_off;
    }

    /// Until nothing is left to do.
    fn run(&mut self) {
        loop {
            let mut is_idle = true;
            for member in self.members.values_mut() {
                while let Some(effects) = member.step() {
                    is_idle = false;
                    self.messages.extend(effects.send);
                    for message in effects.snapshots {
                        self.snapshots += 1;
                        self.transfers.push((message, TRANSFER_TICKS));
                    }
                }
            }
            while let Some(message) = self.messages.pop_front() {
                self.deliver(message);
            }
            if is_idle {
                return;
            }
        }
    }

    fn deliver(&mut self, message: PeerMessage) {
        let (from, to) = (message.from().0, message.to());
        if self.member(from).is_cut_off || self.member(to.0).is_cut_off {
            self.member(from).core.unreachable(to);
        } else {
            self.member(to.0).core.receive(message).unwrap();
        }
    }

    fn ticks(&mut self, count: usize, writes_per_tick: u64) {
        for _ in 0..count {
            self.members.values_mut().for_each(|member| member.core.tick());
            self.run();
            for _ in 0..writes_per_tick {
                self.written += 1;
                let data = vec![7; self.value_bytes].into();
                let proposal = Proposal { id: self.written, data };
                let leader = self.leader();
                self.member(leader).core.propose(vec![proposal]);
                self.run();
            }
            self.transfers();
        }
    }

    fn transfers(&mut self) {
        self.transfers.iter_mut().for_each(|(_, left)| *left -= 1);
        for (message, _) in
            self.transfers.extract_if(.., |(_, left)| *left == 0).collect::<Vec<_>>()
        {
            let (from, to) = (message.from().0, message.to());
            if !self.loses_snapshots {
                assert!(self.member(to.0).core.restore(message));
            }
            self.member(from).core.snapshot_sent(to, true);
            self.run();
        }
    }

    /// Nobody lacks anything, and nothing is kept any more.
    fn is_in_step(&mut self) {
        self.ticks(50, 0);
        let leader = self.leader();
        let last = self.member(leader).core.last_index();
        for (id, member) in &self.members {
            assert_eq!((*id, member.core.last_index()), (*id, last));
        }
        assert!(self.files(leader).is_empty());
    }

    fn files(&mut self, id: u64) -> Vec<String> {
        self.member(id).disk.list(Path::new("/")).unwrap()
    }
}

#[test]
fn a_follower_that_stood_still_for_three_seconds_needs_no_snapshot() {
    let mut cluster = Cluster::new(LARGE, MANY);
    cluster.ticks(2, WRITES_PER_TICK);
    cluster.cut_off(3, true);
    cluster.ticks(30, WRITES_PER_TICK);
    assert!(!cluster.files(1).is_empty(), "more than is kept in memory");
    cluster.cut_off(3, false);
    cluster.ticks(60, WRITES_PER_TICK);
    cluster.is_in_step();
    assert_eq!(cluster.snapshots, 0);
}

#[test]
fn large_values_meanwhile_cost_a_follower_no_second_snapshot() {
    let mut cluster = Cluster::new(LARGE, MANY);
    cluster.cut_off(3, true);
    cluster.ticks(20, WRITES_PER_TICK);
    assert!(!cluster.files(1).is_empty(), "more than is kept in memory");
    cluster.ticks((AWAY_AFTER + 2) * ELECTION_TICKS, 0);
    cluster.ticks(1, WRITES_PER_TICK);
    assert!(cluster.files(1).is_empty(), "for one who is away so long nothing is kept");
    cluster.cut_off(3, false);
    cluster.ticks(5 * TRANSFER_TICKS, WRITES_PER_TICK);
    assert_eq!(cluster.snapshots, 1);
    cluster.is_in_step();
    assert_eq!(cluster.snapshots, 1);
}

/// What the others have is not known to it in the beginning.
#[test]
fn a_new_leader_keeps_what_the_former_one_will_need() {
    let mut cluster = Cluster::new(SMALL, FEW);
    cluster.ticks(10, WRITES_PER_TICK);
    cluster.cut_off(1, true);
    while cluster.role(2).leader.is_none_or(|leader| leader.0 == 1) {
        cluster.ticks(1, 0);
    }
    cluster.ticks(30, WRITES_PER_TICK);
    cluster.cut_off(1, false);
    cluster.ticks(60, WRITES_PER_TICK);
    cluster.is_in_step();
    assert_eq!(cluster.snapshots, 0);
}

#[test]
fn a_follower_that_is_lost_with_its_snapshot_is_sent_another_one_once_it_is_back() {
    let mut cluster = Cluster::new(SMALL, FEW);
    cluster.cut_off(3, true);
    cluster.ticks((AWAY_AFTER + 2) * ELECTION_TICKS, WRITES_PER_TICK);
    (cluster.loses_snapshots, cluster.member(3).is_cut_off) = (true, false);
    while cluster.snapshots == 0 || !cluster.transfers.is_empty() {
        cluster.ticks(1, 0);
    }
    (cluster.loses_snapshots, cluster.member(3).is_cut_off) = (false, true);
    cluster.ticks((super::SILENT_AFTER + 2) * ELECTION_TICKS, 1);
    cluster.cut_off(3, false);
    cluster.ticks(5 * TRANSFER_TICKS, WRITES_PER_TICK);
    cluster.is_in_step();
    assert_eq!(cluster.snapshots, 2);
}
