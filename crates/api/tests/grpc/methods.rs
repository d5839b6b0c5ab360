//! Every method of v3, what it asks of who calls it, and some who call.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use proto::{
    Message,
    authpb::permission::Type,
    etcdserverpb::{
        self as pb, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
        TxnRequest, request_op,
    },
    v3electionpb, v3lockpb,
};
use serde::Serialize;

use super::auth::{add_user, enable, grant, grant_role, log_in};
use crate::{
    client::{Client, refused},
    member::Member,
    wire::Wire,
};

/// What a method asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing.
    Nothing,
    /// To be somebody.
    Name,
    /// What alice may and idle may not.
    Permission,
    Root,
}

use Needs::{Name, Nothing, Permission, Root};

pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) message: Bytes,
    pub(super) json: String,
    pub(super) needs: Needs,
}

pub(super) fn row(method: &'static str, message: &(impl Message + Serialize), needs: Needs) -> Row {
    let json = serde_json::to_string(message).unwrap();
    Row { method, message: message.encode_to_vec().into(), json, needs }
}

pub(super) fn key() -> Bytes {
    Bytes::from_static(b"pear")
}

pub(super) fn range() -> RangeRequest {
    RangeRequest { key: key(), ..RangeRequest::default() }
}

pub(super) fn put() -> PutRequest {
    PutRequest { key: key(), ..PutRequest::default() }
}

pub(super) fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let text = || "x".to_owned();
    let urls = || vec!["http://127.0.0.1:1".to_owned()];
    let leader = || Some(v3electionpb::LeaderKey {
        name: "pear".into(), key: "pear/1".into(), rev: 1, lease: 9,
    });
    let txn = TxnRequest { success: vec![op(request_op::Request::RequestPut(put()))], ..<_>::default() };
    vec![
        row("etcdserverpb.KV/Range", &range(), Permission),
        row("etcdserverpb.KV/RangeStream", &range(), Permission),
        row("etcdserverpb.KV/Put", &put(), Permission),
        row("etcdserverpb.KV/DeleteRange", &DeleteRangeRequest { key: key(), ..<_>::default() }, Permission),
        row("etcdserverpb.KV/Txn", &txn, Permission),
        row("etcdserverpb.KV/Compact", &pb::CompactionRequest { revision: 999, physical: false }, Name),
        row("etcdserverpb.Lease/LeaseGrant", &LeaseGrantRequest { ttl: 60, id: 0 }, Name),
        row("etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id: 7 }, Permission),
        row("etcdserverpb.Lease/LeaseKeepAlive", &pb::LeaseKeepAliveRequest { id: 8 }, Permission),
        row("etcdserverpb.Lease/LeaseTimeToLive", &pb::LeaseTimeToLiveRequest { id: 8, keys: true }, Permission),
        row("etcdserverpb.Lease/LeaseLeases", &pb::LeaseLeasesRequest {}, Permission),
        row("etcdserverpb.Cluster/MemberAdd", &pb::MemberAddRequest { peer_ur_ls: vec![text()], is_learner: false }, Root),
        row("etcdserverpb.Cluster/MemberRemove", &pb::MemberRemoveRequest { id: 9 }, Root),
        row("etcdserverpb.Cluster/MemberUpdate", &pb::MemberUpdateRequest { id: 9, peer_ur_ls: urls() }, Root),
        row("etcdserverpb.Cluster/MemberPromote", &pb::MemberPromoteRequest { id: 9 }, Root),
        row("etcdserverpb.Cluster/MemberList", &pb::MemberListRequest { linearizable: true }, Name),
        row("etcdserverpb.Maintenance/Alarm", &pb::AlarmRequest { action: 2, member_id: 1, alarm: 1 }, Root),
        row("etcdserverpb.Maintenance/Status", &pb::StatusRequest {}, Name),
        row("etcdserverpb.Maintenance/Defragment", &pb::DefragmentRequest {}, Root),
        row("etcdserverpb.Maintenance/Hash", &pb::HashRequest {}, Root),
        row("etcdserverpb.Maintenance/HashKV", &pb::HashKvRequest { revision: 0 }, Root),
        row("etcdserverpb.Maintenance/Snapshot", &pb::SnapshotRequest {}, Root),
        row("etcdserverpb.Maintenance/MoveLeader", &pb::MoveLeaderRequest { target_id: 9 }, Root),
        row("etcdserverpb.Maintenance/Downgrade", &pb::DowngradeRequest { action: 0, version: text() }, Root),
        row("etcdserverpb.Auth/Authenticate", &pb::AuthenticateRequest { name: text(), password: text() }, Nothing),
        row("etcdserverpb.Auth/AuthStatus", &pb::AuthStatusRequest {}, Root),
        row("etcdserverpb.Auth/AuthEnable", &pb::AuthEnableRequest {}, Root),
        row("etcdserverpb.Auth/UserAdd", &pb::AuthUserAddRequest { name: "alice".to_owned(), ..<_>::default() }, Root),
        row("etcdserverpb.Auth/UserGet", &pb::AuthUserGetRequest { name: "alice".to_owned() }, Permission),
        row("etcdserverpb.Auth/UserList", &pb::AuthUserListRequest {}, Root),
        row("etcdserverpb.Auth/UserDelete", &pb::AuthUserDeleteRequest { name: text() }, Root),
        row("etcdserverpb.Auth/UserChangePassword", &pb::AuthUserChangePasswordRequest { name: text(), password: text(), ..<_>::default() }, Root),
        row("etcdserverpb.Auth/UserGrantRole", &pb::AuthUserGrantRoleRequest { user: text(), role: text() }, Root),
        row("etcdserverpb.Auth/UserRevokeRole", &pb::AuthUserRevokeRoleRequest { name: text(), role: text() }, Root),
        row("etcdserverpb.Auth/RoleAdd", &pb::AuthRoleAddRequest { name: "pears".to_owned() }, Root),
        row("etcdserverpb.Auth/RoleGet", &pb::AuthRoleGetRequest { role: "pears".to_owned() }, Permission),
        row("etcdserverpb.Auth/RoleList", &pb::AuthRoleListRequest {}, Root),
        row("etcdserverpb.Auth/RoleDelete", &pb::AuthRoleDeleteRequest { role: text() }, Root),
        row("etcdserverpb.Auth/RoleGrantPermission", &pb::AuthRoleGrantPermissionRequest { name: text(), perm: Some(<_>::default()) }, Root),
        row("etcdserverpb.Auth/RoleRevokePermission", &pb::AuthRoleRevokePermissionRequest { role: text(), ..<_>::default() }, Root),
        row("v3lockpb.Lock/Lock", &v3lockpb::LockRequest { name: "pear".into(), lease: 9 }, Permission),
        row("v3lockpb.Lock/Unlock", &v3lockpb::UnlockRequest { key: "pear/9".into() }, Permission),
        row("v3electionpb.Election/Campaign", &v3electionpb::CampaignRequest { name: "pear".into(), lease: 9, value: "x".into() }, Permission),
        row("v3electionpb.Election/Proclaim", &v3electionpb::ProclaimRequest { leader: leader(), value: "x".into() }, Permission),
        row("v3electionpb.Election/Leader", &v3electionpb::LeaderRequest { name: "pear".into() }, Permission),
        row("v3electionpb.Election/Resign", &v3electionpb::ResignRequest { leader: leader() }, Permission),
        // It would end the rest.
        row("etcdserverpb.Auth/AuthDisable", &pb::AuthDisableRequest {}, Root),
    ]
}

/// Those that have stories of their own below, and those to whom it is all one who asks.
pub(super) const OTHERS: [&str; 7] = [
    "etcdserverpb.Watch/Watch",
    "v3electionpb.Election/Observe",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.health.v1.Health/List",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What the files say that services are made of.
pub(super) fn methods() -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/proto");
    for dir in std::fs::read_dir(files).unwrap() {
        for file in std::fs::read_dir(dir.unwrap().path()).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let word = |line: &str, before: &str| {
                let rest = line.trim_start().strip_prefix(before)?;
                let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '.')?;
                Some(rest[..end].to_owned())
            };
            let (mut package, mut service) = (String::new(), String::new());
            for line in text.lines() {
                package = word(line, "package ").unwrap_or(package);
                service = word(line, "service ").unwrap_or(service);
                if let Some(method) = word(line, "rpc ") {
                    methods.insert(format!("{package}.{service}/{method}"));
                }
            }
        }
    }
    methods
}

/// Where the gateway has a method; nowhere: that is gRPC's alone.
pub(super) const PATHS: [(&str, &[&str]); 54] = [
    ("etcdserverpb.KV/Range", &["kv/range"]),
    ("etcdserverpb.KV/RangeStream", &[]),
    ("etcdserverpb.KV/Put", &["kv/put"]),
    ("etcdserverpb.KV/DeleteRange", &["kv/deleterange"]),
    ("etcdserverpb.KV/Txn", &["kv/txn"]),
    ("etcdserverpb.KV/Compact", &["kv/compaction"]),
    ("etcdserverpb.Watch/Watch", &["watch"]),
    ("etcdserverpb.Lease/LeaseGrant", &["lease/grant"]),
    ("etcdserverpb.Lease/LeaseRevoke", &["lease/revoke", "kv/lease/revoke"]),
    ("etcdserverpb.Lease/LeaseKeepAlive", &["lease/keepalive"]),
    ("etcdserverpb.Lease/LeaseTimeToLive", &["lease/timetolive", "kv/lease/timetolive"]),
    ("etcdserverpb.Lease/LeaseLeases", &["lease/leases", "kv/lease/leases"]),
    ("etcdserverpb.Cluster/MemberAdd", &["cluster/member/add"]),
    ("etcdserverpb.Cluster/MemberRemove", &["cluster/member/remove"]),
    ("etcdserverpb.Cluster/MemberUpdate", &["cluster/member/update"]),
    ("etcdserverpb.Cluster/MemberPromote", &["cluster/member/promote"]),
    ("etcdserverpb.Cluster/MemberList", &["cluster/member/list"]),
    ("etcdserverpb.Maintenance/Alarm", &["maintenance/alarm"]),
    ("etcdserverpb.Maintenance/Status", &["maintenance/status"]),
    ("etcdserverpb.Maintenance/Defragment", &["maintenance/defragment"]),
    ("etcdserverpb.Maintenance/Hash", &["maintenance/hash"]),
    ("etcdserverpb.Maintenance/HashKV", &["maintenance/hashkv"]),
    ("etcdserverpb.Maintenance/Snapshot", &["maintenance/snapshot"]),
    ("etcdserverpb.Maintenance/MoveLeader", &["maintenance/transfer-leadership"]),
    ("etcdserverpb.Maintenance/Downgrade", &["maintenance/downgrade"]),
    ("etcdserverpb.Auth/Authenticate", &["auth/authenticate"]),
    ("etcdserverpb.Auth/AuthStatus", &["auth/status"]),
    ("etcdserverpb.Auth/AuthEnable", &["auth/enable"]),
    ("etcdserverpb.Auth/AuthDisable", &["auth/disable"]),
    ("etcdserverpb.Auth/UserAdd", &["auth/user/add"]),
    ("etcdserverpb.Auth/UserGet", &["auth/user/get"]),
    ("etcdserverpb.Auth/UserList", &["auth/user/list"]),
    ("etcdserverpb.Auth/UserDelete", &["auth/user/delete"]),
    ("etcdserverpb.Auth/UserChangePassword", &["auth/user/changepw"]),
    ("etcdserverpb.Auth/UserGrantRole", &["auth/user/grant"]),
    ("etcdserverpb.Auth/UserRevokeRole", &["auth/user/revoke"]),
    ("etcdserverpb.Auth/RoleAdd", &["auth/role/add"]),
    ("etcdserverpb.Auth/RoleGet", &["auth/role/get"]),
    ("etcdserverpb.Auth/RoleList", &["auth/role/list"]),
    ("etcdserverpb.Auth/RoleDelete", &["auth/role/delete"]),
    ("etcdserverpb.Auth/RoleGrantPermission", &["auth/role/grant"]),
    ("etcdserverpb.Auth/RoleRevokePermission", &["auth/role/revoke"]),
    ("v3lockpb.Lock/Lock", &["lock/lock"]),
    ("v3lockpb.Lock/Unlock", &["lock/unlock"]),
    ("v3electionpb.Election/Campaign", &["election/campaign"]),
    ("v3electionpb.Election/Proclaim", &["election/proclaim"]),
    ("v3electionpb.Election/Leader", &["election/leader"]),
    ("v3electionpb.Election/Observe", &["election/observe"]),
    ("v3electionpb.Election/Resign", &["election/resign"]),
    ("grpc.health.v1.Health/Check", &[]),
    ("grpc.health.v1.Health/Watch", &[]),
    ("grpc.health.v1.Health/List", &[]),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[]),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &[]),
];

pub(super) fn paths(method: &str) -> &'static [&'static str] {
    let found = PATHS.iter().find(|(name, _)| *name == method);
    found.unwrap_or_else(|| panic!("where is {method} in the gateway?")).1
}

pub(super) struct Caller {
    pub(super) name: &'static str,
    pub(super) token: Option<String>,
}

/// Why somebody is not let in by what a method needs; `None`: he is.
pub(super) fn expected(caller: &str, needs: Needs) -> Option<&'static str> {
    match (caller, needs) {
        (_, Nothing) | ("root", _) | ("alice", Name | Permission) | ("idle", Name) => None,
        ("nobody", _) => Some("etcdserver: user name is empty"),
        ("another cluster's" | "late" | "a password, and no token" | "a wrong password", _) => {
            Some("etcdserver: invalid auth token")
        }
        _ => Some("etcdserver: permission denied"),
    }
}

pub(super) const REFUSALS: [&str; 3] = [
    "etcdserver: user name is empty",
    "etcdserver: invalid auth token",
    "etcdserver: permission denied",
];

pub(super) fn is_refusal(text: &str) -> bool {
    REFUSALS.contains(&text)
}

/// Some keys and leases; alice may do what she likes with pears.
pub(super) fn prepare(member: &Member, client: &Client) -> Vec<Caller> {
    add_user(client, "", "alice");
    add_user(client, "", "idle");
    grant(client, "", "pears", Type::Readwrite, ("pear", "peas"));
    grant_role(client, "", "alice", "pears");
    for id in [7, 8, 9] {
        let lease = LeaseGrantRequest { ttl: 6_000, id };
        client.call::<_, pb::LeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", &lease).unwrap();
    }
    for (key, lease) in [("pear-7", 7), ("pear-8", 8)] {
        let put = PutRequest { key: key.into(), lease, ..PutRequest::default() };
        client.call::<_, pb::PutResponse>("/etcdserverpb.KV/Put", &put).unwrap();
    }
    let root = enable(client);
    open_to_guests(member);
    let token = |name| Some(log_in(client, name).unwrap());
    let basic = |pair| Some(format!("Basic {}", BASE64_STANDARD.encode(pair)));
    vec![
        // Through v2 a guest: v3 knows of none.
        Caller { name: "nobody", token: None },
        Caller { name: "late", token: Some(expired(member, client)) },
        Caller { name: "a password, and no token", token: basic("alice:alicepw") },
        Caller { name: "a wrong password", token: basic("alice:rootpw") },
        Caller { name: "another cluster's", token: Some("abcdefghijklmnop.7".to_owned()) },
        Caller { name: "idle", token: token("idle") },
        Caller { name: "alice", token: token("alice") },
        Caller { name: "root", token: Some(root) },
    ]
}

/// v2 lets in who says no name, to do what he likes with all keys.
pub(super) fn open_to_guests(member: &Member) {
    let role = r#"{"role":"guest","permissions":{"kv":{"read":["*"],"write":["*"]}}}"#;
    let basic = BASE64_STANDARD.encode("root:rootpw");
    let mut wire = member.connect();
    wire.send(format!(
        "PUT /v2/auth/roles/guest HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{role}",
        role.len()
    ));
    wire.answer().expect(201);
    member.get("/v2/keys/pear").expect(404);
}

/// Root's token, whose time is over.
pub(super) fn expired(member: &Member, client: &Client) -> String {
    let token = log_in(client, "root").unwrap();
    let tokens = member.handle.reader().tokens();
    tokens.keep_for(Duration::ZERO);
    let metadata = [("token", token.as_bytes())];
    let list = pb::AuthUserListRequest {};
    let path = "/etcdserverpb.Auth/UserList";
    let asked = client.call_with::<_, pb::AuthUserListResponse>(&metadata, path, &list);
    refused(asked, 16, "etcdserver: invalid auth token");
    tokens.keep_for(Duration::from_hours(1));
    token
}

pub(super) fn metadata(caller: &Caller) -> Vec<(&str, &[u8])> {
    caller.token.iter().map(|token| ("token", token.as_bytes())).collect()
}

/// Asks through the gateway; the answer may go on.
pub(super) fn begin_json(wire: &mut Wire, caller: &Caller, path: &str, json: &str) {
    let token = caller.token.as_ref().map(|token| format!("Authorization: {token}\r\n"));
    let (token, length) = (token.unwrap_or_default(), json.len());
    wire.send(format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {length}\r\n\r\n{json}"
    ));
}

pub(super) fn refusal_in(text: &str) -> Option<&'static str> {
    REFUSALS.into_iter().find(|refusal| text.contains(refusal))
}
