//! Applies committed entries, one by one, in order.

use std::sync::Arc;

use backend::{Applied, Backend};
use base::{MemberId, UnixNanos};
use bytes::Bytes;
use mvcc::{Commit, Store};
use proto::command::Command;

use crate::{keys, membership::Members};

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
    #[error("entry {index}: its command has format {format}, newer than this build knows ({known}): upgrade this member")]
    UnknownFormat { index: u64, format: u32, known: u32 },
    #[error("entry {index}: its command cannot be decoded: {text}")]
    Undecodable { index: u64, text: String },
    #[error(transparent)]
    Read(#[from] mvcc::ReadError),
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
pub struct State {}

#[allow(unused_variables, reason = "contract")]
impl State {
    pub fn open(backend: Arc<Backend>) -> Result<Self, Fatal> {
        unimplemented!()
    }

    pub fn reader(&self) -> Arc<Reader> {
        unimplemented!()
    }

    /// The last entry whose changes this state includes.
    pub fn applied(&self) -> Applied {
        unimplemented!()
    }

    /// Applies a normal entry. An empty one (a new leader's) only moves `applied`.
    pub fn apply(&mut self, at: Applied, command: &[u8]) -> Result<Outcome, Fatal> {
        unimplemented!()
    }

    /// Applies a configuration change: the members table, and raft's ConfState (opaque bytes) as it
    /// is afterwards, in the same write. `context` is an encoded [`proto::command::Member`].
    pub fn apply_conf_change(
        &mut self,
        at: Applied,
        change: membership_change::Change,
        conf_state: Bytes,
    ) -> Result<Outcome, Fatal> {
        unimplemented!()
    }

    /// Raft's ConfState (opaque bytes) at [`State::applied`]; `None` in a fresh store.
    pub fn conf_state(&self) -> Result<Option<Bytes>, Fatal> {
        unimplemented!()
    }

    /// One small step of compaction; true if there is more to do now.
    pub fn compact_step(&mut self, rows: usize) -> Result<bool, Fatal> {
        unimplemented!()
    }
}

/// The kinds of configuration change.
pub mod membership_change {
    use base::MemberId;
    use proto::command::Member;

    #[derive(Clone, Debug)]
    pub enum Change {
        Add(Member),
        Update(Member),
        Remove(MemberId),
    }
}

/// What every thread may read.
#[derive(Debug)]
pub struct Reader {}

#[allow(unused_variables, reason = "contract")]
impl Reader {
    pub fn store(&self) -> &Arc<Store> {
        unimplemented!()
    }

    /// A snapshot of the members as applied.
    pub fn members(&self) -> Arc<Members> {
        unimplemented!()
    }

    /// As `major.minor.patch`; `None` before agreement.
    pub fn cluster_version(&self) -> Option<String> {
        unimplemented!()
    }

    /// Counters of `/v2/stats/store`.
    pub fn key_stats(&self) -> &keys::Stats {
        unimplemented!()
    }

    /// The nearest v2 expiry, for the leader's timer.
    pub fn next_expiry(&self) -> Option<UnixNanos> {
        unimplemented!()
    }

    /// The revision to compact at, if history has outgrown its bounds (a quarter of `quota_bytes`,
    /// or [`base::limits::HISTORY_REVISIONS_MAX`]); the leader proposes it.
    pub fn compaction_due(&self, quota_bytes: u64) -> Option<i64> {
        unimplemented!()
    }

    /// Whether this member was removed.
    pub fn is_removed(&self, member: MemberId) -> bool {
        unimplemented!()
    }
}
