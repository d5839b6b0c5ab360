//! The lead changes hands while clients write at all members: by chance, for as many seeds as it takes.

use std::collections::{BTreeMap, BTreeSet};

use base::{MemberId, Term};
use member::PeerMessage;

use super::Stage;
use crate::{
    Options,
    network::any,
    node::Node,
    weather::{Event, Weather},
    world::{Beginning, World},
};

const SEEDS: u64 = 100;
const STEPS: usize = 1_500;
/// What a member does by itself.
const WORK: [Event; 6] = [
    Event::Log,
    Event::Sync,
    Event::TellPersisted,
    Event::Apply,
    Event::TellApplied,
    Event::Install,
];

/// Members that write, hand over, stop and start again.
struct Play {
    world: World,
    rng: fastrand::Rng,
    /// Every write, with the member whose client asks.
    writes: BTreeMap<u64, MemberId>,
    /// A leader that stops: it takes no more from clients, and hands over in this term once it has
    /// answered all.
    stopping: Option<(MemberId, Option<Term>)>,
    /// Of which a snapshot has left open what became of them.
    unknown: BTreeSet<u64>,
    /// Those that have stopped; and how many ever have.
    down: Vec<MemberId>,
    stopped: usize,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let beginning = Beginning::founding(3, &mut rng);
        let mut world =
            World::new(rng.fork(), beginning, Weather::calm(), Options::default()).unwrap();
        world.settle().unwrap();
        let (writes, stopping, down) = (BTreeMap::new(), None, Vec::new());
        Self { world, rng, writes, stopping, unknown: BTreeSet::new(), down, stopped: 0 }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        // Whoever has stopped comes back.
        while let Some(id) = self.down.pop() {
            self.at(id, |node, common| node.start(common).unwrap());
        }
    }

    fn step(&mut self) {
        let members = self.world.members();
        let id = any(&members, &mut self.rng).unwrap();
        match self.rng.u8(..100) {
            0..50 => {
                self.world.deliver().unwrap();
            }
            50..90 => {
                let at = self.rng.usize(..members.len());
                let event = any(&WORK, &mut self.rng).unwrap();
                self.world.happens_at(at, event).unwrap();
            }
            90..95 => self.write(id),
            95 | 96 => self.world.tick().unwrap(),
            97 if self.rng.u8(..3) == 0 => {
                let heir = any(&members, &mut self.rng);
                let leader = super::leader(&self.world).unwrap_or(id);
                self.at(leader, |node, common| node.hand_over(common, heir).unwrap());
            }
            98 if self.rng.u8(..4) == 0 => self.stop(),
            99 if self.rng.u8(..2) == 0 => {
                if let Some(id) = self.down.pop() {
                    self.at(id, |node, common| node.start(common).unwrap());
                }
            }
            _ => {}
        }
        self.go_on_stopping();
        self.look();
    }

    fn look(&mut self) {
        self.world.look().unwrap();
        let running = self.world.nodes.iter().filter_map(|node| node.member.as_ref());
        self.unknown.extend(running.flat_map(|member| &member.unknown));
    }

    fn at<T>(
        &mut self,
        id: MemberId,
        does: impl FnOnce(&mut Node, &mut crate::world::Common) -> T,
    ) -> T {
        let World { common, nodes } = &mut self.world;
        does(nodes.iter_mut().find(|node| node.id() == id).unwrap(), common)
    }

    fn write(&mut self, id: MemberId) {
        let is_stopping = self.stopping.is_some_and(|(stopping, _)| stopping == id);
        if !is_stopping && !self.down.contains(&id) {
            let written = self.at(id, |node, common| node.write(common, 1));
            self.writes.extend(written.into_iter().map(|write| (write, id)));
        }
    }

    /// The leader is told to stop, if the others are there.
    fn stop(&mut self) {
        if self.stopping.is_none() && self.down.is_empty() {
            self.stopping = super::leader(&self.world).map(|leader| (leader, None));
        }
    }

    /// As in a server: first it answers, then it hands over, then it ends.
    fn go_on_stopping(&mut self) {
        let Some((id, handed_over)) = self.stopping else { return };
        let waits = |(write, at): (&u64, &MemberId)| {
            *at == id && !self.world.common.history.acknowledged.contains_key(write)
        };
        if self.writes.iter().any(waits) {
            return;
        }
        let (leads, term) = self.at(id, |node, _| (node.leads(), node.term()));
        match handed_over {
            None if leads => {
                self.at(id, |node, common| node.hand_over(common, None).unwrap());
                self.stopping = Some((id, Some(term)));
            }
            Some(_) if leads => {}
            _ => {
                self.at(id, Node::kill);
                self.down.push(id);
                (self.stopping, self.stopped) = (None, self.stopped + 1);
            }
        }
    }
}

/// So many as the environment asks for: `SEEDS=2000 cargo test --release -p sim handovers`.
#[allow(clippy::disallowed_methods, reason = "it is no product that reads it")]
fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("SEEDS").ok().and_then(|count| count.parse().ok());
    0..count.unwrap_or(SEEDS)
}

#[test]
fn without_losses_each_write_is_acknowledged_once_while_the_lead_changes_hands() {
    let (mut written, mut unknown, mut again, mut stopped, mut handed_over) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let mut play = Play::new(seed);
        play.run();
        play.world.settle().unwrap();
        play.look();
        assert_eq!(play.world.common.report.lost, 0, "seed {seed}: the network is overloaded");
        let acknowledged = &play.world.common.history.acknowledged;
        let is_told =
            |write: &&u64| acknowledged.contains_key(*write) || play.unknown.contains(*write);
        let lost: Vec<_> = play.writes.keys().filter(|write| !is_told(write)).collect();
        assert!(lost.is_empty(), "seed {seed}: no answer to {lost:?} of {}", play.writes.len());
        written += play.writes.len();
        unknown += play.unknown.len();
        again += play.world.common.report.proposed_again;
        handed_over += play.world.common.report.handed_over;
        stopped += play.stopped;
        // Which holds all that was told against the log, in which no proposal stands twice.
        play.world.heal().unwrap();
    }
    println!(
        "{written} written, {again} proposed again, {handed_over} handed over, {stopped} stopped"
    );
    println!("{unknown} left open by snapshots");
    assert!(unknown * 100 < written, "these are few");
    assert!(again > 0 && stopped > 0 && handed_over > 0);
}

#[test]
fn with_losses_no_write_is_carried_out_twice_while_the_lead_changes_hands() {
    let (mut again, mut answered) = (0, 0);
    for seed in seeds() {
        let mut play = Play::new(seed);
        play.world.common.network.faulty = [6, 12, 40][play.rng.usize(..3)];
        play.world.common.network.hasty = [2, 4, 30][play.rng.usize(..3)];
        play.run();
        play.world.heal().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        again += play.world.common.report.proposed_again;
        answered += play.world.common.history.acknowledged.len();
    }
    println!("{again} proposed again, {answered} answered");
    assert!(again > 0 && answered > 0);
}

/// A write is on its way to a leader for so long that it has lost the lead meanwhile, and has it again.
#[test]
fn a_late_copy_of_what_was_proposed_again_is_carried_out_by_nobody() {
    let mut stage = Stage::new(1);
    let (leader, [asking, heir]) = (stage.leader, stage.followers);
    let write = stage.at(asking, |node, common| node.propose(common, 1));
    stage.world.look().unwrap();
    let is_write = |message: &PeerMessage| message.show().starts_with("MsgPropose");
    let late = stage.world.common.network.withhold(is_write);
    assert_eq!((write.len(), late.len()), (1, 1));
    for (from, to) in [(leader, heir), (heir, leader)] {
        stage.at(from, |node, common| node.hand_over(common, Some(to))).unwrap();
        stage.world.look().unwrap();
        stage.rest();
        assert!(stage.leads(to));
    }
    let told = |stage: &Stage| stage.world.common.history.acknowledged.contains_key(&write[0]);
    assert!(told(&stage), "it was proposed again");
    let last = |stage: &Stage| {
        let member = stage.world.node(leader).unwrap().member.as_ref();
        member.unwrap().core.last_index()
    };
    let before = last(&stage);
    for message in late {
        stage.at(leader, |node, common| node.receive(common, message)).unwrap();
    }
    assert_eq!(last(&stage), before);
    stage.ends();
}
