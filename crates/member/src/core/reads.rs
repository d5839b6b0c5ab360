//! Reads that wait for a read index: one round of raft for all that have gathered.

use std::{collections::VecDeque, mem};

use base::{MemberId, limits};

use super::Read;

/// Rounds that raft may forget: it drops a read index silently when there is no leader, or when
/// the leader has committed nothing in its term yet.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    waiting: Vec<Read>,
    rounds: VecDeque<Round>,
    /// The last round's number.
    last: u64,
    /// Which member asks, in which run. Raft knows a question by its context alone, on every member
    /// that it passes: no two may ever be alike.
    asker: [u8; 16],
}

#[derive(Debug)]
struct Round {
    number: u64,
    reads: Vec<Read>,
    /// Ticks since raft was asked.
    age: usize,
}

impl Reads {
    pub(crate) fn new(member: MemberId, run: u64) -> Self {
        let asker = (u128::from(member.0) << 64 | u128::from(run)).to_be_bytes();
        Self { asker, ..Self::default() }
    }

    pub(crate) fn add(&mut self, read: Read) {
        // Those who asked have been told by now that it takes too long.
        if self.waiting.len() >= limits::PROPOSALS_WAITING_MAX {
            self.waiting.drain(..limits::PROPOSALS_WAITING_MAX / 2);
        }
        self.waiting.push(read);
    }

    /// Begins a round if reads wait and none is running; returns its context.
    pub(crate) fn begin(&mut self) -> Option<Vec<u8>> {
        if self.waiting.is_empty() || !self.rounds.is_empty() {
            return None;
        }
        self.last += 1;
        let reads = mem::take(&mut self.waiting);
        self.rounds.push_back(Round { number: self.last, reads, age: 0 });
        Some([&self.asker[..], &self.last.to_be_bytes()].concat())
    }

    /// Raft answered the round of this context: whose reads may go on. An answer to a round that
    /// was given up says nothing.
    pub(crate) fn answered(&mut self, context: &[u8]) -> Vec<Read> {
        let number = context.strip_prefix(&self.asker).and_then(|number| number.try_into().ok());
        let number = number.map_or(0, u64::from_be_bytes);
        match self.rounds.iter().position(|round| round.number == number) {
            Some(at) => self.rounds.remove(at).map(|round| round.reads).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// One tick: a round that is `patience` ticks old is asked again, as a new one.
    pub(crate) fn tick(&mut self, patience: usize) {
        for round in &mut self.rounds {
            round.age += 1;
        }
        while self.rounds.front().is_some_and(|round| round.age >= patience) {
            let lost = self.rounds.pop_front().map(|round| round.reads).unwrap_or_default();
            self.waiting.splice(0..0, lost);
        }
    }

    /// Gives up the running round: who leads has changed.
    pub(crate) fn restart(&mut self) {
        self.tick(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_gather_while_a_round_runs() {
        let mut reads = Reads::default();
        assert_eq!(reads.begin(), None);
        reads.add(Read(1));
        let first = reads.begin().unwrap();
        reads.add(Read(2));
        reads.add(Read(3));
        assert_eq!(reads.begin(), None);
        assert_eq!(reads.answered(&first), [Read(1)]);
        let second = reads.begin().unwrap();
        assert_eq!(reads.answered(&first), []);
        assert_eq!(reads.answered(&second), [Read(2), Read(3)]);
    }

    #[test]
    fn an_answer_to_another_member_or_another_run_says_nothing() {
        let ask = |member, run| {
            let mut reads = Reads::new(MemberId(member), run);
            reads.add(Read(1));
            let context = reads.begin().unwrap();
            (reads, context)
        };
        let (mut reads, context) = ask(1, 1);
        for (member, run) in [(2, 1), (1, 2)] {
            assert_eq!(reads.answered(&ask(member, run).1), []);
        }
        assert_eq!(reads.answered(&context), [Read(1)]);
    }

    #[test]
    fn a_round_that_raft_dropped_is_asked_again_and_its_late_answer_is_ignored() {
        let mut reads = Reads::default();
        reads.add(Read(1));
        let dropped = reads.begin().unwrap();
        reads.tick(2);
        assert_eq!(reads.begin(), None);
        reads.tick(2);
        let again = reads.begin().unwrap();
        assert_eq!(reads.answered(&dropped), []);
        assert_eq!(reads.answered(&again), [Read(1)]);
    }
}
