//! Who waits for the answer to a proposal.

use std::{collections::VecDeque, time::Duration};

use member::Answer;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{Done, Unserved};

type Sender = oneshot::Sender<Result<Done, Unserved>>;
type Receiver = oneshot::Receiver<Result<Done, Unserved>>;

/// Who waits for the answer to a proposal.
///
/// Ids go up by one, and every proposal may take equally long: so the queue is in order of ids and
/// of deadlines, and neither finding an id nor timing out needs a search or a timer.
#[derive(Debug)]
pub(crate) struct Waiters {
    queue: Mutex<Queue>,
    patience: Duration,
}

#[derive(Debug)]
struct Queue {
    /// The id of the first slot.
    first: u64,
    slots: VecDeque<Option<Waiter>>,
    waiting: usize,
}

#[derive(Debug)]
struct Waiter {
    answer: Sender,
    deadline: Duration,
}

impl Waiters {
    /// `first`: the first id; ids of other members and of other runs should be far away.
    pub(crate) fn new(first: u64, patience: Duration) -> Self {
        let queue = Queue { first: first.max(1), slots: VecDeque::new(), waiting: 0 };
        Self { queue: Mutex::new(queue), patience }
    }

    /// A new id, and where its answer will come.
    pub(crate) fn add(&self, now: Duration) -> (u64, Receiver) {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.queue.lock();
        let id = queue.first + queue.slots.len() as u64;
        queue.slots.push_back(Some(Waiter { answer, deadline: now + self.patience }));
        queue.waiting += 1;
        (id, receiver)
    }

    /// Gives the answers, as far as somebody still waits for them.
    pub(crate) fn answer(&self, answers: Vec<Answer>) {
        let mut ready = Vec::with_capacity(answers.len());
        {
            let mut queue = self.queue.lock();
            for answer in answers {
                if let Some(sender) = queue.take(answer.id) {
                    let Answer { response, index, term, .. } = answer;
                    ready.push((sender, Done { response, index, term }));
                }
            }
        }
        for (sender, done) in ready {
            // Whoever went away wants no answer.
            drop(sender.send(Ok(done)));
        }
    }

    pub(crate) fn refuse(&self, ids: impl IntoIterator<Item = u64>, why: Unserved) -> u64 {
        let mut queue = self.queue.lock();
        let senders: Vec<_> = ids.into_iter().filter_map(|id| queue.take(id)).collect();
        drop(queue);
        refuse(senders, why)
    }

    /// Refuses those whose time is over.
    pub(crate) fn expire(&self, now: Duration, why: impl FnOnce() -> Unserved) -> u64 {
        let mut queue = self.queue.lock();
        let mut late = Vec::new();
        while let Some(slot) = queue.slots.front() {
            if slot.as_ref().is_some_and(|waiter| waiter.deadline > now) {
                break;
            }
            let first = queue.first;
            late.extend(queue.take(first));
        }
        drop(queue);
        if late.is_empty() { 0 } else { refuse(late, why()) }
    }

    pub(crate) fn refuse_all(&self, why: Unserved) -> u64 {
        self.expire(Duration::MAX, || why)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().waiting
    }
}

impl Queue {
    fn take(&mut self, id: u64) -> Option<Sender> {
        let at = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let waiter = self.slots.get_mut(at)?.take();
        self.waiting -= usize::from(waiter.is_some());
        while matches!(self.slots.front(), Some(None)) {
            self.slots.pop_front();
            self.first += 1;
        }
        Some(waiter?.answer)
    }
}

fn refuse(senders: Vec<Sender>, why: Unserved) -> u64 {
    let count = senders.len() as u64;
    for sender in senders {
        drop(sender.send(Err(why)));
    }
    count
}

#[cfg(test)]
mod tests {
    use base::{Index, Term};
    use state::Response;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn answer(id: u64) -> Answer {
        Answer { id, response: Response::Done, index: Index(id), term: Term(1) }
    }

    #[test]
    fn answers_reach_their_askers_in_any_order() {
        let waiters = Waiters::new(100, PATIENCE);
        let mut asked: Vec<_> = (0..3).map(|_| waiters.add(Duration::ZERO)).collect();
        waiters.answer(vec![answer(102), answer(100), answer(7), answer(999)]);
        assert_eq!(asked[2].1.try_recv().unwrap().unwrap().index, Index(102));
        assert_eq!(asked[0].1.try_recv().unwrap().unwrap().index, Index(100));
        assert!(asked[1].1.try_recv().is_err());
        assert_eq!(waiters.waiting(), 1);
        assert_eq!(waiters.add(Duration::ZERO).0, 103);
    }

    #[test]
    fn whoever_waits_too_long_is_told() {
        let waiters = Waiters::new(1, PATIENCE);
        let (_, mut early) = waiters.add(Duration::ZERO);
        let (_, mut late) = waiters.add(Duration::from_secs(1));
        assert_eq!(waiters.expire(PATIENCE, || Unserved::Timeout), 1);
        assert_eq!(early.try_recv().unwrap().unwrap_err(), Unserved::Timeout);
        assert!(late.try_recv().is_err());
        assert_eq!(waiters.refuse_all(Unserved::Stopped), 1);
        assert_eq!(late.try_recv().unwrap().unwrap_err(), Unserved::Stopped);
    }
}
