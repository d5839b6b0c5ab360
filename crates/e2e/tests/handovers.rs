//! The lead goes to another member, because somebody wants it so or because the leader stops: whoever
//! writes meanwhile, at any member that runs, notices a moment's delay and nothing else.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::{Duration, Instant},
};

use client::v3::{Client, Config};
use e2e::{Answer, Connection, Request, cluster::Cluster, eventually, v3};
use nix::sys::signal::Signal;
use proto::etcdserverpb::PutRequest;
use serde_json::json;

const CLIENTS: usize = 12;
const MOVES: usize = 6;
/// Within this every write is answered: longer than the lead may be under way (an election timeout)
/// with all that the machine does meanwhile, and shorter than anybody is told of a timeout (7 s).
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Within this after its last answer a member that stops has ended.
const END_MAX: Duration = Duration::from_secs(2);
/// How long clients write undisturbed in between.
const PAUSE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(30);

/// One write, and what its client was told.
struct Write {
    /// Which member was asked.
    at: usize,
    key: String,
    is_v3: bool,
    began: Instant,
    ended: Instant,
    /// An error: nobody answered.
    answer: io::Result<Answer>,
}

/// From the signal to stop until the member served again.
struct Rest {
    at: usize,
    from: Instant,
    ended: Instant,
    until: Instant,
}

impl Write {
    fn is_done(&self) -> bool {
        self.answer.as_ref().is_ok_and(|answer| [200, 201].contains(&answer.status))
    }

    fn overlaps(&self, rest: &Rest) -> bool {
        rest.at == self.at && rest.from <= self.ended && self.began <= rest.until
    }

    fn told(&self) -> String {
        let api = if self.is_v3 { "v3" } else { "v2" };
        let told = match &self.answer {
            Ok(answer) => format!("{} {}", answer.status, answer.text()),
            Err(error) => error.to_string(),
        };
        let took = self.ended.duration_since(self.began);
        format!("{api} {} at {} after {took:?}: {told}", self.key, self.at)
    }
}

/// Writes keys of its own at one member, through one API, until it is told to stop.
fn write_on(number: usize, address: SocketAddr, stops: &AtomicBool) -> Vec<Write> {
    let (at, is_v3) = (number % 3, (number / 3).is_multiple_of(2));
    let (mut writes, mut connection) = (Vec::new(), None::<Connection>);
    while !stops.load(SeqCst) {
        let key = format!("/h/{number}.{}", writes.len());
        let kept = connection.take();
        let began = Instant::now();
        let opened = kept.map_or_else(|| Connection::open(address), Ok);
        let answer = opened.and_then(|mut opened| {
            let answer = if is_v3 {
                let put = json!({"key": v3::bytes(&key), "value": v3::bytes("x")});
                v3::ask(&mut opened, "kv/put", &put)
            } else {
                // Whoever carries it out twice has to say that the key is there.
                let target = format!("/v2/keys{key}");
                opened.ask(&Request::put(&target, "x").query(&[("prevExist", "false")]))
            };
            connection = Some(opened);
            answer
        });
        if answer.is_err() {
            connection = None;
            std::thread::sleep(Duration::from_millis(5));
        }
        writes.push(Write { at, key, is_v3, began, ended: Instant::now(), answer });
    }
    writes
}

fn id_of(cluster: &Cluster, at: usize) -> String {
    let status = v3::post(&cluster.members[at], "maintenance/status", &json!({}));
    status["header"]["member_id"].as_str().expect("an id").to_owned()
}

/// Hands the lead to this member, unless it has it. It is asked for again if it is refused: whoever has
/// just started lags, and there may be an election in between.
fn hand_to(cluster: &mut Cluster, at: usize) {
    eventually(PATIENCE, "it has the lead", || {
        let leader = cluster.leader();
        if leader == at {
            return Some(());
        }
        let heir = json!({"targetID": id_of(cluster, at)});
        let mut asked = cluster.members[leader].connect();
        v3::ask(&mut asked, "maintenance/transfer-leadership", &heir).ok();
        None
    });
}

/// The lead goes round, then each member stops and starts again in turn, twice: in every other case
/// it leads.
fn disturb(cluster: &mut Cluster) -> Vec<Rest> {
    for _ in 0..MOVES {
        std::thread::sleep(PAUSE);
        let heir = (cluster.leader() + 1) % 3;
        hand_to(cluster, heir);
    }
    let mut rests = Vec::new();
    for round in 0..6 {
        let at = round % 3;
        if round % 2 == 0 {
            hand_to(cluster, at);
        }
        std::thread::sleep(PAUSE);
        let from = Instant::now();
        cluster.members[at].stop();
        let ended = Instant::now();
        cluster.members[at].restart();
        rests.push(Rest { at, from, ended, until: Instant::now() });
        std::thread::sleep(PAUSE);
    }
    rests
}

/// Tells the clients to stop, also if the test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn check(writes: &[Write], rests: &[Rest]) {
    let done = writes.iter().filter(|write| write.is_done()).count();
    let longest = writes.iter().map(|write| write.ended.duration_since(write.began)).max();
    println!("{done} of {} writes done, the longest within {longest:?}", writes.len());
    for Rest { at, from, ended, until } in rests {
        println!("{at} ended after {:?}, was away for {:?}", *ended - *from, *until - *from);
    }
    let undisturbed = |write: &&Write| !rests.iter().any(|rest| write.overlaps(rest));
    let failed: Vec<_> =
        writes.iter().filter(undisturbed).filter(|write| !write.is_done()).collect();
    let told: Vec<_> = failed.iter().map(|write| write.told()).collect();
    assert!(told.is_empty(), "{} writes at running members failed: {told:#?}", told.len());
    let late = |write: &&Write| write.ended.duration_since(write.began) > ANSWER_MAX;
    let late: Vec<_> = writes.iter().filter(late).map(Write::told).collect();
    assert!(late.is_empty(), "{} writes took longer than {ANSWER_MAX:?}: {late:#?}", late.len());
    // Who asks a member that stops is not told that it took too long, either.
    let told = writes.iter().filter(|write| !write.is_done() && write.answer.is_ok());
    let told: Vec<_> = told.map(Write::told).filter(|told| told.contains("timed out")).collect();
    assert!(told.is_empty(), "{told:#?}");
    for Rest { at, from, ended, .. } in rests {
        let answered = |write: &&Write| write.at == *at && write.answer.is_ok();
        let before = writes.iter().filter(answered).map(|write| write.ended);
        let last = before.filter(|answered| answered <= ended).max().unwrap_or(*from).max(*from);
        let took = *ended - last;
        assert!(took < END_MAX, "{at} ended {took:?} after its last answer");
    }
}

/// All that was acknowledged is there, and nothing was carried out twice.
fn look(cluster: &Cluster, writes: &[Write]) {
    cluster.agree();
    let member = &cluster.members[0];
    let answer = member.get("/v2/keys/h").expect(&[200]).json();
    let nodes = answer["node"]["nodes"].as_array().expect("keys of v2");
    let old: std::collections::BTreeSet<_> =
        nodes.iter().filter_map(|node| node["key"].as_str()).collect();
    let end = v3::bytes("/h0");
    let all = json!({"key": v3::bytes("/h/"), "range_end": end, "keys_only": true});
    let all = v3::post(member, "kv/range", &all);
    let kvs = all["kvs"].as_array().expect("keys of v3");
    let new: std::collections::BTreeMap<_, _> =
        kvs.iter().map(|kv| (v3::text(&kv["key"]), v3::number(&kv["version"]))).collect();
    for (key, version) in &new {
        assert_eq!(*version, 1, "{key} was written twice");
    }
    for write in writes.iter().filter(|write| write.is_done()) {
        let key = write.key.as_str();
        let found = if write.is_v3 { new.contains_key(key) } else { old.contains(key) };
        assert!(found, "{key} was acknowledged");
    }
}

#[test]
fn who_writes_while_the_lead_changes_hands_notices_a_delay_and_nothing_else() {
    let mut cluster = Cluster::start(3);
    let addresses: Vec<_> = cluster.members.iter().map(e2e::Member::address).collect();
    let stops = AtomicBool::new(false);
    let (writes, rests) = std::thread::scope(|scope| {
        let client = |number: usize| {
            let (address, stops) = (addresses[number % 3], &stops);
            scope.spawn(move || write_on(number, address, stops))
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let stopping = Stops(&stops);
        let rests = disturb(&mut cluster);
        drop(stopping);
        let writes = clients.into_iter().flat_map(|one| one.join().expect("it does not panic"));
        (writes.collect::<Vec<_>>(), rests)
    });
    check(&writes, &rests);
    look(&cluster, &writes);
}

/// It lies at the old one meanwhile, who finds it when it wakes up.
#[test]
fn a_write_that_was_passed_on_to_a_leader_that_sleeps_is_carried_out_once_by_the_next() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let asked = (leader + 1) % 3;
    cluster.members[leader].signal(Signal::SIGSTOP);
    let create =
        |key| Request::put(&format!("/v2/keys{key}"), "x").query(&[("prevExist", "false")]);
    let answer = cluster.members[asked].ask(&create("/a"));
    let index = answer.expect(&[201]).index();
    cluster.members[leader].signal(Signal::SIGCONT);
    // It follows, and so has whatever it would have passed on.
    cluster.members[leader].put("/b", "x");
    cluster.agree();
    let now = cluster.members[asked].get("/v2/keys/a?quorum=true").expect(&[200]);
    assert_eq!(now.json()["node"]["createdIndex"].as_u64(), Some(index));
    assert_eq!(now.index(), index + 1, "nobody has written but the test");
}

/// One of its writes was passed on to a leader that is gone, the other has never found one.
#[test]
fn a_member_that_stops_without_a_leader_refuses_what_waits_and_ends_soon() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let stays = (leader + 1) % 3;
    (0..3).filter(|at| *at != stays).for_each(|at| cluster.members[at].kill());
    let address = cluster.members[stays].address();
    let ask = move || {
        let began = Instant::now();
        let answer = Connection::open(address)?.ask(&Request::put("/v2/keys/x", "x"))?;
        Ok::<_, io::Error>((answer, began.elapsed()))
    };
    let (answers, took) = std::thread::scope(|scope| {
        let early = scope.spawn(ask);
        // Longer than it takes to miss a leader.
        std::thread::sleep(Duration::from_secs(3));
        let late = scope.spawn(ask);
        std::thread::sleep(Duration::from_millis(200));
        let stopped = Instant::now();
        cluster.members[stays].stop();
        let took = stopped.elapsed();
        ([early, late].map(|asked| asked.join().expect("it does not panic")), took)
    });
    for answer in answers {
        let (answer, waited) = answer.expect("who was accepted is answered");
        println!("{} after {waited:?}: {}", answer.status, answer.text());
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert!(took < END_MAX, "it took {took:?} to stop");
    for at in 0..3 {
        cluster.members[at].launch();
    }
    cluster.members.iter_mut().for_each(e2e::Member::wait_until_ready);
    // Of the one nobody knows what became of it; but it had been refused.
    let now = cluster.members[stays].get("/v2/keys/x?quorum=true");
    assert_eq!(now.status, 404, "{}", now.text());
}

/// Others may have written since, and he would be surprised.
#[test]
fn a_write_whose_client_goes_before_there_is_a_leader_is_not_carried_out() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let stays = (leader + 1) % 3;
    (0..3).filter(|at| *at != stays).for_each(|at| cluster.members[at].kill());
    eventually(PATIENCE, "the leader is missed", || {
        let status = v3::post(&cluster.members[stays], "maintenance/status", &json!({}));
        status["leader"].is_null().then_some(())
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let client = Client::new(&[cluster.members[stays].url()], Config::default());
    let client = client.expect("a client");
    runtime.block_on(async {
        let put = PutRequest { key: "gone".into(), value: "x".into(), ..PutRequest::default() };
        let asked = tokio::time::timeout(Duration::from_millis(500), client.put(put)).await;
        assert!(asked.is_err(), "somebody has answered: {asked:?}");
    });
    (0..3).filter(|at| *at != stays).for_each(|at| cluster.members[at].launch());
    cluster.members.iter_mut().for_each(e2e::Member::wait_until_ready);
    // It would have been carried out before this one.
    v3::put(&cluster.members[stays], "later", "x");
    let range = json!({"key": v3::bytes("gone"), "count_only": true});
    let found = v3::post(&cluster.members[stays], "kv/range", &range);
    assert!(found["count"].is_null(), "{found}");
}
