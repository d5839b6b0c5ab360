//! A member between two losses of power: the shell in its simplest form, one step at a time.

use std::{collections::VecDeque, path::Path, sync::Arc};

use backend::Backend;
use base::{ClusterId, Disk, Index, MemberId, Term, limits};
use member::{
    Append, Applier, Batch, Bootstrap, Core, Effects, OpenError, Opened, Options, Paths, Progress,
    Proposal, Read, Ticket, upkeep::Cutter,
};
use proto::command::Member;
use wal::{Entry, Identity, Wal};

use crate::Sabotage;

pub(crate) const HOME: &str = "/data/member";
/// Small, so that segments change and the log is cut within a run.
const SEGMENT_BYTES: u64 = 4 << 10;
const SNAPSHOT_COUNT: u64 = 15;
const ENTRIES_KEPT: u64 = 4;

/// A member between two losses of power.
pub(crate) struct Running {
    pub(crate) core: Core,
    pub(crate) applier: Applier,
    pub(crate) backend: Arc<Backend>,
    pub(crate) wal: Wal,
    pub(crate) cutter: Cutter,
    pub(crate) to_log: VecDeque<Append>,
    pub(crate) persisted: Option<Ticket>,
    pub(crate) to_apply: VecDeque<Entry>,
    pub(crate) progress: Option<Progress>,
    /// What came back from the core and is not looked at yet.
    pub(crate) reads: Vec<(Index, Vec<Read>)>,
    pub(crate) dropped: Vec<u64>,
    /// Terms in which it has begun to lead.
    pub(crate) led: Vec<Term>,
    /// The last term of which an entry is synced.
    pub(crate) synced_term: Term,
}

/// Why a step could not be done: the disk, or worse.
pub(crate) type Failed = Box<dyn std::error::Error>;

/// Opens the member, or founds it.
pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<Opened, OpenError> {
    let home = Path::new(HOME);
    let paths = Paths { wal: home.join("wal"), keyspace: home.join("keyspace") };
    let options = Options {
        wal: wal::Options { segment_bytes: SEGMENT_BYTES },
        backend: backend::Options { cache_bytes: 1 << 20 },
        core: member::Config {
            name: "one".to_owned(),
            client_urls: vec!["http://one:2379".to_owned()],
            election_ticks: 10,
            heartbeat_ticks: 1,
            run: 1,
            quota_bytes: limits::QUOTA_BYTES_DEFAULT,
        },
        force_new_cluster: false,
    };
    let identity = Identity { cluster: ClusterId(9), member: MemberId(1) };
    let member =
        Member { id: 1, peer_urls: vec!["http://one:2380".to_owned()], ..Member::default() };
    let bootstrap = Bootstrap { identity, members: vec![member] };
    member::open(disk, &paths, &options, &|| Ok(bootstrap.clone()))
}

impl Running {
    pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<Self, OpenError> {
        let Opened { wal, backend, applier, core, .. } = open(disk)?;
        let mut running = Self {
            cutter: Cutter::new(SNAPSHOT_COUNT, ENTRIES_KEPT, wal.first()),
            core,
            applier,
            backend,
            wal,
            to_log: VecDeque::new(),
            persisted: None,
            to_apply: VecDeque::new(),
            progress: None,
            reads: Vec::new(),
            dropped: Vec::new(),
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

    /// Takes up what the core wants.
    pub(crate) fn step(&mut self) {
        while let Some(effects) = self.core.step() {
            let Effects { append, apply, reads, dropped, role, .. } = effects;
            self.to_log.extend(append);
            self.to_apply.extend(apply);
            self.reads.extend(reads);
            self.dropped.extend(dropped);
            self.led.extend(role.filter(|role| role.leads).map(|role| role.term));
        }
    }

    /// Writes the first `count` batches that wait, and syncs them at once.
    pub(crate) fn log(&mut self, count: usize, sabotage: Option<Sabotage>) -> Result<(), Failed> {
        let batches: Vec<Append> = self.to_log.drain(..count.min(self.to_log.len())).collect();
        let Some(last) = batches.last().map(|batch| batch.ticket) else { return Ok(()) };
        for batch in &batches {
            let forgotten = sabotage == Some(Sabotage::ForgetHardState);
            let hard_state = batch.hard_state.filter(|_| !forgotten);
            self.wal.append(hard_state, &batch.entries)?;
        }
        self.persisted = Some(last);
        if sabotage != Some(Sabotage::AcknowledgeBeforeSync) {
            self.wal.sync()?;
            let terms = batches.iter().flat_map(|batch| &batch.entries).map(|entry| entry.term);
            self.synced_term = terms.max().unwrap_or_default().max(self.synced_term);
        }
        Ok(())
    }

    /// Tells the core what is synced.
    pub(crate) fn tell_persisted(&mut self) -> Result<(), Failed> {
        if let Some(ticket) = self.persisted.take() {
            self.core.persisted(ticket)?;
            self.step();
        }
        Ok(())
    }

    /// Applies the first `count` entries that wait.
    pub(crate) fn apply(&mut self, count: usize) -> Result<(Vec<Entry>, Batch), Failed> {
        let entries: Vec<Entry> = self.to_apply.drain(..count.min(self.to_apply.len())).collect();
        let batch = self.applier.apply(&entries)?;
        match &mut self.progress {
            Some(earlier) => earlier.extend(batch.progress.clone()),
            None => self.progress = Some(batch.progress.clone()),
        }
        Ok((entries, batch))
    }

    /// Tells the core what is applied.
    pub(crate) fn tell_applied(&mut self) -> Result<(), Failed> {
        if let Some(progress) = self.progress.take() {
            self.core.applied(progress)?;
            self.step();
        }
        Ok(())
    }

    /// Flushes, and cuts the log if that is due; true if it was.
    pub(crate) fn flush(&mut self, sabotage: Option<Sabotage>) -> Result<bool, Failed> {
        if sabotage == Some(Sabotage::CutBeforeFlush) {
            self.wal.cut(self.backend.applied().index)?;
        }
        let durable = self.backend.flush()?.index;
        let Some(index) = self.cutter.due(durable, self.wal.bytes()) else { return Ok(false) };
        self.wal.cut(index)?;
        Ok(true)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.to_log.is_empty()
            && self.to_apply.is_empty()
            && self.persisted.is_none()
            && self.progress.is_none()
    }
}
