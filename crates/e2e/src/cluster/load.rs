//! Clients that read, write and compare all the time through both APIs, and remember what they were told.

mod by_v3;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fastrand::Rng;
use linearizable::{Action, Before, Change, Expected, Found, Operation, Outcome, Refusal};
use serde_json::Value;

use crate::{Answer, Connection, Request, eventually};

/// How long a client waits for an answer before it asks somebody else.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// With the default timers an election is over within two seconds. Whatever takes so much longer is
/// not the machine's fault.
const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// Between the operations of one client, in microseconds: the machine has other things to do.
const PAUSE: u64 = 2_000;
const REGISTERS: usize = 6;

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Operation>>>,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    started: Instant,
    stops: AtomicBool,
    /// Between the operations of one client, in microseconds.
    pause: AtomicU64,
    acknowledged: AtomicU64,
    /// When the latest of the acknowledged changes was asked for.
    latest: AtomicU64,
    stranded: AtomicU64,
}

/// What the clients have seen.
pub struct Record {
    pub history: Vec<Operation>,
    /// How often a client went twice around all members and nobody answered.
    pub stranded: u64,
}

impl Load {
    /// So many clients, spread over these members.
    pub fn start(addresses: Vec<SocketAddr>, clients: u32) -> Self {
        let shared = Arc::new(Shared {
            addresses,
            started: Instant::now(),
            stops: AtomicBool::new(false),
            pause: AtomicU64::new(PAUSE),
            acknowledged: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            stranded: AtomicU64::new(0),
        });
        let client = |number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || Client::new(number, shared).work())
        };
        let clients = (0..clients).map(client).collect();
        Self { shared, clients }
    }

    /// How many changes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(SeqCst)
    }

    /// The same, for another thread.
    pub fn counter(&self) -> impl Fn() -> u64 + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.acknowledged.load(SeqCst)
    }

    /// Lets every client rest so long between its operations. As they are they fill a thin line by
    /// themselves: as much comes anew over it as it takes, and whoever lags on it never catches up.
    pub fn slows(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_micros()).expect("tests are short");
        self.shared.pause.store(pause, SeqCst);
    }

    /// The time by which the record counts.
    pub fn now(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_micros()).expect("tests are short")
    }

    /// Waits until so many more changes are acknowledged; gives how long that took.
    pub fn goes_on(&self, count: u64) -> Duration {
        let (started, wanted) = (Instant::now(), self.acknowledged() + count);
        let limit = Duration::from_secs(30);
        eventually(limit, "writes go on", || (wanted <= self.acknowledged()).then_some(()));
        started.elapsed()
    }

    /// Waits until a change is acknowledged that was asked for from now on, after something that costs
    /// the cluster its leader: that must not take many elections. What was under way may have been
    /// carried out before.
    pub fn recovers(&self, after: &str) {
        let (started, moment) = (Instant::now(), self.now());
        let limit = Duration::from_secs(30);
        eventually(limit, "writes go on", || {
            (moment < self.shared.latest.load(SeqCst)).then_some(())
        });
        let took = started.elapsed();
        println!("writes go on {took:?} after {after}");
        assert!(took < RECOVERY_MAX, "writes go on {took:?} after {after}");
    }

    pub fn stop(mut self) -> Record {
        self.shared.stops.store(true, SeqCst);
        let clients = self.clients.drain(..);
        let history = clients.flat_map(|client| client.join().expect("clients do not panic"));
        let history = history.collect();
        Record { history, stranded: self.shared.stranded.load(SeqCst) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stops.store(true, SeqCst);
    }
}

impl Record {
    fn acknowledged(&self) -> impl Iterator<Item = &Operation> {
        let is_done =
            |one: &&Operation| matches!(one.action, Action::Change(_, Outcome::Done { .. }));
        self.history.iter().filter(is_done)
    }
    /// The longest time without an acknowledged change, of the time from before something happened until
    /// a change is acknowledged that was asked for when it had happened.
    pub fn outage(&self, before: u64, after: u64) -> Duration {
        let resumed = self.acknowledged().filter(|one| after <= one.invoked);
        let resumed = resumed.map(|one| one.returned).min().expect("writes went on");
        let times = self.acknowledged().map(|one| one.returned);
        let mut times: Vec<_> = times.filter(|at| (before..=resumed).contains(at)).collect();
        times.push(before);
        times.sort_unstable();
        let gaps = times.windows(2).map(|two| two[1] - two[0]);
        Duration::from_micros(gaps.max().unwrap_or_default())
    }

    /// The longest time in which no change was acknowledged.
    pub fn longest_gap(&self) -> Duration {
        let mut times: Vec<_> = self.acknowledged().map(|one| one.returned).collect();
        times.sort_unstable();
        let gaps = times.windows(2).map(|two| two[1] - two[0]);
        Duration::from_micros(gaps.max().unwrap_or_default())
    }
}

/// One client, which stays with a member until that fails it.
struct Client {
    number: u32,
    shared: Arc<Shared>,
    random: Rng,
    /// Which member it asks.
    at: usize,
    connection: Option<Connection>,
    /// Requests in a row without an answer.
    failures: usize,
    written: u64,
    /// What it last saw in each register.
    seen: Vec<Option<Found>>,
    history: Vec<Operation>,
}

impl Client {
    fn new(number: u32, shared: Arc<Shared>) -> Self {
        Self {
            number,
            shared,
            random: Rng::with_seed(u64::from(number)),
            at: usize::try_from(number).expect("clients are few"),
            connection: None,
            failures: 0,
            written: 0,
            seen: vec![None; REGISTERS],
            history: Vec::new(),
        }
    }

    fn work(mut self) -> Vec<Operation> {
        while !self.shared.stops.load(SeqCst) {
            let register = self.random.usize(..REGISTERS);
            match self.random.u8(..20) {
                0..=6 => self.read(register),
                kind => self.change(register, kind),
            }
            std::thread::sleep(Duration::from_micros(self.shared.pause.load(SeqCst)));
        }
        self.history
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_micros()).expect("tests are short")
    }

    fn read(&mut self, register: usize) {
        let key = format!("/register/{register}");
        let invoked = self.now();
        let by_v3 = self.random.bool();
        let request = if by_v3 {
            by_v3::read(&key)
        } else {
            Request::get(&format!("/v2/keys{key}?quorum=true"))
        };
        let Ok(Ok(answer)) = self.ask(&request) else { return };
        let outcome = if by_v3 { by_v3::read_outcome(&answer) } else { read_outcome(&answer) };
        let Ok(found) = outcome else { return self.move_on() };
        self.seen[register].clone_from(&found);
        self.record(key, invoked, Action::Read(found));
    }

    fn change(&mut self, register: usize, kind: u8) {
        self.written += 1;
        let value = format!("{}.{}", self.number, self.written);
        let seen = self.seen[register].clone();
        let (key, change) = match (kind, seen) {
            (7..=10, _) => {
                // A key of its own, which nobody overwrites.
                (format!("/journal/{value}"), Change::Create(value))
            }
            (11 | 12, Some(seen)) => {
                let expected = Expected { value: Some(seen.value), index: None };
                (format!("/register/{register}"), Change::Swap(expected, value))
            }
            (13 | 14, Some(seen)) => {
                let expected = Expected { value: None, index: seen.index };
                (format!("/register/{register}"), Change::Swap(expected, value))
            }
            (15, Some(seen)) => {
                let expected = Expected { value: Some(seen.value), index: None };
                (format!("/register/{register}"), Change::DeleteIf(expected))
            }
            (16, _) => (format!("/register/{register}"), Change::Delete),
            (17, _) => (format!("/register/{register}"), Change::Create(value)),
            _ => (format!("/register/{register}"), Change::Write(value)),
        };
        let invoked = self.now();
        let by_v3 = self.random.bool();
        let request = if by_v3 { by_v3::request(&key, &change) } else { request(&key, &change) };
        let outcome = match self.ask(&request) {
            // Nobody has seen it.
            Err(_) => return,
            Ok(Err(_)) => Outcome::Unknown,
            Ok(Ok(answer)) => {
                let outcome = if by_v3 {
                    by_v3::outcome(&change, &answer)
                } else {
                    outcome(&change, &answer)
                };
                if matches!(outcome, Outcome::Unknown) {
                    self.move_on();
                }
                outcome
            }
        };
        if matches!(outcome, Outcome::Done { .. }) {
            self.shared.acknowledged.fetch_add(1, SeqCst);
            self.shared.latest.fetch_max(invoked, SeqCst);
        }
        self.record(key, invoked, Action::Change(change, outcome));
    }

    fn record(&mut self, key: String, invoked: u64, action: Action) {
        let (client, returned) = (self.number, self.now());
        self.history.push(Operation { client, key, invoked, returned, action });
    }

    /// Asks, and turns to the next member if that fails; the outer error says that the request has
    /// certainly not arrived.
    fn ask(&mut self, request: &Request) -> io::Result<io::Result<Answer>> {
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connect(self.shared.addresses[self.at % self.shared.addresses.len()]),
        };
        let mut connection = connection.inspect_err(|_| self.move_on())?;
        let answer = connection.ask(request);
        match &answer {
            Ok(answer) if answer.status < 500 => {
                self.failures = 0;
                self.connection = Some(connection);
            }
            _ => {}
        }
        if answer.is_err() {
            self.move_on();
        }
        Ok(answer)
    }

    /// Turns to the next member.
    fn move_on(&mut self) {
        (self.at, self.connection) = (self.at + 1, None);
        self.failures += 1;
        if self.failures.is_multiple_of(2 * self.shared.addresses.len()) {
            self.shared.stranded.fetch_add(1, SeqCst);
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<Connection> {
    let connection = Connection::open_within(address, PATIENCE)?;
    connection.set_patience(PATIENCE);
    Ok(connection)
}

fn request(key: &str, change: &Change) -> Request {
    let target = format!("/v2/keys{key}");
    let conditions = |expected: &Expected| {
        let value = expected.value.clone().map(|value| ("prevValue", value));
        let index = expected.index.map(|index| ("prevIndex", index.to_string()));
        value.into_iter().chain(index).collect::<Vec<_>>()
    };
    match change {
        Change::Write(value) => Request::put(&target, value),
        Change::Create(value) => Request::put(&target, value).query(&[("prevExist", "false")]),
        Change::Swap(expected, value) => Request::put(&target, value).query(&conditions(expected)),
        Change::Delete => Request::new("DELETE", &target),
        Change::DeleteIf(expected) => Request::new("DELETE", &target).query(&conditions(expected)),
    }
}

/// A read that says nothing.
struct NoQuorum;

/// What a read found.
fn read_outcome(answer: &Answer) -> Result<Option<Found>, NoQuorum> {
    match (answer.status, code(answer)) {
        (200, _) => Ok(found(&answer.json()["node"])),
        (404, Some(100)) => Ok(None),
        _ => Err(NoQuorum),
    }
}

/// What an answer says of a change. What it does not clearly say is unknown.
fn outcome(change: &Change, answer: &Answer) -> Outcome {
    match (answer.status, code(answer)) {
        (200 | 201, _) => {
            let event = answer.json();
            let before = match (change, found(&event["prevNode"])) {
                (_, Some(found)) => Before::Present(found),
                (Change::Write(_), None) => Before::Absent,
                (_, None) => Before::Untold,
            };
            Outcome::Done { index: event["node"]["modifiedIndex"].as_u64(), before }
        }
        (404, Some(100)) => Outcome::Refused(Refusal::NotFound),
        (412, Some(105)) => Outcome::Refused(Refusal::Exists),
        (412, Some(101)) => Outcome::Refused(Refusal::Compare { found: differing(change, answer) }),
        (500.., _) => Outcome::Unknown,
        _ => panic!("{change:?} has the answer {answer:?}"),
    }
}

/// The value that a comparison met: the cause is `[expected != found]`.
fn differing(change: &Change, answer: &Answer) -> Option<String> {
    let (Change::Swap(expected, _) | Change::DeleteIf(expected)) = change else { return None };
    expected.value.as_ref()?;
    let cause = answer.json()["cause"].as_str()?.to_owned();
    Some(cause.strip_suffix(']')?.split_once(" != ")?.1.to_owned())
}

fn code(answer: &Answer) -> Option<u64> {
    serde_json::from_slice::<Value>(&answer.body).ok()?["errorCode"].as_u64()
}

fn found(node: &Value) -> Option<Found> {
    let value = node["value"].as_str()?.to_owned();
    Some(Found { value, index: node["modifiedIndex"].as_u64() })
}
