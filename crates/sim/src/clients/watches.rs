//! Clients of v3 that watch at a member, and come back after every crash to where they were: what they
//! are told, by the product's own watches, is held against the nine properties of a watch.

use std::{collections::BTreeSet, sync::Arc, task::Waker};

use bytes::Bytes;
use mvcc::{Commit, Kind, ReadError, Record, Store};
use proto::{
    Message as _,
    etcdserverpb::{WatchCreateRequest, WatchResponse, watch_create_request::FilterType},
    mvccpb::{Event, KeyValue, event::EventType},
};
use state::kv::watch::{Bounds, Large, Next, Watch};

use crate::{
    Report, Sabotage, Violation,
    history::History,
    invariants::{
        watch_atomic, watch_bookmarkable, watch_filter, watch_is_create, watch_ordered,
        watch_prev_kv, watch_reliable, watch_resumable, watch_unique,
    },
};

/// What is watched at every member: from which key up to which, and what is left out.
const WATCHED: [(&[u8], &[u8], Option<FilterType>); 7] = [
    (b"\0", b"\0", None),
    (b"\0", b"\0", None),
    (b"\0", b"\0", Some(FilterType::Noput)),
    (b"/d", b"\0", Some(FilterType::Nodelete)),
    (b"/d/", b"/d0", None),
    (b"/a", b"", None),
    (b"/z", b"\0", None),
];
/// Two changes of a revision are more than this: then it comes in fragments to every other client, and
/// is read while it is sent to the others.
const BOUNDS: Bounds = Bounds { fragment_bytes: 100, message_bytes: 1 << 30 };
/// Of such a one.
const PIECE_BYTES: usize = 100;

/// A client that watches, with what it knows.
#[derive(Debug)]
pub(crate) struct Client {
    request: WatchCreateRequest,
    open: Option<Watch>,
    /// It has come back, and was told nothing since.
    pub(crate) is_back: bool,
    /// The first revision that it was told nothing of.
    pub(crate) position: i64,
    /// The last revision of which it was told an event.
    pub(crate) last: i64,
    /// The last bookmark.
    pub(crate) bookmark: i64,
    /// What has come of an answer that is not whole yet.
    parts: Vec<Event>,
    /// All that it was told: revision, key, whether it was deleted.
    pub(crate) told: BTreeSet<(i64, Bytes, bool)>,
}

impl Client {
    /// Those of one member, from the beginning.
    pub(crate) fn all() -> Vec<Self> {
        let clients = WATCHED.iter().enumerate();
        clients.map(|(at, watched)| Self::new(watched, at % 2 == 1)).collect()
    }

    fn new(watched: &(&'static [u8], &'static [u8], Option<FilterType>), fragment: bool) -> Self {
        let (key, range_end, filter) = watched;
        let request = WatchCreateRequest {
            key: Bytes::from_static(key),
            range_end: Bytes::from_static(range_end),
            filters: filter.iter().map(|filter| (*filter).into()).collect(),
            prev_kv: true,
            progress_notify: true,
            fragment,
            ..WatchCreateRequest::default()
        };
        Self {
            request,
            open: None,
            is_back: false,
            position: 2,
            last: 0,
            bookmark: 0,
            parts: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// The member is gone.
    pub(crate) fn disconnect(&mut self) {
        self.open = None;
        self.parts.clear();
    }

    /// Whether a change is to be told to this client.
    pub(crate) fn concerns(&self, record: &Record) -> bool {
        let filter = if record.deleted { FilterType::Nodelete } else { FilterType::Noput };
        record.kind == Kind::Key
            && self.is_within(&record.name)
            && !self.request.filters().any(|one| one == filter)
    }

    fn is_within(&self, name: &[u8]) -> bool {
        let WatchCreateRequest { key, range_end, .. } = &self.request;
        match range_end.as_ref() {
            b"" => name == key,
            b"\0" => name >= key.as_ref(),
            to => name >= key.as_ref() && name < to,
        }
    }

    /// The changes of a commit that are to be told to this client.
    pub(crate) fn of<'c>(&self, commit: &'c Commit) -> impl Iterator<Item = &'c Record> {
        commit.records.iter().filter(|record| self.concerns(record))
    }

    /// The first commit from a revision on of which this client is to be told.
    pub(crate) fn next_after<'h>(
        &self,
        history: &'h History,
        from: i64,
    ) -> Option<&'h Arc<Commit>> {
        let concerns = |commit: &&Arc<Commit>| self.of(commit).next().is_some();
        history.commits.range(from..).map(|(_, commit)| commit).find(concerns)
    }

    /// Whether an event may be one of this watch.
    pub(crate) fn may_be(&self, kv: &KeyValue, is_delete: bool) -> bool {
        let filter = if is_delete { FilterType::Nodelete } else { FilterType::Noput };
        self.is_within(&kv.key) && !self.request.filters().any(|one| one == filter)
    }

    /// Takes what the member has to tell now, and checks it; false if that is nothing.
    pub(crate) fn step(
        &mut self,
        history: &History,
        store: &Arc<Store>,
        (sabotage, rng): (Option<Sabotage>, &mut fastrand::Rng),
        report: &mut Report,
    ) -> Result<bool, Violation> {
        // Before the watch is asked, as the API does it.
        let published = store.published();
        let asks = rng.u8(..4) == 0;
        let next = {
            let watch = self.watch(store, sabotage)?;
            if asks {
                watch.is_due_for_progress();
            }
            watch.next(store)
        };
        match next {
            Next::Later => Ok(true),
            Next::Events(events, _) => {
                self.answered((history, store), sabotage, events, report)?;
                Ok(true)
            }
            Next::Part(events, _) => {
                report.parts += 1;
                if sabotage != Some(Sabotage::LoseParts) {
                    self.parts.extend(events);
                }
                Ok(true)
            }
            Next::Large(large, _) => {
                report.large += 1;
                match all_of(*large)? {
                    Some(events) => self.answered((history, store), sabotage, events, report)?,
                    // The stream breaks off in the midst of it, and the client comes back.
                    None => self.disconnect(),
                }
                Ok(true)
            }
            Next::Nothing => {
                let is_told =
                    self.open.as_mut().is_some_and(|watch| watch.take_progress(published));
                if is_told && !self.parts.is_empty() {
                    return Err(Violation::new("watch atomic", "progress within a revision"));
                }
                if is_told {
                    let ahead = i64::from(sabotage == Some(Sabotage::BookmarkAhead));
                    let bookmark = published + ahead;
                    report.bookmarks += 1;
                    watch_bookmarkable::is_true(history, self, bookmark, store.revision())?;
                    self.bookmark = bookmark;
                    self.position = self.position.max(bookmark + 1);
                }
                Ok(false)
            }
            Next::Compacted => {
                self.disconnect();
                watch_reliable::is_gone(self, store.compacted())?;
                // As clients do it: what is left is where to begin anew.
                self.position = store.compacted();
                Ok(true)
            }
            Next::Failed(error) => Err(Violation::new("watch reliable", error)),
            Next::TooLarge => Err(Violation::new("watch reliable", "too large")),
        }
    }

    /// An answer has come to its end.
    fn answered(
        &mut self,
        (history, store): (&History, &Arc<Store>),
        sabotage: Option<Sabotage>,
        rest: Vec<Event>,
        report: &mut Report,
    ) -> Result<(), Violation> {
        let mut events = std::mem::take(&mut self.parts);
        events.extend(rest);
        let mut answers = Vec::new();
        tamper(sabotage, &mut events, &mut answers);
        answers.insert(0, events);
        for events in answers {
            report.told_v3 += events.len() as u64;
            self.check(history, store, &events)?;
            self.take(&events);
        }
        Ok(())
    }

    fn watch(
        &mut self,
        store: &Arc<Store>,
        sabotage: Option<Sabotage>,
    ) -> Result<&mut Watch, Violation> {
        if self.open.is_none() {
            self.is_back = self.last > 0;
            let late = i64::from(self.is_back && sabotage == Some(Sabotage::ResumeLate));
            let mut request = self.request.clone();
            request.start_revision = self.position + late;
            if sabotage == Some(Sabotage::ForgetFilters) {
                request.filters.clear();
            }
            let watch = Watch::new(store, &request, Waker::noop().clone());
            let watch = watch.map_err(|why| Violation::new("watch reliable", why))?;
            self.open = Some(watch.within(BOUNDS));
        }
        self.open.as_mut().ok_or_else(|| Violation::new("watch reliable", "it was just opened"))
    }

    fn check(&self, history: &History, store: &Store, events: &[Event]) -> Result<(), Violation> {
        watch_filter::holds(self, events)?;
        watch_ordered::holds(self, events)?;
        watch_unique::holds(self, events)?;
        watch_resumable::holds(history, self, events)?;
        watch_atomic::holds(history, self, events)?;
        watch_reliable::holds(history, self, events)?;
        watch_bookmarkable::is_kept(self, events)?;
        watch_prev_kv::holds(history, store.compacted(), events)?;
        watch_is_create::holds(history, events)
    }

    fn take(&mut self, events: &[Event]) {
        for (kv, is_delete) in pairs(events) {
            self.last = kv.mod_revision;
            self.told.insert((kv.mod_revision, kv.key.clone(), is_delete));
        }
        self.position = self.position.max(self.last + 1);
        self.is_back = false;
    }
}

/// As it is sent, piece by piece, and as long as was told before; `None`: compaction came first.
fn all_of(mut large: Large) -> Result<Option<Vec<Event>>, Violation> {
    let violation = |text: &dyn std::fmt::Display| Violation::new("watch reliable", text);
    let told = (large.bytes(), large.events());
    let mut answer = WatchResponse::default();
    loop {
        match large.next_events(PIECE_BYTES) {
            Ok(events) if events.is_empty() => break,
            Ok(events) => answer.events.extend(events),
            Err(ReadError::Compacted) => return Ok(None),
            Err(error) => return Err(violation(&error)),
        }
    }
    let came = (answer.encoded_len() as u64, answer.events.len());
    if came != told {
        return Err(violation(&format!("{came:?} bytes and events, told were {told:?}")));
    }
    Ok(Some(answer.events))
}

/// The pairs of events, and whether each was deleted.
pub(crate) fn pairs(events: &[Event]) -> impl Iterator<Item = (&KeyValue, bool)> {
    let is_delete = |event: &Event| event.r#type == i32::from(EventType::Delete);
    events.iter().filter_map(move |event| Some((event.kv.as_ref()?, is_delete(event))))
}

/// What a key was before a revision.
pub(crate) fn before<'h>(history: &'h History, key: &[u8], revision: i64) -> Option<&'h Record> {
    let commits = history.commits.range(..revision).rev().map(|(_, commit)| commit);
    let mut records = commits.flat_map(|commit| commit.records.iter().rev());
    let found = records.find(|record| record.kind == Kind::Key && record.name == key)?;
    (!found.deleted).then_some(found)
}

/// Faults in how an answer comes to the client. What is pushed to `later` comes as answers of its own.
fn tamper(sabotage: Option<Sabotage>, events: &mut Vec<Event>, later: &mut Vec<Vec<Event>>) {
    let revision = |event: &Event| event.kv.as_ref().map(|kv| kv.mod_revision);
    match sabotage {
        Some(Sabotage::TellBackwards) => events.reverse(),
        Some(Sabotage::TellTwice) => events.extend(events.last().cloned()),
        Some(Sabotage::TellInParts) => {
            let last = events.last().and_then(revision);
            if events.iter().rev().nth(1).is_some_and(|event| revision(event) == last) {
                later.push(events.pop().into_iter().collect());
            }
        }
        Some(Sabotage::TellLess) => {
            let first = events.first().and_then(revision);
            if events.last().and_then(revision) != first {
                events.retain(|event| revision(event) != first);
            }
        }
        Some(Sabotage::ForgetBefore) => events.iter_mut().for_each(|event| event.prev_kv = None),
        Some(Sabotage::ForgetCreation) => {
            for kv in events.iter_mut().filter_map(|event| event.kv.as_mut()) {
                kv.create_revision = kv.create_revision.min(2);
            }
        }
        _ => {}
    }
}
