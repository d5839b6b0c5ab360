//! `kill -9` at random moments under load.
//!
//! Writers remember what they sent and what was acknowledged. After each restart: no acknowledged
//! write is lost, none is there that nobody sent, and the indexes go on where they were.
//!
//! `RETCD_KILLS` says how many times (CI: 100); `RETCD_SEED` repeats a schedule.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::Duration,
};

use e2e::{Connection, Member, Request, Start};
use serde_json::Value;

const SETTERS: usize = 3;
const SWAPPERS: usize = 2;
const KEYS_EACH: u64 = 7;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_unsent_appears_when_killed_under_load() {
    kill_again_and_again(Start::new());
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_unsent_appears_when_a_follower_is_killed_under_load() {
    kill_again_and_again(Start::new().follower());
}

fn kill_again_and_again(start: Start) {
    let kills = e2e::count("RETCD_KILLS", 25);
    let seed = e2e::count("RETCD_SEED", fastrand::u64(..));
    println!("RETCD_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // So often that members also die while they flush, and cut the log.
    let mut member = start.flag("--snapshot-count").flag("50").start();
    let mut ledger = Ledger::new(member.get("/v2/keys/").index());
    let mut followed = 0;
    for round in 0..kills {
        println!("round {round}");
        followed += u64::from(member.follows());
        // Some live longer, and write so much that they die while they begin a segment.
        let is_long = round % 10 == 9;
        let patience = if is_long { 2_000_000 } else { 150_000 };
        let patience = Duration::from_micros(random.u64(0..patience));
        let padding = if is_long { 200_000 } else { 0 };
        load_until_killed(&mut member, &mut ledger, patience, padding);
        if random.u8(0..4) == 0 {
            // Killed again while it reads its log and has not served yet.
            member.launch();
            sleep(Duration::from_micros(random.u64(0..30_000)));
            member.kill();
        }
        member.restart();
        let is_follower = member.others().is_some();
        if is_follower {
            settle(&member);
        }
        ledger.check(&member);
    }
    // It comes back as a follower, as long as the others have a leader: this machine may now and then keep
    // them from the disk for so long that they have none.
    assert!(member.others().is_none() || 9 * kills <= 10 * followed, "a follower {followed} times");
    assert!(kills < ledger.acknowledged, "the load was too thin to show anything");
    println!("{} writes acknowledged, {} unanswered", ledger.acknowledged, ledger.unanswered);
}

/// Waits for what a killed follower had passed on to the leader, which may still carry it out.
fn settle(member: &Member) {
    let index = || member.get("/v2/keys/?quorum=true").index();
    let mut before = index();
    loop {
        sleep(Duration::from_millis(50));
        let now = index();
        if before == now {
            return;
        }
        before = now;
    }
}

/// Lets all writers write, kills the member after `patience`, and books what they know.
///
/// `padding`: bytes that are added to the values of those who write most.
fn load_until_killed(member: &mut Member, ledger: &mut Ledger, patience: Duration, padding: usize) {
    let address = member.address();
    let stopped = AtomicBool::new(false);
    let round = ledger.round;
    ledger.round += 1;
    let notes: Vec<Vec<Note>> = std::thread::scope(|scope| {
        let work = |writer: usize| {
            let (stopped, next) = (&stopped, ledger.next.get(&writer).copied().unwrap_or(0));
            scope.spawn(move || {
                let Ok(connection) = Connection::open(address) else { return Vec::new() };
                let notes = Vec::new();
                Writer { hand: writer, round, next, padding, connection, notes }.work(stopped)
            })
        };
        let hands: Vec<_> = (0..SETTERS + SWAPPERS + 2).map(work).collect();
        sleep(patience);
        member.kill();
        stopped.store(true, Ordering::Relaxed);
        hands.into_iter().map(|hand| hand.join().expect("a writer does not panic")).collect()
    });
    for (writer, notes) in notes.into_iter().enumerate() {
        ledger.next.insert(writer, notes.last().map_or(0, |note| note.number + 1));
        for note in &notes {
            ledger.book(note);
        }
    }
}

/// One write: what was sent, and what came back.
#[derive(Debug)]
struct Note {
    number: u64,
    kind: Kind,
    key: String,
    value: String,
    /// The index, and the node as it was told; `None` when no answer came.
    answer: Option<(u64, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Set,
    /// With a time to live far beyond the test.
    SetToExpire,
    /// With a time to live of one second.
    SetToExpireSoon,
    Swap,
    InOrder,
}

struct Writer {
    hand: usize,
    round: u64,
    next: u64,
    padding: usize,
    connection: Connection,
    notes: Vec<Note>,
}

impl Writer {
    /// Writes until the member no longer answers.
    fn work(mut self, stopped: &AtomicBool) -> Vec<Note> {
        while !stopped.load(Ordering::Relaxed) && self.write_one() {}
        self.notes
    }

    /// False: no answer came.
    fn write_one(&mut self) -> bool {
        match self.hand {
            writer if writer < SETTERS => self.set(),
            writer if writer < SETTERS + SWAPPERS => self.swap(),
            writer if writer == SETTERS + SWAPPERS => self.in_order(),
            _ => self.expiring(),
        }
    }

    fn set(&mut self) -> bool {
        let key = format!("/set/{}/{}", self.hand, self.next % KEYS_EACH);
        self.send(Kind::Set, key, &[])
    }

    /// Reads a counter and swaps it for the next number; several do so at once.
    fn swap(&mut self) -> bool {
        let Ok(answer) = self.connection.ask(&Request::get("/v2/keys/counter")) else {
            return false;
        };
        let (counted, condition) = if answer.status == 404 {
            (0, ("prevExist", "false".to_owned()))
        } else {
            let counted =
                answer.json()["node"]["value"].as_str().expect("it has a value").to_owned();
            (counted.parse().expect("it is a number"), ("prevValue", counted))
        };
        let value = format!("{}", counted + 1);
        let form = [condition, ("value", value.clone())];
        let request = Request::new("PUT", "/v2/keys/counter").form(&form);
        self.ask(Kind::Swap, "/counter".to_owned(), value, &request)
    }

    fn in_order(&mut self) -> bool {
        self.send(Kind::InOrder, "/queue".to_owned(), &[])
    }

    fn expiring(&mut self) -> bool {
        if self.next.is_multiple_of(3) {
            let key = format!("/soon/{}", self.next);
            self.send(Kind::SetToExpireSoon, key, &[("ttl", "1")])
        } else {
            let key = format!("/late/{}", self.next % KEYS_EACH);
            self.send(Kind::SetToExpire, key, &[("ttl", "10000")])
        }
    }

    /// Sends a value that nobody else sends.
    fn send(&mut self, kind: Kind, key: String, extra: &[(&str, &str)]) -> bool {
        let padding = "x".repeat(if kind == Kind::Set { self.padding } else { 0 });
        let value = format!("{}-{}-{}{padding}", self.hand, self.round, self.next);
        let method = if kind == Kind::InOrder { "POST" } else { "PUT" };
        let form = [extra, &[("value", value.as_str())]].concat();
        let request = Request::new(method, &format!("/v2/keys{key}")).form(&form);
        self.ask(kind, key, value, &request)
    }

    fn ask(&mut self, kind: Kind, key: String, value: String, request: &Request) -> bool {
        let answer = self.connection.ask(request).ok();
        let answered = answer.is_some();
        let refused = answer.as_ref().is_some_and(|answer| answer.status == 412);
        if !refused {
            let told = answer.map(|answer| answer.expect(&[200, 201]));
            let answer = told.map(|answer| (answer.index(), answer.json()["node"].clone()));
            self.notes.push(Note { number: self.next, kind, key, value, answer });
            self.next += 1;
        }
        answered
    }
}

/// All that was sent and acknowledged so far.
struct Ledger {
    round: u64,
    /// The next number of each writer.
    next: BTreeMap<usize, u64>,
    /// What each key with one writer must hold: its last acknowledged node.
    certain: BTreeMap<String, Value>,
    /// Values that each key may hold instead, sent since then and not answered.
    possible: BTreeMap<String, BTreeSet<String>>,
    queue: BTreeMap<String, Value>,
    queue_possible: BTreeSet<String>,
    counter: u64,
    counter_unanswered: u64,
    /// Every acknowledged index, with key and value.
    indexes: BTreeMap<u64, (String, String)>,
    index: u64,
    acknowledged: u64,
    /// Writes without an answer, ever and since the last check: each may have moved the index.
    unanswered: u64,
    unanswered_now: u64,
    /// Keys that may expire, each of which moves the index: those alive at the last check, and
    /// those sent since.
    soon: u64,
}

impl Ledger {
    fn new(index: u64) -> Self {
        Self {
            round: 0,
            next: BTreeMap::new(),
            certain: BTreeMap::new(),
            possible: BTreeMap::new(),
            queue: BTreeMap::new(),
            queue_possible: BTreeSet::new(),
            counter: 0,
            counter_unanswered: 0,
            indexes: BTreeMap::new(),
            index,
            acknowledged: 0,
            unanswered: 0,
            unanswered_now: 0,
            soon: 0,
        }
    }

    fn book(&mut self, note: &Note) {
        self.soon += u64::from(note.kind == Kind::SetToExpireSoon);
        match &note.answer {
            Some((index, node)) => self.book_answered(note, *index, node),
            None => self.book_unanswered(note),
        }
    }

    fn book_answered(&mut self, note: &Note, index: u64, node: &Value) {
        self.acknowledged += 1;
        assert_eq!(node["value"], note.value.as_str(), "the answer is to what was sent");
        assert_eq!(node["modifiedIndex"], index, "the answer tells its own index");
        let told = node["key"].as_str().expect("a node has a key").to_owned();
        let other = self.indexes.insert(index, (told.clone(), note.value.clone()));
        assert_eq!(other, None, "two writes were given the index {index}");
        match note.kind {
            Kind::Set | Kind::SetToExpire => {
                self.possible.remove(&note.key);
                self.certain.insert(note.key.clone(), node.clone());
            }
            Kind::InOrder => {
                self.queue.insert(told, node.clone());
            }
            Kind::Swap => self.counter += 1,
            Kind::SetToExpireSoon => {}
        }
    }

    fn book_unanswered(&mut self, note: &Note) {
        self.unanswered += 1;
        self.unanswered_now += 1;
        let value = note.value.clone();
        match note.kind {
            Kind::Set | Kind::SetToExpire => {
                self.possible.entry(note.key.clone()).or_default().insert(value);
            }
            Kind::InOrder => {
                self.queue_possible.insert(value);
            }
            Kind::Swap => self.counter_unanswered += 1,
            Kind::SetToExpireSoon => {}
        }
    }

    fn check(&mut self, member: &Member) {
        self.check_index(member);
        self.check_keys(member);
        self.check_queue(member);
        self.check_counter(member);
        self.check_history(member);
    }

    /// The index stands where the last write left it, and the next write takes the next.
    fn check_index(&mut self, member: &Member) {
        let last = self.indexes.last_key_value().map_or(self.index, |(index, _)| *index);
        let now = member.get("/v2/keys/").index();
        assert!(last <= now, "the index fell from {last} to {now}");
        let others = self.unanswered_now + self.soon;
        assert!(now <= last + others, "the index jumped from {last} to {now}, {others} unknown");
        let next = member.put("/probe", "x");
        // Keys may expire in between.
        assert!(now < next && next <= now + 1 + self.soon, "{next} follows {now}");
        self.indexes.insert(next, ("/probe".to_owned(), "x".to_owned()));
        self.index = next;
        let mut alive = BTreeMap::new();
        leaves(&member.get("/v2/keys/soon").json()["node"], &mut alive);
        (self.unanswered_now, self.soon) = (0, alive.len() as u64);
    }

    fn check_keys(&mut self, member: &Member) {
        let mut found = BTreeMap::new();
        for directory in ["/set", "/late"] {
            let answer = member.get(&format!("/v2/keys{directory}?recursive=true"));
            leaves(&answer.json()["node"], &mut found);
        }
        for (key, node) in &self.certain {
            let now = found.get(key).unwrap_or_else(|| panic!("{key} is lost: {node}"));
            if without_ttl(now) != without_ttl(node) {
                let value = now["value"].as_str().unwrap_or_default();
                let sent = self.possible.get(key).is_some_and(|values| values.contains(value));
                assert!(sent, "{key} is {now} and not {node}, and nobody sent that since");
            }
        }
        for (key, node) in &found {
            let value = node["value"].as_str().unwrap_or_default();
            let sent = self.possible.get(key).is_some_and(|values| values.contains(value));
            assert!(sent || self.certain.contains_key(key), "nobody sent {node}");
        }
        // What is there now stays: from here on it is as good as acknowledged.
        self.certain = found;
        self.possible.clear();
    }

    fn check_queue(&mut self, member: &Member) {
        let mut found = BTreeMap::new();
        leaves(&member.get("/v2/keys/queue?recursive=true").json()["node"], &mut found);
        for (key, node) in &self.queue {
            assert_eq!(found.get(key), Some(node), "an item of the queue is lost or changed");
        }
        for (key, node) in &found {
            let value = node["value"].as_str().unwrap_or_default();
            let known = self.queue.contains_key(key) || self.queue_possible.remove(value);
            assert!(known, "nobody sent {node}, or it is there twice");
            let name = format!("/queue/{:020}", node["createdIndex"].as_u64().unwrap_or(0));
            assert_eq!(key, &name, "an item is named by its index");
        }
        self.queue = found;
        self.queue_possible.clear();
    }

    /// Each swap counts once: more than the acknowledged ones, by no more than the unanswered.
    fn check_counter(&mut self, member: &Member) {
        let answer = member.get("/v2/keys/counter");
        let counted = if answer.status == 404 {
            0
        } else {
            let value = answer.json()["node"]["value"].clone();
            value.as_str().and_then(|value| value.parse().ok()).expect("the counter is a number")
        };
        let most = self.counter + self.counter_unanswered;
        assert!(
            self.counter <= counted && counted <= most,
            "the counter is {counted}, with {} to {most} swaps",
            self.counter
        );
        (self.counter, self.counter_unanswered) = (counted, 0);
    }

    /// The history before the kill can still be watched, event by event.
    fn check_history(&self, member: &Member) {
        for (index, (key, value)) in self.indexes.iter().rev().take(20) {
            let answer = member.get(&format!("/v2/keys{key}?wait=true&waitIndex={index}"));
            let node = &answer.expect(&[200]).json()["node"];
            let expected = (index.to_string(), value.as_str());
            let told = (node["modifiedIndex"].to_string(), node["value"].as_str().unwrap_or(""));
            assert_eq!(told, expected, "the event at {index} of {key}");
        }
    }
}

/// All files below a node of a listing.
fn leaves(node: &Value, found: &mut BTreeMap<String, Value>) {
    match node["nodes"].as_array() {
        Some(nodes) => nodes.iter().for_each(|node| leaves(node, found)),
        None => {
            if let (Some(key), None) = (node["key"].as_str(), node["dir"].as_bool()) {
                found.insert(key.to_owned(), node.clone());
            }
        }
    }
}

/// The seconds left differ from one look to the next; the time at which they end does not.
fn without_ttl(node: &Value) -> Value {
    let mut node = node.clone();
    node.as_object_mut().map(|fields| fields.remove("ttl"));
    node
}
