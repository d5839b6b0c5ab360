//! Applies committed entries, one by one, in order.

mod auth;
mod conf;
mod load;
#[cfg(feature = "next-version")]
mod next;
mod reader;
mod v3;
mod versions;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use backend::{Applied, Backend, Table};
use base::{
    Refused,
    version::{Build, Minor},
};
use mvcc::{Commit, ReadError, Writer};
use prost::Message as _;
use proto::command::{By, Command, KeysMethod, Op, Publish};

#[cfg(feature = "next-version")]
pub use self::next::Next;
pub use self::{
    conf::{NewCluster, membership_change},
    load::Standing,
    reader::Reader,
    v3::Reply,
    versions::{Unfit, Versions},
};
use crate::{
    alarm::Alarms,
    auth::{Auth, v2},
    keys,
    lease::Lease,
    membership,
};

/// Rows of the table `Meta`.
mod meta {
    pub(super) const MEMBERS: &str = "state.members";
    pub(super) const CLUSTER_VERSION: &str = "state.cluster_version";
    /// There while older builds take the members' places.
    pub(super) const DOWNGRADE: &str = "state.downgrade";
    /// From where the cluster's version was lowered, and by which entry.
    pub(super) const LOWERED: &str = "state.lowered";
    pub(super) const CONF_STATE: &str = "state.conf_state";
    pub(super) const ALARMS: &str = "state.alarms";
    /// Whose cluster this is the state of.
    pub(super) const CLUSTER: &str = "state.cluster";
}

/// The cluster's version, if it is this row of `Meta` that says it.
pub(crate) fn version_in(key: &[u8], row: &[u8]) -> Option<Minor> {
    (key == meta::CLUSTER_VERSION.as_bytes())
        .then(|| Minor::parse(&String::from_utf8_lossy(row)))
        .flatten()
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
    Downgrade(Result<(), Unfit>),
    /// A change of users and roles by the rules of v2; others have answers of v3.
    V2Auth(Result<v2::Done, v2::Refusal>),
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
    #[error(
        "invalid downgrade; server version is lower than determined cluster version: this build is \
         {server}, the cluster is at {cluster}. Start a build of {cluster} again. To go back, lower \
         the cluster's version first (POST /v3/maintenance/downgrade), and change builds once \
         /version of this member shows it as \"storage\""
    )]
    TooOld { cluster: Minor, server: &'static str },
    #[error(
        "the cluster is at version {cluster}, and this build ({server}) can be a member from \
         {oldest} on: upgrade all members one minor version at a time"
    )]
    TooNew { cluster: Minor, server: &'static str, oldest: Minor },
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
    build: Build,
}

impl State {
    /// Refused if a member of this build cannot go on with what is there.
    pub fn open(backend: Arc<Backend>, build: Build) -> Result<Self, Fatal> {
        let writer = Writer::open(Arc::clone(&backend))?;
        let small = Small::read(&writer)?;
        small.versions.check(&build)?;
        let reader = Arc::new(Reader::new(Arc::clone(writer.store()), small.versions));
        small.show(&reader);
        #[cfg(feature = "next-version")]
        reader.set_next(Next::read(&writer)?);
        Ok(Self { writer, backend, reader, build })
    }

    /// Goes on with a later state, from another member: the whole file at this path takes the place
    /// of ours. See [`Writer::replace`].
    pub fn replace(&mut self, incoming: &Path) -> Result<(), Fatal> {
        self.writer.replace(incoming)?;
        let small = Small::read(&self.writer)?;
        let versions = small.versions.check(&self.build)?;
        small.show(&self.reader);
        #[cfg(feature = "next-version")]
        self.reader.set_next(Next::read(&self.writer)?);
        let durable = self.applied().index;
        self.reader.set_versions(versions, durable, durable);
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
            let command =
                Command::decode(command).map_err(|error| undecodable(at, &error.to_string()))?;
            let permitted = self.reader.versions().permit(at.index, command.format, &self.build)?;
            let (response, commits) = if permitted {
                self.run(at, command.by.as_ref(), command.op)?
            } else {
                (too_late(at), Vec::new())
            };
            Outcome { id: command.id, response, commits }
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

    fn run(
        &mut self,
        at: Applied,
        by: Option<&By>,
        op: Option<Op>,
    ) -> Result<(Response, Vec<Arc<Commit>>), Fatal> {
        let op = op.ok_or_else(|| undecodable(at, "no operation that this build knows"))?;
        match op {
            Op::Keys(_) => self.apply_keys(at, by, op),
            Op::Auth(change) => Ok((self.apply_auth(at, by, change)?, Vec::new())),
            // Nothing is written while members differ.
            Op::Expire(_) if self.reader.alarms().corrupt(&self.reader.members()) => {
                Ok((Response::Expired(0), Vec::new()))
            }
            Op::Expire(command) => {
                let commits = keys::expire(&mut self.writer, self.reader.key_stats(), command)?;
                let expired = u32::try_from(commits.len()).unwrap_or(u32::MAX);
                Ok((Response::Expired(expired), commits))
            }
            Op::Publish(publish) => Ok((self.apply_publish(publish), Vec::new())),
            Op::ClusterVersion(version) => Ok((self.apply_version(at, &version)?, Vec::new())),
            Op::Downgrade(downgrade) => Ok((self.apply_downgrade(at, &downgrade)?, Vec::new())),
            #[cfg(feature = "next-version")]
            Op::Note(note) => Ok((self.apply_note(note), Vec::new())),
            Op::Compact(_)
            | Op::Put(_)
            | Op::DeleteRange(_)
            | Op::Txn(_)
            | Op::LeaseGrant(_)
            | Op::LeaseRevoke(_)
            | Op::LeaseCheckpoint(_)
            | Op::Alarm(_) => self.apply_v3(at, by, op),
        }
    }

    fn apply_keys(
        &mut self,
        at: Applied,
        by: Option<&By>,
        op: Op,
    ) -> Result<(Response, Vec<Arc<Commit>>), Fatal> {
        if let Err(refused) = self.permits(by, &op) {
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
        #[cfg(feature = "next-version")]
        self.count_next(written.commit.is_some());
        let answer = self.conceal(by, &write, written.answer);
        Ok((Response::Keys(answer), written.commit.into_iter().collect()))
    }

    fn apply_publish(&mut self, publish: Publish) -> Response {
        let mut members = (*self.reader.members()).clone();
        if members.publish(publish) {
            self.set_members(members);
        }
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
    versions: Versions,
    leases: BTreeMap<i64, Lease>,
    alarms: Alarms,
    auth: Auth,
}

impl Small {
    fn show(self, reader: &Reader) {
        let Self { members, leases, alarms, auth, .. } = self;
        reader.set_members(members);
        reader.leases().load(leases);
        reader.set_alarms(alarms);
        // Who has logged in with users of before is not known here.
        reader.tokens().clear();
        reader.set_auth(auth);
    }

    fn read(writer: &Writer) -> Result<Self, Fatal> {
        let members = match writer.meta(meta::MEMBERS.as_bytes())? {
            Some(row) => membership::decode(&row)
                .map_err(|error| damaged(meta::MEMBERS, &error.to_string()))?,
            None => membership::Members::default(),
        };
        let versions = Versions::read(writer)?;
        let (leases, alarms) = (v3::read_leases(writer)?, v3::read_alarms(writer)?);
        let auth = auth::read_auth(writer)?;
        Ok(Self { members, versions, leases, alarms, auth })
    }
}

/// The answer to a command that the cluster's version does not permit any more.
fn too_late(at: Applied) -> Response {
    let text = "the cluster's version does not permit this command: it was lowered, or not all \
                members can carry it out yet";
    tracing::info!(index = at.index.0, "a command does nothing: {text}");
    Response::Refused(text.to_owned())
}

fn undecodable(at: Applied, text: &str) -> Fatal {
    Fatal::Undecodable { index: at.index.0, text: text.to_owned() }
}

fn damaged(row: &str, text: &str) -> Fatal {
    ReadError::from(backend::Error::damaged(Table::Meta, row.as_bytes(), text)).into()
}
