//! A watch, and what it has to tell, as v3 tells it.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use base::{Refused, limits::WATCH_BATCH_BYTES};
use bytes::Bytes;
use mvcc::{Commit, Interest, Kind, ReadError, Record, Store, Watcher, path};
use proto::{
    etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
    mvccpb::{Event, KeyValue, event::EventType},
};

/// What an event takes besides its keys and values.
const EVENT_BYTES: usize = 64;
/// Commits that are looked at before others have their turn.
const COMMITS_MAX: usize = 1_000;

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
}

/// What a watch has to tell.
#[derive(Debug)]
pub enum Next {
    /// Nothing now: its waker hears of more.
    Nothing,
    /// Nothing of what was looked at so far.
    Later,
    /// Of whole revisions; and up to which all has been told, which is further than the last event
    /// where history ends without another.
    Events(Vec<Event>, i64),
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
        let (asked, has_told, owes_progress) = (Asked::of(request), false, false);
        Ok(Self { watcher, start, asked, waker, told: 0, has_told, owes_progress })
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

    /// What is there to tell now, as whole revisions, some at once; its waker hears of more.
    pub fn next(&mut self, store: &Store) -> Next {
        let Some(watcher) = &mut self.watcher else { return Next::Compacted };
        let mut cx = Context::from_waker(&self.waker);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for _ in 0..COMMITS_MAX {
            if bytes >= WATCH_BATCH_BYTES {
                break;
            }
            match watcher.poll_next(&mut cx) {
                Poll::Pending if events.is_empty() => return Next::Nothing,
                Poll::Pending => break,
                Poll::Ready(Ok(commit)) => {
                    self.told = commit.main;
                    let told = tell(store, watcher, self.asked, &commit, &mut events);
                    match told {
                        Ok(told) => bytes += told,
                        Err(error) => return Next::Failed(error),
                    }
                }
                // What was gathered before is told first: the next time says the same again.
                Poll::Ready(Err(_)) if !events.is_empty() => break,
                Poll::Ready(Err(ReadError::Compacted)) => return Next::Compacted,
                Poll::Ready(Err(error)) => return Next::Failed(error),
            }
        }
        if events.is_empty() {
            return Next::Later;
        }
        self.has_told = true;
        self.owes_progress = false;
        Next::Events(events, watcher.position() - 1)
    }
}

/// Adds the events of a commit; how many bytes they take.
fn tell(
    store: &Store,
    watcher: &Watcher,
    asked: Asked,
    commit: &Arc<Commit>,
    events: &mut Vec<Event>,
) -> Result<usize, ReadError> {
    let mut bytes = 0;
    for record in commit.records.iter().filter(|record| watcher.interest().concerns(record)) {
        let filtered = if record.deleted { asked.no_deletes } else { asked.no_puts };
        if filtered {
            continue;
        }
        let is_new = !record.deleted && record.create_revision == record.revision.main;
        let prev_kv = if asked.prev_kv && !is_new { before(store, record)? } else { None };
        let before = prev_kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
        bytes += EVENT_BYTES + record.name.len() + record.value.len() + before;
        let kind = if record.deleted { EventType::Delete } else { EventType::Put };
        events.push(Event { r#type: kind.into(), kv: Some(pair(record)), prev_kv });
    }
    Ok(bytes)
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
