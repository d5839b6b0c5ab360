//! A keyspace of ours that is being made.

use std::{path::Path, sync::Arc};

use backend::{Applied, Backend};
use base::{Disk, Index, Term, limits, version::THIS};
use bytes::Bytes;
use mvcc::Record;
use prost::Message as _;
use proto::command::{Command, Op};
use state::{Response, State, apply::Standing, auth::Auth};

use crate::ImportError;

/// The storage engine's page cache: all is written once, and little of it read.
const CACHE_BYTES: usize = 16 << 20;
/// Of revisions that are taken over together.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: usize = 1_000;

/// A keyspace that is being made: the entries of its log are the steps of the making.
#[derive(Debug)]
pub(crate) struct Building {
    backend: Arc<Backend>,
    state: State,
    index: u64,
    batch: Vec<Vec<Record>>,
    batch_records: usize,
    batch_bytes: usize,
}

impl Building {
    pub(crate) fn create(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, ImportError> {
        let options = backend::Options { cache_bytes: CACHE_BYTES };
        let backend = Arc::new(Backend::open(Arc::clone(disk), path, options)?);
        let state = State::open(Arc::clone(&backend), THIS)?;
        Ok(Self { backend, state, index: 0, batch: Vec::new(), batch_records: 0, batch_bytes: 0 })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn revision(&self) -> i64 {
        self.state.reader().store().revision()
    }

    /// The entry by which a lease was granted; 0: there is no such lease.
    pub(crate) fn granted(&self, lease: i64) -> u64 {
        self.state.reader().leases().get(lease).map_or(0, |lease| lease.granted)
    }

    fn next(&mut self) -> Applied {
        self.index += 1;
        Applied { index: Index(self.index), term: Term(1) }
    }

    /// Takes over all that happened at one revision, behind those before it.
    pub(crate) fn load(&mut self, records: Vec<Record>) -> Result<(), ImportError> {
        let bytes = |record: &Record| record.name.len() + record.value.len();
        self.batch_bytes += records.iter().map(bytes).sum::<usize>();
        self.batch_records += records.len();
        self.batch.push(records);
        if self.batch_bytes >= BATCH_BYTES || self.batch_records >= BATCH_RECORDS {
            self.load_batch()?;
        }
        Ok(())
    }

    fn load_batch(&mut self) -> Result<(), ImportError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        (self.batch_records, self.batch_bytes) = (0, 0);
        let at = self.next();
        self.state.load(at, batch)?;
        self.flush_some()
    }

    /// All has been taken over, and stands here.
    pub(crate) fn stand(&mut self, standing: Standing) -> Result<(), ImportError> {
        self.load_batch()?;
        let at = self.next();
        self.state.load_standing(at, standing);
        Ok(())
    }

    /// The next write has a revision behind this one.
    pub(crate) fn skip_to(&mut self, revision: i64) -> Result<(), ImportError> {
        self.load_batch()?;
        let at = self.next();
        self.state.skip_to(at, revision);
        Ok(())
    }

    pub(crate) fn number_each_change(&mut self) -> Result<(), ImportError> {
        self.load_batch()?;
        let at = self.next();
        self.state.number_each_change(at);
        Ok(())
    }

    pub(crate) fn put_nodes(&mut self, nodes: &[Record]) -> Result<(), ImportError> {
        let at = self.next();
        self.state.put_nodes(at, nodes)?;
        self.flush_some()
    }

    /// Takes over users and roles.
    pub(crate) fn load_auth(&mut self, auth: Auth) -> Result<(), ImportError> {
        self.load_batch()?;
        let at = self.next();
        self.state.load_auth(at, auth);
        self.flush_some()
    }

    pub(crate) fn node_names(&mut self) -> Result<Vec<(mvcc::Kind, Bytes)>, ImportError> {
        Ok(self.state.node_names()?)
    }

    /// Carries out a command, by our rules: whoever gives it sees to it that they are the original's.
    pub(crate) fn apply(&mut self, op: Op) -> Result<Response, ImportError> {
        self.load_batch()?;
        let at = self.next();
        let command = Command::new(0, op).encode_to_vec();
        let outcome = self.state.apply(at, &command)?;
        self.flush_some()?;
        Ok(outcome.response)
    }

    /// Keeps what is not on disk yet within bounds.
    fn flush_some(&mut self) -> Result<(), ImportError> {
        if self.backend.tail_bytes() > limits::TAIL_BYTES_MAX / 4 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        while self.backend.durable() < self.backend.applied() || self.backend.tail_bytes() > 0 {
            self.backend.flush()?;
        }
        Ok(())
    }

    /// Writes all that is left to disk.
    pub(crate) fn finish(mut self) -> Result<(), ImportError> {
        self.load_batch()?;
        self.flush()?;
        drop(self.state);
        self.backend.close()?;
        Ok(())
    }
}
