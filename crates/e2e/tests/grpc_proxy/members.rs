//! Members that come and go behind a proxy, and proxies beside it.

use super::*;

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
