//! Watchers of everything, by either API, on each member.

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

use serde_json::{Value, json};

use crate::{Connection, Request, v3};

/// How long a member may take to answer or to say more of what it has begun.
const PATIENCE: Duration = Duration::from_secs(3);

/// By which a watcher asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    V2,
    V3,
}

/// What a watcher was told of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub index: u64,
    /// In API 3 with numbers and lease of the key.
    pub action: String,
    pub key: String,
    pub value: Option<String>,
    /// The index of the write that it replaced.
    pub replaced: Option<u64>,
}

/// Watches everything at one member, and comes back to it whenever it fails.
pub struct Watcher {
    pub api: Api,
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
    pub fn start(api: Api, address: SocketAddr, from: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut next = from;
            while !watched.stops.load(SeqCst) {
                // It may be down, or cut off.
                drop(watched.watch(api, address, &mut next));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { api, address, shared, thread: Some(thread) }
    }

    /// What it was told so far.
    pub fn story(&self) -> Vec<Event> {
        let refusal = self.shared.refusal.lock().expect("nobody panics in here").clone();
        assert_eq!(refusal, None, "a watcher of {:?} at {} was refused", self.api, self.address);
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
    fn watch(&self, api: Api, address: SocketAddr, next: &mut u64) -> io::Result<()> {
        let mut connection = Connection::open_within(address, PATIENCE)?;
        connection.set_patience(PATIENCE);
        connection.send(&api.request(*next))?;
        let head = connection.receive_head()?;
        if head.status != 200 {
            let answer = connection.receive_rest(head)?;
            if answer.status < 500 {
                self.refused(answer.text());
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
                let told = serde_json::from_slice(&line)?;
                if let Some(why) = api.compacted(&told) {
                    self.refused(why);
                    return Ok(());
                }
                // All of one revision, if there are several, is in one line.
                let events = api.events(&told);
                *next = events.last().map_or(*next, |event| event.index + 1);
                self.story.lock().expect("nobody panics in here").extend(events);
            }
        }
        Ok(())
    }

    fn refused(&self, why: String) {
        *self.refusal.lock().expect("nobody panics in here") = Some(why);
    }
}

impl Api {
    fn request(self, next: u64) -> Request {
        match self {
            Self::V2 => {
                let query = format!("wait=true&recursive=true&stream=true&waitIndex={next}");
                Request::get(&format!("/v2/keys/?{query}"))
            }
            Self::V3 => {
                let all = v3::bytes([0]);
                let create =
                    json!({"key": all, "range_end": all, "start_revision": next, "prev_kv": true});
                let body = json!({ "create_request": create }).to_string();
                Request::json("POST", "/v3/watch", &body)
            }
        }
    }

    /// That what was asked for is history that is gone.
    fn compacted(self, told: &Value) -> Option<String> {
        let is_gone = self == Self::V3 && v3::number(&told["result"]["compact_revision"]) > 0;
        is_gone.then(|| told.to_string())
    }

    fn events(self, told: &Value) -> Vec<Event> {
        match self {
            Self::V2 => vec![event(told)],
            Self::V3 => {
                let events = told["result"]["events"].as_array();
                events.into_iter().flatten().map(event_3).collect()
            }
        }
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

fn event_3(event: &Value) -> Event {
    let kv = &event["kv"];
    let revision = |kv: &Value| u64::try_from(v3::number(&kv["mod_revision"])).expect("a revision");
    let is_gone = event["type"] == "DELETE";
    let before = event.get("prev_kv").map(revision);
    Event {
        index: revision(kv),
        action: format!(
            "{} created {} version {} lease {}",
            event["type"], kv["create_revision"], kv["version"], kv["lease"]
        ),
        key: v3::text(&kv["key"]),
        value: (!is_gone).then(|| v3::text(&kv["value"])),
        replaced: before,
    }
}
