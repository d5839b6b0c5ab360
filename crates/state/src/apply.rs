//! Applies committed entries, one by one, in order.

mod conf;
mod reader;
mod v3;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use backend::{Applied, Backend, Table};
use base::Refused;
use bytes::Bytes;
use mvcc::{Commit, ReadError, Writer};
use prost::Message as _;
use proto::command::{ClusterVersion, Command, FORMAT, KeysMethod, Op, Publish};

pub use self::{conf::membership_change, reader::Reader, v3::Reply};
use crate::{alarm::Alarms, keys, lease::Lease, membership};

/// Rows of the table `Meta`.
mod meta {
    pub(super) const MEMBERS: &str = "state.members";
    pub(super) const CLUSTER_VERSION: &str = "state.cluster_version";
    pub(super) const CONF_STATE: &str = "state.conf_state";
    pub(super) const ALARMS: &str = "state.alarms";
}

/// The answer to whoever proposed the command.
#[derive(Clone, Debug)]
pub enum Response {
    Keys(Result<keys::Event, keys::Failure>),
    /// A refusal can be that of a command of v2, too: see [`Alarms`].
    V3(Result<Reply, Refused>),
    /// How many nodes expired.
    Expired(u32),
    Done,
    /// The members cannot be changed so, with the error's exact text.
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
}

impl State {
    pub fn open(backend: Arc<Backend>) -> Result<Self, Fatal> {
        let writer = Writer::open(Arc::clone(&backend))?;
        let reader = Arc::new(Reader::new(Arc::clone(writer.store())));
        Small::read(&writer)?.show(&reader);
        Ok(Self { writer, backend, reader })
    }

    /// Goes on with a later state, from another member: the whole file at this path takes the place
    /// of ours. See [`Writer::replace`].
    pub fn replace(&mut self, incoming: &Path) -> Result<(), Fatal> {
        self.writer.replace(incoming)?;
        Small::read(&self.writer)?.show(&self.reader);
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
            Op::Keys(_) => self.apply_keys(at, op),
            // Nothing is written while members differ.
            Op::Expire(_) if self.reader.alarms().corrupt() => {
                Ok((Response::Expired(0), Vec::new()))
            }
            Op::Expire(command) => {
                let commits = keys::expire(&mut self.writer, self.reader.key_stats(), command)?;
                let expired = u32::try_from(commits.len()).unwrap_or(u32::MAX);
                Ok((Response::Expired(expired), commits))
            }
            Op::Publish(publish) => Ok((self.apply_publish(publish), Vec::new())),
            Op::ClusterVersion(version) => Ok((self.apply_version(version), Vec::new())),
            Op::Compact(_)
            | Op::Put(_)
            | Op::DeleteRange(_)
            | Op::Txn(_)
            | Op::LeaseGrant(_)
            | Op::LeaseRevoke(_)
            | Op::LeaseCheckpoint(_)
            | Op::Alarm(_) => self.apply_v3(at, op),
        }
    }

    fn apply_keys(&mut self, at: Applied, op: Op) -> Result<(Response, Vec<Arc<Commit>>), Fatal> {
        if let Err(refused) = self.permits(&op) {
            return Ok((Response::V3(Err(refused)), Vec::new()));
        }
        let Op::Keys(write) = op else {
            return Err(undecodable(at, "no write through v2"));
        };
        let method = KeysMethod::try_from(write.method)
            .map_err(|error| undecodable(at, &error.to_string()))?;
        let written = keys::write(&mut self.writer, self.reader.key_stats(), method, &write)?;
        if written.commit.is_some() {
            // Whoever writes through v2 counts on a number for each change, from now on.
            self.writer.number_each_change();
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

    fn set_members(&mut self, members: membership::Members) {
        self.writer.set_meta(meta::MEMBERS, Some(membership::encode(&members)));
        self.reader.set_members(members);
    }

    /// See [`Writer::hash_compactions`].
    pub fn hash_compactions(&mut self, hashes: bool) {
        self.writer.hash_compactions(hashes);
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
    leases: BTreeMap<i64, Lease>,
    alarms: Alarms,
}

impl Small {
    fn show(self, reader: &Reader) {
        let Self { members, version, leases, alarms } = self;
        reader.set_members(members);
        if let Some(version) = version {
            reader.set_cluster_version(version);
        }
        reader.leases().load(leases);
        reader.set_alarms(alarms);
    }

    fn read(writer: &Writer) -> Result<Self, Fatal> {
        let members = match writer.meta(meta::MEMBERS.as_bytes())? {
            Some(row) => membership::decode(&row)
                .map_err(|error| damaged(meta::MEMBERS, &error.to_string()))?,
            None => membership::Members::default(),
        };
        let version = match writer.meta(meta::CLUSTER_VERSION.as_bytes())? {
            Some(row) => {
                let text = String::from_utf8(row.into())
                    .map_err(|error| damaged(meta::CLUSTER_VERSION, &error.to_string()))?;
                Some(text)
            }
            None => None,
        };
        let (leases, alarms) = (v3::read_leases(writer)?, v3::read_alarms(writer)?);
        Ok(Self { members, version, leases, alarms })
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
