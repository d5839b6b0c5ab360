//! Three members and more, through the real binaries: what goes on when some of them do not.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use e2e::{
    Connection, Member, Request, Start, binaries,
    cluster::{Cluster, SNAPSHOTS_SOON, forced::id},
    eventually, ports, run,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

fn quorum_value(member: &Member, key: &str) -> String {
    let answer = member.get(&format!("/v2/keys{key}?quorum=true")).expect(&[200]);
    answer.json()["node"]["value"].as_str().expect("a value").to_owned()
}

#[test]
fn what_one_member_acknowledges_all_members_read() {
    let cluster = Cluster::start(3);
    for (at, member) in cluster.members.iter().enumerate() {
        member.put("/a", &at.to_string());
        for other in &cluster.members {
            assert_eq!(quorum_value(other, "/a"), at.to_string(), "written at {at}");
        }
    }
    cluster.agree();
    let text = cluster.members[0].get("/v2/members").expect(&[200]).text();
    for member in &cluster.members {
        assert!(text.contains(&member.url()) && text.contains(member.peer_url()), "{text}");
        assert_eq!(member.get("/v2/members").text(), text);
        assert_eq!(member.get("/health").expect(&[200]).json()["health"], "true");
    }
}

#[test]
fn a_dead_leader_is_replaced_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    for number in 0..50 {
        cluster.put(&format!("/before/{number}"), "x");
    }
    cluster.members[leader].kill();
    let died = Instant::now();
    cluster.put("/after", "x");
    println!("a write goes on {:?} after the leader's death", died.elapsed());
    for number in 0..50 {
        cluster.put(&format!("/while/{number}"), "x");
    }
    cluster.members[leader].restart();
    let tree = cluster.agree().to_string();
    for key in (0..50).flat_map(|n| [format!("/before/{n}\""), format!("/while/{n}\"")]) {
        assert!(tree.contains(&key), "{key}");
    }
}

#[test]
fn members_restarted_one_at_a_time_fail_no_request_of_a_client_that_retries() {
    let mut cluster = Cluster::start(3);
    let addresses: Vec<_> = cluster.members.iter().map(Member::address).collect();
    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if done.load(SeqCst) {
                    return;
                }
                let request = Request::put(&format!("/v2/keys/roll/{number}"), "x");
                let patience = Instant::now() + PATIENCE;
                let ask = |address| Connection::open(address)?.ask(&request);
                while !addresses.iter().any(|address| {
                    ask(*address).is_ok_and(|answer| [200, 201].contains(&answer.status))
                }) {
                    assert!(Instant::now() < patience, "nobody takes write {number}");
                }
                written.store(number + 1, SeqCst);
            }
        });
        for at in 0..3 {
            let before = written.load(SeqCst);
            cluster.members[at].stop();
            cluster.members[at].restart();
            eventually(PATIENCE, "writes go on", || (written.load(SeqCst) > before).then_some(()));
        }
        done.store(true, SeqCst);
    });
    let tree = cluster.agree().to_string();
    for number in 0..written.load(SeqCst) {
        assert!(tree.contains(&format!("\"/roll/{number}\"")), "{number}");
    }
}

#[test]
fn all_members_restarted_at_once_go_on_where_they_were() {
    let mut cluster = Cluster::start(3);
    for number in 0..20 {
        cluster.put(&format!("/a/{number}"), "x");
    }
    let before = cluster.agree();
    cluster.members.iter_mut().for_each(Member::kill);
    cluster.members.iter_mut().for_each(Member::launch);
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    assert_eq!(cluster.agree(), before);
}

#[test]
fn without_a_quorum_nothing_is_acknowledged_and_a_plain_read_still_is() {
    let mut cluster = Cluster::start(3);
    cluster.put("/a", "1");
    cluster.agree();
    cluster.members[1].kill();
    cluster.members[2].kill();
    let alone = &cluster.members[0];
    let answer = alone.ask(&Request::put("/v2/keys/a", "2"));
    assert!([500, 503].contains(&answer.status), "{}", answer.text());
    assert_eq!(answer.json()["errorCode"], 300);
    assert_eq!(alone.get("/v2/keys/a?quorum=true").status, 500);
    assert_eq!(alone.get("/v2/keys/a").expect(&[200]).json()["node"]["value"], "1");
    assert_eq!(alone.get("/health").expect(&[503]).json()["health"], "false");
}

#[test]
fn a_cluster_grows_to_five_and_the_leader_can_be_removed() {
    let mut cluster = Cluster::start(3);
    cluster.put("/a", "1");
    for _ in 0..2 {
        cluster.add();
        cluster.agree();
    }
    let leader = cluster.leader();
    let stats = cluster.members[leader].get("/v2/stats/leader").expect(&[200]).json();
    assert_eq!(stats["followers"].as_object().expect("an object").len(), 4);
    let id =
        cluster.members[leader].get("/v2/stats/self").json()["id"].as_str().unwrap().to_owned();
    let request = Request::new("DELETE", &format!("/v2/members/{id}"));
    let other = (leader + 1) % 5;
    assert_eq!(cluster.members[other].ask(&request).status, 204);
    let mut removed = cluster.forget(leader);
    removed.allow("permanently removed");
    assert_eq!(removed.reap(PATIENCE).code(), Some(0), "it leaves by itself");
    cluster.put("/b", "2");
    cluster.agree();
    // It can never return under its id.
    removed.launch();
    assert_eq!(removed.reap(PATIENCE).code(), Some(1));
    assert!(removed.log().contains("add it again (etcdctl member add)"));
    assert_eq!(
        cluster.members[0].ask(&request).expect(&[410]).json()["message"],
        format!("Member permanently removed: {id}")
    );
}

#[test]
fn a_member_that_was_down_when_it_was_removed_is_told_so() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let down = (leader + 1) % 3;
    let id = cluster.members[down].get("/v2/stats/self").json()["id"].as_str().unwrap().to_owned();
    cluster.members[down].kill();
    let request = Request::new("DELETE", &format!("/v2/members/{id}"));
    assert_eq!(cluster.members[leader].ask(&request).status, 204);
    let mut removed = cluster.forget(down);
    removed.allow("permanently removed");
    removed.launch();
    assert_eq!(removed.reap(PATIENCE).code(), Some(0));
    cluster.put("/a", "1");
}

#[test]
fn a_member_that_lost_its_data_must_not_begin_anew_under_its_id() {
    let mut cluster = Cluster::start(3);
    cluster.put("/a", "1");
    let lost = &mut cluster.members[2];
    lost.allow("already been bootstrapped");
    lost.kill();
    fs::remove_dir_all(lost.data_dir()).unwrap();
    lost.launch();
    assert_eq!(lost.reap(PATIENCE).code(), Some(1));
    assert!(lost.log().contains("has already been bootstrapped"), "{}", lost.log().text());
}

#[test]
fn a_member_that_stood_still_for_a_moment_is_sent_no_snapshot() {
    let mut cluster = Cluster::start_with(3, &SNAPSHOTS_SOON);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.agree();
    cluster.members[away].signal(Signal::SIGSTOP);
    for number in 0..200 {
        cluster.members[leader].put(&format!("/k/{number}"), &"v".repeat(2_000));
    }
    let keeps = || cluster.members[leader].keeps_entries().then_some(());
    eventually(PATIENCE, "the leader keeps entries in files", keeps);
    cluster.members[away].signal(Signal::SIGCONT);
    cluster.agree();
    assert!(!cluster.members[away].log().contains("taking in a snapshot"));
}

#[test]
fn a_member_that_was_away_for_long_gets_a_snapshot_and_its_watchers_miss_nothing() {
    let mut cluster = Cluster::start_with(3, &SNAPSHOTS_SOON);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    let first = cluster.put("/k/first", "x");
    cluster.agree();
    // It does not run, but its clients' connections stay.
    let watch = format!("/v2/keys/k?wait=true&recursive=true&stream=true&waitIndex={}", first + 1);
    let mut watcher = cluster.members[away].connect();
    watcher.send(&Request::get(&watch)).unwrap();
    watcher.receive_head().unwrap();
    cluster.members[away].signal(Signal::SIGSTOP);
    for number in 0..200 {
        cluster.members[leader].put(&format!("/k/{number}"), &"v".repeat(2_000));
    }
    // For so long its leader keeps what it lacks.
    let forgets = || (!cluster.members[leader].keeps_entries()).then_some(());
    eventually(PATIENCE, "the leader keeps nothing for it", forgets);
    cluster.members[away].signal(Signal::SIGCONT);
    cluster.agree();
    assert!(cluster.members[away].took_a_snapshot());
    let mut told = String::new();
    while told.matches("\"action\"").count() < 200 {
        told += &String::from_utf8(watcher.receive_chunk().unwrap().unwrap()).unwrap();
    }
    let mut from = 0;
    for number in 0..200 {
        let key = format!("\"key\":\"/k/{number}\"");
        let at = told[from..].find(&key).unwrap_or_else(|| panic!("{key} is not told in order"));
        from += at;
    }
    // Nothing is left of it, and it goes on after a restart.
    assert!(!cluster.members[away].data_dir().join("member/keyspace.incoming").exists());
    cluster.members[away].kill();
    cluster.members[away].restart();
    cluster.put("/k/last", "x");
    cluster.agree();
}

#[test]
fn a_member_joins_a_cluster_whose_log_no_longer_begins_at_the_beginning() {
    let mut cluster = Cluster::start_with(1, &SNAPSHOTS_SOON);
    for number in 0..200 {
        cluster.put(&format!("/k/{number}"), "x");
    }
    cluster.add();
    cluster.agree();
    assert!(cluster.members[1].took_a_snapshot());
    cluster.members.iter_mut().for_each(Member::kill);
    cluster.members.iter_mut().for_each(Member::launch);
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    cluster.put("/k/last", "x");
    cluster.agree();
}

#[test]
fn etcdctl_adds_a_member_that_starts_with_the_environment_it_prints() {
    let mut cluster = Cluster::start(1);
    let etcdctl = |arguments: &[&str], url: &str| {
        let mut command = run::etcdctl(&binaries::etcdctl(), url);
        let output = command.args(arguments).output().expect("etcdctl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let url = cluster.members[0].url();
    let peer = format!("http://127.0.0.1:{}", ports::free());
    let printed = etcdctl(&["member", "add", "second", &peer], &url);
    let id = printed.split(" with ID ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(printed.starts_with("Added member named second with ID "), "{printed}");
    let port = ports::free();
    let client = format!("http://127.0.0.1:{port}");
    let mut start = Start::new().bare().client_port(port).peer_url(&peer);
    for line in printed.lines().filter(|line| line.starts_with("ETCD_")) {
        let (name, value) = line.split_once('=').unwrap();
        start = start.env(name, value.trim_matches('"'));
    }
    for flag in ["listen-client-urls", "advertise-client-urls"] {
        start = start.flag(&format!("--{flag}={client}"));
    }
    for flag in ["listen-peer-urls", "initial-advertise-peer-urls"] {
        start = start.flag(&format!("--{flag}={peer}"));
    }
    let mut second = start.spawn();
    for complaint in ["peer", "no leader", "permanently removed"] {
        second.allow(complaint);
    }
    second.wait_until_ready();
    cluster.members.push(second);
    cluster.put("/a", "1");
    cluster.agree();
    let listed = etcdctl(&["member", "list"], &url);
    assert!(listed.contains(&format!("{id}: name=second peerURLs={peer} clientURLs={client}")));
    assert_eq!(
        etcdctl(&["member", "remove", &id], &url),
        format!("Removed member {id} from cluster\n")
    );
    assert_eq!(cluster.forget(1).reap(PATIENCE).code(), Some(0));
    cluster.put("/b", "2");
}

#[test]
fn metrics_tell_of_every_peer() {
    let mut cluster = Cluster::start(3);
    cluster.put("/a", "1");
    let id = |member: &Member| {
        let told = member.get("/v2/stats/self").expect(&[200]).json();
        told["id"].as_str().expect("an id").to_owned()
    };
    let ids: Vec<_> = cluster.members.iter().map(id).collect();
    let metrics = |at: usize| cluster.members[at].get("/metrics").expect(&[200]).text();
    for (at, own) in ids.iter().enumerate() {
        for other in ids.iter().filter(|other| *other != own) {
            let active =
                format!("etcd_network_active_peers{{Local=\"{own}\",Remote=\"{other}\"}} 1\n");
            let trips =
                format!("etcd_network_peer_round_trip_time_seconds_count{{To=\"{other}\"}} ");
            let none = format!("{trips}0\n");
            eventually(PATIENCE, &active, || {
                let text = metrics(at);
                let told = text.contains(&active) && text.contains(&trips);
                (told && !text.contains(&none)).then_some(())
            });
        }
    }
    let (own, gone) = (&ids[0], &ids[2]);
    let gone =
        format!("etcd_network_disconnected_peers_total{{Local=\"{own}\",Remote=\"{gone}\"}} 1\n");
    assert!(!metrics(0).contains(&gone));
    cluster.members[2].kill();
    eventually(PATIENCE, &gone, || {
        cluster.members[0].get("/metrics").text().contains(&gone).then_some(())
    });
}

#[test]
fn statistics_tell_how_often_entries_go_out_and_come_in() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let told = |at: usize| cluster.members[at].get("/v2/stats/self").expect(&[200]).json();
    let follower = (leader + 1) % 3;
    let before = told(leader)["sendAppendRequestCnt"].as_u64().expect("a count");
    // Until both show a rate: it ends with a second without a message.
    let (sent, received) = eventually(PATIENCE, "rates", || {
        cluster.put("/a", "1");
        let (sent, received) = (told(leader), told(follower));
        let shown = sent["sendPkgRate"].is_f64() && received["recvPkgRate"].is_f64();
        shown.then_some((sent, received))
    });
    assert!(sent["sendAppendRequestCnt"].as_u64() > Some(before), "{sent}");
    assert!(sent["sendBandwidthRate"].as_f64() > sent["sendPkgRate"].as_f64(), "{sent}");
    assert!(received["recvBandwidthRate"].as_f64() > received["recvPkgRate"].as_f64());
    for absent in [&sent["recvPkgRate"], &received["sendPkgRate"]] {
        assert!(absent.is_null(), "a rate of nothing is left out");
    }
}

#[test]
fn a_leader_tells_how_far_away_its_followers_are_and_what_was_sent_to_each() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    cluster.put("/a", "1");
    let id = |at: usize| id(&cluster.members[at]);
    let followers: BTreeSet<_> = (0..3).filter(|at| *at != leader).map(id).collect();
    let figure = |follower: &Value, kind: &str, name: &str| {
        let figure = follower[kind][name].as_f64();
        figure.unwrap_or_else(|| panic!("{kind} {name} is no number: {follower}"))
    };
    // More than one there and back each, so that they differ.
    let told = eventually(PATIENCE, "all were asked several times", || {
        let told = cluster.members[leader].get("/v2/stats/leader").expect(&[200]).json();
        let followers = told["followers"].as_object().expect("followers");
        let differ =
            |one: &Value| figure(one, "latency", "minimum") < figure(one, "latency", "maximum");
        followers.values().all(differ).then_some(told)
    });
    assert_eq!(told["leader"], id(leader));
    let all = told["followers"].as_object().expect("followers");
    assert_eq!(all.keys().cloned().collect::<BTreeSet<_>>(), followers, "{told}");
    for follower in all.values() {
        let latency = |name| figure(follower, "latency", name);
        let (least, most) = (latency("minimum"), latency("maximum"));
        assert!(0.0 < least, "{follower}");
        for name in ["current", "average"] {
            assert!((least..=most).contains(&latency(name)), "{name}: {follower}");
        }
        let deviation = latency("standardDeviation");
        assert!(0.0 < deviation && deviation < most, "{follower}");
        assert!(figure(follower, "counts", "success") > 0.0, "{follower}");
    }
}

/// What is told is what is so: of a follower that answers late, and of one that is gone.
#[test]
fn a_follower_that_answers_late_or_never_is_seen_in_the_statistics() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let (late, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let ids: Vec<String> = cluster.members.iter().map(id).collect();
    let told = |cluster: &Cluster, at: usize| {
        let told = cluster.members[leader].get("/v2/stats/leader").expect(&[200]).json();
        told["followers"][&ids[at]].clone()
    };
    let most = |told: &Value| told["latency"]["maximum"].as_f64().expect("milliseconds");
    // Of what took longer than 205 ms: the bounds are doubled from 0.1 ms on.
    let slow = |cluster: &Cluster, at: usize| {
        let name = "etcd_network_peer_round_trip_time_seconds";
        let to = format!("To=\"{}\"", ids[at]);
        let metrics = cluster.members[leader].get("/metrics").expect(&[200]).text();
        let count = |start: String| -> u64 {
            let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("no {start}")).trim().parse().expect("a count")
        };
        count(format!("{name}_count{{{to}}}"))
            - count(format!("{name}_bucket{{{to},le=\"0.2048\"}}"))
    };
    // It is asked once a second.
    eventually(PATIENCE, "it is seen that it is late", || {
        let member = &cluster.members[late];
        member.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(500));
        member.signal(Signal::SIGCONT);
        // The machine may stop the other one for as long, now and then.
        let is_seen = most(&told(&cluster, late)) > 250.0;
        (is_seen && slow(&cluster, late) > slow(&cluster, other)).then_some(())
    });
    let failed = |told: &Value| told["counts"]["fail"].as_u64().expect("a count");
    let before = failed(&told(&cluster, late));
    cluster.members[late].kill();
    eventually(PATIENCE, "it is seen that it is gone", || {
        cluster.members[leader].put("/a", "x");
        (failed(&told(&cluster, late)) > before).then_some(())
    });
    cluster.members[late].restart();
    cluster.agree();
}

/// What a strict one refuses, since a member is out of touch.
#[test]
fn without_the_strict_check_a_member_is_added_while_another_is_down() {
    let strict = (&[][..], 500, "etcdserver: unhealthy cluster");
    let lax = (&["--strict-reconfig-check=false"][..], 201, "\"id\":");
    for (flags, status, text) in [strict, lax] {
        let mut cluster = Cluster::start_with(3, flags);
        let leader = cluster.leader();
        let down = (leader + 1) % 3;
        let gone = format!(
            "etcd_network_active_peers{{Local=\"{}\",Remote=\"{}\"}} 0\n",
            id(&cluster.members[leader]),
            id(&cluster.members[down]),
        );
        cluster.members[down].kill();
        eventually(PATIENCE, "the leader has missed it", || {
            cluster.members[leader].get("/metrics").text().contains(&gone).then_some(())
        });
        let body = format!("{{\"peerURLs\":[\"http://127.0.0.1:{}\"]}}", ports::free());
        let add = Request::json("POST", "/v2/members", &body);
        let answer = cluster.members[leader].ask(&add);
        let told = answer.text();
        assert!(answer.status == status && told.contains(text), "{flags:?}: {answer:?}");
        cluster.members[down].restart();
        cluster.put("/after", "1");
        cluster.agree();
        let listed = cluster.members[down].get("/v2/members").json();
        let count = 3 + usize::from(status == 201);
        assert_eq!(listed["members"].as_array().map(Vec::len), Some(count), "{listed}");
    }
}

/// With timers by which an election that nobody hands over to takes its time.
#[test]
fn a_leader_that_is_stopped_hands_over_before_it_goes() {
    let flags = ["--election-timeout=5000", "--log-package-levels=raft=INFO"];
    let mut cluster = Cluster::start_with(3, &flags);
    cluster.put("/before", "1");
    cluster.agree();
    let leader = cluster.leader();
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    let term = |cluster: &Cluster, at: usize| {
        let vars = cluster.members[at].get("/debug/vars").expect(&[200]).json();
        vars["raft.status"]["term"].as_u64().expect("a term")
    };
    let before = term(&cluster, leader);
    let said: Vec<_> = cluster.members.iter().map(|member| member.log().text().len()).collect();
    cluster.members[leader].stop();
    let says = |cluster: &Cluster, at: usize, what: &str| {
        cluster.members[at].log().text()[said[at]..].contains(what)
    };
    for line in ["this leader stops: it hands over", "leadership is handed over"] {
        assert!(says(&cluster, leader, line), "{}", cluster.members[leader].log().text());
    }
    let heir = cluster.leader_among(&others);
    assert!(says(&cluster, heir, "received MsgTimeoutNow"), "it was told to take over");
    for at in others {
        assert!(!says(&cluster, at, "became pre-candidate"), "{at} waited for a timeout");
    }
    assert_eq!(term(&cluster, heir), before + 1, "one vote was enough");
    cluster.members[heir].put("/after", "1");
    cluster.members[leader].restart();
    cluster.agree();
}
