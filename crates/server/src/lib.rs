//! The shell around a member: threads, files and queues that carry out what its core decides.
//!
//! One raft thread, one log writer, one apply thread, one flusher; requests come from tokio tasks
//! through [`Handle`].
//!
//! CONTRACT (author: fill in; keep the signatures unless there is a strong reason).

use std::{path::PathBuf, sync::Arc, time::Duration};

use base::{Clock, ClusterId, Disk, Index, MemberId, Term, UnixNanos};
use proto::command::Op;
use state::{Reader, Response};

/// What a member needs to know to start.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    /// Default: `<data_dir>/member/wal`.
    pub wal_dir: Option<PathBuf>,
    /// Name and peer URLs of every member of a new cluster, this one among them. Ignored, with a
    /// log line, when the data directory already has a member.
    pub initial_cluster: Vec<(String, Vec<String>)>,
    pub initial_cluster_token: String,
    /// `--initial-cluster-state new`.
    pub new_cluster: bool,
    pub force_new_cluster: bool,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub heartbeat: Duration,
    pub election: Duration,
    /// Entries applied between two cuts of the log.
    pub snapshot_count: u64,
    pub quota_bytes: u64,
}

/// Why a member did not start. Each text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("data directory {path} is in use by another process: stop that one, or choose another --data-dir")]
    InUse { path: String },
    #[error("data directory {path} was written by the original etcd ({found}): choose another --data-dir")]
    Original { path: String, found: String },
    #[error("{0}")]
    Other(String),
}

/// Why a request got no answer of its own. Texts are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    #[error("etcdserver: request timed out")]
    Timeout,
    #[error("etcdserver: request timed out, possibly due to previous leader failure")]
    TimeoutLeaderFailed,
    /// Overload: answered at once.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    #[error("etcdserver: request is too large")]
    TooLarge,
    #[error("etcdserver: no leader")]
    NoLeader,
    #[error("etcdserver: server stopped")]
    Stopped,
}

/// The answer to a write, and where the raft log stood.
#[derive(Clone, Debug)]
pub struct Done {
    pub response: Response,
    pub index: Index,
    pub term: Term,
}

/// Where this member stands; from atomics, at no cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status {
    pub leader: Option<MemberId>,
    pub is_leader: bool,
    pub term: Term,
    /// Raft's committed index.
    pub committed: Index,
    pub applied: Index,
    pub durable: Index,
    /// When the present leader was first seen.
    pub leader_since: Option<UnixNanos>,
}

/// Figures for `/metrics`; all count from the start of the process.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub proposals_pending: u64,
    pub proposals_failed: u64,
    pub proposals_applied: u64,
    pub leader_changes: u64,
    /// Upper bounds in seconds and cumulative counts, then sum and count.
    pub wal_fsync: Histogram,
    pub backend_commit: Histogram,
    pub keyspace_bytes: u64,
    pub keyspace_bytes_in_use: u64,
    pub wal_bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Histogram {
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
    pub count: u64,
}

/// Starts a member: opens or bootstraps its data directory and starts its threads. Blocks until
/// the data is open, not until there is a leader. Touches nothing if it fails its checks.
pub fn start(
    config: Config,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<Handle, StartError> {
    unimplemented!("{config:?} {disk:?} {clock:?}")
}

/// A running member, for all who serve requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {}

#[allow(unused_variables, clippy::unused_self, clippy::unused_async, reason = "contract")]
impl Handle {
    pub fn member_id(&self) -> MemberId {
        unimplemented!()
    }

    pub fn cluster_id(&self) -> ClusterId {
        unimplemented!()
    }

    pub fn name(&self) -> &str {
        unimplemented!()
    }

    pub fn started_at(&self) -> UnixNanos {
        unimplemented!()
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        unimplemented!()
    }

    pub fn reader(&self) -> &Arc<Reader> {
        unimplemented!()
    }

    pub fn status(&self) -> Status {
        unimplemented!()
    }

    pub fn figures(&self) -> Figures {
        unimplemented!()
    }

    /// Proposes a command and waits until it is applied here. Etcd's time limit: 5 s and two
    /// election timeouts.
    pub async fn write(&self, op: Op) -> Result<Done, Unserved> {
        unimplemented!()
    }

    /// Waits until this member's keyspace holds everything acknowledged before the call, by any
    /// member (a read index).
    pub async fn read_barrier(&self) -> Result<(), Unserved> {
        unimplemented!()
    }

    /// Resolves when the member has published itself: it leads or has a leader, and its name and
    /// client URLs are agreed on.
    pub async fn ready(&self) {
        unimplemented!()
    }

    /// Resolves when the member cannot go on, with the chain of causes.
    pub async fn failed(&self) -> String {
        unimplemented!()
    }

    /// Finishes what was accepted, flushes, and stops the threads.
    pub async fn stop(&self) {
        unimplemented!()
    }
}
