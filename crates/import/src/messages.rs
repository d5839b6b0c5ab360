//! The original's own messages: what stands in its log, its snapshots and its buckets.
//!
//! Of each only what the import asks for. Those that go over gRPC are in `proto`.

use bytes::Bytes;
use proto::etcdserverpb::{
    AlarmRequest, AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGrantPermissionRequest,
    AuthRoleRevokePermissionRequest, AuthUserAddRequest, AuthUserChangePasswordRequest,
    AuthUserDeleteRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest, CompactionRequest,
    DeleteRangeRequest, LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    TxnRequest,
};

/// `walpb.Record`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(int64, tag = "1")]
    pub(crate) kind: i64,
    #[prost(uint32, tag = "2")]
    pub(crate) crc: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) data: Bytes,
}

/// `raftpb.HardState`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct HardState {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) commit: u64,
}

/// `raftpb.Entry`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    /// 0: a request; 1 and 2: changes of the configuration.
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) index: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) data: Bytes,
}

/// `raftpb.ConfChange`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfChange {
    /// 0: add, 1: remove, 2: update, 3: add a learner.
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
    /// JSON of the member, where one is added.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) context: Bytes,
}

/// `snappb.Snapshot`: a file `.snap`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapFile {
    #[prost(uint32, tag = "1")]
    pub(crate) crc: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

/// `raftpb.Snapshot`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Snapshot {
    /// The v2 store as JSON.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(crate) metadata: Option<SnapshotMetadata>,
}

/// `raftpb.SnapshotMetadata`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SnapshotMetadata {
    #[prost(uint64, tag = "2")]
    pub(crate) index: u64,
}

/// `etcdserverpb.Request`: a write through v2.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(string, tag = "3")]
    pub(crate) path: String,
    /// No string: etcd does not ask whether it is UTF-8.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) value: Bytes,
    #[prost(bool, tag = "5")]
    pub(crate) dir: bool,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) prev_value: Bytes,
    #[prost(uint64, tag = "7")]
    pub(crate) prev_index: u64,
    #[prost(bool, optional, tag = "8")]
    pub(crate) prev_exist: Option<bool>,
    /// In nanoseconds since 1970; 0: none.
    #[prost(int64, tag = "9")]
    pub(crate) expiration: i64,
    #[prost(bool, tag = "12")]
    pub(crate) recursive: bool,
    /// Of `SYNC`: what expires up to here goes.
    #[prost(int64, tag = "15")]
    pub(crate) time: i64,
    #[prost(bool, optional, tag = "17")]
    pub(crate) refresh: Option<bool>,
}

/// `etcdserverpb.RequestHeader`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RequestHeader {
    /// No other request has it.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) username: String,
    /// That of users and roles when the request came in. 0: nobody has said who he is.
    #[prost(uint64, tag = "3")]
    pub(crate) auth_revision: u64,
}

/// Something that only its being there says all of.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Present {}

/// `etcdserverpb.InternalRaftRequest`: one of these is there, or none that matters here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RaftRequest {
    #[prost(message, optional, tag = "100")]
    pub(crate) header: Option<RequestHeader>,
    #[prost(message, optional, tag = "2")]
    pub(crate) v2: Option<Request>,
    #[prost(message, optional, tag = "3")]
    pub(crate) range: Option<Present>,
    #[prost(message, optional, tag = "4")]
    pub(crate) put: Option<PutRequest>,
    #[prost(message, optional, tag = "5")]
    pub(crate) delete_range: Option<DeleteRangeRequest>,
    #[prost(message, optional, tag = "6")]
    pub(crate) txn: Option<TxnRequest>,
    #[prost(message, optional, tag = "7")]
    pub(crate) compaction: Option<CompactionRequest>,
    #[prost(message, optional, tag = "8")]
    pub(crate) lease_grant: Option<LeaseGrantRequest>,
    #[prost(message, optional, tag = "9")]
    pub(crate) lease_revoke: Option<LeaseRevokeRequest>,
    #[prost(message, optional, tag = "10")]
    pub(crate) alarm: Option<AlarmRequest>,
    #[prost(message, optional, tag = "11")]
    pub(crate) lease_checkpoint: Option<LeaseCheckpointRequest>,
    #[prost(
        oneof = "Change",
        tags = "1000, 1011, 1100, 1101, 1103, 1104, 1105, 1200, 1201, 1203, 1204"
    )]
    pub(crate) auth: Option<Change>,
    /// Changes of the original's own cluster, which stays behind.
    #[prost(message, optional, tag = "1300")]
    pub(crate) cluster_version_set: Option<Present>,
    #[prost(message, optional, tag = "1301")]
    pub(crate) cluster_member_attr_set: Option<MemberAttributes>,
}

/// A change of users and roles: on the wire a field of [`RaftRequest`] each.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Change {
    #[prost(message, tag = "1000")]
    Enable(Present),
    #[prost(message, tag = "1011")]
    Disable(Present),
    #[prost(message, tag = "1100")]
    UserAdd(AuthUserAddRequest),
    #[prost(message, tag = "1101")]
    UserDelete(AuthUserDeleteRequest),
    #[prost(message, tag = "1103")]
    UserPassword(AuthUserChangePasswordRequest),
    #[prost(message, tag = "1104")]
    UserGrant(AuthUserGrantRoleRequest),
    #[prost(message, tag = "1105")]
    UserRevoke(AuthUserRevokeRoleRequest),
    #[prost(message, tag = "1200")]
    RoleAdd(AuthRoleAddRequest),
    #[prost(message, tag = "1201")]
    RoleDelete(AuthRoleDeleteRequest),
    #[prost(message, tag = "1203")]
    RoleGrant(AuthRoleGrantPermissionRequest),
    #[prost(message, tag = "1204")]
    RoleRevoke(AuthRoleRevokePermissionRequest),
}

/// `membershippb.ClusterMemberAttrSetRequest`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct MemberAttributes {}

/// `leasepb.Lease`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Lease {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    #[prost(int64, tag = "2")]
    pub(crate) ttl: i64,
    #[prost(int64, tag = "3")]
    pub(crate) remaining: i64,
}
