//! A watch, and what it has to tell, as v3 tells it.
//!
//! - `large`: what one revision has to tell, if that is too much to be held in memory

mod large;

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use base::{
    Refused,
    limits::{WATCH_BATCH_BYTES, WATCH_FRAGMENT_BYTES, WATCH_MESSAGE_BYTES_MAX},
};
use bytes::Bytes;
use mvcc::{Commit, Interest, Kind, ReadError, Record, Store, Watcher, path};
use proto::{
    etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
    mvccpb::{Event, KeyValue, event::EventType},
};

pub use self::large::Large;

/// What an event takes besides its keys and values.
const EVENT_BYTES: usize = 64;
/// Commits and records that are looked at before others have their turn, and their bytes.
const LOOKS_MAX: usize = 1_000;
const LOOK_BYTES_MAX: usize = 1 << 20;

/// How the events of a watch are told.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are the request's")]
pub struct Asked {
    /// Answers that are too large are to be cut.
    pub fragment: bool,
    prev_kv: bool,
    progress: bool,
    no_puts: bool,
    no_deletes: bool,
}

impl Asked {
    /// As this request has it.
    pub fn of(request: &WatchCreateRequest) -> Self {
        let filters = |kind| request.filters().any(|filter| filter == kind);
        Self {
            fragment: request.fragment,
            prev_kv: request.prev_kv,
            progress: request.progress_notify,
            no_puts: filters(FilterType::Noput),
            no_deletes: filters(FilterType::Nodelete),
        }
    }
}

/// One of a stream's watches.
#[derive(Debug)]
pub struct Watch {
    /// `None`: history does not go back so far.
    watcher: Option<Watcher>,
    /// The first revision that it tells of.
    start: i64,
    asked: Asked,
    waker: Waker,
    /// The last revision that it has looked at.
    told: i64,
    /// It has told something since the last tick: so its client knows how far it is.
    has_told: bool,
    /// The next time it has nothing to tell it says how far it is.
    owes_progress: bool,
    /// What it is looking at, and how many records of it are done.
    telling: Option<(Arc<Commit>, usize)>,
    gathered: Gathered,
    /// Of the revision that it is looking at, once that is too much to be gathered.
    large: Option<Box<Large>>,
    bounds: Bounds,
}

/// How much of one revision goes into an answer.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// With more an answer goes out to who takes fragments; for others it is [`Large`].
    pub fragment_bytes: usize,
    /// Of which a large one has no more.
    pub message_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { fragment_bytes: WATCH_FRAGMENT_BYTES, message_bytes: WATCH_MESSAGE_BYTES_MAX }
    }
}

/// Events that go into the next message.
#[derive(Debug, Default)]
struct Gathered {
    events: Vec<Event>,
    bytes: usize,
}

/// What a watch has to tell.
#[derive(Debug)]
pub enum Next {
    /// Nothing now: its waker hears of more.
    Nothing,
    /// Nothing yet of what was looked at so far: there may be more, once others had their turn.
    Later,
    /// Of whole revisions; and up to which all has been told, which is further than the last event
    /// where history ends without another.
    Events(Vec<Event>, i64),
    /// As `Events`, but the last revision, which is this one, is not told to its end: the rest comes
    /// next. Only for who [has asked for fragments](Asked::fragment).
    Part(Vec<Event>, i64),
    /// As `Events`, but too much to be held in memory.
    Large(Box<Large>, i64),
    /// A single revision is more than goes into one message.
    TooLarge,
    /// What should come next is gone.
    Compacted,
    /// It cannot be read.
    Failed(ReadError),
}

impl Watch {
    /// A watch as this request wants it, which wakes `waker` when there is something to tell. One that
    /// comes too late for its start is told so when it is asked for the first time.
    ///
    /// `Err`: why there is none, in etcd's words.
    pub fn new(
        store: &Arc<Store>,
        request: &WatchCreateRequest,
        waker: Waker,
    ) -> Result<Self, String> {
        if request.start_revision < 0 {
            return Err(Refused::Compacted.text().to_owned());
        }
        let interest = interest(request).ok_or("mvcc: watcher range is empty")?;
        let now = store.revision();
        let start = if request.start_revision == 0 { now + 1 } else { request.start_revision };
        let watcher = match store.watch(interest, start) {
            Err(error @ (ReadError::Future | ReadError::Backend(_))) => {
                return Err(error.to_string());
            }
            watcher => watcher.ok(),
        };
        Ok(Self {
            watcher,
            start,
            asked: Asked::of(request),
            waker,
            told: 0,
            has_told: false,
            owes_progress: false,
            telling: None,
            gathered: Gathered::default(),
            large: None,
            bounds: Bounds::default(),
        })
    }

    /// With other bounds, so that little is much: for tests and the simulation.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Whether all before its start has happened, by this revision.
    pub fn has_begun(&self, revision: i64) -> bool {
        self.start <= revision + 1
    }

    /// How its events are told.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// The last revision that it has told of, if it has.
    pub fn told(&self) -> i64 {
        self.told
    }

    /// Once an interval; whether it should say how far it is.
    pub fn is_due_for_progress(&mut self) -> bool {
        self.owes_progress = self.asked.progress && !self.has_told;
        self.has_told = false;
        self.owes_progress
    }

    /// It has nothing to tell up to `revision`; whether it owes saying so. A watch of the future has
    /// not begun.
    pub fn take_progress(&mut self, revision: i64) -> bool {
        let has_begun = self.watcher.as_ref().is_some_and(|one| one.position() <= revision + 1);
        std::mem::take(&mut self.owes_progress) && has_begun
    }

    /// What is there to tell now, some at once; its waker hears of more.
    pub fn next(&mut self, store: &Arc<Store>) -> Next {
        let (mut looks, mut bytes) = (0, 0);
        loop {
            if let Some(next) = self.tell(store, &mut looks, &mut bytes) {
                return next;
            }
            let Some(watcher) = &mut self.watcher else { return Next::Compacted };
            let is_between = !watcher.is_within_revision();
            let is_full = self.gathered.bytes >= WATCH_BATCH_BYTES || self.large.is_some();
            if is_between && is_full {
                return self.events();
            }
            if is_over(looks, bytes) {
                return if is_between { self.events() } else { Next::Later };
            }
            looks += 1;
            let polled = watcher.poll_next(&mut Context::from_waker(&self.waker));
            let error = match polled {
                Poll::Pending if watcher.is_searching() => {
                    return if is_between { self.events() } else { Next::Later };
                }
                Poll::Pending if self.gathered.events.is_empty() => return Next::Nothing,
                Poll::Pending => return self.events(),
                Poll::Ready(Ok(commit)) => {
                    self.told = commit.main;
                    self.telling = Some((commit, 0));
                    continue;
                }
                Poll::Ready(Err(error)) => error,
            };
            // What was gathered before is told first: the next time says the same again. A revision of
            // which a part is missing is not told.
            let position = watcher.position();
            if let Some(large) = self.large.take() {
                self.gathered.events = large.into_first();
            }
            self.gathered.events.retain(|event| revision(event) < position);
            return match error {
                _ if !self.gathered.events.is_empty() => self.events(),
                ReadError::Compacted => Next::Compacted,
                error @ (ReadError::Future | ReadError::Backend(_)) => Next::Failed(error),
            };
        }
    }

    /// Gathers the events of what it is looking at; `Some`: before all of that is done.
    fn tell(&mut self, store: &Arc<Store>, looks: &mut usize, bytes: &mut usize) -> Option<Next> {
        let watcher = self.watcher.as_ref()?;
        let (commit, mut done) = self.telling.take()?;
        let asked = self.asked;
        while let Some(record) = commit.records.get(done) {
            let filtered = if record.deleted { asked.no_deletes } else { asked.no_puts };
            if filtered || !watcher.interest().concerns(record) {
                *bytes += record.value.len();
                done += 1;
                continue;
            }
            let is_full = asked.fragment && self.gathered.bytes >= self.bounds.fragment_bytes;
            if is_full || is_over(*looks, *bytes) {
                let main = commit.main;
                self.telling = Some((commit, done));
                return Some(if is_full { self.part(main) } else { Next::Later });
            }
            let told = match &mut self.large {
                Some(large) => large.add(record),
                None => self.gathered.add(store, asked, record),
            };
            let told = match told {
                Ok(told) => told,
                Err(ReadError::Compacted) => return Some(Next::Compacted),
                Err(error) => return Some(Next::Failed(error)),
            };
            if self.large.is_none()
                && self.gathered.bytes > self.bounds.fragment_bytes
                && !asked.fragment
            {
                let Gathered { events, .. } = std::mem::take(&mut self.gathered);
                self.large = Some(Box::new(Large::new(store, commit.main, asked.prev_kv, events)));
            }
            done += 1;
            *looks += 1;
            *bytes += told;
        }
        None
    }

    /// The end of a revision was reached: what there is to tell by now.
    fn events(&mut self) -> Next {
        let revision = self.watcher.as_ref().map_or(0, Watcher::position) - 1;
        let Gathered { events, .. } = std::mem::take(&mut self.gathered);
        let large = self.large.take();
        if events.is_empty() && large.is_none() {
            return Next::Later;
        }
        self.has_told = true;
        self.owes_progress = false;
        match large {
            None => Next::Events(events, revision),
            Some(large) if large.bytes() > self.bounds.message_bytes => Next::TooLarge,
            Some(large) => Next::Large(large, revision),
        }
    }

    fn part(&mut self, main: i64) -> Next {
        self.has_told = true;
        Next::Part(std::mem::take(&mut self.gathered).events, main)
    }
}

/// Whether it is the turn of others.
fn is_over(looks: usize, bytes: usize) -> bool {
    looks >= LOOKS_MAX || bytes >= LOOK_BYTES_MAX
}

impl Gathered {
    /// Adds the event of a record; how many bytes it takes.
    fn add(&mut self, store: &Store, asked: Asked, record: &Record) -> Result<usize, ReadError> {
        let prev_kv = if asked.prev_kv && !is_new(record) { before(store, record)? } else { None };
        let before = prev_kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
        let bytes = EVENT_BYTES + record.name.len() + record.value.len() + before;
        self.events.push(event(record, prev_kv));
        self.bytes += bytes;
        Ok(bytes)
    }
}

/// Whether a record is the first of its key: nothing was before.
fn is_new(record: &Record) -> bool {
    !record.deleted && record.create_revision == record.revision.main
}

fn event(record: &Record, prev_kv: Option<KeyValue>) -> Event {
    let kind = if record.deleted { EventType::Delete } else { EventType::Put };
    Event { r#type: kind.into(), kv: Some(pair(record)), prev_kv }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// The pair that a change replaced, unless compaction has removed it.
fn before(store: &Store, record: &Record) -> Result<Option<KeyValue>, ReadError> {
    match store.get(Kind::Key, &record.name, record.revision.main - 1) {
        Ok(found) => Ok(found.as_deref().map(pair)),
        Err(ReadError::Compacted | ReadError::Future) => Ok(None),
        Err(error @ ReadError::Backend(_)) => Err(error),
    }
}

/// As v3 shows it; of a deletion there is only the key and when.
pub fn pair(record: &Record) -> KeyValue {
    KeyValue {
        key: record.name.clone(),
        create_revision: record.create_revision,
        mod_revision: record.revision.main,
        version: record.version,
        value: record.value.clone(),
        lease: record.lease,
    }
}

/// `None`: the range is empty.
fn interest(request: &WatchCreateRequest) -> Option<Interest> {
    let WatchCreateRequest { key, range_end, .. } = request;
    // No key is the smallest one.
    let from = if key.is_empty() { Bytes::from_static(b"\0") } else { key.clone() };
    let to = match range_end.as_ref() {
        b"" => Some(path::successor(&from).into()),
        b"\0" => None,
        _ => Some(range_end.clone()),
    };
    let is_empty = to.as_ref().is_some_and(|to| *to <= from);
    (!is_empty).then_some(Interest::Keys { from, to })
}
