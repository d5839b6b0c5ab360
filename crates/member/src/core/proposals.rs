//! Proposals on their way into a log: what a change of leaders loses is known for certain, and comes
//! back to be proposed again.
//!
//! A proposal is for the log of the leader of one term, and nobody else takes it. Terms only go up
//! along a log. So once an entry of a later term is committed here, what was not committed before it
//! never will be, wherever its copies are: proposed again, it is carried out once.

use std::collections::{BTreeMap, VecDeque};

use base::limits;
use bytes::Bytes;
use proto::{Message as _, command::Command};
use raft::eraftpb::{ConfChange, Entry, EntryType, Message, MessageType};
use state::apply::membership_change::Change;

use super::{Core, Effects, Lost, Proposal, Unproposed, peers};
use crate::conf;

/// Proposals on their way into a log.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// Those of this member that are not committed, as far as it knows: by the term that they are
    /// for, then by their ids.
    under_way: BTreeMap<u64, BTreeMap<u64, UnderWay>>,
    count: usize,
    bytes: usize,
    /// What followers have passed on to this leader while it hands over, each with when it came.
    kept: VecDeque<(u64, Message)>,
    kept_entries: usize,
    kept_bytes: usize,
    /// That have passed.
    ticks: u64,
}

#[derive(Debug)]
struct UnderWay {
    /// To propose it again. A change of the members is not, nor what there was no room for.
    data: Option<Bytes>,
    /// A snapshot may have brought it.
    may_be_done: bool,
    since: u64,
}

impl Proposals {
    /// This was proposed in this term.
    fn add(&mut self, term: u64, id: u64, data: Option<Bytes>) {
        if id == 0 {
            return;
        }
        let data =
            data.filter(|data| self.bytes + data.len() <= limits::PROPOSAL_BYTES_UNDER_WAY_MAX);
        self.count += 1;
        self.bytes += data.as_ref().map_or(0, Bytes::len);
        let one = UnderWay { data, may_be_done: false, since: self.ticks };
        if let Some(before) = self.under_way.entry(term).or_default().insert(id, one) {
            self.ended(&before);
        }
    }

    /// Whether no more is to be proposed until some of it is committed, or nobody waits for it. A batch
    /// may go beyond that.
    pub(super) fn is_full(&self) -> bool {
        self.count >= limits::PROPOSALS_UNDER_WAY_MAX
    }

    /// It is committed, in this term.
    fn remove(&mut self, term: u64, id: u64) {
        let removed = self.under_way.get_mut(&term).and_then(|these| these.remove(&id));
        if let Some(one) = removed {
            self.ended(&one);
        }
    }

    /// All of terms before this one.
    fn take_before(&mut self, term: u64) -> impl Iterator<Item = (u64, UnderWay)> + use<> {
        let later = self.under_way.split_off(&term);
        let before = std::mem::replace(&mut self.under_way, later);
        before.values().flat_map(BTreeMap::values).for_each(|one| self.ended(one));
        before.into_values().flatten()
    }

    fn ended(&mut self, one: &UnderWay) {
        self.count -= 1;
        self.bytes -= one.data.as_ref().map_or(0, Bytes::len);
    }

    /// Nobody waits any more for what has been under way for so many ticks; and what was passed on is
    /// kept no longer than a leader hands over.
    fn tick(&mut self, answer_ticks: usize, election_ticks: usize) {
        self.ticks += 1;
        let now = self.ticks;
        let age = |since: u64| usize::try_from(now - since).unwrap_or(usize::MAX);
        while self.kept.front().is_some_and(|(since, _)| age(*since) > election_ticks) {
            self.take_kept();
        }
        // Now and then: it looks at all of them.
        if self.count == 0 || !self.ticks.is_multiple_of(election_ticks.max(1) as u64) {
            return;
        }
        let is_old = |_: &u64, one: &mut UnderWay| age(one.since) > answer_ticks;
        let these = self.under_way.values_mut();
        let old: Vec<_> = these.flat_map(|these| these.extract_if(.., is_old)).collect();
        for (_, one) in &old {
            self.ended(one);
        }
        self.under_way.retain(|_, these| !these.is_empty());
    }

    /// Keeps what was passed on; false if there is no room.
    fn keep(&mut self, message: Message) -> bool {
        let (entries, bytes) = size(&message);
        if self.kept_entries + entries > limits::PROPOSALS_WAITING_MAX
            || self.kept_bytes + bytes > limits::PROPOSAL_BYTES_WAITING_MAX
        {
            return false;
        }
        self.kept_entries += entries;
        self.kept_bytes += bytes;
        self.kept.push_back((self.ticks, message));
        true
    }

    fn take_kept(&mut self) -> Option<Message> {
        let (_, message) = self.kept.pop_front()?;
        let (entries, bytes) = size(&message);
        self.kept_entries -= entries;
        self.kept_bytes -= bytes;
        Some(message)
    }
}

fn size(message: &Message) -> (usize, usize) {
    (message.entries.len(), message.entries.iter().map(|entry| entry.data.len()).sum())
}

/// Whom to answer once this entry is applied; nobody if 0.
fn id_of(entry: &Entry) -> u64 {
    match entry.entry_type() {
        EntryType::EntryNormal => Command::id_in(&entry.data),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            ConfChange::decode(&*entry.data).map_or(0, |change| change.id)
        }
    }
}

impl Core {
    /// Proposes commands as one batch: all are taken, or none is. While the core does not
    /// [take them](Core::takes_proposals) they come back at once: [`Effects::again`].
    pub fn propose(&mut self, proposals: Vec<Proposal>) {
        if proposals.is_empty() {
            return;
        }
        if !self.takes_proposals() {
            self.effects.again.extend(proposals);
            return;
        }
        let term = self.node.raft.term;
        // Whoever is alone loses no leader.
        let noted = if self.is_alone() { Vec::new() } else { proposals.clone() };
        let ids: Vec<u64> = proposals.iter().map(|proposal| proposal.id).collect();
        if self.step_proposals(proposals).is_err() {
            self.effects.dropped.extend(ids.into_iter().map(|id| (id, Lost::Overload)));
            return;
        }
        for Proposal { id, data } in noted {
            self.proposals.add(term, id, Some(data));
        }
    }

    /// Proposes a change of the members; answered as a command of this id.
    ///
    /// The proposal may still be lost, as any; it is not proposed again.
    pub fn propose_change(&mut self, id: u64, change: &Change) -> Result<(), Unproposed> {
        if self.leads() && self.node.raft.has_pending_conf() {
            return Err(Unproposed::NotNow);
        }
        if let Change::Promote(learner) = change {
            // Nobody else knows how far it is.
            if !self.leads() {
                return Err(Unproposed::NotLeader);
            }
            if !peers::is_in_sync(&self.node.raft, learner.0) {
                return Err(Unproposed::NotInSync);
            }
        }
        if self.changes_leader() {
            return Err(Unproposed::NoLeader);
        }
        let mut entry = Entry { data: conf::encode(id, change), ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChange);
        let term = self.node.raft.term;
        self.step_entries(vec![entry]).map_err(|_| Unproposed::NotNow)?;
        self.proposals.add(term, id, None);
        Ok(())
    }

    pub(super) fn step_proposals(&mut self, proposals: Vec<Proposal>) -> raft::Result<()> {
        let entry = |proposal: Proposal| Entry { data: proposal.data, ..Entry::default() };
        self.step_entries(proposals.into_iter().map(entry).collect())
    }

    fn step_entries(&mut self, entries: Vec<Entry>) -> raft::Result<()> {
        let raft = &self.node.raft;
        let mut message = Message { from: raft.id, entries, ..Message::default() };
        // Raft leaves this field alone. It says for whose log this is: see `receive_proposal`.
        message.log_term = raft.term;
        message.set_msg_type(MessageType::MsgPropose);
        self.node.step(message)
    }

    /// A member passes its proposals on. If this is not the leader whom it took it for, it will know
    /// by the log what to do.
    pub(super) fn receive_proposal(&mut self, message: Message) {
        if !self.is_for_this_leader(&message) {
            tracing::debug!(from = message.from, "drop proposals that are for another leader");
        } else if self.node.raft.lead_transferee.is_none() {
            self.step_passed(message);
        } else if !self.proposals.keep(message) {
            tracing::debug!("drop proposals that are passed on: too many wait until the lead is");
        }
    }

    fn is_for_this_leader(&self, message: &Message) -> bool {
        self.leads() && message.log_term == self.node.raft.term
    }

    fn step_passed(&mut self, message: Message) {
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "raft refuses proposals that are passed on");
        }
    }

    /// Takes what was kept while this leader handed over, if it still leads. The others propose theirs
    /// again to whoever leads now.
    pub(super) fn resume_proposals(&mut self) {
        if self.proposals.kept.is_empty() || (self.leads() && self.changes_leader()) {
            return;
        }
        while let Some(message) = self.proposals.take_kept() {
            if self.is_for_this_leader(&message) {
                self.step_passed(message);
            }
        }
    }

    pub(super) fn tick_proposals(&mut self) {
        self.proposals.tick(self.config.answer_ticks, self.config.election_ticks);
    }

    /// These are committed, and handed out to be applied: with the first of another term it is known
    /// what was lost with the leaders before.
    pub(super) fn look_for_lost(&mut self, committed: &[Entry], effects: &mut Effects) {
        let Some(last) = committed.last().filter(|_| self.proposals.count > 0) else { return };
        for entry in committed {
            self.proposals.remove(entry.term, id_of(entry));
        }
        for (id, UnderWay { data, may_be_done, .. }) in self.proposals.take_before(last.term) {
            match data {
                _ if may_be_done => effects.dropped.push((id, Lost::Unknown)),
                Some(data) => effects.again.push(Proposal { id, data }),
                None => effects.dropped.push((id, Lost::WithLeader)),
            }
        }
    }

    /// A snapshot takes the place of entries up to one of this term: what they were is not known.
    pub(super) fn skip_to_snapshot(&mut self, term: u64) {
        let lost = self.proposals.take_before(term).map(|(id, _)| (id, Lost::Unknown));
        self.effects.dropped.extend(lost);
        // Those of the same term may be in it, or are still to come.
        for one in
            self.proposals.under_way.get_mut(&term).into_iter().flat_map(BTreeMap::values_mut)
        {
            one.may_be_done = true;
        }
    }
}

#[cfg(test)]
mod tests;
