//! What goes into a member and what comes out of it.

use std::{path::PathBuf, time::Duration};

use member::RaftState;
use peer::{Dialer, Timeouts, ask::Forcing};

use base::{Index, MemberId, Term, UnixNanos, limits};
use state::Response;
use tokio::sync::watch;

use crate::{AutoCompaction, CorruptionChecks};

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
    /// Once this start asks the others whether they go on without it, they are to be told here that it
    /// does: whoever holds the peer port answers so meanwhile.
    pub forcing: watch::Sender<Option<Forcing>>,
    /// Refuse changes of the members that would leave too few of them started.
    pub strict_reconfig_check: bool,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub heartbeat: Duration,
    pub election: Duration,
    /// Entries applied between two cuts of the log.
    pub snapshot_count: u64,
    pub quota_bytes: u64,
    /// A command's bytes, all of it: see [`base::limits::REQUEST_BYTES_CEILING`].
    pub request_bytes_max: usize,
    /// In place of the leader's own rule, where it is given.
    pub auto_compaction: Option<AutoCompaction>,
    /// What takes longer to be applied, or read, is told in the log.
    pub apply_expected: Duration,
    /// When members are compared, and what follows.
    pub corruption: CorruptionChecks,
    /// Learners at once.
    pub learners_max: u32,
    /// Applied entries that stay in memory for followers that lag.
    pub catch_up_entries: u64,
    /// How the other members are reached.
    pub dialer: Dialer,
    /// When a stream of theirs, or to them, is given up.
    pub timeouts: Timeouts,
}

impl Config {
    /// How long a write or a read index may take (etcd): 5 s, and two elections, since one may be
    /// lost.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election
    }

    /// How long the first of very many writes may wait before others are turned away.
    pub(crate) fn crowd_patience(&self) -> Duration {
        self.election / limits::CROWD_PATIENCE_PART
    }
}

/// Why a member did not start. Each text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "data directory {path} is in use by another process: stop that one, or choose another \
         --data-dir"
    )]
    InUse { path: String },
    #[error(
        "data directory {path} was written by the original etcd ({found}): choose another \
         --data-dir"
    )]
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
    #[error("etcdserver: request timed out, possibly due to connection lost")]
    TimeoutConnectionLost,
    /// All that was acknowledged is known, but this member has not applied it.
    #[error("etcdserver: request timed out, waiting for the applied index took too long")]
    TimeoutWaitAppliedIndex,
    /// Overload: answered at once.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    #[error("etcdserver: request is too large")]
    TooLarge,
    #[error("etcdserver: no leader")]
    NoLeader,
    /// It was lost with its leader, and is not here to be proposed again: nothing was done.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    /// The cluster would have too few members that run.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// Too few members are in touch with this one.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    #[error("etcdserver: the last voter cannot be removed")]
    LastVoter,
    /// It is new, and the cluster's version does not permit it.
    #[error("etcdserver: not all members can do this yet: upgrade them, then try again")]
    NotAllCan,
    #[error("etcdserver: not leader")]
    NotLeader,
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    #[error("etcdserver: server stopped")]
    Stopped,
}

impl Unserved {
    /// Whether it took too long, for whatever reason.
    pub fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::TimeoutLeaderFailed
                | Self::TimeoutConnectionLost
                | Self::TimeoutWaitAppliedIndex
        )
    }
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
    /// The same in raft's own terms.
    pub state: RaftState,
    pub term: Term,
    /// Raft's committed index.
    pub committed: Index,
    pub applied: Index,
    pub durable: Index,
    /// When the present leader was first seen.
    pub leader_since: Option<UnixNanos>,
}
