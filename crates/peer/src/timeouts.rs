//! How long a stream between members may stand still.

use std::time::Duration;

/// After which a stream of messages that stands still is given up; those of snapshots have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Nothing has come from the peer, not even that it reads (`--raft-read-timeout` of etcd 3.5).
    pub read: Duration,
    /// Something waits to be written, nothing of it can be, and nothing comes (`--raft-write-timeout`).
    pub write: Duration,
}

impl Timeouts {
    /// etcd raises what is shorter, and so does whoever makes these.
    pub const MIN: Duration = Duration::from_secs(5);
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { read: Self::MIN, write: Self::MIN }
    }
}
