//! What waits for the raft thread: bounded, taken in batches, one wake-up for each.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use base::{MemberId, limits};
use member::{PeerMessage, Progress, Proposal, Read};
use parking_lot::{Condvar, Mutex};
use proto::command::Op;
use state::apply::membership_change::Change;

use crate::Unserved;

/// Bytes of proposals that a leader takes at once: they are synced as one batch.
pub(crate) const BATCH_BYTES_MAX: usize = 8 << 20;

/// And a follower, which sends them to the leader as one message.
pub(crate) const FORWARDED_BYTES_MAX: usize = 1 << 20;

/// What an urgent command takes: hardly more than an id.
const PROPOSAL_BYTES_URGENT: usize = 256;

/// Messages of peers that wait, and their bytes. Beyond that they are dropped: raft sends again.
const MESSAGES_MAX: usize = 4096;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Whether a command must be taken in where others are turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    Usual,
    /// It ends a lease, makes room, or tells what the cluster needs to know.
    Urgent,
}

impl Urgency {
    pub(crate) const fn of(op: &Op) -> Self {
        if op.is_urgent() { Self::Urgent } else { Self::Usual }
    }
}

/// What waits for the raft threads.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    proposals: Line,
    /// What was taken before, and came back: it goes first, and takes nobody's place.
    again: Line,
    /// Changes of the members, with the ids of their answers.
    changes: Vec<(u64, Change)>,
    message_bytes: usize,
    work: Work,
    /// Something waits besides proposals that is worth a wake-up.
    urgent: bool,
    expected: Expected,
    /// A raft thread has taken what there was, and will look again before it waits: until then nobody need be
    /// woken, who would only wait for the lock around the core.
    is_attended: bool,
    end: End,
}

/// What a raft thread is woken for: see [`Inbox::expect`].
#[derive(Debug, Default)]
struct Expected {
    can_propose: bool,
    gather: bool,
}

/// How near the end of the member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    #[default]
    Far,
    /// It is about to stop.
    Closing,
    /// It takes no more.
    Stopping,
}

/// Proposals that wait, in the order of their deadlines.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    bytes: usize,
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
    pub(crate) progress: Option<Progress>,
    /// The member is about to stop.
    pub(crate) closing: bool,
    pub(crate) stopping: bool,
}

impl Inbox {
    /// To be proposed, unless that is not possible before the deadline.
    pub(crate) fn propose(
        &self,
        proposal: Proposal,
        urgency: Urgency,
        deadline: Duration,
    ) -> Result<(), Unserved> {
        let more = match urgency {
            Urgency::Usual => 0,
            Urgency::Urgent => limits::URGENT_PROPOSALS_WAITING_MAX,
        };
        let mut queue = self.queue.lock();
        if queue.stops() {
            return Err(Unserved::Stopped);
        }
        let Line { waiting, bytes } = &queue.proposals;
        if waiting.len() >= limits::PROPOSALS_WAITING_MAX + more
            || bytes + proposal.data.len()
                > limits::PROPOSAL_BYTES_WAITING_MAX + more * PROPOSAL_BYTES_URGENT
        {
            return Err(Unserved::TooManyRequests);
        }
        queue.proposals.push(Waiting { proposal, deadline });
        // The others of a batch find a raft thread woken.
        if queue.proposals.waiting.len() == 1 && queue.expected.can_propose {
            self.wake_one(&queue);
        }
        Ok(())
    }

    pub(crate) fn read(&self, read: Read) -> Result<(), Unserved> {
        if self.queue.lock().stops() {
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
        let may_wait = queue.expected.gather && (message.is_append() || message.is_append_answer());
        queue.work.messages.push(message);
        if !may_wait && !queue.urgent {
            queue.urgent = true;
            self.wake_one(&queue);
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

    /// A change of the members is to be proposed, once there is a leader; answered as the command of
    /// this id.
    pub(crate) fn change(&self, id: u64, change: Change) -> Result<(), Unserved> {
        let mut queue = self.queue.lock();
        if queue.stops() {
            return Err(Unserved::Stopped);
        }
        // One at a time is all that raft takes.
        if queue.changes.len() >= limits::CHANGES_WAITING_MAX {
            return Err(Unserved::TooManyRequests);
        }
        queue.changes.push((id, change));
        if queue.expected.can_propose {
            self.wake_one(&queue);
        }
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

    /// `urgent`: the raft thread waits for it; otherwise it will do to tell it when next it wakes.
    pub(crate) fn progress(&self, progress: Progress, urgent: bool) {
        self.post(urgent, |work| match &mut work.progress {
            Some(earlier) => earlier.extend(progress),
            None => work.progress = Some(progress),
        });
    }

    /// The member is about to stop: what waits for a leader that is not there will not be carried out.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.end = queue.end.max(End::Closing);
        drop(queue);
        self.wake();
    }

    /// No more proposals are taken; those that wait are still carried out.
    pub(crate) fn stop(&self) {
        let mut queue = self.queue.lock();
        queue.end = End::Stopping;
        queue.urgent = true;
        self.wake.notify_one();
    }

    pub(crate) fn has_proposals(&self) -> bool {
        self.queue.lock().has_proposals()
    }

    /// Whether no proposal waits, and more are taken.
    pub(crate) fn is_quiet(&self) -> bool {
        let queue = self.queue.lock();
        !queue.has_proposals() && !queue.stops()
    }

    /// Makes a raft thread look around.
    pub(crate) fn wake(&self) {
        self.post(true, |_| ());
    }

    /// Whoever waits is woken for proposals from now on if they `can_propose`, and for appends and their
    /// answers unless these `gather`; otherwise they wait on. To be called by who holds the raft, so that the
    /// newest word holds.
    pub(crate) fn expect(&self, can_propose: bool, gather: bool) {
        let mut queue = self.queue.lock();
        queue.expected = Expected { can_propose, gather };
    }

    /// The caller is about to be busy: what it would have found is the other thread's.
    pub(crate) fn pass_on(&self) {
        let mut queue = self.queue.lock();
        queue.is_attended = false;
        if queue.has_work() {
            queue.urgent = true;
            self.wake.notify_one();
        }
    }

    /// Makes both raft threads look around.
    pub(crate) fn wake_all(&self) {
        self.queue.lock().urgent = true;
        self.wake.notify_all();
    }

    /// Waits for what is [expected](Self::expect), at most `patience`.
    pub(crate) fn wait(&self, patience: Duration) {
        let mut queue = self.queue.lock();
        queue.is_attended = false;
        if !queue.has_work() && !patience.is_zero() {
            self.wake.wait_for(&mut queue, patience);
        }
    }

    /// What was applied since it was last asked for. All else stays, and wakes the raft thread.
    pub(crate) fn take_progress(&self) -> Option<Progress> {
        self.queue.lock().work.progress.take()
    }

    /// Takes what is there; of proposals one, or up to so many bytes, and changes of the members, if any
    /// can be proposed; and none whose time is over. The caller will [`wait`](Self::wait) or
    /// [`pass_on`](Self::pass_on) next: until then it wakes nobody.
    pub(crate) fn take(&self, proposal_bytes: Option<usize>, now: Duration) -> Work {
        let mut queue = self.queue.lock();
        queue.forget_late(now);
        (queue.urgent, queue.is_attended) = (false, true);
        queue.message_bytes = 0;
        let mut work = mem::take(&mut queue.work);
        (work.closing, work.stopping) = (queue.end >= End::Closing, queue.stops());
        if let Some(bytes_max) = proposal_bytes {
            work.proposals = queue.take_proposals(bytes_max);
            work.changes = mem::take(&mut queue.changes);
        }
        work
    }

    /// What was taken, and could not be carried out, waits again, before all that came later; each
    /// until its deadline. There is room, since they had a place before: others keep theirs.
    pub(crate) fn put_back(&self, again: Vec<(Proposal, Duration)>) {
        let mut queue = self.queue.lock();
        for (proposal, deadline) in again {
            queue.again.push(Waiting { proposal, deadline });
        }
        // Ids go up with the deadlines. What comes back together may have been asked for in any order.
        queue.again.waiting.make_contiguous().sort_by_key(|waiting| waiting.proposal.id);
    }

    /// The same of a change of the members.
    pub(crate) fn put_change_back(&self, id: u64, change: Change) {
        self.queue.lock().changes.push((id, change));
    }

    /// Takes back all proposals that wait, to refuse them: their ids.
    pub(crate) fn give_up(&self) -> Vec<u64> {
        let mut queue = self.queue.lock();
        let again = mem::take(&mut queue.again).waiting;
        let waiting = again.into_iter().chain(mem::take(&mut queue.proposals).waiting);
        let changes = mem::take(&mut queue.changes).into_iter().map(|(id, _)| id);
        waiting.map(|waiting| waiting.proposal.id).chain(changes).collect()
    }

    fn post(&self, urgent: bool, change: impl FnOnce(&mut Work)) {
        let mut queue = self.queue.lock();
        change(&mut queue.work);
        if urgent && !queue.urgent {
            queue.urgent = true;
            self.wake_one(&queue);
        }
    }

    fn wake_one(&self, queue: &Queue) {
        if !queue.is_attended {
            self.wake.notify_one();
        }
    }
}

impl Queue {
    fn stops(&self) -> bool {
        self.end == End::Stopping
    }

    /// Whether something waits that whoever waits for work is to be woken for.
    fn has_work(&self) -> bool {
        self.urgent
            || (self.expected.can_propose && self.has_proposals())
            || (!self.expected.gather && !self.work.messages.is_empty())
    }

    fn has_proposals(&self) -> bool {
        let lines = [&self.again, &self.proposals];
        lines.iter().any(|line| !line.waiting.is_empty()) || !self.changes.is_empty()
    }

    fn forget_late(&mut self, now: Duration) {
        self.again.forget_late(now);
        self.proposals.forget_late(now);
    }

    /// All, or as many as make one batch.
    fn take_proposals(&mut self, bytes_max: usize) -> Vec<Proposal> {
        let mut taken = Vec::with_capacity(self.again.waiting.len() + self.proposals.waiting.len());
        let mut bytes = 0;
        for line in [&mut self.again, &mut self.proposals] {
            while let Some(next) = line.waiting.front() {
                bytes += next.proposal.data.len();
                if bytes > bytes_max && !taken.is_empty() {
                    return taken;
                }
                taken.extend(line.pop());
            }
        }
        taken
    }
}

impl Line {
    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.proposal.data.len();
        self.waiting.push_back(waiting);
    }

    fn pop(&mut self) -> Option<Proposal> {
        let Waiting { proposal, .. } = self.waiting.pop_front()?;
        self.bytes -= proposal.data.len();
        Some(proposal)
    }

    /// All wait equally long, so those whose time is over come first.
    fn forget_late(&mut self, now: Duration) {
        while self.waiting.front().is_some_and(|first| first.deadline <= now) {
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests;
