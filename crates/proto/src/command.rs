//! A command: the payload of a raft entry, the only way in which replicated state changes.
//!
//! Whatever is random, slow or timed is computed before and carried inside: apply reads no clock.

mod auth;

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};

pub use self::auth::{
    Auth, AuthChange, Authenticate, By, Named, Nothing, Patterns, PutRole, PutUser, RoleGrant,
    RoleRevoke, UserAdd, UserPassword, UserRole,
};
use crate::etcdserverpb::{
    AlarmRequest, DeleteRangeRequest, LeaseGrantRequest, PutRequest, TxnRequest,
};

/// The payload of a normal raft entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// The oldest format that has all of what it says: see [`Op::format`]. One that the cluster's
    /// version does not permit does nothing, on any member: its proposer had not heard yet that
    /// the version was lowered.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// Whom to answer: the proposal's id, unique among all members and restarts with high
    /// probability; 0 if nobody waits.
    #[prost(uint64, tag = "2")]
    pub id: u64,
    /// Absent: nobody in particular, or a member by itself.
    #[prost(message, optional, tag = "3")]
    pub by: Option<By>,
    #[cfg_attr(
        not(feature = "next-version"),
        prost(oneof = "Op", tags = "10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25, 26, 27")
    )]
    #[cfg_attr(
        feature = "next-version",
        prost(oneof = "Op", tags = "10, 11, 12, 13, 14, 15, 16, 20, 21, 22, 23, 24, 25, 26, 27")
    )]
    pub op: Option<Op>,
}

impl Command {
    /// `id`: whom to answer; 0 if nobody waits.
    pub fn new(id: u64, op: Op) -> Self {
        Self { format: op.format(), id, by: None, op: Some(op) }
    }

    /// The id of the command that these bytes are, by a look at how they begin; 0 if it has none.
    pub fn id_in(mut bytes: &[u8]) -> u64 {
        const FORMAT: u32 = 1;
        const ID: u32 = 2;
        loop {
            match decode_key(&mut bytes) {
                Ok((FORMAT, WireType::Varint)) if decode_varint(&mut bytes).is_ok() => {}
                Ok((ID, WireType::Varint)) => return decode_varint(&mut bytes).unwrap_or(0),
                Ok(_) | Err(_) => return 0,
            }
        }
    }

    /// Whether these bytes are a command that puts one key, by a look at how they begin.
    pub fn is_put(mut bytes: &[u8]) -> bool {
        const FORMAT: u32 = 1;
        const ID: u32 = 2;
        const PUT: u32 = 20;
        loop {
            match decode_key(&mut bytes) {
                Ok((FORMAT | ID, WireType::Varint)) if decode_varint(&mut bytes).is_ok() => {}
                Ok((tag, _)) => return tag == PUT,
                Err(_) => return false,
            }
        }
    }
}

/// What a command does.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Op {
    /// A write through the v2 keys API.
    #[prost(message, tag = "10")]
    Keys(KeysWrite),
    /// The leader's sweep of what has passed its time to live.
    #[prost(message, tag = "11")]
    Expire(Expire),
    /// A member tells its name and client URLs.
    #[prost(message, tag = "12")]
    Publish(Publish),
    /// The version that all members can do, as `major.minor.patch`: sets or raises it.
    #[prost(message, tag = "13")]
    ClusterVersion(ClusterVersion),
    /// Removes history below a revision.
    #[prost(message, tag = "14")]
    Compact(Compact),
    /// The writes of v3, as clients send them; their form is checked before.
    #[prost(message, tag = "20")]
    Put(PutRequest),
    #[prost(message, tag = "21")]
    DeleteRange(DeleteRangeRequest),
    #[prost(message, tag = "22")]
    Txn(TxnRequest),
    /// With an id that is not 0, and a time to live that is not below the least one.
    #[prost(message, tag = "23")]
    LeaseGrant(LeaseGrantRequest),
    #[prost(message, tag = "24")]
    LeaseRevoke(LeaseRevoke),
    /// What is left of leases, for the next leader.
    #[prost(message, tag = "25")]
    LeaseCheckpoint(LeaseCheckpoint),
    #[prost(message, tag = "26")]
    Alarm(AlarmRequest),
    #[prost(message, tag = "27")]
    Auth(Auth),
    /// Lowers the cluster's version, so that older builds can take the members' places; or ends
    /// that.
    #[prost(message, tag = "15")]
    Downgrade(Downgrade),
    /// What only a build has that says to be a version on: leaves a note in the replicated state.
    #[cfg(feature = "next-version")]
    #[prost(message, tag = "16")]
    Note(Note),
}

impl Op {
    /// The oldest format of commands that has it. A new kind, or a new field that is set, needs a
    /// new one: an older build would apply the rest.
    pub const fn format(&self) -> u32 {
        match self {
            Self::Keys(_)
            | Self::Expire(_)
            | Self::Publish(_)
            | Self::ClusterVersion(_)
            | Self::Compact(_)
            | Self::Downgrade(_)
            | Self::Put(_)
            | Self::DeleteRange(_)
            | Self::Txn(_)
            | Self::LeaseGrant(_)
            | Self::LeaseRevoke(_)
            | Self::LeaseCheckpoint(_)
            | Self::Alarm(_)
            | Self::Auth(_) => 1,
            #[cfg(feature = "next-version")]
            Self::Note(_) => 2,
        }
    }

    /// Whether it is taken in where others are turned away: it ends a lease (etcd 3.7), makes room, or tells
    /// what the cluster needs to know.
    pub const fn is_urgent(&self) -> bool {
        match self {
            Self::LeaseRevoke(_)
            | Self::LeaseCheckpoint(_)
            | Self::Compact(_)
            | Self::Alarm(_)
            | Self::Expire(_)
            | Self::Publish(_)
            | Self::ClusterVersion(_) => true,
            Self::Keys(_)
            | Self::Put(_)
            | Self::DeleteRange(_)
            | Self::Txn(_)
            | Self::LeaseGrant(_)
            | Self::Auth(_)
            | Self::Downgrade(_) => false,
            #[cfg(feature = "next-version")]
            Self::Note(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum KeysMethod {
    Set = 0,
    Create = 1,
    /// Creates a child named by the next index, zero-padded to 20 digits (POST).
    CreateInOrder = 2,
    Update = 3,
    CompareAndSwap = 4,
    Delete = 5,
    CompareAndDelete = 6,
}

/// A write through the v2 keys API, its form already checked.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(clippy::struct_excessive_bools, reason = "as the API has them")]
pub struct KeysWrite {
    #[prost(enumeration = "KeysMethod", tag = "1")]
    pub method: i32,
    /// A clean path: `/a/b`, or `/` for the root.
    #[prost(bytes = "bytes", tag = "2")]
    pub path: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub value: Bytes,
    #[prost(bool, tag = "4")]
    pub dir: bool,
    #[prost(bool, tag = "5")]
    pub recursive: bool,
    /// Compare with the current value; never present and empty (the API refuses that).
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub prev_value: Option<Bytes>,
    /// Compare with the current modified index; 0: do not.
    #[prost(uint64, tag = "7")]
    pub prev_index: u64,
    /// When it expires, in nanoseconds since 1970; absent: never.
    #[prost(sint64, optional, tag = "8")]
    pub expiry: Option<i64>,
    /// Change the time to live only: keep the value, tell no watcher.
    #[prost(bool, tag = "9")]
    pub refresh: bool,
    /// The path had a slash at its end: whoever may write all that lies below may do so.
    #[prost(bool, tag = "10")]
    pub slash: bool,
}

/// Expires everything whose time is at or before `up_to` (nanoseconds since 1970), at most
/// `nodes_max` nodes.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Expire {
    #[prost(sint64, tag = "1")]
    pub up_to: i64,
    #[prost(uint32, tag = "2")]
    pub nodes_max: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Publish {
    #[prost(fixed64, tag = "1")]
    pub member: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, repeated, tag = "3")]
    pub client_urls: Vec<String>,
    /// Of its build, as `major.minor.patch`.
    #[prost(string, tag = "4")]
    pub version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ClusterVersion {
    #[prost(string, tag = "1")]
    pub version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Downgrade {
    /// The cluster's version from here on, as `major.minor.patch`; empty ends a downgrade: the
    /// version may be raised again.
    #[prost(string, tag = "1")]
    pub target: String,
}

/// Sets the note; an empty text removes it.
#[cfg(feature = "next-version")]
#[derive(Clone, PartialEq, prost::Message)]
pub struct Note {
    #[prost(string, tag = "1")]
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Compact {
    /// The oldest revision that can still be read afterwards.
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

/// Ends a lease, and the keys on it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LeaseRevoke {
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Its time was over: v2 tells so of its keys.
    #[prost(bool, tag = "2")]
    pub expired: bool,
    /// The entry by which it was granted; 0: whichever. A lease can have gone, and its id be that of
    /// another, before this is applied.
    #[prost(uint64, tag = "3")]
    pub granted: u64,
}

/// What is left of leases.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseCheckpoint {
    #[prost(message, repeated, tag = "1")]
    pub notes: Vec<LeaseNote>,
}

/// What is left of a lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseNote {
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// In seconds; 0: all.
    #[prost(int64, tag = "2")]
    pub remaining: i64,
    /// As in [`LeaseRevoke`].
    #[prost(uint64, tag = "3")]
    pub granted: u64,
}

/// The context of a configuration change that does not remove a member.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberChange {
    #[prost(enumeration = "MemberChangeKind", tag = "1")]
    pub kind: i32,
    /// For a promotion only the id counts.
    #[prost(message, optional, tag = "2")]
    pub member: Option<Member>,
    /// How many learners there may be, the one that this adds included: what its proposer was
    /// started with, so that all members decide alike.
    #[prost(uint32, tag = "3")]
    pub learners_max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum MemberChangeKind {
    Add = 0,
    /// Other peer URLs.
    Update = 1,
    /// A learner becomes a voter.
    Promote = 2,
}

/// A member in a configuration change, and in the row of the members table.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Member {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
    #[prost(bool, tag = "5")]
    pub learner: bool,
    /// Of its build, as `major.minor.patch`; empty until it has started once.
    #[prost(string, tag = "6")]
    pub version: String,
}
