//! Looks for an order of the operations on one key.

use std::collections::BTreeMap;

use crate::{
    Operation,
    bits::Bits,
    hindsight,
    register::{State, Step, Steps},
};

/// Dead ends that are remembered; what is forgotten costs time, which has a bound of its own.
const REMEMBERED_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Possible,
    Impossible,
    /// The bound was reached first.
    Undecided,
}

/// Whether the operations, all on one key, can have happened one after the other from `start` on.
pub(crate) fn order(operations: &[Operation], start: State, steps_max: u64) -> Answer {
    Search::new(operations, steps_max).run(start)
}

/// An operation that was answered.
struct Known {
    invoked: u64,
    returned: u64,
    step: Step,
}

/// A change whose outcome nobody knows.
struct Unknown {
    invoked: u64,
    step: Step,
    /// The one before it that does the same. It is taken first, since which of the two it was makes
    /// no difference.
    alike: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Taken {
    Known(usize),
    Unknown(usize),
}

/// A place in the search: an order of some operations, and what may follow.
struct Place {
    state: State,
    /// The state before an unknown change that led here. What follows must be impossible there:
    /// if it is not, then leaving the change out does as well.
    without: Option<State>,
    /// What led here; `None` at the start.
    by: Option<Taken>,
    /// Reads that were then taken at once.
    reads: Vec<usize>,
    /// Known operations that may be next, those of no order first called.
    candidates: Vec<usize>,
    /// What is called after this moment comes after some operation that is not taken yet.
    deadline: u64,
    /// How many candidates, and then unknown changes, were tried.
    tried: usize,
    /// Whether it is known that nothing leads on from here.
    is_dead: bool,
}

/// A place of which nothing leads on, less the unknown changes that were taken before it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct DeadEnd {
    low: usize,
    /// Taken operations from the first on that is not.
    known: Box<[u64]>,
    state: State,
    without: Option<State>,
}

struct Search {
    /// In the order of their calls.
    known: Vec<Known>,
    unknown: Vec<Unknown>,
    /// The indexes that `known` tells, in order: they can be taken in this order only.
    indexes: Vec<u64>,
    indexes_taken: usize,
    known_taken: Bits,
    unknown_taken: Bits,
    /// The first known operation that is not taken.
    low: usize,
    /// With the unknown changes that were taken: with these and more of them it is dead as well.
    dead_ends: BTreeMap<DeadEnd, Vec<Bits>>,
    remembered: usize,
    steps: u64,
    steps_max: u64,
}

impl Search {
    fn new(operations: &[Operation], steps_max: u64) -> Self {
        let mut sorted = operations.to_vec();
        hindsight::tell(&mut sorted);
        sorted.sort_by_key(|operation| operation.invoked);
        let mut steps = Steps::of(&sorted);
        let (mut known, mut unknown, mut indexes) = (Vec::new(), Vec::new(), Vec::new());
        // The last change of each kind, of those whose outcome nobody knows.
        let mut alike: BTreeMap<Step, usize> = BTreeMap::new();
        for operation in &sorted {
            let step = steps.step(operation);
            let Operation { invoked, returned, .. } = *operation;
            if operation.is_unknown() {
                let alike = alike.insert(step, unknown.len());
                unknown.push(Unknown { invoked, step, alike });
            } else {
                indexes.extend(step.index());
                known.push(Known { invoked, returned, step });
            }
        }
        indexes.sort_unstable();
        Self {
            known_taken: Bits::below(known.len()),
            unknown_taken: Bits::below(unknown.len()),
            known,
            unknown,
            indexes,
            indexes_taken: 0,
            low: 0,
            dead_ends: BTreeMap::new(),
            remembered: 0,
            steps: 0,
            steps_max,
        }
    }

    fn run(&mut self, start: State) -> Answer {
        let mut places = vec![self.enter(start, None, None)];
        while let Some(place) = places.last_mut() {
            if self.low == self.known.len() {
                return Answer::Possible;
            }
            if self.steps_max < self.steps {
                return Answer::Undecided;
            }
            match self.next(place) {
                Some((taken, state)) => {
                    let without = matches!(taken, Taken::Unknown(_)).then_some(place.state);
                    self.take(taken);
                    let place = self.enter(state, without, Some(taken));
                    places.push(place);
                }
                None => places.pop().into_iter().for_each(|place| self.leave(&place)),
            }
        }
        Answer::Impossible
    }

    fn enter(&mut self, state: State, without: Option<State>, by: Option<Taken>) -> Place {
        let mut reads = Vec::new();
        let (mut candidates, mut deadline) = self.candidates();
        if without.is_none() {
            // Such a read fits any order that goes on from here, and does best to be out of its way.
            while let Some(read) = candidates.iter().copied().find(|at| self.is_idle(*at, state)) {
                self.take(Taken::Known(read));
                reads.push(read);
                (candidates, deadline) = self.candidates();
            }
        }
        let mut place =
            Place { state, without, by, reads, candidates, deadline, tried: 0, is_dead: false };
        place.is_dead = self.is_dead_end(&place);
        place
    }

    /// Goes back to where `place` was entered from; it is a dead end.
    fn leave(&mut self, place: &Place) {
        if !place.is_dead && self.remembered < REMEMBERED_MAX {
            let unknown = self.unknown_taken.clone();
            self.dead_ends.entry(self.dead_end(place)).or_default().push(unknown);
            self.remembered += 1;
        }
        place.reads.iter().rev().for_each(|read| self.give_back(Taken::Known(*read)));
        if let Some(by) = place.by {
            self.give_back(by);
        }
    }

    /// The next operation that can follow, and the state after it.
    fn next(&mut self, place: &mut Place) -> Option<(Taken, State)> {
        if place.is_dead {
            return None;
        }
        while let Some((taken, number)) = self.nth(place, place.tried) {
            place.tried = number + 1;
            self.steps += 1;
            if let Some(state) = self.follow(taken, place) {
                return Some((taken, state));
            }
        }
        None
    }

    /// The candidate of this number or, behind them, the first unknown change that is not taken;
    /// and the number that it has itself.
    fn nth(&self, place: &Place, number: usize) -> Option<(Taken, usize)> {
        let Some(behind) = number.checked_sub(place.candidates.len()) else {
            return Some((Taken::Known(*place.candidates.get(number)?), number));
        };
        let at = self.unknown_taken.first_missing(behind);
        let is_called = self.unknown.get(at)?.invoked <= place.deadline;
        is_called.then_some((Taken::Unknown(at), at + place.candidates.len()))
    }

    fn follow(&self, taken: Taken, place: &Place) -> Option<State> {
        let step = self.step(taken)?;
        if self.is_untimely(step) || self.waits_for_one_alike(taken) {
            return None;
        }
        let after = place.state.after(step)?;
        let is_needless = place.without.is_some_and(|without| without.after(step).is_some());
        (!is_needless).then_some(after)
    }

    fn step(&self, taken: Taken) -> Option<&Step> {
        match taken {
            Taken::Known(at) => self.known.get(at).map(|known| &known.step),
            Taken::Unknown(at) => self.unknown.get(at).map(|unknown| &unknown.step),
        }
    }

    /// Whether an operation of a lower index is still to come.
    fn is_untimely(&self, step: &Step) -> bool {
        step.index().is_some_and(|index| self.indexes.get(self.indexes_taken) != Some(&index))
    }

    fn waits_for_one_alike(&self, taken: Taken) -> bool {
        let Taken::Unknown(at) = taken else { return false };
        let alike = self.unknown.get(at).and_then(|unknown| unknown.alike);
        alike.is_some_and(|alike| !self.unknown_taken.contains(alike))
    }

    fn is_idle(&self, at: usize, state: State) -> bool {
        let Some(Known { step, .. }) = self.known.get(at) else { return false };
        step.only_looks() && !self.is_untimely(step) && state.after(step) == Some(state)
    }

    /// The known operations that can be next for their times, and the moment when the first of
    /// those that are not taken was answered.
    fn candidates(&mut self) -> (Vec<usize>, u64) {
        let (mut candidates, mut deadline) = (Vec::new(), u64::MAX);
        let mut at = self.low;
        while let Some(known) = self.known.get(at).filter(|known| known.invoked <= deadline) {
            deadline = deadline.min(known.returned);
            candidates.push(at);
            at = self.known_taken.first_missing(at + 1);
        }
        self.steps += 1;
        (candidates, deadline)
    }

    fn take(&mut self, taken: Taken) {
        match taken {
            Taken::Known(at) => {
                self.known_taken.insert(at);
                self.low = self.known_taken.first_missing(self.low);
                self.indexes_taken += self.tells_index(at);
            }
            Taken::Unknown(at) => self.unknown_taken.insert(at),
        }
    }

    fn give_back(&mut self, taken: Taken) {
        match taken {
            Taken::Known(at) => {
                self.known_taken.remove(at);
                self.low = self.low.min(at);
                self.indexes_taken -= self.tells_index(at);
            }
            Taken::Unknown(at) => self.unknown_taken.remove(at),
        }
    }

    fn tells_index(&self, at: usize) -> usize {
        usize::from(self.known.get(at).is_some_and(|known| known.step.index().is_some()))
    }

    fn is_dead_end(&self, place: &Place) -> bool {
        let taken = (!self.dead_ends.is_empty()).then(|| self.dead_ends.get(&self.dead_end(place)));
        let mut taken = taken.flatten().into_iter().flatten();
        taken.any(|taken| taken.is_within(&self.unknown_taken))
    }

    fn dead_end(&self, place: &Place) -> DeadEnd {
        let called = self.known.partition_point(|known| known.invoked <= place.deadline);
        DeadEnd {
            low: self.low,
            known: self.known_taken.words(self.low, called).into(),
            state: place.state,
            without: place.without,
        }
    }
}
