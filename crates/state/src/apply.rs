//! Applies committed entries, one by one, in order.

mod conf;
mod reader;

use std::{path::Path, sync::Arc};

use backend::{Applied, Backend, Table};
use bytes::Bytes;
use mvcc::{Commit, ReadError, Writer};
use prost::Message as _;
use proto::command::{
    ClusterVersion, Command, Compact, FORMAT, KeysMethod, KeysWrite, Op, Publish,
};

pub use self::{conf::membership_change, reader::Reader};
use crate::{keys, membership};

/// Rows of the table `Meta`.
mod meta {
    pub(super) const MEMBERS: &str = "state.members";
    pub(super) const CLUSTER_VERSION: &str = "state.cluster_version";
    pub(super) const CONF_STATE: &str = "state.conf_state";
    /// There once something was written through v2: from then on a v3 write of many keys takes a
    /// number for each.
    pub(super) const V2_WRITTEN: &str = "state.v2_written";
}

/// The answer to whoever proposed the command.
#[derive(Clone, Debug)]
pub enum Response {
    Keys(Result<keys::Event, keys::Failure>),
    /// How many nodes expired.
    Expired(u32),
    Done,
    /// The command could not be carried out, with the error's exact text.
    Refused(String),
}

/// Something after which this member must not go on: it may differ from the others.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error(
        "entry {index}: its command has format {format}, newer than this build knows ({known}): \
         upgrade this member"
    )]
    UnknownFormat { index: u64, format: u32, known: u32 },
    #[error("entry {index}: its command cannot be decoded: {text}")]
    Undecodable { index: u64, text: String },
    #[error("entry {index} was to be applied again, after entry {applied}")]
    Again { index: u64, applied: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What applying one entry gave.
#[derive(Debug)]
pub struct Outcome {
    /// The proposal's id; 0 if nobody waits.
    pub id: u64,
    pub response: Response,
    /// To be published to the watchers once the answers are out.
    pub commits: Vec<Arc<Commit>>,
}

/// The replicated state; the apply thread's.
#[derive(Debug)]
pub struct State {
    writer: Writer,
    backend: Arc<Backend>,
    reader: Arc<Reader>,
    v2_written: bool,
}

impl State {
    pub fn open(backend: Arc<Backend>) -> Result<Self, Fatal> {
        let writer = Writer::open(Arc::clone(&backend))?;
        let Small { members, version, v2_written } = Small::read(&writer)?;
        let reader = Arc::new(Reader::new(Arc::clone(writer.store()), members, version));
        Ok(Self { writer, backend, reader, v2_written })
    }

    /// Goes on with a later state, from another member: the whole file at this path takes the place
    /// of ours. See [`Writer::replace`].
    pub fn replace(&mut self, incoming: &Path) -> Result<(), Fatal> {
        self.writer.replace(incoming)?;
        let Small { members, version, v2_written } = Small::read(&self.writer)?;
        self.v2_written = v2_written;
        self.reader.set_members(members);
        if let Some(version) = version {
            self.reader.set_cluster_version(version);
        }
        Ok(())
    }

    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// The last entry whose changes this state includes.
    pub fn applied(&self) -> Applied {
        self.backend.applied()
    }

    /// Applies a normal entry. An empty one (a new leader's) only moves `applied`.
    ///
    /// Deterministic: the outcome and all that is stored follow from the entries so far.
    pub fn apply(&mut self, at: Applied, command: &[u8]) -> Result<Outcome, Fatal> {
        self.check_is_new(at)?;
        let outcome = if command.is_empty() {
            Outcome { id: 0, response: Response::Done, commits: Vec::new() }
        } else {
            let (id, op) = decode(at, command)?;
            let (response, commits) = self.run(at, op)?;
            Outcome { id, response, commits }
        };
        self.writer.finish_entry(at);
        Ok(outcome)
    }

    fn check_is_new(&self, at: Applied) -> Result<(), Fatal> {
        let applied = self.applied().index;
        if at.index > applied {
            return Ok(());
        }
        Err(Fatal::Again { index: at.index.0, applied: applied.0 })
    }

    fn run(&mut self, at: Applied, op: Op) -> Result<(Response, Vec<Arc<Commit>>), Fatal> {
        match op {
            Op::Keys(write) => self.apply_keys(at, &write),
            Op::Expire(command) => {
                let commits = keys::expire(&mut self.writer, self.reader.key_stats(), command)?;
                let expired = u32::try_from(commits.len()).unwrap_or(u32::MAX);
                Ok((Response::Expired(expired), commits))
            }
            Op::Publish(publish) => Ok((self.apply_publish(publish), Vec::new())),
            Op::ClusterVersion(version) => Ok((self.apply_version(version), Vec::new())),
            Op::Compact(compact) => Ok((self.apply_compact(compact)?, Vec::new())),
        }
    }

    fn apply_keys(
        &mut self,
        at: Applied,
        write: &KeysWrite,
    ) -> Result<(Response, Vec<Arc<Commit>>), Fatal> {
        let method = KeysMethod::try_from(write.method)
            .map_err(|error| undecodable(at, &error.to_string()))?;
        let written = keys::write(&mut self.writer, self.reader.key_stats(), method, write)?;
        if written.commit.is_some() && !self.v2_written {
            self.v2_written = true;
            self.writer.set_meta(meta::V2_WRITTEN, Some(Bytes::from_static(b"1")));
        }
        Ok((Response::Keys(written.answer), written.commit.into_iter().collect()))
    }

    fn apply_publish(&mut self, publish: Publish) -> Response {
        let mut members = (*self.reader.members()).clone();
        if members.publish(publish) {
            self.set_members(members);
        }
        Response::Done
    }

    fn apply_version(&mut self, version: ClusterVersion) -> Response {
        let row = Bytes::from(version.version.clone().into_bytes());
        self.writer.set_meta(meta::CLUSTER_VERSION, Some(row));
        self.reader.set_cluster_version(version.version);
        Response::Done
    }

    fn apply_compact(&mut self, compact: Compact) -> Result<Response, Fatal> {
        match self.writer.compact(compact.revision) {
            Ok(()) => Ok(Response::Done),
            Err(error @ (ReadError::Compacted | ReadError::Future)) => {
                Ok(Response::Refused(error.to_string()))
            }
            Err(error @ ReadError::Backend(_)) => Err(error.into()),
        }
    }

    fn set_members(&mut self, members: membership::Members) {
        self.writer.set_meta(meta::MEMBERS, Some(membership::encode(&members)));
        self.reader.set_members(members);
    }

    /// A write as v3 makes it, in an entry of its own.
    #[cfg(test)]
    pub(crate) fn apply_v3(
        &mut self,
        at: Applied,
        write: impl FnOnce(&mut mvcc::Txn<'_>),
    ) -> Result<Option<Arc<Commit>>, Fatal> {
        let mut txn = self.writer.begin();
        write(&mut txn);
        let commit = txn.commit()?;
        self.writer.finish_entry(at);
        Ok(commit)
    }

    /// One small step of compaction; true if there is more to do now.
    pub fn compact_step(&mut self, rows: usize) -> Result<bool, Fatal> {
        Ok(self.writer.compact_step(rows)?)
    }
}

/// What `Meta` holds besides the keyspace.
struct Small {
    members: membership::Members,
    version: Option<String>,
    v2_written: bool,
}

impl Small {
    fn read(writer: &Writer) -> Result<Self, Fatal> {
        let members = match writer.meta(meta::MEMBERS)? {
            Some(row) => membership::decode(&row)
                .map_err(|error| damaged(meta::MEMBERS, &error.to_string()))?,
            None => membership::Members::default(),
        };
        let version = match writer.meta(meta::CLUSTER_VERSION)? {
            Some(row) => {
                let text = String::from_utf8(row.into())
                    .map_err(|error| damaged(meta::CLUSTER_VERSION, &error.to_string()))?;
                Some(text)
            }
            None => None,
        };
        Ok(Self { members, version, v2_written: writer.meta(meta::V2_WRITTEN)?.is_some() })
    }
}

/// The proposal's id, and what is to be done.
fn decode(at: Applied, command: &[u8]) -> Result<(u64, Op), Fatal> {
    let command = Command::decode(command).map_err(|error| undecodable(at, &error.to_string()))?;
    if command.format > FORMAT {
        let index = at.index.0;
        return Err(Fatal::UnknownFormat { index, format: command.format, known: FORMAT });
    }
    let op = command.op.ok_or_else(|| undecodable(at, "no operation that this build knows"))?;
    Ok((command.id, op))
}

fn undecodable(at: Applied, text: &str) -> Fatal {
    Fatal::Undecodable { index: at.index.0, text: text.to_owned() }
}

fn damaged(row: &str, text: &str) -> Fatal {
    ReadError::from(backend::Error::damaged(Table::Meta, row.as_bytes(), text)).into()
}
