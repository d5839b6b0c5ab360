//! What waits for the raft thread: bounded, taken in batches, one wake-up for each.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use base::{MemberId, limits};
use member::{PeerMessage, Progress, Proposal, Read, Ticket};
use parking_lot::{Condvar, Mutex};
use state::apply::membership_change::Change;

use crate::Unserved;

/// Bytes of proposals that a leader takes at once: they are synced as one batch.
pub(crate) const BATCH_BYTES_MAX: usize = 8 << 20;

/// And a follower, which sends them to the leader as one message.
pub(crate) const FORWARDED_BYTES_MAX: usize = 1 << 20;

/// Messages of peers that wait, and their bytes. Beyond that they are dropped: raft sends again.
const MESSAGES_MAX: usize = 4096;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What waits for the raft thread.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    proposals: VecDeque<Waiting>,
    proposal_bytes: usize,
    message_bytes: usize,
    work: Work,
    /// Something waits besides proposals that is worth a wake-up.
    urgent: bool,
    /// The raft thread is to be woken for proposals too.
    can_propose: bool,
    stopping: bool,
}

#[derive(Debug)]
struct Waiting {
    proposal: Proposal,
    /// Then its client is told that it took too long, and it must not be carried out any more: others
    /// may have written since.
    deadline: Duration,
}

/// What the raft thread takes at once.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) proposals: Vec<Proposal>,
    pub(crate) reads: Vec<Read>,
    pub(crate) messages: Vec<PeerMessage>,
    /// To whom messages were lost.
    pub(crate) unreachable: BTreeSet<MemberId>,
    /// Whether followers have the snapshots that were sent to them.
    pub(crate) snapshots_sent: Vec<(MemberId, bool)>,
    /// A whole snapshot that has come.
    pub(crate) arrived: Option<PeerMessage>,
    /// Changes of the members that are to be proposed, with the ids of their answers.
    pub(crate) changes: Vec<(u64, Change)>,
    /// To whom leadership is to be handed over.
    pub(crate) heir: Option<MemberId>,
    /// The leader is to be asked for a snapshot.
    pub(crate) request_snapshot: bool,
    pub(crate) persisted: Option<Ticket>,
    pub(crate) progress: Option<Progress>,
    pub(crate) stopping: bool,
}

impl Inbox {
    /// To be proposed, unless that is not possible before the deadline.
    pub(crate) fn propose(&self, proposal: Proposal, deadline: Duration) -> Result<(), Unserved> {
        let mut queue = self.queue.lock();
        if queue.stopping {
            return Err(Unserved::Stopped);
        }
        let bytes = queue.proposal_bytes + proposal.data.len();
        if queue.proposals.len() >= limits::PROPOSALS_WAITING_MAX
            || bytes > limits::PROPOSAL_BYTES_WAITING_MAX
        {
            return Err(Unserved::TooManyRequests);
        }
        queue.proposal_bytes = bytes;
        queue.proposals.push_back(Waiting { proposal, deadline });
        // The others of a batch find the raft thread woken.
        if queue.proposals.len() == 1 && queue.can_propose {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(crate) fn read(&self, read: Read) -> Result<(), Unserved> {
        if self.queue.lock().stopping {
            return Err(Unserved::Stopped);
        }
        self.post(true, |work| work.reads.push(read));
        Ok(())
    }

    /// A peer's message, of so many bytes.
    pub(crate) fn receive(&self, message: PeerMessage, bytes: usize) {
        let mut queue = self.queue.lock();
        let bytes = queue.message_bytes + bytes;
        if queue.work.messages.len() >= MESSAGES_MAX || bytes > MESSAGE_BYTES_MAX {
            return;
        }
        queue.message_bytes = bytes;
        queue.work.messages.push(message);
        if !queue.urgent {
            queue.urgent = true;
            self.wake.notify_one();
        }
    }

    pub(crate) fn unreachable(&self, member: MemberId) {
        self.post(true, |work| {
            work.unreachable.insert(member);
        });
    }

    pub(crate) fn snapshot_sent(&self, to: MemberId, arrived: bool) {
        self.post(true, |work| work.snapshots_sent.push((to, arrived)));
    }

    /// A whole snapshot has come.
    pub(crate) fn arrived(&self, message: PeerMessage) {
        self.post(true, |work| work.arrived = Some(message));
    }

    /// A change of the members is to be proposed; answered as the command of this id.
    pub(crate) fn change(&self, id: u64, change: Change) -> Result<(), Unserved> {
        let mut queue = self.queue.lock();
        if queue.stopping {
            return Err(Unserved::Stopped);
        }
        // One at a time is all that raft takes.
        if queue.work.changes.len() >= limits::CHANGES_WAITING_MAX {
            return Err(Unserved::TooManyRequests);
        }
        queue.work.changes.push((id, change));
        queue.urgent = true;
        self.wake.notify_one();
        Ok(())
    }

    /// Leadership is to be handed over to this member.
    pub(crate) fn hand_over(&self, heir: MemberId) {
        self.post(true, |work| work.heir = Some(heir));
    }

    /// The leader is to be asked for a snapshot in place of what is here.
    pub(crate) fn request_snapshot(&self) {
        self.post(true, |work| work.request_snapshot = true);
    }

    pub(crate) fn persisted(&self, ticket: Ticket) {
        self.post(true, |work| work.persisted = Some(ticket));
    }

    /// `urgent`: the raft thread waits for it; otherwise it will do to tell it when next it wakes.
    pub(crate) fn progress(&self, progress: Progress, urgent: bool) {
        self.post(urgent, |work| match &mut work.progress {
            Some(earlier) => earlier.extend(progress),
            None => work.progress = Some(progress),
        });
    }

    /// No more proposals are taken; those that wait are still carried out.
    pub(crate) fn stop(&self) {
        let mut queue = self.queue.lock();
        queue.stopping = true;
        queue.urgent = true;
        self.wake.notify_one();
    }

    pub(crate) fn has_proposals(&self) -> bool {
        !self.queue.lock().proposals.is_empty()
    }

    /// Whether no proposal waits, and more are taken.
    pub(crate) fn is_quiet(&self) -> bool {
        let queue = self.queue.lock();
        queue.proposals.is_empty() && !queue.stopping
    }

    /// Makes the raft thread look around.
    pub(crate) fn wake(&self) {
        self.post(true, |_| ());
    }

    /// Waits for work, at most `patience`. Proposals count only if they `can_propose`; they wait
    /// on otherwise.
    pub(crate) fn wait(&self, can_propose: bool, patience: Duration) {
        let mut queue = self.queue.lock();
        queue.can_propose = can_propose;
        let has_work = queue.urgent || (can_propose && !queue.proposals.is_empty());
        if !has_work && !patience.is_zero() {
            self.wake.wait_for(&mut queue, patience);
        }
    }

    /// What was applied since it was last asked for. All else stays, and wakes the raft thread.
    pub(crate) fn take_progress(&self) -> Option<Progress> {
        self.queue.lock().work.progress.take()
    }

    /// Takes what is there; of proposals one, or up to so many bytes, if any can be proposed, and none
    /// whose time is over.
    pub(crate) fn take(&self, proposal_bytes: Option<usize>, now: Duration) -> Work {
        let mut queue = self.queue.lock();
        queue.forget_late(now);
        queue.urgent = false;
        queue.message_bytes = 0;
        let mut work = mem::take(&mut queue.work);
        work.stopping = queue.stopping;
        if let Some(bytes_max) = proposal_bytes {
            work.proposals = queue.take_proposals(bytes_max);
        }
        work
    }

    /// Takes back the proposals that wait, to refuse them.
    pub(crate) fn give_up(&self) -> Vec<Proposal> {
        let mut queue = self.queue.lock();
        queue.proposal_bytes = 0;
        mem::take(&mut queue.proposals).into_iter().map(|waiting| waiting.proposal).collect()
    }

    fn post(&self, urgent: bool, change: impl FnOnce(&mut Work)) {
        let mut queue = self.queue.lock();
        change(&mut queue.work);
        if urgent && !queue.urgent {
            queue.urgent = true;
            self.wake.notify_one();
        }
    }
}

impl Queue {
    /// All wait equally long, so those whose time is over come first.
    fn forget_late(&mut self, now: Duration) {
        while let Some(late) = self.proposals.pop_front_if(|waiting| waiting.deadline <= now) {
            self.proposal_bytes -= late.proposal.data.len();
        }
    }

    /// All, or as many as make one batch.
    fn take_proposals(&mut self, bytes_max: usize) -> Vec<Proposal> {
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.proposal.data.len();
            bytes <= bytes_max
        };
        let fitting = self.proposals.iter().take_while(fits).count();
        let count = fitting.max(1).min(self.proposals.len());
        let taken: Vec<Proposal> =
            self.proposals.drain(..count).map(|waiting| waiting.proposal).collect();
        self.proposal_bytes -= taken.iter().map(|proposal| proposal.data.len()).sum::<usize>();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Option<usize> = Some(BATCH_BYTES_MAX);
    const LATER: Duration = Duration::from_secs(7);

    fn proposal(id: u64, bytes: usize) -> Proposal {
        Proposal { id, data: vec![0; bytes].into() }
    }

    fn ids(work: &Work) -> Vec<u64> {
        work.proposals.iter().map(|proposal| proposal.id).collect()
    }

    #[test]
    fn proposals_beyond_the_bounds_are_refused_at_once() {
        let inbox = Inbox::default();
        for id in 0..limits::PROPOSALS_WAITING_MAX as u64 {
            inbox.propose(proposal(id, 1), LATER).unwrap();
        }
        assert_eq!(inbox.propose(proposal(0, 1), LATER), Err(Unserved::TooManyRequests));

        let inbox = Inbox::default();
        inbox.propose(proposal(1, limits::PROPOSAL_BYTES_WAITING_MAX), LATER).unwrap();
        assert_eq!(inbox.propose(proposal(2, 1), LATER), Err(Unserved::TooManyRequests));
        assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [1]);
        inbox.propose(proposal(2, 1), LATER).unwrap();
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_keeps_the_order() {
        let inbox = Inbox::default();
        for id in 1..=3 {
            inbox.propose(proposal(id, BATCH_BYTES_MAX / 2), LATER).unwrap();
        }
        assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [1, 2]);
        assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [3]);
    }

    #[test]
    fn proposals_wait_for_a_leader() {
        let inbox = Inbox::default();
        inbox.propose(proposal(1, 1), LATER).unwrap();
        assert!(inbox.take(None, Duration::ZERO).proposals.is_empty());
        assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [1]);
    }

    /// The client has been told that it took too long, and others may have written since.
    #[test]
    fn a_proposal_whose_time_is_over_is_not_carried_out() {
        let inbox = Inbox::default();
        let second = Duration::from_secs(1);
        inbox.propose(proposal(1, limits::PROPOSAL_BYTES_WAITING_MAX), LATER).unwrap();
        assert!(inbox.take(None, second).proposals.is_empty());
        assert!(inbox.take(None, LATER).proposals.is_empty());
        inbox.propose(proposal(2, 1), LATER + second).expect("room again");
        inbox.propose(proposal(3, 1), LATER + 2 * second).unwrap();
        assert_eq!(ids(&inbox.take(ALL, LATER + second)), [3]);
    }

    #[test]
    fn a_proposal_that_woke_nobody_is_found_by_the_next_wait() {
        let inbox = Inbox::default();
        inbox.wait(false, Duration::ZERO);
        inbox.propose(proposal(1, 1), LATER).unwrap();
        let asleep = Duration::from_hours(1);
        inbox.wait(true, asleep);
        assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [1]);
    }
}
