//! `etcd grpc-proxy start`, through the real binaries: in front of our members and of real etcd, for
//! our etcdctl and Debian's.

mod harness;
mod members;
mod security;
mod watches;

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use client::v3::{Client, Config, Error};
use e2e::{
    Member, Start,
    authority::{Authority, put},
    binaries,
    cluster::Cluster,
    eventually, ports, rings,
    run::{self, Output, Running},
};
use harness::{PATIENCE, Proxy, Typed, between, figure, runtime, upstreams};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
        MemberListRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request as Op,
        response_op::Response,
    },
    mvccpb::event::EventType,
};
use tempfile::TempDir;

const OPEN: &str = "etcd_debugging_mvcc_watcher_total";

fn put_of(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    }
}

fn range_of(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }
}

fn prefix_of(key: &str) -> RangeRequest {
    let range_end = client::v3::prefix_end(key.as_bytes());
    RangeRequest { range_end, ..range_of(key) }
}

fn watch_of(prefix: &str, start_revision: i64) -> WatchCreateRequest {
    let RangeRequest { key, range_end, .. } = prefix_of(prefix);
    WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() }
}

/// The events of a watch until there were so many: keys, values and revisions.
async fn events(watcher: &mut client::v3::Watcher, count: usize) -> Vec<(String, String, i64)> {
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut found = Vec::new();
    while found.len() < count {
        let answer = tokio::time::timeout(PATIENCE, watcher.next()).await;
        let answer = answer.unwrap_or_else(|_| panic!("after {} events", found.len()));
        for event in answer.expect("it goes on").events {
            let kv = event.kv.expect("a key");
            found.push((text(&kv.key), text(&kv.value), kv.mod_revision));
        }
    }
    found
}

#[test]
fn both_etcdctls_work_through_a_proxy_of_either_server() {
    let ours = ("ours", binaries::etcdctl());
    let tools: Vec<_> = [Some(ours), binaries::real_etcdctl().map(|tool| ("debian", tool))]
        .into_iter()
        .flatten()
        .collect();
    rings::can_run("etcdctl 3.4 through a grpc-proxy", tools.len() == 2, "no /usr/bin/etcdctl 3.4");
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &[]);
        for (tool, binary) in &tools {
            let who = format!("{tool} through a proxy of {server}");
            let run = |arguments: &[&str], stdin: &str| {
                run::run(run::etcdctl_v3(binary, &proxy.endpoint()).args(arguments), stdin)
            };
            let check = |arguments: &[&str], stdin: &str, expected: &str| {
                let output = run(arguments, stdin);
                let found = (output.exit, output.stdout.as_str());
                assert_eq!(found, (Some(0), expected), "{who}: {arguments:?}: {output:?}");
            };
            check(&["put", "k", "v1"], "", "OK\n");
            check(&["put", "k", "v2", "--prev-kv"], "", "OK\nk\nv1\n");
            check(&["get", "k"], "", "k\nv2\n");
            check(&["get", "k", "--consistency=s"], "", "k\nv2\n");
            check(&["put", "k2", "w"], "", "OK\n");
            check(&["get", "k", "--prefix", "--print-value-only"], "", "v2\nw\n");
            check(
                &["txn", "-i=false"],
                "value(\"k\") = \"v2\"\n\nput k v3\nget k2\n\nget k\n\n",
                "SUCCESS\n\nOK\n\nk2\nw\n",
            );
            check(&["del", "k", "--prefix"], "", "2\n");
            let granted = run(&["lease", "grant", "60"], "");
            let lease = granted.stdout.split_whitespace().nth(1).expect("an id").to_owned();
            check(&["put", "l", "v", "--lease", &lease], "", "OK\n");
            let kept = run(&["lease", "keep-alive", "--once", &lease], "");
            let expected = format!("lease {lease} keepalived with TTL(60)\n");
            assert_eq!(kept.stdout, expected, "{who}: {kept:?}");
            let told = run(&["lease", "timetolive", "--keys", &lease], "");
            assert!(told.stdout.contains("attached keys([l])"), "{who}: {told:?}");
            check(&["lease", "revoke", &lease], "", &format!("lease {lease} revoked\n"));
            check(&["get", "l"], "", "");
            let members = run(&["member", "list"], "");
            assert!(members.stdout.contains(&proxy.endpoint()), "{who}: {members:?}");
            let status = run(&["endpoint", "status"], "");
            assert_eq!(status.exit, Some(0), "{who}: {status:?}");
            assert!(status.stdout.starts_with(&proxy.endpoint()), "{who}: {status:?}");
            let health = run(&["endpoint", "health"], "");
            assert!((health.stdout + &health.stderr).contains("is healthy"), "{who}");
            let locked = run(&["lock", "m", "echo", "held"], "");
            assert_eq!((locked.exit, locked.stdout.as_str()), (Some(0), "held\n"), "{who}");
            let dir = TempDir::new().unwrap();
            let file = dir.path().join("saved");
            let saved = run(&["snapshot", "save", file.to_str().unwrap()], "");
            assert_eq!(saved.exit, Some(0), "{who}: {saved:?}");
            assert!(fs::metadata(&file).unwrap().len() > 1_000, "{who}");
            let missing = run(&["lease", "revoke", "1234"], "");
            assert!(missing.stderr.contains("requested lease not found"), "{who}: {missing:?}");
        }
    }
}

#[test]
fn clients_of_a_namespace_see_nothing_else() {
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &["--namespace", "ns/"]);
        runtime().block_on(async {
            let (inside, outside) = (proxy.client(), harness::client_of(&member));
            let keys = |answer: proto::etcdserverpb::RangeResponse| {
                let keys =
                    answer.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned());
                keys.collect::<Vec<_>>()
            };
            for key in ["ns", "ns.", "ns0", "a", "z"] {
                outside.put(put_of(key, "outside")).await.unwrap();
            }
            let mut watcher = inside.watch(WatchCreateRequest {
                key: vec![0].into(),
                range_end: vec![0].into(),
                prev_kv: true,
                ..WatchCreateRequest::default()
            });
            watcher.created().await.unwrap();
            let lease = inside.lease_grant(LeaseGrantRequest { ttl: 60, id: 0 }).await.unwrap().id;
            inside.put(PutRequest { lease, ..put_of("a", "1") }).await.unwrap();
            outside.put(PutRequest { lease, ..put_of("z", "outside") }).await.unwrap();
            let all = RangeRequest {
                key: vec![0].into(),
                range_end: vec![0].into(),
                ..Default::default()
            };
            assert_eq!(keys(inside.range(all.clone()).await.unwrap()), ["a"], "{server}");
            let found = keys(outside.range(all.clone()).await.unwrap());
            assert_eq!(found, ["a", "ns", "ns.", "ns/a", "ns0", "z"], "{server}");
            let asked = LeaseTimeToLiveRequest { id: lease, keys: true };
            let told = inside.lease_time_to_live(asked).await.unwrap();
            assert_eq!(told.keys, ["a"], "{server}");
            // A transaction within a transaction.
            let op = |request| RequestOp { request: Some(request) };
            let is = |key: &str, value: &str| Compare {
                result: CompareResult::Equal.into(),
                target: CompareTarget::Value.into(),
                key: key.to_owned().into(),
                target_union: Some(TargetUnion::Value(value.to_owned().into())),
                ..Compare::default()
            };
            let inner = TxnRequest {
                compare: vec![is("a", "1")],
                success: vec![
                    op(Op::RequestPut(PutRequest { prev_kv: true, ..put_of("a", "2") })),
                    op(Op::RequestRange(range_of("a"))),
                ],
                failure: Vec::new(),
            };
            let outer = TxnRequest {
                compare: vec![is("a", "1")],
                success: vec![op(Op::RequestTxn(inner)), op(Op::RequestPut(put_of("b", "3")))],
                failure: Vec::new(),
            };
            let answer = inside.txn(outer).await.unwrap();
            assert!(answer.succeeded, "{server}");
            let Some(Response::ResponseTxn(within)) = &answer.responses[0].response else {
                panic!("{answer:?}");
            };
            assert!(within.succeeded, "{server}: {answer:?}");
            assert!(!format!("{answer:?}").contains("ns/"), "{server}: {answer:?}");
            let delete = DeleteRangeRequest {
                key: vec![0].into(),
                range_end: vec![0].into(),
                prev_kv: true,
            };
            let deleted = inside.delete_range(delete).await.unwrap();
            assert_eq!(deleted.deleted, 2, "{server}");
            assert_eq!(deleted.prev_kvs[0].key, "a", "{server}");
            let found = keys(outside.range(all).await.unwrap());
            assert_eq!(found, ["a", "ns", "ns.", "ns0", "z"], "{server}");
            let mut told = Vec::new();
            while told.len() < 5 {
                let answer = tokio::time::timeout(PATIENCE, watcher.next()).await.unwrap().unwrap();
                for event in answer.events {
                    let before = event.prev_kv.as_ref().map(|kv| kv.key.clone());
                    let kind = event.r#type();
                    let key = event.kv.unwrap().key;
                    assert!(before.is_none_or(|before| before == key), "{server}");
                    told.push((kind, String::from_utf8_lossy(&key).into_owned()));
                }
            }
            let expected = [
                (EventType::Put, "a"),
                (EventType::Put, "a"),
                (EventType::Put, "b"),
                (EventType::Delete, "a"),
                (EventType::Delete, "b"),
            ];
            let expected: Vec<_> = expected.map(|(kind, key)| (kind, key.to_owned())).into();
            assert_eq!(told, expected, "{server}");
            let error = inside.put(put_of("", "v")).await.unwrap_err();
            assert_eq!(error.to_string(), "etcdserver: key is not provided", "{server}");
        });
    }
}

#[test]
fn a_read_from_the_cache_is_never_from_before_a_write_through_the_proxy() {
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &[]);
        runtime().block_on(async {
            let (client, outside) = (proxy.client(), harness::client_of(&member));
            let cached = RangeRequest { serializable: true, ..range_of("c") };
            let all = RangeRequest { serializable: true, ..prefix_of("c") };
            client.put(put_of("c", "0")).await.unwrap();
            // Others read all the while, so that there is always an old answer under way.
            let reading = tokio::spawn({
                let (client, cached, all) = (proxy.client(), cached.clone(), all.clone());
                async move {
                    loop {
                        client.range(cached.clone()).await.unwrap();
                        client.range(all.clone()).await.unwrap();
                    }
                }
            });
            for at in 1..300 {
                let value = at.to_string();
                if at % 3 == 0 {
                    let put = RequestOp { request: Some(Op::RequestPut(put_of("c", &value))) };
                    let txn = TxnRequest { success: vec![put], ..TxnRequest::default() };
                    client.txn(txn).await.unwrap();
                } else {
                    client.put(put_of("c", &value)).await.unwrap();
                }
                for request in [&cached, &all] {
                    let answer = client.range(request.clone()).await.unwrap();
                    assert_eq!(answer.kvs[0].value, value, "{server}");
                }
            }
            reading.abort();
            assert!(proxy.figure("etcd_grpc_proxy_cache_hits_total") > 100, "{server}");
            assert!(proxy.figure("etcd_grpc_proxy_cache_keys_total") > 0, "{server}");
            // Who writes elsewhere is heard of soon.
            outside.put(put_of("c", "elsewhere")).await.unwrap();
            let since = Instant::now();
            while client.range(cached.clone()).await.unwrap().kvs[0].value != "elsewhere" {
                assert!(since.elapsed() < PATIENCE, "{server}");
            }
        });
    }
}

#[test]
fn leases_are_kept_and_who_renews_the_same_renews_it_once() {
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &[]);
        runtime().block_on(async {
            let client = proxy.client();
            let lease = client.lease_grant(LeaseGrantRequest { ttl: 2, id: 0 }).await.unwrap().id;
            client.put(PutRequest { lease, ..put_of("kept", "v") }).await.unwrap();
            let mut kept = client.keep_alive(lease);
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(6) {
                let answer = kept.next().await.unwrap();
                assert!(answer.is_some(), "{server}");
            }
            assert_eq!(client.range(range_of("kept")).await.unwrap().kvs.len(), 1, "{server}");
            drop(kept);
            eventually_gone(&client, "kept", server).await;
            let error = client.keep_alive_once(lease).await.unwrap_err();
            assert!(error.to_string().contains("requested lease not found"), "{server}: {error}");

            let lease = client.lease_grant(LeaseGrantRequest { ttl: 600, id: 0 }).await.unwrap().id;
            let before = figure(&member, "etcd_debugging_lease_renewed_total");
            // Until it has been seen: it takes two at the same time.
            let mut renewals = 0;
            while proxy.figure("retcd_grpc_proxy_renewals_coalescing_total") == 0 {
                assert!(renewals < 10_000, "{server}: nobody went along with another");
                let mut all = tokio::task::JoinSet::new();
                for _ in 0..200 {
                    let client = client.clone();
                    all.spawn(async move { client.keep_alive_once(lease).await.unwrap().ttl });
                }
                renewals += 200;
                assert!(all.join_all().await.iter().all(|ttl| *ttl == 600), "{server}");
            }
            let renewed = figure(&member, "etcd_debugging_lease_renewed_total") - before;
            assert!(renewed < renewals, "{server}: {renewed} of {renewals}");
            client.lease_revoke(LeaseRevokeRequest { id: lease }).await.unwrap();
        });
    }
}

/// A member that is cut off from the others goes on answering who is content with what it has.
#[test]
fn reads_never_go_back_in_time_if_that_is_asked_for() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let endpoints: Vec<_> = cluster.members.iter().map(|m| m.address().to_string()).collect();
    let endpoints = endpoints.join(",");
    let plain = Proxy::start(&endpoints, &[]);
    let ordered = Proxy::start(&endpoints, &["--experimental-serializable-ordering"]);
    let (runtime, leader) = (runtime(), cluster.leader());
    cluster.isolate((leader + 1) % 3);
    let mut went_back = [false, false];
    for round in 0..12 {
        for (at, proxy) in [&plain, &ordered].into_iter().enumerate() {
            let client = proxy.client();
            runtime.block_on(async {
                let patient = client.within(PATIENCE);
                while patient.put(put_of("o", &round.to_string())).await.is_err() {}
                let Ok(written) = patient.range(range_of("o")).await else { return };
                let newest = written.header.unwrap().revision;
                // One for each member, and one more, so that each round begins at another.
                for limit in 1..5 {
                    // Each asks for something else: the cache is not what is looked at.
                    let limit = round * 10 + limit;
                    let asked = RangeRequest { serializable: true, limit, ..range_of("o") };
                    let Ok(read) = patient.range(asked).await else { continue };
                    went_back[at] |= read.header.unwrap().revision < newest;
                }
            });
        }
    }
    assert!(!went_back[1], "a read went back in time");
    assert!(went_back[0], "the other proxy never went back either: nothing was shown");
}

#[test]
fn the_end_comes_soon_and_streams_end_in_order() {
    let member = Member::start();
    let proxy = Proxy::before(&member, &[]);
    // A tool that goes nowhere else when it hears of the end.
    let Some(watching) = harness::watch_by_curl(&proxy, watch_of("e", 0)) else { return };
    eventually(PATIENCE, "it watches", || (figure(&member, OPEN) == 1).then_some(()));
    let since = Instant::now();
    kill(Pid::from_raw(proxy.running.pid().cast_signed()), Signal::SIGTERM).unwrap();
    let output = proxy.running.wait(PATIENCE);
    assert_eq!(output.exit, None, "as the original, it ends by the signal: {output:?}");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(output.stderr.contains("received SIGTERM, shutting down..."), "{output:?}");
    assert!(!output.stderr.contains("not all requests ended"), "{output:?}");
    eventually(PATIENCE, "nobody watches any more", || (figure(&member, OPEN) == 0).then_some(()));
    let output = watching.wait(PATIENCE);
    // Its stream has an end, and was not cut off: that would be 18.
    assert_eq!(output.exit, Some(0), "{output:?}");
}

#[test]
fn a_request_that_is_too_large_is_refused_on_the_way() {
    let member = Member::start();
    let proxy = Proxy::before(&member, &["--max-send-bytes", "1000"]);
    runtime().block_on(async {
        let client = proxy.client();
        client.put(put_of("a", &"x".repeat(900))).await.unwrap();
        let error = client.put(put_of("a", &"x".repeat(1_000))).await.unwrap_err().to_string();
        let parts = between(&error, "trying to send message larger than max (", ")");
        assert!(parts.is_some_and(|parts| parts.ends_with(" vs. 1000")), "{error}");
    });
}

async fn eventually_gone(client: &Client, key: &str, who: &str) {
    let since = Instant::now();
    while !client.range(range_of(key)).await.unwrap().kvs.is_empty() {
        assert!(since.elapsed() < PATIENCE, "{who}: {key} stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
