//! One watch of a client.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
    },
};

use base::{Refused, limits::REQUEST_BYTES_MAX};
use client::v3::{Asker, Client, Error};
use parking_lot::Mutex;
use proto::{
    etcdserverpb::{ResponseHeader, WatchResponse},
    mvccpb::{Event, event::EventType},
};
use tokio::sync::Notify;
use tonic::Status;

use super::{
    NO_WATCH, Place,
    hub::Keys,
    not_created,
    queue::{NoRoom, Queue},
};
use crate::failure;

/// What a client wants to be told.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub(super) struct Wants {
    pub(super) progress: bool,
    pub(super) fragment: bool,
    pub(super) puts: bool,
    pub(super) deletes: bool,
}

/// One watch of a client.
#[derive(Debug)]
pub(super) struct Receiver {
    id: i64,
    pub(super) keys: Keys,
    /// Asks with the client's own token.
    pub(super) client: Client,
    wants: Wants,
    /// All below has been told; zero until a member has said what "now" is.
    next: AtomicI64,
    outlet: Arc<Outlet>,
    /// Asks the watch at the members about its progress, once there is one.
    asker: Mutex<Option<Asker>>,
    /// Nothing more is told. Held while something is.
    gone: Mutex<bool>,
    leaving: Notify,
    _place: Place,
}

/// A queue is full: whoever it belongs to has to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slow;

impl Receiver {
    pub(super) fn new(
        id: i64,
        (keys, client): (Keys, Client),
        wants: Wants,
        next: AtomicI64,
        (outlet, place): (Arc<Outlet>, Place),
    ) -> Self {
        Self {
            id,
            keys,
            client,
            wants,
            next,
            outlet,
            asker: Mutex::new(None),
            gone: Mutex::new(false),
            leaving: Notify::new(),
            _place: place,
        }
    }

    /// Where it is to begin, or goes on; zero: now.
    pub(super) fn next(&self) -> i64 {
        self.next.load(SeqCst)
    }

    /// What it has been told for certain.
    pub(super) fn told(&self) -> i64 {
        (self.next() - 1).max(0)
    }

    pub(super) fn is_gone(&self) -> bool {
        *self.gone.lock()
    }

    /// Nothing more is told from now on; whether something might have been.
    pub(super) fn leave(&self) -> bool {
        let was_gone = std::mem::replace(&mut *self.gone.lock(), true);
        self.leaving.notify_waiters();
        self.outlet.forget(self.id);
        !was_gone
    }

    /// Waits until it is gone.
    pub(super) async fn left(&self) {
        let mut leaving = pin!(self.leaving.notified());
        // Who leaves between the look and the wait is heard.
        leaving.as_mut().enable();
        if !self.is_gone() {
            leaving.await;
        }
    }

    /// Who is asked from now on. What its client has asked before is asked again.
    pub(super) fn set_asker(&self, asker: &Asker) {
        *self.asker.lock() = Some(asker.clone());
        if self.outlet.awaits(self.id) {
            asker.ask();
        }
    }

    pub(super) fn ask(&self) {
        if let Some(asker) = &*self.asker.lock() {
            asker.ask();
        }
    }

    /// A member has taken the watch.
    pub(super) async fn created(&self, header: &ResponseHeader) {
        let now = header.revision + 1;
        // What it was to begin with stays.
        self.next.compare_exchange(0, now, SeqCst, SeqCst).ok();
        let answer = WatchResponse {
            header: Some(*header),
            watch_id: self.id,
            created: true,
            ..WatchResponse::default()
        };
        self.send(vec![answer]).await;
    }

    /// Tells what a member has told, however long that takes.
    pub(super) async fn tell(&self, told: &WatchResponse) {
        self.send(self.pieces(told)).await;
        self.has_been_told(told);
    }

    /// The same, if there is room for it at once; else nothing of it. Progress without room is left
    /// out: there is something else to be read first.
    pub(super) fn offer(&self, told: &WatchResponse) -> Result<(), Slow> {
        let gone = self.gone.lock();
        if *gone {
            return Ok(());
        }
        let offered = self.outlet.offer(self.pieces(told));
        if let Some(first) = first_revision(told)
            && offered.is_err()
        {
            // Between what it was told last and this there was nothing. History may not go back so far
            // any more, but it does to this.
            self.next.fetch_max(first, SeqCst);
            return offered;
        }
        drop(gone);
        self.has_been_told(told);
        Ok(())
    }

    fn has_been_told(&self, told: &WatchResponse) {
        if let Some(last) = last_revision(told) {
            self.next.fetch_max(last + 1, SeqCst);
            self.outlet.newest.fetch_max(last, SeqCst);
        } else if let Some(header) = &told.header {
            self.outlet.progressed(self.id, header, self.next());
            // That which was asked for may overtake events, in etcd before 3.4.25.
            if told.watch_id != NO_WATCH && header.revision >= self.next() {
                self.next.fetch_max(header.revision + 1, SeqCst);
            }
        }
    }

    /// Nothing comes between these.
    async fn send(&self, answers: Vec<WatchResponse>) {
        if answers.is_empty() {
            return;
        }
        let room = tokio::select! {
            room = self.outlet.queue.room(answers) => room,
            () = self.left() => return,
        };
        let gone = self.gone.lock();
        if let Ok(room) = room
            && !*gone
        {
            room.send();
        }
    }

    /// What this client is to hear of it.
    fn pieces(&self, told: &WatchResponse) -> Vec<WatchResponse> {
        let next = self.next();
        if told.events.is_empty() {
            let revision = told.header.as_ref().map_or(0, |header| header.revision);
            // One that only some client has asked for is not for all; and there is no progress
            // before the beginning.
            let is_for_us =
                self.wants.progress && told.watch_id != NO_WATCH && revision + 1 >= next;
            let answer = WatchResponse { watch_id: self.id, ..told.clone() };
            return if is_for_us { vec![answer] } else { Vec::new() };
        }
        let events = told.events.iter().filter(|event| revision(event) >= next);
        let events = events.filter(|event| match event.r#type() {
            EventType::Put => self.wants.puts,
            EventType::Delete => self.wants.deletes,
        });
        let events: Vec<_> = events.cloned().collect();
        if events.is_empty() {
            return Vec::new();
        }
        let header = told.header;
        let answer = WatchResponse { header, watch_id: self.id, events, ..Default::default() };
        if self.wants.fragment {
            api::cut_watch_response(answer, REQUEST_BYTES_MAX)
        } else {
            vec![answer]
        }
    }

    /// The members have ended it, or do not take it.
    pub(super) async fn refuse(&self, error: &Error, is_new: bool) {
        if error.is(Refused::NoLeader) {
            self.outlet.end(failure::status(error)).await;
            return;
        }
        let compact_revision =
            if let Error::Compacted { revision } = error { *revision } else { 0 };
        let cancel_reason = reason(error);
        let answer = if is_new && compact_revision == 0 {
            not_created(cancel_reason)
        } else {
            WatchResponse {
                header: Some(ResponseHeader { revision: self.told(), ..Default::default() }),
                watch_id: self.id,
                canceled: true,
                compact_revision,
                cancel_reason,
                ..WatchResponse::default()
            }
        };
        self.send(vec![answer]).await;
        self.outlet.ended_some.store(true, SeqCst);
        self.leave();
    }
}

/// A member's words as they are; where it had none, clients know what that means.
fn reason(error: &Error) -> String {
    if error.is(Refused::FutureRevision) {
        return String::new();
    }
    if let Error::Refused(refusal) = error { refusal.message.clone() } else { error.to_string() }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// Of the last event.
pub(super) fn last_revision(told: &WatchResponse) -> Option<i64> {
    told.events.last().map(revision)
}

/// Of the first event.
fn first_revision(told: &WatchResponse) -> Option<i64> {
    told.events.first().map(revision)
}

/// What a client is told through.
#[derive(Debug)]
pub(super) struct Outlet {
    queue: Queue,
    progress: Mutex<Option<ProgressOfAll>>,
    /// The newest revision of which an event was told.
    newest: AtomicI64,
    /// Some watches have ended that their stream does not know of.
    ended_some: AtomicBool,
}

/// The client wants to know how far all watches of its stream are.
#[derive(Debug)]
struct ProgressOfAll {
    /// Those that have not said it yet.
    awaited: BTreeSet<i64>,
    /// The least that one of the others has said.
    least: Option<ResponseHeader>,
}

impl Outlet {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            progress: Mutex::new(None),
            newest: AtomicI64::new(0),
            ended_some: AtomicBool::new(false),
        }
    }

    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    pub(super) async fn send(&self, answer: WatchResponse) {
        // Who has gone away needs none.
        if let Ok(room) = self.queue.room(vec![answer]).await {
            room.send();
        }
    }

    /// All is over.
    pub(super) async fn end(&self, status: Status) {
        self.queue.end(status).await;
    }

    /// All of these, or none.
    fn offer(&self, answers: Vec<WatchResponse>) -> Result<(), Slow> {
        if answers.is_empty() {
            return Ok(());
        }
        match self.queue.room_now(answers) {
            Ok(room) => room.send(),
            Err(NoRoom::Full) => return Err(Slow),
            // Its stream takes it away in a moment.
            Err(NoRoom::Closed) => {}
        }
        Ok(())
    }

    pub(super) fn has_ended_some(&self) -> bool {
        self.ended_some.swap(false, SeqCst)
    }

    /// Another question before the answer takes the place of the first.
    pub(super) fn await_progress(&self, awaited: BTreeSet<i64>) {
        // Without watches there is nothing to tell, as in etcd.
        let pending = ProgressOfAll { awaited, least: None };
        *self.progress.lock() = Some(pending).filter(|pending| !pending.awaited.is_empty());
    }

    /// Whether this watch is to say how far it is.
    fn awaits(&self, id: i64) -> bool {
        self.progress.lock().as_ref().is_some_and(|pending| pending.awaited.contains(&id))
    }

    /// A watch that was to say how far it is does not any more.
    fn forget(&self, id: i64) {
        self.move_on(id, |_| {});
    }

    /// A watch has been told all up to this.
    fn progressed(&self, id: i64, header: &ResponseHeader, next: i64) {
        if header.revision + 1 < next {
            // It has not begun: there is no answer, as in etcd from 3.6.2 on.
            let mut progress = self.progress.lock();
            if progress.as_ref().is_some_and(|pending| pending.awaited.contains(&id)) {
                *progress = None;
            }
            return;
        }
        self.move_on(id, |pending| {
            let least = pending.least.get_or_insert(*header);
            if header.revision < least.revision {
                *least = *header;
            }
        });
    }

    fn move_on(&self, id: i64, note: impl FnOnce(&mut ProgressOfAll)) {
        let mut progress = self.progress.lock();
        let Some(pending) = progress.as_mut() else { return };
        if !pending.awaited.remove(&id) {
            return;
        }
        note(pending);
        if !pending.awaited.is_empty() {
            return;
        }
        let header = progress.take().and_then(|pending| pending.least);
        // What is less than one of them has told meanwhile is no answer, nor is one without room: the
        // client has to ask again, as it has to in etcd now and then.
        if header.is_some_and(|header| header.revision >= self.newest.load(SeqCst)) {
            let answer = WatchResponse { header, watch_id: NO_WATCH, ..WatchResponse::default() };
            self.offer(vec![answer]).ok();
        }
    }
}
