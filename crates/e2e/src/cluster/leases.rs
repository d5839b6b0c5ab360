//! A client that grants and revokes leases all the time, each with a key, and remembers what became of
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Answer, Connection, eventually, v3};

/// How long it waits for an answer before it asks somebody else.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How long it may take until it is answered again, once all is well.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// None ends during a test.
const SECONDS: u32 = 36_000;

/// The client at work.
pub(super) struct Lessee {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Ledger>>,
}

#[derive(Default)]
struct Shared {
    stops: AtomicBool,
    /// How many leases it was told that they are revoked.
    revoked: AtomicU64,
}

/// What it was told. What it was not told of, or had no answer to, is in neither.
#[derive(Default)]
pub(super) struct Ledger {
    granted: BTreeSet<i64>,
    /// Those whose key was written.
    with_key: BTreeSet<i64>,
    revoked: BTreeSet<i64>,
}

impl Lessee {
    pub(super) fn start(addresses: Vec<SocketAddr>) -> Self {
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let thread = std::thread::spawn(move || work(&addresses, &told));
        Self { shared, thread: Some(thread) }
    }

    /// Goes on until some more are granted and revoked.
    pub(super) fn stop(mut self) -> Ledger {
        let revoked = || self.shared.revoked.load(SeqCst);
        let wanted = revoked() + 3;
        eventually(LIMIT, "leases go on", || (wanted <= revoked()).then_some(()));
        self.shared.stops.store(true, SeqCst);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("it does not panic")
    }
}

impl Drop for Lessee {
    fn drop(&mut self) {
        self.shared.stops.store(true, SeqCst);
    }
}

impl Ledger {
    /// Holds what a member lists against it, in the end, and the keys that are there.
    pub(super) fn check(&self, listed: &Value, keys: &BTreeMap<String, (String, u64)>) {
        let listed = listed.as_array().into_iter().flatten();
        let listed: BTreeSet<_> = listed.map(|lease| v3::number(&lease["ID"])).collect();
        let (granted, revoked) = (self.granted.len(), self.revoked.len());
        println!("{granted} leases granted and {revoked} revoked; {} are there", listed.len());
        let lost: Vec<_> = self.granted.difference(&listed).collect();
        assert!(lost.is_empty(), "lost leases: {lost:?}");
        let back: Vec<_> = self.revoked.intersection(&listed).collect();
        assert!(back.is_empty(), "leases that had been revoked: {back:?}");
        let has_key = |id: &&i64| keys.contains_key(&key(**id));
        let kept = self.granted.intersection(&self.with_key);
        let (kept, lost): (Vec<&i64>, Vec<_>) = kept.partition(has_key);
        println!("{} of their keys are there", kept.len());
        assert!(!kept.is_empty(), "no lease kept its key");
        assert!(lost.is_empty(), "leases without their key: {lost:?}");
        let left: Vec<_> = self.revoked.iter().filter(has_key).collect();
        assert!(left.is_empty(), "revoked leases left their keys: {left:?}");
    }
}

/// The key of a lease.
fn key(id: i64) -> String {
    format!("/leased/{id}")
}

fn work(addresses: &[SocketAddr], shared: &Shared) -> Ledger {
    let (mut ledger, mut at, mut connection) = (Ledger::default(), 0, None);
    let mut ask = |path: &str, body: &Value| {
        let address = addresses[at % addresses.len()];
        match try_ask(&mut connection, address, path, body) {
            Ok(answer) if answer.status == 200 => true,
            Ok(answer) if answer.status < 500 && answer.status != 429 => {
                panic!("{path} {body} at {address}: {} {}", answer.status, answer.text())
            }
            // It may have been carried out.
            Ok(_) | Err(_) => {
                (at, connection) = (at + 1, None);
                false
            }
        }
    };
    for id in 1_000.. {
        if shared.stops.load(SeqCst) {
            break;
        }
        if ask("lease/grant", &json!({"ID": id, "TTL": SECONDS})) {
            ledger.granted.insert(id);
            let put = json!({"key": v3::bytes(key(id)), "value": v3::bytes("x"), "lease": id});
            if ask("kv/put", &put) {
                ledger.with_key.insert(id);
            }
        }
        // Every other one goes again, a little later.
        let earlier = id - 2;
        if earlier % 2 == 0
            && ledger.granted.remove(&earlier)
            && ask("lease/revoke", &json!({"ID": earlier}))
        {
            ledger.revoked.insert(earlier);
            shared.revoked.fetch_add(1, SeqCst);
        }
        std::thread::sleep(PAUSE);
    }
    ledger
}

fn try_ask(
    kept: &mut Option<Connection>,
    address: SocketAddr,
    path: &str,
    body: &Value,
) -> io::Result<Answer> {
    let connection = kept.take().map_or_else(|| Connection::open_within(address, PATIENCE), Ok);
    let mut connection = connection?;
    connection.set_patience(PATIENCE);
    let answer = v3::ask(&mut connection, path, body)?;
    *kept = Some(connection);
    Ok(answer)
}
