//! Everything that Raft replicates: commands in, answers out, the same on every member.
//!
//! [`State`] belongs to the apply thread; [`Reader`] is what all others see. No clock, no
//! randomness, no hash map: two members that apply the same entries hold the same bytes.
//!
//! - `apply`: one committed entry after another
//! - `keys`: the v2 view of the keyspace; `kv`: the v3 view
//! - `lease`: keys that go together unless somebody keeps them
//! - `auth`: users and roles, and what they permit
//! - `alarm`, `quota`: what is wrong with a member, and how much may be written
//! - `census`: what rows say that are only looked at
//! - `membership`: who belongs to the cluster

pub mod alarm;
pub mod apply;
pub mod auth;
mod census;
pub mod keys;
pub mod kv;
pub mod lease;
pub mod membership;
pub mod quota;

pub use apply::{Reader, Reply, Response, State};
pub use census::Census;

#[cfg(test)]
mod tests;
