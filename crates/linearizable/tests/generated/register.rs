//! A register that does one thing at a time, and clients that hear of it late or never.

use linearizable::{Action, Before, Change, Expected, Found, Operation, Outcome, Refusal};

/// The shape of a generated history.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) operations: usize,
    pub(crate) clients: u32,
    pub(crate) keys: usize,
    /// Of a hundred changes so many lose their answer.
    pub(crate) unknown: u64,
    /// How many values there are; zero: every write has its own.
    pub(crate) values: u64,
    pub(crate) with_indexes: bool,
}

/// Numbers that look random, from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a client is about.
enum Stage {
    Idle,
    /// Sent, and not there yet.
    Sent {
        key: usize,
        invoked: u64,
        ask: Ask,
    },
    /// Carried out, and not heard of yet.
    Done {
        key: usize,
        invoked: u64,
        action: Action,
    },
}

enum Ask {
    Read,
    Change(Change),
}

struct World<'a> {
    shape: &'a Shape,
    dice: Dice,
    keys: Vec<Option<(String, u64)>>,
    index: u64,
    time: u64,
    written: u64,
    /// Changes whose clients gave up before they arrived.
    lost: Vec<(usize, Change)>,
    history: Vec<Operation>,
}

/// A history that happened.
pub(crate) fn history(shape: &Shape, seed: u64) -> Vec<Operation> {
    let mut world = World {
        shape,
        dice: Dice::new(seed),
        keys: vec![None; shape.keys],
        index: 0,
        time: 0,
        written: 0,
        lost: Vec::new(),
        history: Vec::new(),
    };
    let mut stages: Vec<_> = (0..shape.clients).map(|_| Stage::Idle).collect();
    while world.history.len() < shape.operations {
        world.time += 1;
        let client = world.dice.below(u64::from(shape.clients));
        let stage = &mut stages[usize::try_from(client).unwrap()];
        *stage = world.go_on(u32::try_from(client).unwrap(), std::mem::replace(stage, Stage::Idle));
        world.a_lost_change_may_arrive();
    }
    // What is under way at the end may have taken effect as well.
    for (stage, client) in stages.into_iter().zip(0..) {
        let (key, invoked, change) = match stage {
            Stage::Sent { key, invoked, ask: Ask::Change(change) }
            | Stage::Done { key, invoked, action: Action::Change(change, _) } => {
                (key, invoked, change)
            }
            Stage::Idle | Stage::Sent { .. } | Stage::Done { .. } => continue,
        };
        world.record(client, key, invoked, Action::Change(change, Outcome::Unknown));
    }
    world.history
}

impl World<'_> {
    fn go_on(&mut self, client: u32, stage: Stage) -> Stage {
        match stage {
            Stage::Idle => {
                let key = self.dice.below(self.shape.keys as u64);
                let key = usize::try_from(key).unwrap();
                Stage::Sent { key, invoked: self.time, ask: self.ask(key) }
            }
            Stage::Sent { key, invoked, ask: Ask::Change(change) } if self.is_lost() => {
                let action = Action::Change(change.clone(), Outcome::Unknown);
                self.record(client, key, invoked, action);
                self.lost.push((key, change));
                Stage::Idle
            }
            Stage::Sent { key, invoked, ask: Ask::Read } => {
                let action = Action::Read(self.found(key));
                Stage::Done { key, invoked, action }
            }
            Stage::Sent { key, invoked, ask: Ask::Change(change) } => {
                let outcome = self.carry_out(key, &change);
                Stage::Done { key, invoked, action: Action::Change(change, outcome) }
            }
            Stage::Done { key, invoked, action } => {
                let action = match action {
                    Action::Change(change, Outcome::Done { .. }) if self.is_lost() => {
                        Action::Change(change, Outcome::Unknown)
                    }
                    action => action,
                };
                self.record(client, key, invoked, action);
                Stage::Idle
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        self.dice.below(100) < self.shape.unknown
    }

    fn a_lost_change_may_arrive(&mut self) {
        if self.dice.below(8) == 0 && !self.lost.is_empty() {
            let at = usize::try_from(self.dice.below(self.lost.len() as u64)).unwrap();
            let (key, change) = self.lost.swap_remove(at);
            if self.dice.below(2) == 0 {
                self.carry_out(key, &change);
            }
        }
    }

    fn ask(&mut self, key: usize) -> Ask {
        let value = self.value();
        Ask::Change(match self.dice.below(10) {
            0..=3 => return Ask::Read,
            4 | 5 => Change::Write(value),
            6 => Change::Create(value),
            7 => Change::Delete,
            8 => Change::Swap(self.expected(key), value),
            _ => Change::DeleteIf(self.expected(key)),
        })
    }

    fn value(&mut self) -> String {
        self.written += 1;
        match self.shape.values {
            0 => format!("v{}", self.written),
            values => format!("v{}", self.dice.below(values)),
        }
    }

    fn expected(&mut self, key: usize) -> Expected {
        let held = self.keys[key].clone();
        match (held, self.dice.below(4)) {
            (Some((value, _)), 0 | 1) => Expected { value: Some(value), index: None },
            (Some((_, index)), 2) => Expected { value: None, index: Some(index) },
            _ => Expected { value: Some("v0".to_owned()), index: None },
        }
    }

    fn found(&self, key: usize) -> Option<Found> {
        let (value, index) = self.keys[key].clone()?;
        Some(Found { value, index: self.shape.with_indexes.then_some(index) })
    }

    fn carry_out(&mut self, key: usize, change: &Change) -> Outcome {
        if let Some(refusal) = self.refusal(key, change) {
            return Outcome::Refused(refusal);
        }
        let before = match (self.dice.below(2), self.found(key)) {
            (0, _) => Before::Untold,
            (_, None) => Before::Absent,
            (_, Some(found)) => Before::Present(found),
        };
        self.index += 1;
        self.keys[key] = match change {
            Change::Write(value) | Change::Create(value) | Change::Swap(_, value) => {
                Some((value.clone(), self.index))
            }
            Change::Delete | Change::DeleteIf(_) => None,
        };
        Outcome::Done { index: self.shape.with_indexes.then_some(self.index), before }
    }

    fn refusal(&mut self, key: usize, change: &Change) -> Option<Refusal> {
        let held = self.keys[key].clone();
        match (change, held) {
            (Change::Write(_), _) | (Change::Create(_), None) | (Change::Delete, Some(_)) => None,
            (Change::Create(_), Some(_)) => Some(Refusal::Exists),
            (_, None) => Some(Refusal::NotFound),
            (Change::Swap(expected, _) | Change::DeleteIf(expected), Some((value, index))) => {
                let fits = expected.value.as_ref().is_none_or(|expected| *expected == value)
                    && expected.index.is_none_or(|expected| expected == index);
                let found = (self.dice.below(2) == 0).then_some(value);
                (!fits).then_some(Refusal::Compare { found })
            }
        }
    }

    fn record(&mut self, client: u32, key: usize, invoked: u64, action: Action) {
        let (key, returned) = (format!("/k{key}"), self.time);
        self.history.push(Operation { client, key, invoked, returned, action });
    }
}
