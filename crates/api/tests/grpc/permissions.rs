//! Who may do what through v3: every method, asked by everybody, over gRPC and through the gateway.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use proto::{
    etcdserverpb::{
        self as pb, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
        WatchRequest, WatchResponse, compare, request_op, watch_request::RequestUnion,
    },
    v3electionpb,
};

use super::{
    auth::{log_in, member},
    methods::{
        Caller, Needs::Permission, OTHERS, Row, begin_json, expected, is_refusal, key, metadata,
        methods, op, paths, prepare, put, refusal_in, rows,
    },
};
use crate::client::{Client, Failed, refused};

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
