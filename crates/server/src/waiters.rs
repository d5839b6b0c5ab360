//! Who waits for the answer to a proposal.

use std::{collections::VecDeque, time::Duration};

use base::limits;
use member::{Answer, Proposal};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{Done, Unserved, inbox::Urgency};

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
    /// That of a crowd.
    crowd_patience: Duration,
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
    pub(crate) fn new(first: u64, patience: Duration, crowd_patience: Duration) -> Self {
        let queue = Queue { first: first.max(1), slots: VecDeque::new(), waiting: 0 };
        Self { queue: Mutex::new(queue), patience, crowd_patience }
    }

    /// A new id, and where its answer will come; `None`: too many wait, and have done so for too long.
    pub(crate) fn add(&self, urgency: Urgency, now: Duration) -> Option<(u64, Receiver)> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.queue.lock();
        if urgency == Urgency::Usual && queue.waiting > limits::WRITES_IN_A_CROWD {
            let first = queue.slots.front().and_then(Option::as_ref);
            let since = first.map(|waiter| waiter.deadline.saturating_sub(self.patience));
            if since.is_some_and(|since| since + self.crowd_patience < now) {
                return None;
            }
        }
        let id = queue.first + queue.slots.len() as u64;
        queue.slots.push_back(Some(Waiter { answer, deadline: now + self.patience }));
        queue.waiting += 1;
        Some((id, receiver))
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

    /// Of these proposals, those for whose answers somebody still waits; until when.
    pub(crate) fn awaited(&self, proposals: Vec<Proposal>) -> Vec<(Proposal, Duration)> {
        let mut queue = self.queue.lock();
        let awaited = |proposal: Proposal| Some((queue.awaited(proposal.id)?, proposal));
        let awaited = proposals.into_iter().filter_map(awaited);
        awaited.map(|(deadline, proposal)| (proposal, deadline)).collect()
    }

    /// Leaves out the proposals for whose answers nobody waits any more.
    pub(crate) fn keep_awaited(&self, proposals: &mut Vec<Proposal>) {
        let mut queue = self.queue.lock();
        proposals.retain(|proposal| queue.awaited(proposal.id).is_some());
    }

    /// Whether somebody still waits for this answer.
    pub(crate) fn is_awaited(&self, id: u64) -> bool {
        self.queue.lock().awaited(id).is_some()
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
    fn at(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first)?).ok()
    }

    /// Until when somebody waits for this answer. Whoever has gone is forgotten: it will not be given.
    fn awaited(&mut self, id: u64) -> Option<Duration> {
        let waiter = self.slots.get(self.at(id)?)?.as_ref()?;
        if waiter.answer.is_closed() {
            drop(self.take(id));
            return None;
        }
        Some(waiter.deadline)
    }

    fn take(&mut self, id: u64) -> Option<Sender> {
        let at = self.at(id)?;
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
    const CROWD_PATIENCE: Duration = Duration::from_millis(500);

    fn answer(id: u64) -> Answer {
        Answer { id, response: Response::Done, index: Index(id), term: Term(1) }
    }

    #[test]
    fn answers_reach_their_askers_in_any_order() {
        let waiters = Waiters::new(100, PATIENCE, CROWD_PATIENCE);
        let add = |()| waiters.add(Urgency::Usual, Duration::ZERO).unwrap();
        let mut asked: Vec<_> = [(); 3].map(add).into();
        waiters.answer(vec![answer(102), answer(100), answer(7), answer(999)]);
        assert_eq!(asked[2].1.try_recv().unwrap().unwrap().index, Index(102));
        assert_eq!(asked[0].1.try_recv().unwrap().unwrap().index, Index(100));
        assert!(asked[1].1.try_recv().is_err());
        assert_eq!(waiters.waiting(), 1);
        assert_eq!(add(()).0, 103);
    }

    #[test]
    fn whoever_waits_too_long_is_told() {
        let waiters = Waiters::new(1, PATIENCE, CROWD_PATIENCE);
        let (_, mut early) = waiters.add(Urgency::Usual, Duration::ZERO).unwrap();
        let (_, mut late) = waiters.add(Urgency::Usual, Duration::from_secs(1)).unwrap();
        assert_eq!(waiters.expire(PATIENCE, || Unserved::Timeout), 1);
        assert_eq!(early.try_recv().unwrap().unwrap_err(), Unserved::Timeout);
        assert!(late.try_recv().is_err());
        assert_eq!(waiters.refuse_all(Unserved::Stopped), 1);
        assert_eq!(late.try_recv().unwrap().unwrap_err(), Unserved::Stopped);
    }

    #[test]
    fn nothing_is_proposed_again_for_whom_nobody_waits() {
        let waiters = Waiters::new(100, PATIENCE, CROWD_PATIENCE);
        let add = |at| waiters.add(Urgency::Usual, Duration::from_secs(at)).unwrap();
        let (_late, gone, _answered, waits) = (add(0), add(1), add(1), add(2));
        drop(gone);
        waiters.answer(vec![answer(102)]);
        waiters.expire(PATIENCE, || Unserved::Timeout);
        let proposals = [7, 100, 101, 102, 103, 999];
        let proposals = proposals.map(|id| Proposal { id, data: Vec::new().into() });
        let awaited = waiters.awaited(proposals.into());
        let awaited: Vec<_> = awaited.into_iter().map(|(one, until)| (one.id, until)).collect();
        assert_eq!(awaited, [(waits.0, PATIENCE + Duration::from_secs(2))]);
        assert_eq!(waiters.waiting(), 1, "nothing is kept for whoever has gone");
    }

    /// The rate at which writes are answered is not known beforehand: how long they wait is.
    #[test]
    fn nobody_joins_a_crowd_that_waits_for_long_but_what_is_urgent() {
        let waiters = Waiters::new(1, PATIENCE, CROWD_PATIENCE);
        let millis = Duration::from_millis;
        let add = |urgency, at| waiters.add(urgency, millis(at));
        for at in 0..=limits::WRITES_IN_A_CROWD as u64 {
            assert!(add(Urgency::Usual, at.min(1)).is_some());
        }
        assert!(add(Urgency::Usual, 500).is_some(), "the first does not wait for long yet");
        assert!(add(Urgency::Usual, 501).is_none());
        assert!(add(Urgency::Urgent, 501).is_some());
        // The one that waits longest now came later.
        waiters.answer(vec![answer(1)]);
        assert!(add(Urgency::Usual, 501).is_some());
        // Few may wait as long as they like: as when a disk hangs, or nobody leads.
        waiters.answer((2..200).map(answer).collect());
        assert!(add(Urgency::Usual, 4_999).is_some());
    }
}
