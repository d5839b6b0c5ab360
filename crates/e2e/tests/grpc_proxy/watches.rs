//! Watches through a proxy.

use super::*;

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
