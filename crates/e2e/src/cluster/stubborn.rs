//! Clients that ask again for the same write until it is done, at one member after the other: to them no
//! request may fail while one member of several is away.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use client::v3::{Client, Config};
use proto::etcdserverpb::PutRequest;

use super::Cluster;
use crate::{Connection, Request};

/// How long a client waits for an answer before it asks somebody else.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a write may take in all, with the default timers: a leader that stops hands over, and one that
/// is missed is replaced within two seconds.
const WRITE_MAX: Duration = Duration::from_secs(3);
/// Between two tries, times their number.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Between two writes: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(5);

/// Clients at work: two of either API.
pub struct Stubborn {
    stops: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Written>>,
}

/// What a client has written, and how its worst write fared.
struct Written {
    name: String,
    keys: BTreeMap<String, String>,
    longest: Duration,
    tries: usize,
}

/// One member, as a client sees it.
enum Line {
    Http { address: SocketAddr, connection: Option<Connection> },
    Grpc { client: Client, runtime: tokio::runtime::Runtime },
}

impl Stubborn {
    pub fn start(cluster: &Cluster) -> Self {
        let addresses: Vec<_> = cluster.members.iter().map(crate::Member::address).collect();
        let stops = Arc::new(AtomicBool::new(false));
        let start = |number: usize| {
            let (addresses, stops) = (addresses.clone(), Arc::clone(&stops));
            std::thread::spawn(move || work(number, &addresses, &stops))
        };
        Self { clients: (0..4).map(start).collect(), stops: Arc::clone(&stops) }
    }

    /// Stops them, and looks whether all that they have written is there.
    pub fn close(mut self, cluster: &Cluster) {
        self.stops.store(true, SeqCst);
        for client in std::mem::take(&mut self.clients) {
            let Written { name, keys, longest, tries } = client.join().expect("it does not panic");
            println!("{name}: {} writes, the worst took {longest:?} and {tries} tries", keys.len());
            assert!(keys.len() > 10, "{name} has hardly written");
            let listed = cluster.members[0].get(&format!("/v2/keys/{name}?quorum=true"));
            let listed = listed.expect(&[200]).json();
            let node = |node: &serde_json::Value| {
                let text = |name: &str| node[name].as_str().expect("a string").to_owned();
                (text("key"), text("value"))
            };
            let nodes = listed["node"]["nodes"].as_array().expect("a directory");
            let found: BTreeMap<_, _> = nodes.iter().map(node).collect();
            assert_eq!(found, keys, "what {name} has written");
        }
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        self.stops.store(true, SeqCst);
    }
}

fn work(number: usize, addresses: &[SocketAddr], stops: &AtomicBool) -> Written {
    let by_grpc = number % 2 == 1;
    let name = format!("stubborn-{number}");
    let mut lines: Vec<_> = addresses.iter().map(|address| Line::to(*address, by_grpc)).collect();
    let (keys, longest) = (BTreeMap::new(), Duration::ZERO);
    let mut written = Written { name: name.clone(), keys, longest, tries: 1 };
    let mut at = number;
    for count in 0.. {
        if stops.load(SeqCst) {
            break;
        }
        let (key, value) = (format!("/{name}/{}", count % 50), count.to_string());
        let (began, mut story) = (Instant::now(), Vec::new());
        loop {
            let line = &mut lines[at % addresses.len()];
            match line.put(&key, &value) {
                Ok(()) => break,
                Err(why) => story.push(format!(
                    "{} after {:?}: {why}",
                    at % addresses.len(),
                    began.elapsed()
                )),
            }
            let tries = story.len();
            assert!(tries <= addresses.len(), "{name} {key} was tried {tries} times: {story:#?}");
            std::thread::sleep(BACK_OFF * u32::try_from(tries).expect("few"));
            at += 1;
        }
        let took = began.elapsed();
        assert!(took < WRITE_MAX, "{name} {key} took {took:?}: {story:#?}");
        written.longest = written.longest.max(took);
        written.tries = written.tries.max(story.len() + 1);
        written.keys.insert(key, value);
        std::thread::sleep(PAUSE);
    }
    written
}

impl Line {
    fn to(address: SocketAddr, by_grpc: bool) -> Self {
        if !by_grpc {
            return Self::Http { address, connection: None };
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = Client::new(&[format!("http://{address}")], Config::default());
        Self::Grpc { client: client.expect("a URL"), runtime: runtime.expect("a runtime") }
    }

    fn put(&mut self, key: &str, value: &str) -> Result<(), String> {
        match self {
            Self::Http { address, connection } => {
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => {
                        Connection::open_within(*address, PATIENCE).map_err(|e| e.to_string())?
                    }
                };
                open.set_patience(PATIENCE);
                let answer = open.ask(&Request::put(&format!("/v2/keys{key}"), value));
                let answer = answer.map_err(|problem| problem.to_string())?;
                if !matches!(answer.status, 200 | 201) {
                    return Err(format!("{} {}", answer.status, answer.text()));
                }
                *connection = Some(open);
                Ok(())
            }
            Self::Grpc { client, runtime } => {
                let (key, value) = (key.to_owned().into(), value.to_owned().into());
                let request = PutRequest { key, value, ..PutRequest::default() };
                let put = runtime.block_on(async { client.within(PATIENCE).put(request).await });
                put.map(drop).map_err(|why| why.to_string())
            }
        }
    }
}
