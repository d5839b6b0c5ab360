//! The messages of the `raft` crate on prost 0.14, with `Bytes` payloads.
//!
//! The crate of this name on crates.io generates them with protoc and prost 0.11. The workspace
//! puts this one in its place (`[patch.crates-io]`): same names, same numbers on the wire, no
//! protoc, and an entry's payload is shared instead of copied.

mod conf_change;
mod conf_state;
pub mod eraftpb;

pub use conf_change::{ConfChangeI, new_conf_change_single};
pub use conf_state::conf_state_eq;

/// What `raft::prelude` hands on.
pub mod prelude {
    pub use crate::eraftpb::{
        ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2,
        ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot, SnapshotMetadata,
    };
}
