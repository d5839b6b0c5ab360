//! Consensus: takes what happens, says what to do.

mod duties;
mod effects;
mod farewell;
mod holds;
mod peers;
mod proposals;
mod reads;
mod silence;
mod snapshots;
mod stall;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use base::{Index, MemberId, Now, Term, limits, version::Build};
use raft::{
    RawNode, ReadOnlyOption, StateRole,
    eraftpb::{ConfChangeType, EntryType, HardState, Message, MessageType},
};
use state::Reader;

use crate::{applier::Progress, logger::raft_logger, window::Window};
pub use duties::Due;
pub use effects::{
    Append, Effects, Install, Lost, PeerMessage, Proposal, RaftState, Read, Refusal, Role, Ticket,
};
pub(crate) use effects::{from_wal, to_wal};
pub(crate) use peers::Follower;

/// Bytes of entries in one message to a follower.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;
/// Messages on the way to one follower: at the size above what a slow one may cost in memory.
const MESSAGES_IN_FLIGHT_MAX: usize = 32;
/// Ticks after which a read index that raft has not answered is asked for again.
const READ_PATIENCE_TICKS: usize = 5;

/// What a core needs to know of its member.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this build can do: told to the others, and the reason to go on or not.
    pub build: Build,
    pub name: String,
    pub client_urls: Vec<String>,
    /// Ticks without a leader before an election; more than `heartbeat_ticks`.
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// After so many ticks nobody waits for the answer to a proposal any more.
    pub answer_ticks: usize,
    /// Another one in every run of every member, so that an answer to an earlier run's question is
    /// not taken for one to this run's.
    pub run: u64,
    /// For the compaction that the leader proposes when nobody else does.
    pub quota_bytes: u64,
    /// Whether it does so at all.
    pub compacts: bool,
    /// What leases get beyond their time at a new leader, since nobody kept them (etcd: an election).
    pub lease_grace: Duration,
    /// How often this leader notes down what is left of leases that live longer than that.
    pub lease_checkpoints: Duration,
    /// Applied entries that stay in memory, of 4 MB at most (etcd: 5,000, of any size).
    pub catch_up_entries: u64,
    /// Bytes of older ones that a leader keeps in files, for followers that lag or are being sent a
    /// snapshot. Who needs still older ones is sent a snapshot.
    pub catch_up_bytes: u64,
}

/// Something after which this member must not go on.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    #[error("entry {index}: raft and the replicated state disagree on who votes")]
    Configuration { index: Index },
    #[error("applied {applied} is beyond what was handed out ({handed_out})")]
    Applied { applied: Index, handed_out: Index },
}

/// Why a change of the members was not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproposed {
    /// Another change is under way, or too much is.
    NotNow,
    /// See [`Core::changes_leader`]: there will be one.
    NoLeader,
    /// Only the leader can do that.
    NotLeader,
    /// A learner that is to vote does not have enough of the leader's log.
    NotInSync,
}

/// Consensus for one member. After every event, [`Core::step`] until it returns `None`.
pub struct Core {
    pub(crate) node: RawNode<Window>,
    config: Config,
    /// Gathers what events ask for until the next step.
    effects: Effects,
    /// Batches whose sync is awaited, each with the messages that may only go out after it.
    unsynced: VecDeque<(Ticket, Vec<Message>)>,
    /// A hard state in which only the commit index is new: it goes along with the next batch,
    /// since losing it costs nothing.
    unwritten: Option<HardState>,
    /// Changes of the members whose commitment is not on its way to the disk.
    changes: BTreeSet<u64>,
    /// How long the first of them has been awaited.
    stall: stall::Stall,
    /// Nothing is said until this batch is synced.
    silent_until: Option<Ticket>,
    /// The last entry that was given to be applied.
    handed_out: u64,
    proposals: proposals::Proposals,
    reads: reads::Reads,
    duties: duties::Duties,
    /// What is kept for each follower, while this member leads.
    holds: BTreeMap<MemberId, holds::Hold>,
    /// This follower's keyspace does not keep up with its log.
    lags: bool,
    /// What it would have acknowledged meanwhile, to each leader most.
    withheld: BTreeMap<u64, Message>,
    /// Those who were members until the last change may have heard that so much is committed.
    told_until: u64,
    /// Who leads, or could, has committed so much, as they said themselves.
    heard_commit: u64,
    /// This member was removed, and stays until the others know.
    farewell: Option<farewell::Farewell>,
    /// This member was removed from its cluster: it answers those who have not heard of that, and
    /// never leads again.
    removed: bool,
}

impl Core {
    /// From the opened log and the place where the keyspace stands; see [`crate::open()`].
    pub(crate) fn new(
        id: MemberId,
        config: Config,
        window: Window,
        applied: Index,
    ) -> Result<Self, CoreError> {
        let raft_config = raft::Config {
            id: id.0,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied: applied.0,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            batch_append: true,
            max_uncommitted_size: limits::UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: limits::COMMITTED_BYTES_PER_STEP_MAX,
            ..raft::Config::default()
        };
        let reads = reads::Reads::new(id, config.run);
        let mut window = window;
        window.keep(config.catch_up_entries);
        let changes = window.uncommitted_changes();
        let node = RawNode::new(&raft_config, window, &raft_logger())?;
        let mut core = Self {
            node,
            config,
            effects: Effects::default(),
            unsynced: VecDeque::new(),
            stall: stall::Stall::default(),
            unwritten: None,
            changes,
            silent_until: None,
            handed_out: applied.0,
            proposals: proposals::Proposals::default(),
            reads,
            duties: duties::Duties::default(),
            holds: BTreeMap::new(),
            lags: false,
            withheld: BTreeMap::new(),
            heard_commit: 0,
            told_until: 0,
            farewell: None,
            removed: false,
        };
        core.campaign_if_alone()?;
        // Whoever starts has heard of no leader for long enough, as in etcd: a vote that nobody
        // needs is refused by those who have one.
        core.node.raft.election_elapsed = core.config.election_ticks.saturating_sub(1);
        Ok(core)
    }

    pub fn id(&self) -> MemberId {
        MemberId(self.node.raft.id)
    }

    /// Whether this member was removed from its cluster, and nobody needs it any more.
    pub fn has_left(&self) -> bool {
        self.removed
    }

    /// Whether this member is the only voter.
    pub fn is_alone(&self) -> bool {
        let tracker = self.node.raft.prs();
        tracker.is_singleton() && tracker.conf().voters().contains(self.node.raft.id)
    }

    /// Whether a proposal would find a leader.
    pub fn can_propose(&self) -> bool {
        self.node.raft.leader_id != raft::INVALID_ID
    }

    /// Whether nothing can be proposed now, because there is no leader, or the lead is being handed over.
    pub fn changes_leader(&self) -> bool {
        !self.can_propose() || self.node.raft.lead_transferee.is_some()
    }

    /// Whether [`Core::propose`] would take anything: not while the leader changes, nor while so much is
    /// under way that no more could be told apart if it is lost.
    pub fn takes_proposals(&self) -> bool {
        !self.changes_leader() && !self.proposals.is_full()
    }

    /// Whether a read may be served here at once: what was acknowledged before it is applied
    /// here, since nobody else acknowledges anything, and what this member acknowledged in a
    /// former run, or others before they were removed, is applied too. A learner does acknowledge:
    /// what it has applied, perhaps before this member has.
    pub fn reads_at_once(&self) -> bool {
        let has_others = self.node.raft.prs().iter().count() > 1;
        self.is_alone()
            && self.leads()
            && self.duties.settled
            && !has_others
            && self.applied_index() >= self.told_until
    }

    /// Whether everything is applied here that was acknowledged before this member began to lead,
    /// or, if another leads, that this member has heard of.
    pub fn is_settled(&self) -> bool {
        if self.leads() {
            return self.duties.settled;
        }
        self.can_propose() && self.applied_index() == self.node.raft.raft_log.committed
    }

    pub fn committed(&self) -> Index {
        Index(self.node.raft.raft_log.committed)
    }

    /// One heartbeat's time has passed.
    pub fn tick(&mut self) {
        self.tick_stall();
        // Raft wants no election that is won at once while entries are on their way to the log; and
        // whose vote for itself does not reach the disk had better not stand.
        let may_stand = if self.is_alone() { self.unsynced.is_empty() } else { !self.is_stalled() };
        if self.leads() || may_stand {
            self.node.raft.set_randomized_election_timeout(self.election_timeout());
            self.node.tick();
        }
        for waiting in self.node.mut_store().tick() {
            self.node.on_entries_fetched(waiting);
        }
        self.tick_holds();
        self.tick_proposals();
        self.reads.tick(READ_PATIENCE_TICKS);
        self.duties.tick();
    }

    /// A message from a peer. What no peer sends is refused here: raft would panic on some of it.
    pub fn receive(&mut self, message: PeerMessage) -> Result<(), Refusal> {
        let PeerMessage(message) = message;
        peers::check(&message, &self.node.raft).map_err(|reason| Refusal {
            from: MemberId(message.from),
            kind: format!("{:?}", message.msg_type()),
            reason,
            lost_log: peers::proves_loss(&message, &self.node.raft),
        })?;
        self.hear_farewell(&message);
        if message.msg_type() == MessageType::MsgPropose {
            self.receive_proposal(message);
            return Ok(());
        }
        if peers::goes_first(&message, &self.node.raft) {
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
        // Raft refuses messages of those who are not members.
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "raft refuses a peer's message");
        }
        Ok(())
    }

    /// Messages to this member were lost: what follows is sent more carefully.
    pub fn unreachable(&mut self, member: MemberId) {
        self.node.report_unreachable(member.0);
    }

    /// Hands leadership over, if this member has it, to this follower or the one that has most of
    /// the log; returns to whom. Until that has happened, or an election timeout has passed, nothing is
    /// proposed: see [`Core::changes_leader`].
    pub fn transfer_leadership(&mut self, to: Option<MemberId>) -> Option<MemberId> {
        let to = to.or_else(|| self.best_follower()).filter(|_| self.leads())?;
        let elapsed = self.node.raft.lead_transferee.map(|_| self.node.raft.election_elapsed);
        self.node.transfer_leader(to.0);
        // Raft would wait anew for each heir that is named, and nothing is proposed meanwhile.
        if let Some(elapsed) = elapsed {
            self.node.raft.election_elapsed = elapsed;
        }
        Some(to)
    }

    /// The term of an entry of this member's log, synced or not; `None` if it is not there, or is
    /// no longer in memory.
    pub fn term_of(&self, index: Index) -> Option<Term> {
        self.node.raft.raft_log.term(index.0).ok().filter(|term| *term > 0).map(Term)
    }

    /// The last entry of this member's log, synced or not.
    pub fn last_index(&self) -> Index {
        Index(self.node.raft.raft_log.last_index())
    }

    /// How far the others are, as this leader knows; empty if it does not lead.
    pub(crate) fn followers(&self) -> Vec<Follower> {
        if self.leads() { peers::followers(&self.node.raft) } else { Vec::new() }
    }

    /// The batch of this ticket, and all before it, are synced.
    pub fn persisted(&mut self, ticket: Ticket) -> Result<(), CoreError> {
        while self.unsynced.front().is_some_and(|(first, _)| *first <= ticket) {
            if let Some((_, messages)) = self.unsynced.pop_front() {
                self.effects.send.extend(messages.into_iter().map(PeerMessage));
            }
        }
        self.node.on_persist_ready(ticket.0);
        self.campaign_if_alone()
    }

    /// Entries were applied.
    pub fn applied(&mut self, progress: Progress) -> Result<(), CoreError> {
        if progress.applied.index.0 > self.handed_out {
            let (applied, handed_out) = (progress.applied.index, Index(self.handed_out));
            return Err(CoreError::Applied { applied, handed_out });
        }
        match self.hold_farewell(progress) {
            Some(progress) => self.switch(progress),
            None => self.farewell(),
        }
    }

    /// Raft hears of what was applied.
    fn switch(&mut self, progress: Progress) -> Result<(), CoreError> {
        let Progress { applied, switched } = progress;
        // Raft must have switched before it hears that the change's entry is applied.
        let mut gone = Vec::new();
        for (index, switched) in switched {
            let state = self.node.apply_conf_change(&switched.change)?;
            if !switched.agrees(&state) {
                return Err(CoreError::Configuration { index });
            }
            self.node.mut_store().set_conf_state(state);
            self.told_until = self.node.raft.raft_log.committed;
            if switched.change.change_type() == ConfChangeType::RemoveNode {
                gone.push(switched.change.node_id);
            }
        }
        if gone.contains(&self.node.raft.id) {
            self.leave();
        }
        self.node.advance_apply_to(applied.index.0);
        self.keep_what_is_needed();
        self.node.mut_store().applied(applied.index.0);
        self.duties.applied(applied.index.0);
        if gone.contains(&self.node.raft.leader_id) {
            self.take_over();
        }
        self.campaign_if_alone()
    }

    /// A client wants to read what was acknowledged before now.
    pub fn read(&mut self, read: Read) {
        self.reads.add(read);
    }

    /// Proposes what is due: see [`duties`]. Returns when to ask again at the latest, if there
    /// is such a time; any event may make it earlier.
    pub fn duties(&mut self, now: Now, reader: &Reader) -> Due {
        duties::propose(self, now, reader)
    }

    /// The core wants to hear at once (not just some time) when this index is applied.
    pub fn awaits(&self) -> Option<Index> {
        let settled = self.duties.settled_at.filter(|index| *index > self.applied_index());
        self.duties.in_flight().chain(settled).min().map(Index)
    }

    /// What to do next; `None` if nothing.
    pub fn step(&mut self) -> Option<Effects> {
        self.ask_for_reads();
        self.resume_proposals();
        let mut effects = mem::take(&mut self.effects);
        if !self.node.has_ready() {
            self.withhold(&mut effects.send);
            self.fall_silent(&mut effects.send);
            return (!effects.is_idle()).then_some(effects);
        }
        let mut ready = self.node.ready();
        if ready.ss().is_some() {
            effects.role = Some(self.role());
            self.role_changed();
        }
        self.unwritten = ready.hs().copied().or(self.unwritten);
        effects.send.extend(ready.take_messages().into_iter().map(PeerMessage));
        snapshots::take_out(&mut effects);
        for message in &effects.snapshots {
            // From here on, since entries leave memory while the snapshot is being made.
            if let Some(applied) = message.snapshot() {
                self.hold(message.to(), applied.index);
            }
        }
        for state in ready.take_read_states() {
            let reads = self.reads.answered(&state.request_ctx);
            if !reads.is_empty() {
                effects.reads.push((Index(state.index), reads));
            }
        }
        let committed = ready.take_committed_entries();
        self.look_for_lost(&committed, &mut effects);
        effects.apply = committed.into_iter().map(to_wal).collect();
        self.handed_out = effects.apply.last().map_or(self.handed_out, |entry| entry.index.0);
        if ready.snapshot().is_empty() {
            effects.append = self.append(&mut ready, &mut effects.send);
        } else {
            effects.install = Some(self.install(&mut ready));
        }
        self.withhold(&mut effects.send);
        self.fall_silent(&mut effects.send);
        let number = ready.number();
        self.node.advance_append_async(ready);
        if self.unsynced.is_empty() {
            // Raft keeps a record of each ready until it hears that it is on disk, also of one that
            // had nothing for the disk: a member to which nobody writes would keep them for ever.
            self.node.on_persist_ready(number);
        }
        Some(effects)
    }

    /// Takes what a ready wants written, and holds back the messages that must wait for it.
    fn append(&mut self, ready: &mut raft::Ready, send: &mut Vec<PeerMessage>) -> Option<Append> {
        let entries = ready.take_entries();
        let mut after = ready.take_persisted_messages();
        self.answer_heartbeats(&mut after, send);
        self.node.mut_store().append(&entries);
        let changes = entries.iter().filter(|one| one.entry_type() != EntryType::EntryNormal);
        self.changes.extend(changes.map(|entry| entry.index));
        let ticket = Ticket(ready.number());
        if self.must_not_forget() {
            self.silent_until = Some(ticket);
        } else if !ready.must_sync() {
            // Nothing new was promised, yet the messages may speak of what is being synced.
            match self.unsynced.back_mut() {
                Some((_, waiting)) => waiting.extend(after),
                None => send.extend(after.into_iter().map(PeerMessage)),
            }
            return None;
        }
        self.unsynced.push_back((ticket, after));
        let written =
            self.unwritten.map_or(self.node.raft.raft_log.committed, |state| state.commit);
        self.changes.retain(|index| *index > written);
        Some(Append {
            ticket,
            hard_state: self.unwritten.take().map(hard_state),
            entries: entries.into_iter().map(to_wal).collect(),
        })
    }

    /// This member does not belong to the cluster any more. Raft's leader would stay one, and then
    /// panic over its own missing progress.
    fn leave(&mut self) {
        self.removed = true;
        self.effects.removed = true;
        if self.leads() {
            let followers = peers::followers(&self.node.raft);
            let heir = followers.iter().find(|one| Some(one.id.0) == self.heir());
            // Of whoever does not run the others will not hear.
            if !heir.is_some_and(|heir| heir.active)
                && let Some(best) = self.best_follower()
            {
                self.node.raft.send_timeout_now(best.0);
            }
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    /// Who takes over from a leader that was removed: all agree on that without a word, since who is
    /// no member any more is not listened to.
    fn heir(&self) -> Option<u64> {
        self.node.raft.prs().conf().to_conf_state().voters.into_iter().max()
    }

    /// The leader that this member follows has been removed, so it is silent from now on.
    fn take_over(&mut self) {
        let raft = &self.node.raft;
        if self.heir() != Some(raft.id) || self.is_alone() {
            return;
        }
        let mut message = Message { to: raft.id, from: raft.leader_id, ..Message::default() };
        message.term = raft.term;
        message.set_msg_type(MessageType::MsgTimeoutNow);
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "raft refuses to take over");
        }
    }

    /// The voter that has most of the log; of those that have heard from us lately.
    fn best_follower(&self) -> Option<MemberId> {
        let voters = peers::followers(&self.node.raft).into_iter().filter(|one| !one.learner);
        voters.max_by_key(|one| (one.active, one.matched, one.id)).map(|one| one.id)
    }

    /// Raft draws its own from the system's randomness. This one differs between members, and from
    /// term to term, and a seed replays it.
    fn election_timeout(&self) -> usize {
        let ticks = self.config.election_ticks as u64;
        let drawn =
            base::mix(self.config.run ^ base::mix(self.id().0 ^ base::mix(self.node.raft.term)));
        self.config.election_ticks + usize::try_from(drawn % ticks.max(1)).unwrap_or(0)
    }

    /// Asks raft for a read index, where it would not drop the question.
    fn ask_for_reads(&mut self) {
        let answers = !self.leads() || self.node.raft.commit_to_current_term();
        if self.can_propose()
            && answers
            && let Some(context) = self.reads.begin()
        {
            self.node.read_index(context);
        }
    }

    /// A single voter waits for nobody's vote, so not for an election timeout either.
    fn campaign_if_alone(&mut self) -> Result<(), CoreError> {
        // Raft wants no election while entries are on their way to the log.
        let is_follower = self.node.raft.state == StateRole::Follower;
        if self.is_alone() && is_follower && self.unsynced.is_empty() {
            self.node.campaign()?;
        }
        Ok(())
    }

    /// Who leads, as far as this member knows.
    pub fn role(&self) -> Role {
        let leader = self.node.raft.leader_id;
        Role {
            leader: (leader != raft::INVALID_ID).then_some(MemberId(leader)),
            leads: self.leads(),
            state: self.node.raft.state.into(),
            term: Term(self.node.raft.term),
        }
    }

    fn role_changed(&mut self) {
        self.reads.restart();
        // The first entry of a leader's own term is the last of its log when it begins to lead.
        let own = self.leads().then(|| self.node.raft.raft_log.last_index());
        self.duties.role_changed(own);
    }

    /// Whether this member leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn applied_index(&self) -> u64 {
        self.node.raft.raft_log.applied
    }
}

fn hard_state(state: HardState) -> wal::HardState {
    wal::HardState {
        term: Term(state.term),
        vote: MemberId(state.vote),
        commit: Index(state.commit),
    }
}
