//! A member between two losses of power: the shell in its simplest form, one step at a time.

use std::{collections::VecDeque, path::Path, sync::Arc, time::Duration};

use backend::Backend;
use base::{
    ClusterId, Disk, Index, MemberId, Term, limits,
    version::{self, Build},
};
use member::{
    Append, Applier, Batch, Bootstrap, Core, Install, Lost, OpenError, Opened, Options, Paths,
    PeerMessage, Progress, Proposal, Read, Role, Shell, Ticket, shell, upkeep::Cutter,
};
use proto::{
    Message as _,
    command::{Command, Member},
};
use wal::{Entry, Identity, Wal};

use crate::{Sabotage, sabotage, weather::Event};

pub(crate) const HOME: &str = "/data/member";
/// Small, so that segments change and the log is cut within a run.
const SEGMENT_BYTES: u64 = 4 << 10;
const SNAPSHOT_COUNT: u64 = 15;
const ENTRIES_KEPT: u64 = 4;
pub(crate) const CATCH_UP_ENTRIES: u64 = 8;
/// Some twenty entries: who was away for longer needs a snapshot.
const CATCH_UP_BYTES: u64 = 2 << 10;
pub(crate) const ELECTION_TICKS: usize = 10;
/// Clients wait for so long, if they do not give up before.
pub(crate) const ANSWER_TICKS: u32 = 70;

/// A member between two losses of power.
pub(crate) struct Running {
    pub(crate) core: Core,
    pub(crate) applier: Applier,
    pub(crate) backend: Arc<Backend>,
    pub(crate) wal: Wal,
    pub(crate) cutter: Cutter,
    pub(crate) to_log: VecDeque<Append>,
    /// The last batch that is written to the log, and not synced.
    appended: Option<Ticket>,
    /// Entries of it and those before.
    unsynced: usize,
    pub(crate) persisted: Option<Ticket>,
    pub(crate) to_apply: VecDeque<Entry>,
    pub(crate) progress: Option<Progress>,
    /// To the others.
    pub(crate) to_send: Vec<PeerMessage>,
    pub(crate) snapshots: Vec<PeerMessage>,
    /// Entries of `to_log` and those that are synced, with the term of the one before each.
    to_write: VecDeque<(Entry, Option<Term>)>,
    pub(crate) written: Vec<(Entry, Option<Term>)>,
    /// What came back from the core and is not looked at yet.
    pub(crate) reads: Vec<(Index, Vec<Read>)>,
    pub(crate) dropped: Vec<u64>,
    /// Of which it will never be known here what became of them.
    pub(crate) unknown: Vec<u64>,
    /// Proposals that are to be proposed again; and those of them for which somebody waits.
    pub(crate) again: Vec<Proposal>,
    pub(crate) waiting: Vec<Proposal>,
    /// Terms in which it has begun to lead.
    pub(crate) led: Vec<Term>,
    /// The last term of which an entry is synced.
    pub(crate) synced_term: Term,
    /// It was removed from the cluster, and has just learnt that.
    pub(crate) removed: bool,
    /// What went wrong in a step of which nobody waited for the end.
    failed: Option<Failed>,
    sabotage: Option<Sabotage>,
}

/// Why a step could not be done: the disk, or worse.
pub(crate) type Failed = Box<dyn std::error::Error>;

/// What leases get when the leader changes.
pub(crate) const LEASE_GRACE: Duration = Duration::from_secs(1);
/// What is left of leases that live longer is noted down so often.
const LEASE_CHECKPOINTS: Duration = Duration::from_millis(300);

/// Which of how many: members 1 to `of` found the cluster, and others join it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) id: MemberId,
    pub(crate) of: u64,
    /// Another one in each of its runs.
    pub(crate) run: u64,
    /// It is to go on as the only member.
    pub(crate) forced: bool,
    /// Its build is a version on.
    pub(crate) next: bool,
}

impl Who {
    pub(crate) fn build(self) -> Build {
        if self.next { version::NEXT } else { version::THIS }
    }
}

/// The format of commands that only the next version knows. What such a command does is nothing
/// new; but an older build that meets one stops.
pub(crate) fn new_format() -> u32 {
    version::NEXT.format_permitted(Some(version::NEXT.cluster))
}

/// Whether an entry is a command of that format.
pub(crate) fn is_new(entry: &Entry) -> bool {
    let command = Command::decode(&*entry.data);
    entry.kind == 0 && command.is_ok_and(|command| command.format == new_format())
}

pub(crate) fn paths() -> Paths {
    let home = Path::new(HOME);
    Paths { wal: home.join("wal"), keyspace: home.join("keyspace") }
}

/// Opens the member, or founds it.
pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    who: Who,
    sabotage: Option<Sabotage>,
) -> Result<Opened, OpenError> {
    let paths = paths();
    let keeps_long = sabotage == Some(Sabotage::KeepLeasesLong);
    let options = Options {
        wal: wal::Options { segment_bytes: SEGMENT_BYTES },
        backend: backend::Options { cache_bytes: 1 << 20 },
        core: member::Config {
            build: who.build(),
            name: format!("member {}", who.id.0),
            client_urls: vec![format!("http://{}:2379", who.id.0)],
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: 1,
            answer_ticks: ANSWER_TICKS as usize,
            run: who.run,
            quota_bytes: limits::QUOTA_BYTES_DEFAULT,
            compacts: true,
            lease_grace: if keeps_long { 2 * LEASE_GRACE } else { LEASE_GRACE },
            // In every other run, not in the first: the others have nothing to note down, and scenarios
            // count entries and bytes of the log.
            lease_checkpoints: if who.run.is_multiple_of(2) {
                limits::LEASE_CHECKPOINT_INTERVAL
            } else {
                LEASE_CHECKPOINTS
            },
            catch_up_entries: CATCH_UP_ENTRIES,
            catch_up_bytes: CATCH_UP_BYTES,
        },
        force_new_cluster: who.forced,
        peer_urls: Vec::new(),
    };
    let identity = Identity { cluster: ClusterId(9), member: who.id };
    let founds = who.id.0 <= who.of;
    let members = if founds { (1..=who.of).map(member).collect() } else { Vec::new() };
    let bootstrap = Bootstrap { identity, members };
    member::open(disk, &paths, &options, &|| Ok(bootstrap.clone()))
}

/// As the cluster knows it before it has started.
pub(crate) fn member(id: u64) -> Member {
    let peer_urls = vec![format!("http://{id}:2380")];
    Member { id, peer_urls, ..Member::default() }
}

impl Running {
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        who: Who,
        sabotage: Option<Sabotage>,
    ) -> Result<Self, OpenError> {
        let Opened { wal, backend, applier, core, .. } = open(disk, who, sabotage)?;
        let mut running = Self {
            removed: false,
            sabotage,
            cutter: Cutter::new(SNAPSHOT_COUNT, ENTRIES_KEPT, wal.first()),
            core,
            applier,
            backend,
            wal,
            to_log: VecDeque::new(),
            appended: None,
            unsynced: 0,
            persisted: None,
            to_apply: VecDeque::new(),
            progress: None,
            to_send: Vec::new(),
            snapshots: Vec::new(),
            failed: None,
            to_write: VecDeque::new(),
            written: Vec::new(),
            reads: Vec::new(),
            dropped: Vec::new(),
            unknown: Vec::new(),
            again: Vec::new(),
            waiting: Vec::new(),
            led: Vec::new(),
            synced_term: Term(0),
        };
        running.step();
        Ok(running)
    }

    pub(crate) fn propose(&mut self, proposals: Vec<Proposal>) {
        self.core.propose(proposals);
        self.step();
    }

    /// Whether raft has not taken the proposal of this id.
    pub(crate) fn was_dropped(&self, id: u64) -> bool {
        self.dropped.contains(&id)
    }

    /// Takes up what the core wants. What goes wrong is told by [`Running::ends_well`].
    pub(crate) fn step(&mut self) {
        if let Err(error) = shell::carry_out(self) {
            self.failed.get_or_insert(error);
        }
    }

    /// Whether all steps have gone well since this was last asked.
    pub(crate) fn ends_well(&mut self) -> Result<(), Failed> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Writes the first `count` batches that wait, if all that was written before is synced.
    pub(crate) fn log(&mut self, count: usize) -> Result<(), Failed> {
        if self.appended.is_some() {
            return Ok(());
        }
        let batches: Vec<Append> = self.to_log.drain(..count.min(self.to_log.len())).collect();
        for mut batch in batches {
            self.sabotage_hard_state(&mut batch);
            self.wal.append(batch.hard_state, &batch.entries)?;
            self.appended = Some(batch.ticket);
            self.unsynced += batch.entries.len();
        }
        if self.sabotage == Some(Sabotage::AcknowledgeBeforeSync) {
            self.persisted = self.appended.or(self.persisted);
        }
        Ok(())
    }

    fn sabotage_hard_state(&self, batch: &mut Append) {
        if self.sabotage == Some(Sabotage::ForgetHardState) {
            batch.hard_state = None;
        }
        if let Some(state) = &mut batch.hard_state
            && self.sabotage == Some(Sabotage::ForgetVotes)
        {
            state.vote = MemberId(0);
        }
    }

    /// Syncs what was written to the log.
    pub(crate) fn sync(&mut self) -> Result<(), Failed> {
        let Some(last) = self.appended.take() else { return Ok(()) };
        let synced = self.wal.sync();
        if self.sabotage != Some(Sabotage::IgnoreFailedSyncs) {
            synced?;
        }
        self.persisted = Some(last);
        let unsynced = std::mem::take(&mut self.unsynced);
        let written: Vec<_> = self.to_write.drain(..unsynced.min(self.to_write.len())).collect();
        let terms = written.iter().map(|(entry, _)| entry.term);
        self.synced_term = terms.max().unwrap_or_default().max(self.synced_term);
        self.written.extend(written);
        Ok(())
    }

    /// Tells the core what is synced.
    pub(crate) fn tell_persisted(&mut self) -> Result<(), Failed> {
        if let Some(ticket) = self.persisted.take() {
            self.core.persisted(ticket)?;
        }
        self.step();
        Ok(())
    }

    /// Applies the first `count` entries that wait.
    pub(crate) fn apply(&mut self, count: usize) -> Result<(Vec<Entry>, Batch), Failed> {
        let mut entries: Vec<Entry> =
            self.to_apply.drain(..count.min(self.to_apply.len())).collect();
        let handed_out = entries.clone();
        sabotage::alter_entries(self.sabotage, &mut entries, self.core.id());
        let batch = self.applier.apply(&entries)?;
        match &mut self.progress {
            Some(earlier) => earlier.extend(batch.progress.clone()),
            None => self.progress = Some(batch.progress.clone()),
        }
        if self.sabotage != Some(Sabotage::HandOutAltered) {
            entries = handed_out;
        }
        Ok((entries, batch))
    }

    /// Tells the core what is applied.
    pub(crate) fn tell_applied(&mut self) -> Result<(), Failed> {
        if let Some(progress) = self.progress.take() {
            shell::applied(self, progress)?;
            self.step();
        }
        Ok(())
    }

    /// Flushes, and cuts the log if that is due; true if it was.
    pub(crate) fn flush(&mut self) -> Result<bool, Failed> {
        if self.sabotage == Some(Sabotage::CutBeforeFlush) && self.appended.is_none() {
            self.wal.cut(self.backend.applied().index)?;
        }
        let durable = self.backend.flush()?.index;
        // Whoever writes to the log holds it until that is synced.
        if self.appended.is_some() {
            return Ok(false);
        }
        let Some(index) = self.cutter.due(durable, self.wal.bytes()) else { return Ok(false) };
        self.wal.cut(index)?;
        Ok(true)
    }

    /// Whether nothing is on its way to the log: a snapshot may be installed.
    pub(crate) fn may_restore(&self) -> bool {
        self.to_log.is_empty() && self.appended.is_none() && self.persisted.is_none()
    }

    /// Whether there is anything of this to do.
    pub(crate) fn waits_for(&self, event: Event) -> bool {
        (event == Event::Log && !self.to_log.is_empty() && self.appended.is_none())
            || (event == Event::Sync && self.appended.is_some())
            || (event == Event::TellPersisted && self.persisted.is_some())
            || (event == Event::Apply && !self.to_apply.is_empty())
            || (event == Event::TellApplied && self.progress.is_some())
    }

    pub(crate) fn is_quiet(&self) -> bool {
        use Event::{Apply, Log, Sync, TellApplied, TellPersisted};
        let steps = [Log, Sync, TellPersisted, Apply, TellApplied];
        // What others have passed on waits with it.
        let hands_over = self.core.leads() && self.core.changes_leader();
        !hands_over
            && self.waiting.is_empty()
            && !steps.into_iter().any(|step| self.waits_for(step))
    }
}

/// All that is to be done waits for its turn.
impl Shell for Running {
    type Error = Failed;

    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        self.to_send.extend(messages);
    }

    fn send_snapshots(&mut self, wanted: Vec<PeerMessage>) {
        self.snapshots.extend(wanted);
    }

    fn install(&mut self, install: &Install) -> Result<bool, Failed> {
        self.to_apply.clear();
        self.progress = None;
        let incoming = paths().incoming();
        if self.sabotage == Some(Sabotage::SwitchBeforeLog) {
            self.applier.replace(&incoming)?;
            let applied = install.applied;
            self.wal.restart((applied.index, applied.term), install.hard_state)?;
        } else {
            shell::install(&mut self.wal, &mut self.applier, &incoming, install)?;
        }
        Ok(self.applier.state().reader().is_removed(self.core.id()))
    }

    fn stands(&mut self, _: Index, role: Option<Role>) {
        self.led.extend(role.filter(|role| role.leads).map(|role| role.term));
    }

    fn leave(&mut self, _: &'static str) {
        self.removed = self.sabotage != Some(Sabotage::StayRemoved);
    }

    fn refuse(&mut self, dropped: Vec<(u64, Lost)>) {
        let unknown = dropped.iter().filter(|(_, lost)| *lost == Lost::Unknown);
        self.unknown.extend(unknown.map(|(id, _)| *id));
        self.dropped.extend(dropped.into_iter().map(|(id, _)| id));
    }

    fn again(&mut self, proposals: Vec<Proposal>) {
        self.again.extend(proposals);
    }

    fn serve_reads(&mut self, index: Index, reads: Vec<Read>) {
        self.reads.push((index, reads));
    }

    fn apply(&mut self, entries: Vec<Entry>, _: bool) -> Result<(), Failed> {
        self.to_apply.extend(entries);
        Ok(())
    }

    fn appends_beside(&self) -> bool {
        true
    }

    fn append(&mut self, append: Append) -> Result<bool, Failed> {
        for entry in &append.entries {
            let before = self.core.term_of(Index(entry.index.0 - 1));
            self.to_write.push_back((entry.clone(), before));
        }
        self.to_log.push_back(append);
        Ok(false)
    }

    fn progress(&mut self) -> Option<Progress> {
        None
    }

    fn members_changed(&mut self) {}
}
