//! `etcd grpc-proxy start`, through the real binaries: in front of our members and of real etcd, for
//! our etcdctl and Debian's.

#[path = "grpc_proxy/harness.rs"]
mod harness;

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
    run::{self, Output},
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

/// A stream of many watches, of which one is taken away again: etcdctl knows them by their ids.
#[test]
fn watches_of_one_stream_are_told_apart() {
    let tools = [Some(binaries::etcdctl()), binaries::real_etcdctl()];
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &[]);
        for binary in tools.iter().flatten() {
            let mut command = run::etcdctl_v3(binary, &proxy.endpoint());
            let watching = Typed::start(command.args(["watch", "-i"]));
            watching.type_in("watch one\nwatch two\nwatch one\n");
            eventually(PATIENCE, "two ranges are watched, and one of them twice", || {
                let along = proxy.figure("etcd_grpc_proxy_watchers_coalescing_total");
                (figure(&member, OPEN) == 2 && along == 1).then_some(())
            });
            let client = proxy.client();
            runtime().block_on(async {
                for at in 0..3 {
                    client.put(put_of("one", &format!("1-{at}"))).await.unwrap();
                    client.put(put_of("two", &format!("2-{at}"))).await.unwrap();
                }
            });
            let count = |lines: &[String], what: &str| lines.iter().filter(|l| *l == what).count();
            eventually(PATIENCE, &format!("{binary:?} at {server} tells all"), || {
                let lines = watching.stdout();
                let all = (0..3).all(|at| {
                    count(&lines, &format!("1-{at}")) == 2 && count(&lines, &format!("2-{at}")) == 1
                });
                all.then_some(())
            });
            drop(watching);
            eventually(PATIENCE, "nobody watches any more", || {
                (figure(&member, OPEN) == 0).then_some(())
            });
        }
    }
}

#[test]
fn many_watchers_of_the_same_keys_are_one_to_the_members() {
    const WATCHERS: usize = 60;
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &[]);
        runtime().block_on(async {
            let client = proxy.client();
            client.put(put_of("w/0", "before")).await.unwrap();
            let mut watchers = Vec::new();
            for _ in 0..WATCHERS {
                let mut watcher = client.watch(watch_of("w/", 0));
                watcher.created().await.unwrap();
                watchers.push(watcher);
            }
            harness::settles(&member, OPEN, 1, server).await;
            assert_eq!(
                proxy.figure("etcd_grpc_proxy_watchers_coalescing_total"),
                WATCHERS as u64 - 1
            );
            let before = proxy.figure("etcd_grpc_proxy_events_coalescing_total");
            let mut expected = Vec::new();
            for at in 0..20 {
                let (key, value) = (format!("w/{at}"), format!("v{at}"));
                let answer = client.put(put_of(&key, &value)).await.unwrap();
                expected.push((key, value, answer.header.unwrap().revision));
                client.put(put_of("x", "not watched")).await.unwrap();
            }
            for watcher in &mut watchers {
                assert_eq!(events(watcher, expected.len()).await, expected, "{server}");
            }
            let after = proxy.figure("etcd_grpc_proxy_events_coalescing_total");
            assert!(after >= before + WATCHERS as u64 - 1, "{server}: {before} {after}");
            // Half of them go, and the others go on.
            watchers.truncate(WATCHERS / 2);
            client.put(put_of("w/last", "v")).await.unwrap();
            for watcher in &mut watchers {
                assert_eq!(events(watcher, 1).await[0].0, "w/last", "{server}");
            }
            drop(watchers);
            harness::settles(&member, OPEN, 0, server).await;
            assert_eq!(proxy.figure("etcd_grpc_proxy_watchers_coalescing_total"), 0);
        });
    }
}

#[test]
fn a_watch_from_the_past_is_told_all_and_then_goes_along() {
    const EVENTS: usize = 500;
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &[]);
        runtime().block_on(async {
            let client = proxy.client();
            let mut expected = Vec::new();
            for at in 0..EVENTS {
                let (key, value) = (format!("p/{}", at % 7), at.to_string());
                let answer = client.put(put_of(&key, &value)).await.unwrap();
                expected.push((key, value, answer.header.unwrap().revision));
            }
            let mut now = client.watch(watch_of("p/", 0));
            now.created().await.unwrap();
            let first = expected[0].2;
            let mut past = client.watch(watch_of("p/", first));
            let middle = expected[EVENTS / 2].2;
            let mut later = client.watch(watch_of("p/", middle));
            assert_eq!(events(&mut past, EVENTS).await, expected, "{server}");
            assert_eq!(events(&mut later, EVENTS / 2).await, expected[EVENTS / 2..], "{server}");
            let last = client.put(put_of("p/x", "all")).await.unwrap().header.unwrap().revision;
            let all = ("p/x".to_owned(), "all".to_owned(), last);
            for watcher in [&mut now, &mut past, &mut later] {
                assert_eq!(events(watcher, 1).await, std::slice::from_ref(&all), "{server}");
            }
            harness::settles(&member, OPEN, 1, server).await;
            // And one of the future is told nothing before.
            let mut future = client.watch(watch_of("p/", last + 3));
            future.created().await.unwrap();
            for at in 0..4 {
                client.put(put_of("p/f", &at.to_string())).await.unwrap();
            }
            let told = events(&mut future, 2).await;
            assert_eq!((told[0].1.as_str(), told[0].2), ("2", last + 3), "{server}: {told:?}");
            assert_eq!(told.len(), 2, "{server}: {told:?}");
        });
    }
}

#[test]
fn what_is_compacted_is_said_to_whoever_asks_for_it_and_to_nobody_else() {
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &[]);
        runtime().block_on(async {
            let client = proxy.client();
            let mut now = client.watch(watch_of("c", 0));
            now.created().await.unwrap();
            let mut last = 0;
            for at in 0..10 {
                let answer = client.put(put_of("c", &at.to_string())).await.unwrap();
                last = answer.header.unwrap().revision;
            }
            let revision = last - 2;
            let compact = proto::etcdserverpb::CompactionRequest { revision, physical: true };
            client.compact(compact).await.unwrap();
            let mut past = client.watch(watch_of("c", 2));
            let error = tokio::time::timeout(PATIENCE, past.next()).await.unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Compacted { revision } if revision == last - 2),
                "{server}: {error:?}"
            );
            assert_eq!(events(&mut now, 10).await.len(), 10, "{server}");
            // The cache knows it too.
            let old = RangeRequest { revision: 2, serializable: true, ..range_of("c") };
            let error = client.range(old).await.unwrap_err();
            assert!(error.to_string().contains("compacted"), "{server}: {error}");
        });
    }
}

#[test]
fn a_client_that_reads_nothing_holds_nobody_up_and_misses_nothing() {
    const EVENTS: usize = 400;
    for (server, member) in upstreams() {
        let proxy = Proxy::before(&member, &[]);
        runtime().block_on(async {
            let (slow, quick, writer) = (proxy.client(), proxy.client(), proxy.client());
            let mut lazy = slow.watch(watch_of("s/", 0));
            lazy.created().await.unwrap();
            let mut eager = quick.watch(watch_of("s/", 0));
            eager.created().await.unwrap();
            // More than all that lies between a client and the proxy can hold.
            let value = "x".repeat(100_000);
            let writing = tokio::spawn(async move {
                for at in 0..EVENTS {
                    writer.put(put_of(&format!("s/{at}"), &value)).await.unwrap();
                }
            });
            let keys: Vec<_> = (0..EVENTS).map(|at| format!("s/{at}")).collect();
            let told = events(&mut eager, EVENTS).await;
            assert!(told.iter().map(|event| &event.0).eq(&keys), "{server}");
            writing.await.unwrap();
            // The slow one has a watch of its own meanwhile, or the test has shown nothing.
            assert!(figure(&member, OPEN) >= 2, "{server}");
            let told = events(&mut lazy, EVENTS).await;
            assert!(told.iter().map(|event| &event.0).eq(&keys), "{server}");
            harness::settles(&member, OPEN, 1, server).await;
        });
    }
}

#[test]
fn a_watch_tells_its_progress_when_it_is_asked() {
    // etcd before 3.4.25 tells it without looking at what is still to be told.
    let member = Member::start();
    let proxy = Proxy::before(&member, &[]);
    runtime().block_on(async {
        let client = proxy.client();
        let mut one = client.watch(watch_of("q", 0));
        one.created().await.unwrap();
        let mut other = client.watch(watch_of("q", 0));
        other.created().await.unwrap();
        harness::settles(&member, OPEN, 1, "ours").await;
        let revision = client.put(put_of("elsewhere", "v")).await.unwrap().header.unwrap().revision;
        for watcher in [&mut one, &mut other] {
            let asker = watcher.asker();
            asker.ask();
            let answer = tokio::time::timeout(PATIENCE, watcher.next()).await.unwrap().unwrap();
            assert!(answer.events.is_empty());
            assert!(answer.header.unwrap().revision >= revision);
        }
        // Who has not asked is not told.
        client.put(put_of("q", "v")).await.unwrap();
        for watcher in [&mut one, &mut other] {
            let answer = tokio::time::timeout(PATIENCE, watcher.next()).await.unwrap().unwrap();
            assert_eq!(answer.events.len(), 1, "{answer:?}");
        }
    });
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

async fn eventually_gone(client: &Client, key: &str, who: &str) {
    let since = Instant::now();
    while !client.range(range_of(key)).await.unwrap().kvs.is_empty() {
        assert!(since.elapsed() < PATIENCE, "{who}: {key} stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_member_that_dies_is_gone_past_and_no_watch_misses_anything() {
    let mut cluster = Cluster::start(3);
    let endpoints: Vec<_> = cluster.members.iter().map(|m| m.address().to_string()).collect();
    let proxy = Proxy::start(&endpoints.join(","), &[]);
    let runtime = runtime();
    let client = proxy.client();
    let mut watchers: Vec<_> = (0..9).map(|_| client.watch(watch_of("d/", 0))).collect();
    runtime.block_on(async {
        for watcher in &mut watchers {
            watcher.created().await.unwrap();
        }
    });
    let mut expected = Vec::new();
    for round in 0..3 {
        cluster.members[round].kill();
        let before = expected.len();
        for at in 0..20 {
            let value = format!("{round}-{at}");
            // A write that was lost on the way may have been carried out, and is not made again.
            let put = || runtime.block_on(client.within(PATIENCE).put(put_of("d/k", &value)));
            if let Ok(answer) = put() {
                expected.push((value, answer.header.unwrap().revision));
            }
        }
        // One is enough to be lost on the way.
        assert!(expected.len() >= before + 15, "round {round}: {} of 20", expected.len() - before);
        cluster.members[round].restart();
    }
    runtime.block_on(async {
        let last = client.put(put_of("d/k", "last")).await.unwrap().header.unwrap().revision;
        for watcher in &mut watchers {
            let mut told = Vec::new();
            while told.last().is_none_or(|(_, revision)| *revision < last) {
                let next = events(watcher, 1).await;
                told.extend(next.into_iter().map(|(_, value, revision)| (value, revision)));
            }
            let revisions: Vec<_> = told.iter().map(|(_, revision)| *revision).collect();
            assert!(revisions.is_sorted_by(|one, next| one < next), "{revisions:?}");
            for one in &expected {
                assert!(told.contains(one), "{one:?} is missing");
            }
        }
    });
}

#[test]
fn health_and_metrics_are_told() {
    for (server, mut member) in upstreams() {
        let metrics = ports::free();
        let beside = format!("http://127.0.0.1:{metrics}");
        let proxy = Proxy::before(&member, &["--metrics-addr", &beside]);
        let beside = std::net::SocketAddr::from(([127, 0, 0, 1], metrics));
        for address in [proxy.address, beside] {
            let get = |path: &str| harness::get(address, path);
            for path in ["/health", "/proxy/health"] {
                let answer = get(path);
                let told = (answer.status, answer.json()["health"].clone());
                assert_eq!(told, (200, "true".into()), "{server} {path}: {}", answer.text());
            }
            let text = get("/metrics").text();
            assert!(text.contains("etcd_server_has_leader 1"), "{server}");
            let text = get("/proxy/metrics").text();
            assert!(text.contains("etcd_grpc_proxy_cache_hits_total 0"), "{server}: {text}");
            assert!(text.contains("process_resident_memory_bytes"), "{server}");
            assert!(text.contains("grpc_server_started_total{grpc_method=\"Watch\""), "{server}");
            assert_eq!(get("/v2/keys/a").status, 404, "{server}");
        }
        // On the second port there is nothing else.
        let other = Client::new(&[beside.to_string()], Config::default()).unwrap();
        let refused = runtime().block_on(other.within(PATIENCE).range(range_of("a")));
        assert!(refused.is_err(), "{server}");
        member.kill();
        let answer = harness::get(proxy.address, "/health");
        let told = (answer.status, answer.json()["health"].clone());
        assert_eq!(told, (503, "false".into()), "{server}: {}", answer.text());
        assert!(answer.json()["reason"].as_str().unwrap().starts_with("GET ERROR:"), "{server}");
        assert_eq!(harness::get(proxy.address, "/proxy/health").status, 503, "{server}");
        assert_eq!(harness::get(proxy.address, "/metrics").status, 500, "{server}");
    }
}

#[test]
fn a_call_without_members_is_told_so_and_served_again_when_they_are_back() {
    let mut member = Member::start();
    let proxy = Proxy::before(&member, &[]);
    let (runtime, client) = (runtime(), proxy.client());
    let mut watcher = client.watch(watch_of("b", 0));
    runtime.block_on(async { watcher.created().await.unwrap() });
    member.kill();
    // A call of "once": a client that may ask again does so for long.
    let error = runtime.block_on(client.put(put_of("b", "1"))).unwrap_err();
    assert!(error.to_string().contains("no endpoint can be reached"), "{error}");
    member.restart();
    let value = eventually(PATIENCE, "writes are taken again", || {
        runtime.block_on(client.put(put_of("b", "2"))).ok().map(|_| "2")
    });
    let told = runtime.block_on(events(&mut watcher, 1));
    assert_eq!(told[0].1, value);
}

/// Certificates of one authority, and a member that asks for them.
struct Secure {
    dir: TempDir,
    member: Member,
    url: String,
}

impl Secure {
    fn start() -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new("inside"));
        put(dir.path(), "ca.pem", &authority.pem);
        authority.issue(dir.path(), "member", 1);
        authority.issue(dir.path(), "named", 2);
        authority.issue_nameless(dir.path(), "nameless", 3);
        let of_clients = Authority::new("outside");
        put(dir.path(), "clients-ca.pem", &of_clients.pem);
        of_clients.issue(dir.path(), "proxy", 4);
        of_clients.issue(dir.path(), "client", 5);
        let file = |name: &str| dir.path().join(name).display().to_string();
        let (url, plain) = (
            format!("https://127.0.0.1:{}", ports::free()),
            format!("http://127.0.0.1:{}", ports::free()),
        );
        let address: std::net::SocketAddr = plain.trim_start_matches("http://").parse().unwrap();
        let start = Start::new()
            .client_port(address.port())
            .with("listen-client-urls", Some(&format!("{plain},{url}")))
            .with("cert-file", Some(&file("member.pem")))
            .with("key-file", Some(&file("member.key")))
            .with("trusted-ca-file", Some(&file("ca.pem")))
            .with("client-cert-auth", None);
        let mut member = start.start();
        member.allow("The scheme of client url");
        member.allow("rejected connection");
        Self { dir, member, url }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// How a proxy comes to the member.
    fn upstream(&self, name: &str) -> [String; 6] {
        [
            "--cert".to_owned(),
            self.file(&format!("{name}.pem")),
            "--key".to_owned(),
            self.file(&format!("{name}.key")),
            "--cacert".to_owned(),
            self.file("ca.pem"),
        ]
    }

    /// How it serves.
    fn downstream(&self) -> [String; 6] {
        [
            "--cert-file".to_owned(),
            self.file("proxy.pem"),
            "--key-file".to_owned(),
            self.file("proxy.key"),
            "--trusted-ca-file".to_owned(),
            self.file("clients-ca.pem"),
        ]
    }
}

/// Without a certificate but those of `tls`.
fn etcdctl(proxy: &Proxy, tls: &[&str], arguments: &[&str]) -> Output {
    let endpoint = format!("https://{}", proxy.address);
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &endpoint);
    run::run(
        command.args(["--command-timeout=3s", "--dial-timeout=2s"]).args(tls).args(arguments),
        "",
    )
}

#[test]
fn tls_is_spoken_on_both_sides() {
    let secure = Secure::start();
    let flags = [secure.upstream("nameless"), secure.downstream()].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&secure.url, &flags);
    let (cert, key, ca) =
        (secure.file("client.pem"), secure.file("client.key"), secure.file("clients-ca.pem"));
    let known = ["--cert", &cert, "--key", &key, "--cacert", &ca];
    let output = etcdctl(&proxy, &known, &["put", "a", "1"]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(0), "OK\n"), "{output:?}");
    // It has come to the member.
    let inside = harness::client_of(&secure.member);
    let found = runtime().block_on(inside.range(range_of("a"))).unwrap();
    assert_eq!(found.kvs[0].value, "1");
    // Whoever shows no certificate, or one of another authority, is not let in.
    let output = etcdctl(&proxy, &["--cacert", &ca], &["get", "a"]);
    assert_ne!(output.exit, Some(0), "{output:?}");
    let (cert, key) = (secure.file("named.pem"), secure.file("named.key"));
    let output = etcdctl(&proxy, &["--cert", &cert, "--key", &key, "--cacert", &ca], &["get", "a"]);
    assert_ne!(output.exit, Some(0), "{output:?}");
    assert!(!output.stdout.contains('1'), "{output:?}");
    // It reaches itself the same way: that is part of its health.
    if !harness::has_curl() {
        return;
    }
    let (cert, key) = (secure.file("client.pem"), secure.file("client.key"));
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--cert", &cert, "--key", &key, "--cacert", &ca]);
    let output = run::run(curl.arg(format!("https://{}/proxy/health", proxy.address)), "");
    assert_eq!(output.stdout, "{\"health\":\"true\",\"reason\":\"\"}", "{output:?}");
}

#[test]
fn a_certificate_with_a_common_name_is_not_taken_to_the_members() {
    let secure = Secure::start();
    let flags = secure.upstream("named");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let output = Proxy::run(&secure.url, &flags).wait(PATIENCE);
    assert_eq!(output.exit, Some(1), "{output:?}");
    assert!(output.stderr.contains("cert has non empty Common Name (named)"), "{output:?}");
    // Without authority: the member is not believed, and nothing is served.
    let (cert, key) = (secure.file("nameless.pem"), secure.file("nameless.key"));
    let proxy = Proxy::start(&secure.url, &["--cert", &cert, "--key", &key]);
    let error = runtime().block_on(proxy.client().put(put_of("a", "1"))).unwrap_err();
    assert!(error.to_string().contains("no endpoint can be reached"), "{error}");
    drop(proxy);
    let proxy =
        Proxy::start(&secure.url, &["--cert", &cert, "--key", &key, "--insecure-skip-tls-verify"]);
    runtime().block_on(proxy.client().put(put_of("a", "1"))).unwrap();
    proxy.says(|message| message.starts_with("--insecure-skip-tls-verify was given"));
}

#[test]
fn a_proxy_makes_its_own_certificate_if_it_is_told_to() {
    let (member, dir) = (Member::start(), TempDir::new().unwrap());
    let data_dir = dir.path().display().to_string();
    let proxy = Proxy::before(&member, &["--auto-tls", "--data-dir", &data_dir]);
    let cert = dir.path().join("fixtures/proxy/cert.pem").display().to_string();
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &format!("https://{}", proxy.address));
    let output = run::run(command.args(["--cacert", &cert, "put", "a", "1"]), "");
    assert_eq!((output.exit, output.stdout.as_str()), (Some(0), "OK\n"), "{output:?}");
    if !harness::has_curl() {
        return;
    }
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--cacert", &cert]);
    let output = run::run(curl.arg(format!("https://{}/proxy/health", proxy.address)), "");
    assert_eq!(output.stdout, "{\"health\":\"true\",\"reason\":\"\"}", "{output:?}");
}

fn listed(proxy: &Proxy) -> BTreeSet<String> {
    let client = proxy.client();
    let asked = client.member_list(MemberListRequest::default());
    let asked = async { tokio::time::timeout(PATIENCE, asked).await };
    let answer = runtime().block_on(asked).expect("it answers").expect("members");
    answer.members.into_iter().flat_map(|member| member.client_ur_ls).collect()
}

#[test]
fn proxies_know_each_other_and_tell_clients_of_themselves() {
    for (server, member) in upstreams() {
        let flags = ["--resolver-prefix", "proxies", "--resolver-ttl", "60"];
        let one = Proxy::before(&member, &flags);
        let other = Proxy::before(&member, &flags);
        // The original's, if it is there.
        let third = binaries::real_etcd().map(|etcd| Proxy::original(&etcd, &member, &flags));
        let mut all: BTreeSet<_> = [&one, &other].map(Proxy::endpoint).into();
        all.extend(third.as_ref().map(Proxy::endpoint));
        for proxy in [Some(&one), Some(&other), third.as_ref()].into_iter().flatten() {
            eventually(PATIENCE, &format!("{server}: all proxies are listed"), || {
                (listed(proxy) == all).then_some(())
            });
        }
        // One that stops says good-bye, long before its time is over.
        let gone = other.endpoint();
        kill(Pid::from_raw(other.running.pid().cast_signed()), Signal::SIGTERM).unwrap();
        other.running.wait(PATIENCE);
        all.remove(&gone);
        eventually(PATIENCE, &format!("{server}: it is listed no longer"), || {
            (listed(&one) == all).then_some(())
        });
        // Without an address of its own, a proxy tells of the members.
        let plain = Proxy::before(&member, &["--advertise-client-url="]);
        assert_eq!(listed(&plain), [member.url()].into(), "{server}");
    }
}

#[test]
fn endpoints_are_followed_as_members_come() {
    let mut cluster = Cluster::start(1);
    let first = cluster.members[0].address().to_string();
    let proxy = Proxy::start(&first, &["--endpoints-auto-sync-interval", "200ms"]);
    cluster.add();
    cluster.add();
    let runtime = runtime();
    let client = proxy.client();
    runtime.block_on(client.put(put_of("a", "1"))).unwrap();
    // Whoever answers says who he is: all three are asked sooner or later.
    let mut answered = BTreeSet::new();
    eventually(PATIENCE, "all three are asked", || {
        let answer = runtime.block_on(client.range(range_of("a"))).ok()?;
        answered.insert(answer.header?.member_id);
        (answered.len() == 3).then_some(())
    });
    cluster.members[0].kill();
    eventually(PATIENCE, "the others serve", || {
        runtime.block_on(client.within(PATIENCE).put(put_of("a", "2"))).ok()
    });
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
fn passwords_and_rights_are_the_members_affair() {
    // Our members have no users yet.
    let why = "no /usr/bin/etcd 3.4";
    let Some(etcd) = binaries::real_etcd() else {
        rings::can_run("users through a grpc-proxy", false, why);
        return;
    };
    let member = Start::original(etcd).start();
    let proxy = Proxy::before(&member, &[]);
    let run = |arguments: &[&str]| {
        run::run(run::etcdctl_v3(&binaries::etcdctl(), &proxy.endpoint()).args(arguments), "")
    };
    let done = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.exit, Some(0), "{arguments:?}: {output:?}");
        output.stdout
    };
    done(&["put", "mine/a", "1"]);
    done(&["put", "theirs/a", "2"]);
    done(&["get", "theirs/a", "--consistency=s"]);
    done(&["user", "add", "root:r"]);
    done(&["user", "add", "me:m"]);
    done(&["role", "add", "mine"]);
    done(&["role", "grant-permission", "mine", "readwrite", "mine/", "--prefix"]);
    done(&["user", "grant-role", "me", "mine"]);
    done(&["user", "grant-role", "root", "root"]);
    done(&["auth", "enable"]);
    assert_eq!(done(&["--user", "root:r", "get", "theirs/a", "--consistency=s"]), "theirs/a\n2\n");
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &proxy.endpoint());
    let all = run::start(command.args(["--user", "root:r", "watch", "theirs/", "--prefix"]), "");
    eventually(PATIENCE, "root watches", || (figure(&member, OPEN) == 1).then_some(()));
    assert_eq!(done(&["--user", "me:m", "get", "mine/a"]), "mine/a\n1\n");
    // Nobody reads what another has read, and no watch goes along where it may not.
    let output = run(&["--user", "me:m", "get", "theirs/a", "--consistency=s"]);
    assert!(output.stderr.contains("permission denied"), "{output:?}");
    assert_eq!(output.stdout, "");
    let output = run(&["get", "theirs/a", "--consistency=s"]);
    assert!(output.stderr.contains("user name is empty"), "{output:?}");
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &proxy.endpoint());
    let denied = command.args(["--user", "me:m", "watch", "theirs/", "--prefix"]);
    let denied = run::start(denied, "").wait(PATIENCE);
    assert!(denied.stderr.contains("permission denied"), "{denied:?}");
    done(&["--user", "root:r", "put", "theirs/a", "3"]);
    eventually(PATIENCE, "root is told", || {
        let lines = all.stdout();
        (lines == ["PUT", "theirs/a", "3"]).then_some(())
    });
    assert_eq!(done(&["--user", "root:r", "auth", "disable"]), "Authentication Disabled\n");
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
