//! The shell around a member: threads, files and queues that carry out what its core decides.
//!
//! Two raft threads, of which one at a time writes the log, one apply thread, one flusher; requests come from
//! tokio tasks through [`Handle`]. A write goes: inbox → raft → log → apply → answer → watchers. Where nothing
//! else waits, a raft thread does the next step itself instead of waking another thread.
//!
//! Invariants:
//! - every queue has a bound, and a request beyond it is refused at once;
//! - after a failed sync or a failed apply nobody is told of success any more;
//! - an idle member writes nothing.

mod addresses;
mod applies;
mod barriers;
mod compactor;
mod config;
mod corruption;
mod counters;
mod crowd;
mod failure;
mod figures;
mod handle;
mod inbox;
mod late;
mod leader;
mod leaderless;
mod leases;
mod lost;
mod passwords;
mod promotion;
mod shared;
mod start;
mod threads;
mod transfer;
mod waiters;

pub use addresses::addresses;
pub use applies::Applies;
pub use compactor::AutoCompaction;
pub use config::{Config, Done, StartError, Status, Unserved};
pub use corruption::{COMPARE_PATH, CorruptionChecks, DIGEST_PATH, HASH_PATH};
pub use counters::{Compaction, Counters};
pub use figures::{AppendFigures, Figures, WriteFigures};
pub use handle::{Connected, Handle};
pub use leases::{KEEP_PATH, LeaseError, TIME_TO_LIVE_PATH};
pub use member::RaftState;
pub use passwords::{Applicant, PasswordError, Passwords, Presence};
pub use peer::{Dialer, Timeouts, ask::Forcing};
pub use promotion::{PROMOTE_PATH, PromotionError, Promotions};
pub use start::{founding_id, has_member, knows_nobody, start};
pub use threads::saves::{Blob, Saved, Unsaved};

#[cfg(test)]
mod tests;
