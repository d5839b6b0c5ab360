//! One member's logic, without a clock, a disk or a network: events in, effects out.
//!
//! [`Core`] is consensus: it takes what happens (a tick, proposals, "these bytes are on disk",
//! "applied up to N") and says what to do (append, send, apply, answer). [`Applier`] carries
//! committed entries into the replicated state. [`open`](open()) brings both up from disk,
//! [`backup`](backup()) and [`restore`](restore()) make data for a new cluster of what is there, and [`upkeep`] decides when
//! to flush and when to cut the log. [`shell`] carries out what the core wants; `server` does that with
//! threads, `sim` with a seeded schedule: it is the same code.
//!
//! Sole user of the `raft` crate. Invariants:
//! - nothing is applied that this member's own log has not synced;
//! - a message that promises something leaves only once what it promises is synced;
//! - raft hears of a configuration change before it hears that its entry is applied.

mod applier;
mod backup;
mod bootstrap;
mod conf;
mod core;
pub mod initial;
mod kept;
mod logger;
mod open;
mod restore;
pub mod shell;
mod spool;
mod target;
pub mod upkeep;
mod window;

pub use applier::{Answer, Applier, ApplyError, Batch, Progress};
pub use backup::{Backup, BackupError, Place, backup};
pub use bootstrap::Bootstrap;
pub use conf::ConfError;
pub use core::{
    Append, Config, Core, CoreError, Due, Effects, Install, Lost, PeerMessage, Proposal, RaftState,
    Read, Refusal, Role, Ticket, Unproposed,
};
pub use kept::{Kept, KeptError, Status};
pub use mvcc::KeysHash;
pub use open::{OpenError, Opened, Options, Others, Paths, exists, knows_nobody, open, others};
pub use restore::{Restore, RestoreError, Restored, found, restore};
pub use shell::Shell;
pub use spool::Files;
pub use wal::Identity;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(test)]
mod script_tests;
#[cfg(test)]
mod stage;
