//! More clients at the leader than it waits for one by one: so many writes under way that further ones,
//! and what the others answer, gather behind the log.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use super::{Cluster, account::Account};
use crate::{Answer, Connection, Request, eventually};

/// Several times as many as are a crowd to a leader.
const CLIENTS: usize = 64;
/// So many writes under way at once are a crowd: `GATHER_FROM` of the server's raft threads.
const CROWD: u64 = 16;
/// How long a client waits for an answer before it asks somebody else.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How long each of them may be without an answer once the faults are over.
const LIMIT: Duration = Duration::from_secs(30);
/// Between a failure and the next try.
const PAUSE: Duration = Duration::from_millis(20);
const DIRECTORY: &str = "/crowd";

/// Clients that write as fast as they are answered, each to a key of its own.
pub struct Crowd {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Key>>>,
}

struct Shared {
    /// The leader's first.
    addresses: Vec<SocketAddr>,
    stops: AtomicBool,
    /// Writes that each has begun, and the latest of these that was acknowledged.
    begun: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
}

impl Crowd {
    /// Starts clients at the leader, and waits until they crowd it.
    pub fn open(cluster: &mut Cluster) -> Self {
        let leader = cluster.leader();
        let members = cluster.members.iter().cycle().skip(leader).take(cluster.members.len());
        let count = || (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared {
            addresses: members.map(crate::Member::address).collect(),
            stops: AtomicBool::new(false),
            begun: count(),
            acknowledged: count(),
        });
        let client = |number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || Client::new(number, shared).work())
        };
        let clients = (0..CLIENTS).map(client).collect();
        let crowd = Self { shared, clients };
        crowd.goes_on();
        eventually(LIMIT, "the leader has a crowd", || {
            let metrics = cluster.members[leader].get("/metrics").expect(&[200]).text();
            let name = "etcd_server_proposals_pending ";
            let pending = metrics.lines().find_map(|line| line.strip_prefix(name));
            let pending: u64 = pending.expect("it is told").parse().expect("a number");
            (CROWD <= pending).then_some(())
        });
        crowd
    }

    /// Waits until each has had an answer to what it asked for from now on.
    pub fn goes_on(&self) {
        let before: Vec<_> = self.shared.begun.iter().map(|count| count.load(SeqCst)).collect();
        let left = || {
            let now = self.shared.acknowledged.iter().map(|count| count.load(SeqCst));
            before.iter().zip(now).filter(|(before, now)| now <= before).count()
        };
        eventually(LIMIT, "each one of the crowd goes on", || (left() == 0).then_some(()));
    }

    /// After the faults have stopped: lets each go on, stops them, closes the account, which all of this is
    /// in too, and then looks at their keys at every member.
    pub fn close(mut self, cluster: &Cluster, account: Account) {
        self.goes_on();
        self.shared.stops.store(true, SeqCst);
        let clients = self.clients.drain(..);
        let keys = clients.flat_map(|client| client.join().expect("a client does not panic"));
        let keys: Vec<_> = keys.collect();
        let last = |key: &Key| key.acknowledged.map_or(0, |(number, _)| number);
        let written: u64 = keys.iter().map(last).sum();
        println!("{written} writes of a crowd were acknowledged, to {} keys", keys.len());
        account.close(cluster);
        for member in &cluster.members {
            let all = format!("/v2/keys{DIRECTORY}?recursive=true&quorum=true");
            let found = held(&member.get(&all).expect(&[200]).json()["node"]);
            for key in &keys {
                key.check(found.get(&key.name));
            }
            let nobodys = found.keys().find(|name| keys.iter().all(|key| key.name != **name));
            assert_eq!(nobodys, None, "nobody has written to this key");
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stops.store(true, SeqCst);
    }
}

/// A key with one writer, who has sent at most one number more than was acknowledged: behind one of
/// which it does not know what has become of it, it turns to another key.
#[derive(Clone, Debug)]
struct Key {
    name: String,
    /// With the index of that write.
    acknowledged: Option<(u64, u64)>,
    sent: u64,
}

impl Key {
    /// An acknowledgement tells of the one before, at the index of that: none was lost, and none carried
    /// out twice.
    fn acknowledge(&mut self, answer: &Answer) {
        let told = answer.json();
        let before = told.get("prevNode").map(number_and_index);
        assert_eq!(before, self.acknowledged, "before {self:?}: {told}");
        let now = number_and_index(&told["node"]);
        assert_eq!(now.0, self.sent, "{told}");
        self.acknowledged = Some(now);
    }

    fn check(&self, found: Option<&(u64, u64)>) {
        let is_acknowledged = found == self.acknowledged.as_ref();
        let is_sent = found.is_some_and(|found| {
            found.0 == self.sent && self.acknowledged.is_none_or(|before| before.1 < found.1)
        });
        assert!(is_acknowledged || is_sent, "{found:?} is in the place of {self:?}");
    }
}

fn number_and_index(node: &Value) -> (u64, u64) {
    let number = node["value"].as_str().and_then(|value| value.parse().ok());
    let index = node["modifiedIndex"].as_u64();
    number.zip(index).unwrap_or_else(|| panic!("none of the crowd's nodes: {node}"))
}

/// The number and index of each key in a directory.
fn held(directory: &Value) -> BTreeMap<String, (u64, u64)> {
    let nodes = directory["nodes"].as_array().into_iter().flatten();
    let name = |node: &Value| node["key"].as_str().expect("a node has a key").to_owned();
    nodes.map(|node| (name(node), number_and_index(node))).collect()
}

/// One client, which stays with a member until that fails it.
struct Client {
    number: usize,
    shared: Arc<Shared>,
    /// Which member it asks.
    at: usize,
    connection: Option<Connection>,
    /// The last one is what it writes to now.
    keys: Vec<Key>,
}

impl Client {
    fn new(number: usize, shared: Arc<Shared>) -> Self {
        let mut client = Self { number, shared, at: 0, connection: None, keys: Vec::new() };
        client.begin_key();
        client
    }

    fn begin_key(&mut self) {
        let name = format!("{DIRECTORY}/{}-{}", self.number, self.keys.len());
        self.keys.push(Key { name, acknowledged: None, sent: 0 });
    }

    fn work(mut self) -> Vec<Key> {
        while !self.shared.stops.load(SeqCst) {
            if self.write().is_err() {
                self.move_on();
                std::thread::sleep(PAUSE);
            }
        }
        self.keys
    }

    /// Writes the next number. What fails before it is sent is not counted.
    fn write(&mut self) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.shared.addresses[self.at])?,
        };
        let begun = self.shared.begun[self.number].fetch_add(1, SeqCst) + 1;
        let key = self.keys.last_mut().expect("it begins with one");
        key.sent += 1;
        let request = Request::put(&format!("/v2/keys{}", key.name), &key.sent.to_string());
        match connection.ask(&request) {
            Ok(answer) if [200, 201].contains(&answer.status) => {
                key.acknowledge(&answer);
                self.shared.acknowledged[self.number].store(begun, SeqCst);
                self.connection = Some(connection);
                Ok(())
            }
            Ok(answer) if answer.status < 500 => panic!("{request:?} has the answer {answer:?}"),
            failed => {
                self.begin_key();
                failed.and(Err(io::ErrorKind::Other.into()))
            }
        }
    }

    /// Turns to the next member; half of them go the one way around and half the other, so that whoever
    /// leads next has a crowd too.
    fn move_on(&mut self) {
        let count = self.shared.addresses.len();
        let step = if self.number.is_multiple_of(2) { 1 } else { count - 1 };
        self.at = (self.at + step) % count;
    }
}

fn connect(address: SocketAddr) -> io::Result<Connection> {
    let connection = Connection::open_within(address, PATIENCE)?;
    connection.set_patience(PATIENCE);
    Ok(connection)
}
