//! The messages, with the accessors by which `raft` reaches their fields.
//!
//! Tags are those of raft's `eraftpb.proto`. An unknown number of an enumeration reads as its
//! first variant.

use std::mem;

use bytes::Bytes;

/// Accessors in the style of protobuf 2, for the fields where `raft` uses them.
macro_rules! accessors {
    ($message:ty {
        $(enum $enum_get:ident = $enum_field:ident: $enum:ty;)*
        $(copy $copy_get:ident, $copy_set:ident = $copy_field:ident: $copy:ty;)*
        $(list $list_get:ident, $list_set:ident, $list_mut:ident, $list_take:ident
            = $list_field:ident: $item:ty;)*
        $(bytes $bytes_get:ident, $bytes_set:ident, $bytes_take:ident = $bytes_field:ident;)*
        $(message $get:ident, $set:ident, $mut:ident, $take:ident = $field:ident: $inner:ty, $none:expr;)*
    }) => {
        #[allow(missing_docs, reason = "accessors, named after their fields")]
        impl $message {
            $(pub fn $enum_get(&self) -> $enum { self.$enum_field() })*
            $(
                pub fn $copy_get(&self) -> $copy { self.$copy_field }
                pub fn $copy_set(&mut self, value: $copy) { self.$copy_field = value; }
            )*
            $(
                pub fn $list_get(&self) -> &[$item] { &self.$list_field }
                pub fn $list_set(&mut self, value: Vec<$item>) { self.$list_field = value; }
                pub fn $list_mut(&mut self) -> &mut Vec<$item> { &mut self.$list_field }
                pub fn $list_take(&mut self) -> Vec<$item> { mem::take(&mut self.$list_field) }
            )*
            $(
                pub fn $bytes_get(&self) -> &[u8] { &self.$bytes_field }
                pub fn $bytes_set(&mut self, value: Bytes) { self.$bytes_field = value; }
                pub fn $bytes_take(&mut self) -> Bytes { mem::take(&mut self.$bytes_field) }
            )*
            $(
                /// The default if it is absent.
                pub fn $get(&self) -> &$inner { self.$field.as_ref().unwrap_or(&$none) }
                pub fn $set(&mut self, value: $inner) { self.$field = Some(value); }
                /// Makes it if it is absent.
                pub fn $mut(&mut self) -> &mut $inner { self.$field.get_or_insert_default() }
                pub fn $take(&mut self) -> $inner { self.$field.take().unwrap_or_default() }
            )*
        }
    };
}

static NO_CONF_STATE: ConfState = ConfState {
    voters: Vec::new(),
    learners: Vec::new(),
    voters_outgoing: Vec::new(),
    learners_next: Vec::new(),
    auto_leave: false,
};
static NO_METADATA: SnapshotMetadata = SnapshotMetadata { conf_state: None, index: 0, term: 0 };
static NO_SNAPSHOT: Snapshot = Snapshot { data: Bytes::new(), metadata: None };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum EntryType {
    EntryNormal = 0,
    EntryConfChange = 1,
    EntryConfChangeV2 = 2,
}

/// A position of the log. A configuration change has its encoded change in `data`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Entry {
    #[prost(enumeration = "EntryType", tag = "1")]
    pub entry_type: i32,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(uint64, tag = "3")]
    pub index: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    pub context: Bytes,
    /// Not used; others' logs may have it.
    #[prost(bool, tag = "5")]
    pub sync_log: bool,
}

accessors!(Entry {
    enum get_entry_type = entry_type: EntryType;
    copy get_term, set_term = term: u64;
    copy get_index, set_index = index: u64;
    bytes get_data, set_data, take_data = data;
    bytes get_context, set_context, take_context = context;
});

/// Where a snapshot stands in the log.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct SnapshotMetadata {
    #[prost(message, optional, tag = "1")]
    pub conf_state: Option<ConfState>,
    #[prost(uint64, tag = "2")]
    pub index: u64,
    #[prost(uint64, tag = "3")]
    pub term: u64,
}

accessors!(SnapshotMetadata {
    message get_conf_state, set_conf_state, mut_conf_state, take_conf_state
        = conf_state: ConfState, NO_CONF_STATE;
});

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Snapshot {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<SnapshotMetadata>,
}

accessors!(Snapshot {
    bytes get_data, set_data, take_data = data;
    message get_metadata, set_metadata, mut_metadata, take_metadata
        = metadata: SnapshotMetadata, NO_METADATA;
});

impl Snapshot {
    /// Whether it is none: no snapshot stands at index 0.
    pub fn is_empty(&self) -> bool {
        self.get_metadata().index == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
#[allow(clippy::enum_variant_names, reason = "raft's names")]
pub enum MessageType {
    MsgHup = 0,
    MsgBeat = 1,
    MsgPropose = 2,
    MsgAppend = 3,
    MsgAppendResponse = 4,
    MsgRequestVote = 5,
    MsgRequestVoteResponse = 6,
    MsgSnapshot = 7,
    MsgHeartbeat = 8,
    MsgHeartbeatResponse = 9,
    MsgUnreachable = 10,
    MsgSnapStatus = 11,
    MsgCheckQuorum = 12,
    MsgTransferLeader = 13,
    MsgTimeoutNow = 14,
    MsgReadIndex = 15,
    MsgReadIndexResp = 16,
    MsgRequestPreVote = 17,
    MsgRequestPreVoteResponse = 18,
}

/// What members send to one another, and what a member steps for itself.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Message {
    #[prost(enumeration = "MessageType", tag = "1")]
    pub msg_type: i32,
    #[prost(uint64, tag = "2")]
    pub to: u64,
    #[prost(uint64, tag = "3")]
    pub from: u64,
    #[prost(uint64, tag = "4")]
    pub term: u64,
    /// The term of the entry at `index`, before the first of `entries`.
    #[prost(uint64, tag = "5")]
    pub log_term: u64,
    #[prost(uint64, tag = "6")]
    pub index: u64,
    #[prost(message, repeated, tag = "7")]
    pub entries: Vec<Entry>,
    #[prost(uint64, tag = "8")]
    pub commit: u64,
    #[prost(uint64, tag = "15")]
    pub commit_term: u64,
    #[prost(message, optional, tag = "9")]
    pub snapshot: Option<Snapshot>,
    #[prost(uint64, tag = "13")]
    pub request_snapshot: u64,
    #[prost(bool, tag = "10")]
    pub reject: bool,
    #[prost(uint64, tag = "11")]
    pub reject_hint: u64,
    #[prost(bytes = "bytes", tag = "12")]
    pub context: Bytes,
    #[prost(uint64, tag = "14")]
    pub deprecated_priority: u64,
    #[prost(int64, tag = "16")]
    pub priority: i64,
}

accessors!(Message {
    enum get_msg_type = msg_type: MessageType;
    copy get_index, set_index = index: u64;
    copy get_commit, set_commit = commit: u64;
    list get_entries, set_entries, mut_entries, take_entries = entries: Entry;
    bytes get_context, set_context, take_context = context;
    message get_snapshot, set_snapshot, mut_snapshot, take_snapshot
        = snapshot: Snapshot, NO_SNAPSHOT;
});

/// What a member must not forget besides its log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct HardState {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub vote: u64,
    #[prost(uint64, tag = "3")]
    pub commit: u64,
}

accessors!(HardState {
    copy get_term, set_term = term: u64;
    copy get_vote, set_vote = vote: u64;
    copy get_commit, set_commit = commit: u64;
});

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ConfChangeTransition {
    /// The simple protocol where one change allows it, else as `Implicit`.
    Auto = 0,
    /// Joint consensus, left by raft itself.
    Implicit = 1,
    /// Joint consensus, left when the application proposes an empty change.
    Explicit = 2,
}

/// Who votes and who learns.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ConfState {
    #[prost(uint64, repeated, tag = "1")]
    pub voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub learners: Vec<u64>,
    /// Not empty: in joint consensus, these go.
    #[prost(uint64, repeated, tag = "3")]
    pub voters_outgoing: Vec<u64>,
    /// Learners once the joint configuration is left.
    #[prost(uint64, repeated, tag = "4")]
    pub learners_next: Vec<u64>,
    #[prost(bool, tag = "5")]
    pub auto_leave: bool,
}

accessors!(ConfState {
    list get_voters, set_voters, mut_voters, take_voters = voters: u64;
    list get_learners, set_learners, mut_learners, take_learners = learners: u64;
    list get_voters_outgoing, set_voters_outgoing, mut_voters_outgoing, take_voters_outgoing
        = voters_outgoing: u64;
    list get_learners_next, set_learners_next, mut_learners_next, take_learners_next
        = learners_next: u64;
});

/// Numbered otherwise than etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ConfChangeType {
    AddNode = 0,
    RemoveNode = 1,
    AddLearnerNode = 2,
}

/// The older form: one change.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ConfChange {
    #[prost(enumeration = "ConfChangeType", tag = "2")]
    pub change_type: i32,
    #[prost(uint64, tag = "3")]
    pub node_id: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub context: Bytes,
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

accessors!(ConfChange {
    enum get_change_type = change_type: ConfChangeType;
    bytes get_context, set_context, take_context = context;
});

#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct ConfChangeSingle {
    #[prost(enumeration = "ConfChangeType", tag = "1")]
    pub change_type: i32,
    #[prost(uint64, tag = "2")]
    pub node_id: u64,
}

accessors!(ConfChangeSingle {
    enum get_change_type = change_type: ConfChangeType;
});

/// The newer form: any number of changes at once.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ConfChangeV2 {
    #[prost(enumeration = "ConfChangeTransition", tag = "1")]
    pub transition: i32,
    #[prost(message, repeated, tag = "2")]
    pub changes: Vec<ConfChangeSingle>,
    #[prost(bytes = "bytes", tag = "3")]
    pub context: Bytes,
}

accessors!(ConfChangeV2 {
    enum get_transition = transition: ConfChangeTransition;
    list get_changes, set_changes, mut_changes, take_changes = changes: ConfChangeSingle;
    bytes get_context, set_context, take_context = context;
});

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// The bytes are those that protoc's encoding of raft's `eraftpb.proto` gives.
    #[test]
    fn the_wire_format_is_that_of_eraftpb() {
        let entry = Entry {
            entry_type: EntryType::EntryConfChangeV2.into(),
            term: 2,
            index: 300,
            data: "d".into(),
            context: "c".into(),
            sync_log: false,
        };
        assert_eq!(entry.encode_to_vec(), b"\x08\x02\x10\x02\x18\xac\x02\x22\x01d\x32\x01c");
        let message = Message {
            msg_type: MessageType::MsgAppend.into(),
            to: 1,
            entries: vec![Entry { index: 1, ..Entry::default() }],
            commit_term: 9,
            priority: -1,
            ..Message::default()
        };
        let mut wire = b"\x08\x03\x10\x01\x3a\x02\x18\x01\x78\x09\x80\x01".to_vec();
        wire.extend([0xff; 9]);
        wire.push(1);
        assert_eq!(message.encode_to_vec(), wire);
        assert_eq!(Message::decode(&wire[..]).unwrap(), message);
        let state = ConfState { voters: vec![1, 300], auto_leave: true, ..ConfState::default() };
        assert_eq!(state.encode_to_vec(), b"\x0a\x03\x01\xac\x02\x28\x01");
    }

    #[test]
    fn what_is_absent_reads_as_its_default() {
        let message = Message::default();
        assert!(message.get_snapshot().is_empty());
        assert_eq!(message.get_snapshot().get_metadata().get_conf_state(), &ConfState::default());
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = 1;
        assert!(!snapshot.is_empty());
        assert_eq!(Entry { entry_type: 77, ..Entry::default() }.get_entry_type() as i32, 0);
    }
}
