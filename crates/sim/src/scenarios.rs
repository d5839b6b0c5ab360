//! Stories of one fault each, without chance: what a cluster does about it, and how soon.

mod handovers;
mod regressions;
mod removals;

use base::{MemberId, Term};
use member::PeerMessage;

use crate::{
    Options,
    node::Node,
    running::{CATCH_UP_ENTRIES, ELECTION_TICKS},
    steps::Steps,
    weather::{Event, Weather},
    world::{Beginning, Common, World},
};

/// Longer than anybody waits before an election.
const LONG: usize = 3 * ELECTION_TICKS;

/// Three members, of which the first one named leads.
struct Stage {
    world: World,
    steps: Steps,
    leader: MemberId,
    followers: [MemberId; 2],
}

impl Stage {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let beginning = Beginning::founding(3, &mut rng);
        let mut world = World::new(rng, beginning, Weather::calm(), Options::default()).unwrap();
        world.settle().unwrap();
        let leader = leader(&world).unwrap();
        let others: Vec<_> = world.members().into_iter().filter(|id| *id != leader).collect();
        let followers = [others[0], others[1]];
        Self { world, steps: Steps::default(), leader, followers }
    }

    /// So many ticks pass, with all that they bring.
    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.world.tick().unwrap();
            self.rest();
        }
    }

    /// Does all that there is to do before the next tick.
    fn rest(&mut self) {
        while self.steps.one_without_time(&mut self.world).unwrap() {}
    }

    /// Proposes at this member; whether that is acknowledged within so many ticks.
    fn writes(&mut self, at: MemberId, ticks: usize) -> bool {
        let proposed = self.at(at, |node, common| node.propose(common, 1));
        let Some(id) = proposed.first().copied() else { return false };
        self.world.look().unwrap();
        self.rest();
        self.ticks(ticks);
        self.world.common.history.acknowledged.contains_key(&id)
    }

    fn at<T>(&mut self, id: MemberId, does: impl FnOnce(&mut Node, &mut Common) -> T) -> T {
        let World { common, nodes } = &mut self.world;
        does(nodes.iter_mut().find(|node| node.id() == id).unwrap(), common)
    }

    fn leads(&self, id: MemberId) -> bool {
        self.world.node(id).unwrap().leads()
    }

    fn term(&self) -> Term {
        self.world.node(self.leader).unwrap().term()
    }

    fn isolate(&mut self, id: MemberId) {
        let members = self.world.members();
        self.world.common.network.isolate(id, &members);
    }

    fn mend(&mut self) {
        self.world.common.network.mend();
    }

    /// Everything that was ever seen is still so, and goes on.
    fn ends(mut self) {
        self.world.heal().unwrap();
    }
}

/// Who leads in the highest term.
fn leader(world: &World) -> Option<MemberId> {
    let leaders = world.nodes.iter().filter(|node| node.leads());
    leaders.max_by_key(|node| node.term()).map(Node::id)
}

#[test]
fn a_link_that_comes_and_goes_deposes_nobody() {
    for (seed, up, down) in [(1, 1, LONG), (2, LONG, LONG), (3, 1, 1), (4, 3, ELECTION_TICKS)] {
        let mut stage = Stage::new(seed);
        let (leader, term, [one, other]) = (stage.leader, stage.term(), stage.followers);
        for _ in 0..10 {
            stage.world.common.network.separate(leader, one);
            stage.ticks(down);
            assert!(stage.writes(leader, 1) && stage.writes(other, 1));
            stage.mend();
            stage.ticks(up);
        }
        assert!(stage.leads(leader) && stage.term() == term, "{up} up, {down} down");
        stage.ends();
    }
}

#[test]
fn a_follower_that_is_away_for_long_comes_back_without_an_election() {
    let mut stage = Stage::new(1);
    let (leader, term, [away, _]) = (stage.leader, stage.term(), stage.followers);
    stage.isolate(away);
    for _ in 0..5 {
        stage.ticks(LONG);
        assert!(stage.writes(leader, 1));
    }
    stage.mend();
    stage.ticks(3);
    assert!(stage.writes(away, 1), "it writes again soon");
    assert!(stage.leads(leader) && stage.term() == term);
    stage.ends();
}

/// It has gone on proposing to itself, and has more in its log than anybody wants.
#[test]
fn a_leader_that_was_isolated_follows_another_as_soon_as_it_is_back() {
    let mut stage = Stage::new(1);
    let (deposed, [one, _]) = (stage.leader, stage.followers);
    stage.isolate(deposed);
    assert!(!stage.writes(deposed, 0) && !stage.writes(deposed, LONG));
    assert!(!stage.leads(deposed), "nobody answers it");
    assert_ne!(leader(&stage.world), None, "the others have elected somebody");
    assert!(stage.writes(one, 1));
    stage.mend();
    stage.ticks(3);
    assert!(stage.writes(deposed, 1), "it writes again soon, through another");
    stage.ends();
}

#[test]
fn a_member_that_hears_nobody_deposes_nobody() {
    let mut stage = Stage::new(1);
    let (leader, term, [deaf, other]) = (stage.leader, stage.term(), stage.followers);
    for from in [leader, other] {
        stage.world.common.network.cut_way(from, deaf);
    }
    stage.ticks(5 * LONG);
    assert!(stage.writes(leader, 1));
    stage.mend();
    stage.ticks(3);
    assert!(stage.leads(leader) && stage.term() == term, "not even when it hears again");
    stage.ends();
}

#[test]
fn a_leader_that_hears_nobody_stands_down() {
    let mut stage = Stage::new(1);
    let (deaf, followers) = (stage.leader, stage.followers);
    for from in followers {
        stage.world.common.network.cut_way(from, deaf);
    }
    stage.ticks(2 * LONG);
    assert!(!stage.leads(deaf));
    assert!(stage.writes(followers[0], 1), "the others go on without it");
    stage.ends();
}

#[test]
fn a_leader_that_was_paused_does_not_answer_from_the_past() {
    let mut stage = Stage::new(1);
    let (paused, [one, _]) = (stage.leader, stage.followers);
    stage.at(paused, Node::pause);
    stage.ticks(2 * LONG);
    assert!(stage.writes(one, 1), "the others have elected somebody");
    stage.at(paused, |node, common| node.resume(common));
    assert!(stage.leads(paused), "it does not know yet");
    stage.at(paused, |node, common| node.read(common, None)).unwrap();
    // What it is told of the read index is held against what was acknowledged.
    stage.rest();
    stage.ticks(3);
    assert!(stage.writes(paused, 1));
    stage.ends();
}

#[test]
fn leadership_goes_to_whom_it_is_handed() {
    let mut stage = Stage::new(1);
    let (leader_before, [heir, _]) = (stage.leader, stage.followers);
    stage.at(leader_before, |node, common| node.hand_over(common, Some(heir))).unwrap();
    stage.ticks(1);
    assert_eq!(leader(&stage.world), Some(heir), "within a tick, without an election timeout");
    stage.ends();
}

#[test]
fn a_member_whose_disk_fails_to_sync_stops_and_the_others_go_on() {
    let mut stage = Stage::new(1);
    let ([failing, _], leader) = (stage.followers, stage.leader);
    stage.at(failing, |node, common| node.fail_sync(common));
    assert!(stage.writes(leader, 1));
    let killed = stage.world.common.report.killed;
    assert_eq!((stage.world.common.report.failed_syncs, killed), (1, 1), "it was started anew");
    stage.ends();
}

#[test]
fn a_leader_whose_disk_hangs_gives_way_and_follows_once_it_is_back() {
    for heir_hears in [true, false] {
        let mut stage = Stage::new(1);
        let (hung, term) = (stage.leader, stage.term());
        stage.at(hung, |node, _| node.condition.is_hung = true);
        assert!(stage.writes(hung, ELECTION_TICKS / 2), "the others have it, and say so");
        assert!(stage.leads(hung), "a disk may hang for a moment");
        for _ in 0..2 * ELECTION_TICKS + LONG {
            stage.world.tick().unwrap();
            let hands_over = |message: &PeerMessage| message.show().starts_with("MsgTimeoutNow");
            stage.world.common.network.withhold(|message| !heir_hears && hands_over(message));
            stage.rest();
        }
        let next = leader(&stage.world).unwrap();
        assert!(next != hung && !stage.leads(hung), "heir_hears={heir_hears}");
        assert!(stage.writes(next, 1), "the others go on");
        stage.at(hung, |node, _| node.condition.is_hung = false);
        stage.rest();
        stage.ticks(1);
        assert_eq!(leader(&stage.world), Some(next), "it deposes nobody");
        assert!(stage.term() > term);
        stage.ends();
    }
}

/// A snapshot has come to a follower whole, and is not taken over yet.
fn with_a_snapshot(seed: u64) -> Stage {
    let mut stage = Stage::new(seed);
    let (leader, [lagging, _]) = (stage.leader, stage.followers);
    stage.isolate(lagging);
    for _ in 0..40 {
        assert!(stage.writes(leader, 1));
    }
    stage.mend();
    stage.steps.without = Some(Event::Install);
    while !stage.world.has_transfers() {
        stage.steps.one(&mut stage.world).unwrap();
    }
    // What is sent is newer than what was to be sent.
    stage.at(lagging, Node::pause);
    for _ in 0..2 * CATCH_UP_ENTRIES {
        assert!(stage.writes(leader, 1));
    }
    stage.at(lagging, |node, common| node.resume(common));
    while stage.world.common.report.snapshots == 0 {
        stage.steps.one(&mut stage.world).unwrap();
    }
    stage
}

#[test]
fn a_follower_that_takes_long_to_take_a_snapshot_over_needs_no_second_one() {
    for is_silent in [true, false] {
        let mut stage = with_a_snapshot(1);
        let (leader, [lagging, _]) = (stage.leader, stage.followers);
        if is_silent {
            stage.at(lagging, Node::pause);
        }
        // More than is kept for everybody.
        for _ in 0..2 * CATCH_UP_ENTRIES {
            assert!(stage.writes(leader, 1));
        }
        stage.at(lagging, |node, common| node.resume(common));
        stage.steps.without = None;
        stage.ticks(5);
        assert!(stage.writes(lagging, 1));
        assert_eq!(stage.world.common.report.snapshots, 1, "silent: {is_silent}");
        stage.ends();
    }
}

#[test]
fn a_follower_that_loses_a_snapshot_after_it_has_come_is_sent_another_one() {
    let mut stage = with_a_snapshot(1);
    let [lagging, _] = stage.followers;
    stage
        .at(lagging, |node, common| {
            node.kill(common);
            node.start(common)
        })
        .unwrap();
    stage.steps.without = None;
    stage.ticks(4 * ELECTION_TICKS);
    assert!(stage.writes(lagging, 1));
    assert_eq!(stage.world.common.report.installs, 1);
    stage.ends();
}

#[test]
fn a_follower_that_cannot_say_that_it_has_taken_a_snapshot_over_needs_no_second_one() {
    let mut stage = with_a_snapshot(1);
    let (leader, [lagging, _]) = (stage.leader, stage.followers);
    stage.world.common.network.cut_way(lagging, leader);
    stage.steps.without = None;
    stage.ticks(3);
    assert_eq!(stage.world.common.report.installs, 1);
    stage.mend();
    for _ in 0..4 * ELECTION_TICKS {
        assert!(stage.writes(leader, 1));
    }
    assert!(stage.writes(lagging, 1));
    assert_eq!(stage.world.common.report.snapshots, 1);
    stage.ends();
}

#[test]
fn a_follower_that_lags_behind_its_snapshot_needs_no_second_one() {
    let mut stage = with_a_snapshot(1);
    let (leader, [lagging, _]) = (stage.leader, stage.followers);
    for _ in 0..2 * CATCH_UP_ENTRIES {
        assert!(stage.writes(leader, 1));
    }
    stage.world.common.network.cut_way(leader, lagging);
    stage.steps.without = None;
    stage.ticks(3);
    assert_eq!(stage.world.common.report.installs, 1);
    assert!(stage.writes(leader, 1));
    stage.mend();
    stage.ticks(3);
    assert!(stage.writes(lagging, 1));
    assert_eq!(stage.world.common.report.snapshots, 1);
    stage.ends();
}
