//! Everything that Raft replicates: commands in, answers out, the same on every member.
//!
//! [`State`] belongs to the apply thread; [`Reader`] is what all others see. No clock, no
//! randomness, no hash map: two members that apply the same entries hold the same bytes.
//!
//! - `apply`: one committed entry after another
//! - `keys`: the v2 view of the keyspace
//! - `membership`: who belongs to the cluster

pub mod apply;
pub mod keys;
pub mod membership;

pub use apply::{Reader, Response, State};

#[cfg(test)]
mod tests;
