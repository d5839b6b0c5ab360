//! Watchers of everything, one on each member.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use crate::{Connection, Request};

/// How long a member may take to answer or to say more of what it has begun.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a watcher was told of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub index: u64,
    pub action: String,
    pub key: String,
    pub value: Option<String>,
    /// The index of the write that it replaced.
    pub replaced: Option<u64>,
}

/// Watches everything at one member, and comes back to it whenever it fails.
pub struct Watcher {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stops: AtomicBool,
    story: Mutex<Vec<Event>>,
    /// An answer that is none.
    refusal: Mutex<Option<String>>,
}

impl Watcher {
    /// Watches what happens from index `from` on.
    pub fn start(address: SocketAddr, from: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut next = from;
            while !watched.stops.load(SeqCst) {
                // It may be down, or cut off.
                drop(watched.watch(address, &mut next));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// What it was told so far.
    pub fn story(&self) -> Vec<Event> {
        let refusal = self.shared.refusal.lock().expect("nobody panics in here").clone();
        assert_eq!(refusal, None, "a watcher at {} was refused", self.address);
        self.shared.story.lock().expect("nobody panics in here").clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stops.store(true, SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "a watcher panicked");
    }
}

impl Shared {
    /// One connection, as long as it goes.
    fn watch(&self, address: SocketAddr, next: &mut u64) -> io::Result<()> {
        let mut connection = Connection::open_within(address, PATIENCE)?;
        connection.set_patience(PATIENCE);
        let query = format!("wait=true&recursive=true&stream=true&waitIndex={next}");
        connection.send(&Request::get(&format!("/v2/keys/?{query}")))?;
        let head = connection.receive_head()?;
        if head.status != 200 {
            let answer = connection.receive_rest(head)?;
            if answer.status < 500 {
                *self.refusal.lock().expect("nobody panics in here") = Some(answer.text());
            }
            return Ok(());
        }
        let mut text = Vec::new();
        while !self.stops.load(SeqCst) {
            if connection.has_nothing() {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let Some(chunk) = connection.receive_chunk()? else { return Ok(()) };
            text.extend_from_slice(&chunk);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = text.drain(..=end).collect();
                let event = event(&serde_json::from_slice(&line)?);
                *next = event.index + 1;
                self.story.lock().expect("nobody panics in here").push(event);
            }
        }
        Ok(())
    }
}

fn event(event: &Value) -> Event {
    let node = &event["node"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Event {
        index: node["modifiedIndex"].as_u64().expect("an event has an index"),
        action: text(&event["action"]).expect("an event has an action"),
        key: text(&node["key"]).expect("an event has a key"),
        value: text(&node["value"]),
        replaced: event["prevNode"]["modifiedIndex"].as_u64(),
    }
}
