//! Who may do what through v3: every method, asked by everybody, over gRPC and through the gateway.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use proto::{
    Message,
    authpb::permission::Type,
    etcdserverpb::{
        self as pb, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
        TxnRequest, WatchCreateRequest, WatchRequest, WatchResponse, compare, request_op,
        watch_request::RequestUnion,
    },
    v3electionpb, v3lockpb,
};
use serde::Serialize;

use super::auth::{add_user, enable, grant, grant_role, log_in, member};
use crate::{
    client::{Client, Failed, refused},
    member::{Member, eventually},
    wire::Wire,
};

/// What a method asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing.
    Nothing,
    /// To be somebody.
    Name,
    /// What alice may and idle may not.
    Permission,
    Root,
}

use Needs::{Name, Nothing, Permission, Root};

struct Row {
    method: &'static str,
    message: Bytes,
    json: String,
    needs: Needs,
}

fn row(method: &'static str, message: &(impl Message + Serialize), needs: Needs) -> Row {
    let json = serde_json::to_string(message).unwrap();
    Row { method, message: message.encode_to_vec().into(), json, needs }
}

fn key() -> Bytes {
    Bytes::from_static(b"pear")
}

fn range() -> RangeRequest {
    RangeRequest { key: key(), ..RangeRequest::default() }
}

fn put() -> PutRequest {
    PutRequest { key: key(), ..PutRequest::default() }
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
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
const OTHERS: [&str; 7] = [
    "etcdserverpb.Watch/Watch",
    "v3electionpb.Election/Observe",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.health.v1.Health/List",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What the files say that services are made of.
fn methods() -> BTreeSet<String> {
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
const PATHS: [(&str, &[&str]); 54] = [
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

fn paths(method: &str) -> &'static [&'static str] {
    let found = PATHS.iter().find(|(name, _)| *name == method);
    found.unwrap_or_else(|| panic!("where is {method} in the gateway?")).1
}

struct Caller {
    name: &'static str,
    token: Option<String>,
}

/// Why somebody is not let in by what a method needs; `None`: he is.
fn expected(caller: &str, needs: Needs) -> Option<&'static str> {
    match (caller, needs) {
        (_, Nothing) | ("root", _) | ("alice", Name | Permission) | ("idle", Name) => None,
        ("nobody", _) => Some("etcdserver: user name is empty"),
        ("another cluster's" | "late" | "a password, and no token" | "a wrong password", _) => {
            Some("etcdserver: invalid auth token")
        }
        _ => Some("etcdserver: permission denied"),
    }
}

const REFUSALS: [&str; 3] = [
    "etcdserver: user name is empty",
    "etcdserver: invalid auth token",
    "etcdserver: permission denied",
];

fn is_refusal(text: &str) -> bool {
    REFUSALS.contains(&text)
}

/// Some keys and leases; alice may do what she likes with pears.
fn prepare(member: &Member, client: &Client) -> Vec<Caller> {
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
fn open_to_guests(member: &Member) {
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
fn expired(member: &Member, client: &Client) -> String {
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

fn metadata(caller: &Caller) -> Vec<(&str, &[u8])> {
    caller.token.iter().map(|token| ("token", token.as_bytes())).collect()
}

#[test]
fn every_method_asks_who_asks() {
    let covered: BTreeSet<String> = rows().iter().map(|row| row.method.to_owned()).collect();
    let others = OTHERS.iter().map(|name| (*name).to_owned());
    let known: BTreeSet<String> = covered.into_iter().chain(others).collect();
    let missing: Vec<_> = methods().difference(&known).cloned().collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    let at_gateway = methods().iter().filter(|method| !paths(method).is_empty()).count();
    assert!(at_gateway > 40, "{at_gateway}");
    let member = member();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    for Row { method, message, needs, .. } in rows() {
        for caller in &callers {
            let mut call = client.begin::<(), ()>(&metadata(caller), &format!("/{method}"));
            call.send_raw(crate::client::framed(0, &message));
            call.close();
            let mut answer = call.next();
            while let Some(Ok(())) = answer {
                answer = call.next();
            }
            let text = answer.and_then(Result::err).map(|Failed { text, .. }| text);
            let refusal = text.as_deref().filter(|text| is_refusal(text));
            assert_eq!(
                refusal,
                expected(caller.name, needs),
                "{method} by {}: {text:?}",
                caller.name
            );
        }
    }
}

/// Asks through the gateway; the answer may go on.
fn begin_json(wire: &mut Wire, caller: &Caller, path: &str, json: &str) {
    let token = caller.token.as_ref().map(|token| format!("Authorization: {token}\r\n"));
    let (token, length) = (token.unwrap_or_default(), json.len());
    wire.send(format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {length}\r\n\r\n{json}"
    ));
}

fn refusal_in(text: &str) -> Option<&'static str> {
    REFUSALS.into_iter().find(|refusal| text.contains(refusal))
}

#[test]
fn every_method_asks_who_asks_through_the_gateway_too() {
    let member = member();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    for Row { method, json, needs, .. } in rows() {
        for (at, path) in paths(method).iter().enumerate() {
            // By its other name a thing is the same: it need not be done twice.
            let asks = |caller: &&Caller| at == 0 || caller.name == "nobody";
            for caller in callers.iter().filter(asks) {
                let mut wire = member.connect();
                begin_json(&mut wire, caller, path, &json);
                let text = wire.answer().text();
                let expected = expected(caller.name, needs);
                assert_eq!(refusal_in(&text), expected, "{path} by {}: {text}", caller.name);
                assert!(!text.contains("Not Found\""), "{path}: {text}");
            }
        }
    }
}

/// What goes on, and is answered as soon as it is known who asks.
#[test]
fn streams_ask_who_asks_through_the_gateway_too() {
    let member = member();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    let campaign = r#"{"name":"cGVhcg==","lease":"9","value":"eA=="}"#;
    let watch = r#"{"create_request":{"key":"cGVhcg=="}}"#;
    let root = callers.last().unwrap();
    let mut wire = member.connect();
    begin_json(&mut wire, root, "election/campaign", campaign);
    wire.answer().expect(200);
    for caller in &callers {
        for (path, json) in [("election/observe", r#"{"name":"cGVhcg=="}"#), ("watch", watch)] {
            let mut wire = member.connect();
            begin_json(&mut wire, caller, path, json);
            let head = wire.head();
            let length = head.header("Content-Length").map(|length| length.parse().unwrap());
            let told = match length {
                Some(length) => wire.take(length),
                None => wire.chunk().unwrap().unwrap(),
            };
            let told = String::from_utf8(told).unwrap();
            let expected = expected(caller.name, Permission);
            assert_eq!(refusal_in(&told), expected, "{path} by {}: {told}", caller.name);
        }
        let mut call = client.begin::<v3electionpb::LeaderRequest, v3electionpb::LeaderResponse>(
            &metadata(caller),
            "/v3electionpb.Election/Observe",
        );
        call.send(&v3electionpb::LeaderRequest { name: "pear".into() });
        call.close();
        let refusal = call.next().unwrap().err().map(|failed| failed.text);
        assert_eq!(refusal.as_deref(), expected(caller.name, Permission), "{}", caller.name);
    }
}

fn watched(client: &Client, caller: &Caller, key: &str, range_end: &str) -> WatchResponse {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    let create = WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() };
    let mut watch =
        client.begin::<WatchRequest, WatchResponse>(&metadata(caller), "/etcdserverpb.Watch/Watch");
    watch.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    watch.next().unwrap().unwrap()
}

/// A read permission on one key must not open the keys after it: CVE-2026-33343 in the original.
#[test]
fn a_watch_sees_what_its_user_may_read() {
    let member = member();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    for caller in &callers {
        let answer = watched(&client, caller, "pear", "");
        assert!(answer.created, "{}", caller.name);
        let reason = Some(&answer.cancel_reason[..]).filter(|reason| !reason.is_empty());
        assert_eq!(reason, expected(caller.name, Permission), "{}", caller.name);
        assert_eq!(answer.canceled, reason.is_some(), "{}", caller.name);
    }
    let alice = callers.iter().find(|caller| caller.name == "alice").unwrap();
    for (key, range_end, permitted) in [
        ("pear", "peas", true),
        ("pear", "pear\0", true),
        ("pear", "peb", false),
        ("pear", "\0", false),
        ("", "", false),
        ("", "\0", false),
        ("\0", "\0", false),
    ] {
        let answer = watched(&client, alice, key, range_end);
        assert_eq!(!answer.canceled, permitted, "{key:?} {range_end:?} {}", answer.cancel_reason);
    }
}

/// GHSA-xg4h-6gfc-h4m8 in the original.
#[test]
fn what_lies_in_a_transaction_is_asked_for_as_well() {
    let member = member();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    let alice = callers.iter().find(|caller| caller.name == "alice").unwrap();
    let apple = || RangeRequest { key: "apple".into(), ..RangeRequest::default() };
    let put_apple = || PutRequest { key: "apple".into(), ..PutRequest::default() };
    let own = || op(request_op::Request::RequestPut(put()));
    let deep = |inner: RequestOp| {
        let txn = TxnRequest { failure: vec![inner], ..TxnRequest::default() };
        op(request_op::Request::RequestTxn(txn))
    };
    let compared = pb::Compare {
        key: "apple".into(),
        target_union: Some(compare::TargetUnion::Version(0)),
        ..pb::Compare::default()
    };
    let read = op(request_op::Request::RequestRange(apple()));
    let write = op(request_op::Request::RequestPut(put_apple()));
    let ask = |request: &TxnRequest| {
        client.call_with::<_, pb::TxnResponse>(&metadata(alice), "/etcdserverpb.KV/Txn", request)
    };
    let denied = "etcdserver: permission denied";
    for inner in [read.clone(), write, deep(read.clone())] {
        for request in [
            TxnRequest { success: vec![own(), inner.clone()], ..TxnRequest::default() },
            TxnRequest { failure: vec![inner.clone()], ..TxnRequest::default() },
            TxnRequest { success: vec![own(), deep(inner.clone())], ..TxnRequest::default() },
        ] {
            refused(ask(&request), 7, denied);
        }
    }
    let request = TxnRequest { compare: vec![compared], success: vec![own()], failure: Vec::new() };
    refused(ask(&request), 7, denied);
    let read_only = TxnRequest { success: vec![read], ..TxnRequest::default() };
    refused(ask(&read_only), 7, denied);
    ask(&TxnRequest { success: vec![own(), deep(own())], ..TxnRequest::default() }).unwrap_err();
    ask(&TxnRequest { success: vec![own()], ..TxnRequest::default() }).unwrap();
}

/// etcd asks when a watch begins, and never again.
#[test]
fn a_watch_ends_once_its_user_may_no_longer_read() {
    let member = member();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    let root = metadata(callers.last().unwrap());
    let put = |value: &'static str| {
        let put = PutRequest { key: key(), value: value.into(), ..PutRequest::default() };
        client.call_with::<_, pb::PutResponse>(&root, "/etcdserverpb.KV/Put", &put).unwrap();
    };
    let grant = pb::AuthUserGrantRoleRequest { user: "alice".to_owned(), role: "pears".to_owned() };
    let revoke =
        pb::AuthUserRevokeRoleRequest { name: "alice".to_owned(), role: "pears".to_owned() };
    let other = pb::AuthRoleAddRequest { name: "other".to_owned() };
    let changed = pb::AuthUserChangePasswordRequest {
        name: "alice".to_owned(),
        password: "new".to_owned(),
        ..Default::default()
    };
    let auth = |name: &str| format!("/etcdserverpb.Auth/{name}");
    let change = |step: &str| match step {
        "another role" => client.call_with::<_, ()>(&root, &auth("RoleAdd"), &other).unwrap(),
        "revoke" => client.call_with::<_, ()>(&root, &auth("UserRevokeRole"), &revoke).unwrap(),
        "grant" => client.call_with::<_, ()>(&root, &auth("UserGrantRole"), &grant).unwrap(),
        "password" => {
            client.call_with::<_, ()>(&root, &auth("UserChangePassword"), &changed).unwrap();
        }
        other => panic!("{other}?"),
    };
    let create = WatchCreateRequest { key: key(), ..WatchCreateRequest::default() };
    let alice = Caller { name: "alice", token: Some(log_in(&client, "alice").unwrap()) };
    for (step, reason) in [
        ("revoke", "etcdserver: permission denied"),
        ("password", "etcdserver: revision of auth store is old"),
    ] {
        let mut watch = client
            .begin::<WatchRequest, WatchResponse>(&metadata(&alice), "/etcdserverpb.Watch/Watch");
        watch.send(&WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create.clone())),
        });
        assert!(watch.next().unwrap().unwrap().created);
        if step == "revoke" {
            change("another role");
        }
        put("for her");
        assert_eq!(
            &watch.next().unwrap().unwrap().events[0].kv.as_ref().unwrap().value[..],
            b"for her"
        );
        change(step);
        put("secret");
        let told = watch.next().unwrap().unwrap();
        assert!(told.canceled && told.events.is_empty(), "{step}: {told:?}");
        assert_eq!(told.cancel_reason, reason, "{step}");
        if step == "revoke" {
            change("grant");
        }
    }
}

/// What whoever keeps an audit log is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<api::Record>>);

impl api::AuditLog for Told {
    fn keep(&self, record: api::Record) {
        self.0.lock().unwrap().push(record);
    }
}

impl Told {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Waits until the records of what has been answered are there.
    fn settle(&self) {
        let mut seen = usize::MAX;
        eventually("no more records come", || {
            std::thread::sleep(Duration::from_millis(100));
            let before = std::mem::replace(&mut seen, self.count());
            before == seen
        });
    }

    /// The record that comes next, after so many; and no second one.
    #[track_caller]
    fn next(&self, after: usize, of: &str) -> api::Record {
        eventually(&format!("a record of {of}"), || self.count() > after);
        let records = self.0.lock().unwrap();
        assert_eq!(records.len(), after + 1, "{of}: {:?}", &records[after..]);
        records[after].clone()
    }
}

/// A member, and what is recorded there.
fn audited() -> (Member, Arc<Told>) {
    let told = Arc::new(Told::default());
    let audit: api::Audit = Arc::<Told>::clone(&told);
    let auth = api::AuthConfig { bcrypt_cost: 4, ..api::AuthConfig::default() };
    let member =
        Member::start_with(api::Config { auth, audit: Some(audit), ..api::Config::default() });
    (member, told)
}

/// What is asked is told of as well, beyond the keys.
fn tells_what(record: &api::Record) -> bool {
    let about = &record.about;
    match &record.method[..] {
        "etcdserverpb.KV/Compact" => about.revision == Some(999),
        "etcdserverpb.Maintenance/MoveLeader" | "etcdserverpb.Cluster/MemberRemove" => {
            about.member.as_deref() == Some("9")
        }
        "etcdserverpb.Cluster/MemberAdd" => about.peer_urls == ["x"],
        "etcdserverpb.Cluster/MemberUpdate" => about.peer_urls == ["http://127.0.0.1:1"],
        "etcdserverpb.Maintenance/Alarm" => {
            about.alarm.as_deref() == Some("DEACTIVATE NOSPACE")
                && about.member.as_deref() == Some("1")
        }
        "etcdserverpb.Auth/RoleGrantPermission" => record.keys[0].kind == Some("read"),
        _ => true,
    }
}

/// By whoever may and whoever may not, over gRPC and through the gateway.
#[test]
fn every_method_leaves_one_record() {
    let (member, told) = audited();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    told.settle();
    for Row { method, message, json, needs } in rows() {
        for caller in &callers {
            // What root has disabled or locked is not asked for again.
            let asks_twice = caller.name != "root";
            let of = format!("{method} by {}", caller.name);
            let check = |record: &api::Record, api| {
                assert_eq!((record.api, &record.method[..]), (api, method), "{of}");
                let who = match caller.name {
                    _ if needs == Nothing => api::Who::Unknown,
                    "idle" | "alice" | "root" => api::Who::User,
                    _ => api::Who::Unknown,
                };
                assert_eq!(record.who, who, "{of}: {record:?}");
                let refusal = record.error.as_deref().filter(|text| is_refusal(text));
                assert_eq!(refusal, expected(caller.name, needs), "{of}: {record:?}");
                assert_eq!(record.allowed, record.error.is_none(), "{of}: {record:?}");
                assert_ne!(record.code, "Cancelled", "{of}");
                assert!(tells_what(record), "{of}: {record:?}");
            };
            let after = told.count();
            let mut call = client.begin::<(), ()>(&metadata(caller), &format!("/{method}"));
            call.send_raw(crate::client::framed(0, &message));
            call.close();
            while let Some(Ok(())) = call.next() {}
            check(&told.next(after, &of), "v3");
            for path in paths(method).iter().take(usize::from(asks_twice)) {
                let (after, mut wire) = (told.count(), member.connect());
                begin_json(&mut wire, caller, path, &json);
                wire.answer();
                check(&told.next(after, &of), "v3-json");
            }
        }
    }
}

/// Before anybody has asked who asks.
#[test]
fn what_is_refused_at_once_or_cannot_be_read_leaves_a_record_too() {
    let (member, told) = audited();
    let client = Client::connect(&member);
    for Row { method, message, .. } in rows() {
        let after = told.count();
        let metadata = [("client-api-version", &b"\xff"[..])];
        let mut call = client.begin::<(), ()>(&metadata, &format!("/{method}"));
        call.send_raw(crate::client::framed(0, &message));
        call.close();
        while let Some(Ok(())) = call.next() {}
        let record = told.next(after, method);
        assert_eq!((record.api, &record.method[..]), ("v3", method));
        assert_eq!((&record.code[..], record.who), ("InvalidArgument", api::Who::NotAsked));
        // Questions that come one after the other, and what takes none, have been begun by then.
        let begins = method.ends_with("LeaseKeepAlive") || method.ends_with("Snapshot");
        for path in paths(method).iter().filter(|_| !begins) {
            let (after, mut wire) = (told.count(), member.connect());
            begin_json(&mut wire, &Caller { name: "nobody", token: None }, path, "{");
            wire.answer().expect(400);
            let record = told.next(after, path);
            assert_eq!((record.api, &record.method[..]), ("v3-json", method));
            assert_eq!(record.code, "400", "{path}");
        }
    }
}

/// What is neither v2's nor v3's, and changes or shows what is not everybody's.
#[test]
fn what_operators_ask_leaves_a_record() {
    let (member, told) = audited();
    let client = Client::connect(&member);
    let mut wire = member.connect();
    let mut ask = |method: &str, target: &str, basic: &str, body: &str| {
        let after = told.count();
        let basic = BASE64_STANDARD.encode(basic);
        wire.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        wire.answer();
        told.next(after, target)
    };
    let level = r#"{"Level":"debug"}"#;
    let record = ask("PUT", "/config/local/log", "", level);
    assert_eq!((record.api, &record.method[..]), ("http", "PUT /config/local/log"));
    assert_eq!((record.who, &record.code[..]), (api::Who::NotAsked, "204"));
    assert_eq!(record.about.level.as_deref(), Some("debug"));
    let record = ask("GET", "/debug/pprof/cmdline", "", "");
    assert_eq!((&record.method[..], &record.code[..]), ("GET /debug/pprof/cmdline", "404"));
    prepare(&member, &client);
    told.settle();
    for (basic, user, allowed, code) in [
        ("root:rootpw", Some("root"), true, "204"),
        ("alice:alicepw", Some("alice"), false, "401"),
        ("root:alicepw", None, false, "401"),
    ] {
        let record = ask("PUT", "/config/local/log", basic, level);
        assert_eq!((record.user.as_deref(), record.allowed), (user, allowed), "{basic}");
        assert_eq!(record.code, code, "{basic}");
    }
    let record = ask("GET", "/v2/members", "root:rootpw", "");
    assert_eq!(record.who, api::Who::NotAsked, "it is all one who asks");
}

/// It is a watch as well: of what leaders say.
#[test]
fn an_observer_is_told_nothing_more_once_its_user_may_no_longer_read() {
    for (change, reason) in [
        ("revoke", "etcdserver: permission denied"),
        ("password", "etcdserver: revision of auth store is old"),
        ("enable", "etcdserver: user name is empty"),
    ] {
        for has_leader in [true, false] {
            check_an_observer(change, reason, has_leader);
        }
    }
}

fn check_an_observer(change: &str, reason: &str, has_leader: bool) {
    let about = format!("{change}, with a leader: {has_leader}");
    let member = member();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    let root = metadata(callers.last().unwrap());
    let nobody = Caller { name: "nobody", token: None };
    let alice = Caller { name: "alice", token: Some(log_in(&client, "alice").unwrap()) };
    let mut observer = &alice;
    if change == "enable" {
        let off = pb::AuthDisableRequest {};
        client.call_with::<_, ()>(&root, "/etcdserverpb.Auth/AuthDisable", &off).unwrap();
        observer = &nobody;
    }
    let put = |value: &'static str| {
        let key = Bytes::from_static(b"pear/1");
        let put = PutRequest { key, value: value.into(), ..PutRequest::default() };
        // Whoever was logged in before it was disabled is no more.
        let again = (change == "enable").then(|| log_in(&client, "root").ok()).flatten();
        let again = Caller { name: "root", token: again };
        let root = if change == "enable" { metadata(&again) } else { root.clone() };
        client.call_with::<_, pb::PutResponse>(&root, "/etcdserverpb.KV/Put", &put).unwrap();
    };
    if has_leader {
        put("first");
    }
    let mut observe = client.begin::<v3electionpb::LeaderRequest, v3electionpb::LeaderResponse>(
        &metadata(observer),
        "/v3electionpb.Election/Observe",
    );
    observe.send(&v3electionpb::LeaderRequest { name: "pear".into() });
    observe.close();
    if has_leader {
        let told = observe.next().unwrap().unwrap();
        assert_eq!(&told.kv.unwrap().value[..], b"first", "{about}");
    } else {
        // It waits for a leader.
        assert!(observe.is_silent(Duration::from_millis(100)), "{about}");
    }
    let revoke =
        pb::AuthUserRevokeRoleRequest { name: "alice".to_owned(), role: "pears".to_owned() };
    let changed = pb::AuthUserChangePasswordRequest {
        name: "alice".to_owned(),
        password: "new".to_owned(),
        ..Default::default()
    };
    let auth = |name: &str| format!("/etcdserverpb.Auth/{name}");
    match change {
        "revoke" => client.call_with::<_, ()>(&root, &auth("UserRevokeRole"), &revoke).unwrap(),
        "password" => {
            client.call_with::<_, ()>(&root, &auth("UserChangePassword"), &changed).unwrap();
        }
        _ => client.call::<_, ()>(&auth("AuthEnable"), &pb::AuthEnableRequest {}).unwrap(),
    }
    put("secret");
    refused(observe.next().unwrap(), 2, reason);
}
