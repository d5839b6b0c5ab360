//! Who may do what through v3: every method, asked by everybody.

use std::collections::BTreeSet;

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

use super::auth::{add_user, enable, grant, grant_role, log_in, member};
use crate::client::{Client, Failed, refused};

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
    needs: Needs,
}

fn row(method: &'static str, message: &impl Message, needs: Needs) -> Row {
    Row { method, message: message.encode_to_vec().into(), needs }
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

struct Caller {
    name: &'static str,
    token: Option<String>,
}

/// Why somebody is not let in by what a method needs; `None`: he is.
fn expected(caller: &str, needs: Needs) -> Option<&'static str> {
    match (caller, needs) {
        (_, Nothing) | ("root", _) | ("alice", Name | Permission) | ("idle", Name) => None,
        ("nobody", _) => Some("etcdserver: user name is empty"),
        ("another cluster's", _) => Some("etcdserver: invalid auth token"),
        _ => Some("etcdserver: permission denied"),
    }
}

fn is_refusal(text: &str) -> bool {
    [
        "etcdserver: user name is empty",
        "etcdserver: invalid auth token",
        "etcdserver: permission denied",
    ]
    .contains(&text)
}

/// Some keys and leases; alice may do what she likes with pears.
fn prepare(client: &Client) -> Vec<Caller> {
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
    let token = |name| Some(log_in(client, name).unwrap());
    vec![
        Caller { name: "nobody", token: None },
        Caller { name: "another cluster's", token: Some("abcdefghijklmnop.7".to_owned()) },
        Caller { name: "idle", token: token("idle") },
        Caller { name: "alice", token: token("alice") },
        Caller { name: "root", token: Some(root) },
    ]
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
    let member = member();
    let client = Client::connect(&member);
    let callers = prepare(&client);
    for Row { method, message, needs } in rows() {
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
    let callers = prepare(&client);
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
    let callers = prepare(&client);
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
