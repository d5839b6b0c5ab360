//! Who was removed, and loses its power before it has left: of two voters, when only it knows that this
//! is committed.

use base::MemberId;
use member::PeerMessage;
use state::apply::membership_change::Change;

use super::{LONG, Stage, leader};
use crate::{
    Options,
    node::Node,
    running::Running,
    steps::Steps,
    weather::Weather,
    world::{Beginning, Common, World},
};

/// Two members, of which the leader was removed, has all of that on its disk, and lost its power: the
/// other one has it in its log, and has not heard that it is committed.
struct Two {
    world: World,
    removed: MemberId,
    stays: MemberId,
}

impl Two {
    fn new(seed: u64, uncommitted: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let beginning = Beginning::founding(2, &mut rng);
        let world = World::new(rng, beginning, Weather::calm(), Options::default()).unwrap();
        let mut two = Self { world, removed: MemberId(0), stays: MemberId(0) };
        two.world.settle().unwrap();
        two.removed = leader(&two.world).unwrap();
        two.stays = two.world.members().into_iter().find(|id| *id != two.removed).unwrap();
        let (removed, stays) = (two.removed, two.stays);
        assert!(two.at(removed, |node, common| node.change(common, &Change::Remove(removed))));
        two.world.look().unwrap();
        let mut answers = Vec::new();
        let is_answer = |message: &PeerMessage| {
            message.show().starts_with("MsgAppendResponse") && message.from() == stays
        };
        two.rest(|world| answers.extend(world.common.network.withhold(is_answer)));
        assert!(!answers.is_empty());
        // From here on the other one hears nothing.
        two.world.common.network.cut_way(removed, stays);
        two.at(removed, |node, common| node.propose(common, uncommitted));
        two.world.look().unwrap();
        for answer in answers {
            two.at(removed, |node, common| node.receive(common, answer)).unwrap();
            two.world.look().unwrap();
        }
        two.rest(|_| ());
        let knows = |node: &Node, known: bool| {
            let member = node.member.as_ref().unwrap();
            let is_durable = member.backend.durable() == member.backend.applied();
            let is_removed = member.applier.state().reader().is_removed(removed);
            assert_eq!((is_removed, is_durable), (known, true), "at {}", node.id());
        };
        two.at(removed, |node, _| knows(node, true));
        two.at(stays, |node, _| knows(node, false));
        two.at(removed, Node::lose_power);
        two
    }

    /// Does all that there is to do before the next tick.
    fn rest(&mut self, mut between: impl FnMut(&mut World)) {
        let mut steps = Steps::default();
        loop {
            between(&mut self.world);
            if !steps.one_without_time(&mut self.world).unwrap() {
                return;
            }
        }
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.world.tick().unwrap();
            self.rest(|_| ());
        }
    }

    fn at<T>(&mut self, id: MemberId, does: impl FnOnce(&mut Node, &mut Common) -> T) -> T {
        let World { common, nodes } = &mut self.world;
        does(nodes.iter_mut().find(|node| node.id() == id).unwrap(), common)
    }

    fn running(&self, id: MemberId) -> Option<&Running> {
        self.world.node(id).unwrap().member.as_ref()
    }
}

#[test]
fn one_of_two_that_knows_its_removal_from_its_disk_stays_until_the_other_knows() {
    // With more in its log than the other one has it refuses its vote; else it grants it.
    for uncommitted in [0, 3] {
        let mut two = Two::new(1, uncommitted);
        let (removed, stays) = (two.removed, two.stays);
        two.ticks(LONG);
        assert_eq!(leader(&two.world), None, "the other one alone is no majority");
        two.at(removed, Node::start).unwrap();
        assert!(two.running(removed).is_some_and(|member| member.core.says_farewell()));
        two.ticks(LONG);
        assert!(two.running(removed).is_some(), "it cannot be heard yet");
        two.world.common.network.mend();
        two.ticks(LONG);
        assert_eq!(leader(&two.world), Some(stays), "{uncommitted} more");
        assert!(two.running(removed).is_none_or(|member| !member.core.says_farewell()));
        two.world.heal().unwrap();
        assert!(two.running(removed).is_none(), "it has left");
    }
}

#[test]
fn one_of_three_that_knows_its_removal_from_its_disk_does_not_begin_again() {
    let mut stage = Stage::new(1);
    let (leader, [removed, _]) = (stage.leader, stage.followers);
    assert!(stage.at(leader, |node, common| node.change(common, &Change::Remove(removed))));
    stage.world.look().unwrap();
    stage.ticks(1);
    stage.at(removed, |node, common| {
        if node.member.is_some() {
            node.lose_power(common);
        }
        node.start(common).unwrap();
        assert!(node.member.is_none());
    });
    stage.ends();
}
