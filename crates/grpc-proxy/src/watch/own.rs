//! The watch at the members that each watch of a client begins as.

use std::{
    future, mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use base::limits::GRPC_PROXY_UPSTREAM_WATCHES_MAX;
use client::v3::{Error, Watcher};
use proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep_until, timeout},
};

use super::{
    NO_WATCH,
    group::{Group, Joined},
    hub::{Hub, Turn},
    receiver::{Receiver, last_revision},
};
use crate::figures::Figures;

/// A new watch waits so long for a place among those at the members.
const PLACE_PATIENCE: Duration = Duration::from_secs(10);
/// A watch of the past that was told nothing for so long asks whether there is anything to tell; the
/// time doubles with each question.
const QUIET: Duration = Duration::from_secs(1);
/// So often. If nobody answers, it stays by itself until something happens.
const QUESTIONS_MAX: u32 = 8;

/// A watch of its own.
pub(super) struct Own<'a> {
    hub: &'a Hub,
    watcher: Watcher,
    /// The store's revision when it was created.
    now: i64,
    /// There has been an event, or progress behind what it was told before.
    has_caught_up: bool,
    questions: Questions,
    _place: SemaphorePermit<'a>,
    _open: Open<'a>,
}

impl<'a> Own<'a> {
    pub(super) async fn open(
        hub: &'a Hub,
        receiver: &Receiver,
        turn: &mut Option<Turn>,
    ) -> Result<Self, Error> {
        let place = if turn.is_some() {
            timeout(PLACE_PATIENCE, hub.places.acquire()).await.map_err(|_| too_many())?
        } else {
            hub.places.acquire().await
        };
        // It is never closed.
        let place = place.map_err(|_| too_many())?;
        let open = Open::new(&hub.figures);
        let mut watcher = receiver.client.watch(WatchCreateRequest {
            key: receiver.keys.key.clone(),
            range_end: receiver.keys.end.clone(),
            start_revision: receiver.next(),
            progress_notify: true,
            prev_kv: receiver.keys.prev_kv,
            // What a revision comes to is not known before.
            fragment: true,
            ..WatchCreateRequest::default()
        });
        receiver.set_asker(&watcher.asker());
        let header = watcher.created().await?;
        if let Some(mut turn) = turn.take() {
            turn.comes().await;
            receiver.created(&header).await;
        }
        Ok(Self {
            hub,
            watcher,
            now: header.revision,
            has_caught_up: false,
            questions: Questions::new(),
            _place: place,
            _open: open,
        })
    }

    /// Tells its client alone, until it goes along with others (`None`) or has founded a group.
    pub(super) async fn until_joined(
        &mut self,
        receiver: &Arc<Receiver>,
    ) -> Result<Option<Arc<Group>>, Error> {
        loop {
            let may_found = self.is_up_to_date(receiver.told());
            match self.hub.join(receiver, may_found, || self.watcher.asker()) {
                Joined::Along => return Ok(None),
                Joined::Founded(group) => return Ok(Some(group)),
                Joined::Behind | Joined::Ended => {}
            }
            // One of the future has nothing to ask.
            let may_ask = !may_found && receiver.told() < self.now;
            let due = self.questions.due(may_ask);
            let answer = tokio::select! {
                answer = self.next() => answer?,
                () = due => {
                    self.questions.asked();
                    self.watcher.asker().ask();
                    None
                }
            };
            if let Some(answer) = answer {
                self.tell(receiver, &answer).await;
            }
        }
    }

    /// What members tell next, with the keys that clients know. `None`: nothing for clients.
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<WatchResponse>, Error> {
        let mut answer = self.watcher.next().await?;
        self.questions.put_off();
        let is_asked = answer.events.is_empty() && answer.watch_id == NO_WATCH;
        if is_asked && self.questions.answered() {
            self.has_caught_up |= revision(&answer) >= self.now;
            // A client may have asked meanwhile, and more has happened since this was said.
            self.watcher.asker().ask();
            return Ok(None);
        }
        self.hub.namespace.events(&mut answer.events);
        Ok(Some(answer))
    }

    /// Tells its client, however long that takes.
    pub(super) async fn tell(&mut self, receiver: &Receiver, answer: &WatchResponse) {
        let told = receiver.told();
        receiver.tell(answer).await;
        self.has_caught_up |= match last_revision(answer) {
            Some(last) => last >= self.now,
            None => revision(answer) >= told.max(self.now),
        };
    }

    /// It does not come from the past any more, nor wait for the future.
    ///
    /// That is for the sake of others, who would wait with it: what it has been told for certain is
    /// another matter. So it may be that progress has overtaken events, as in etcd before 3.4.25.
    fn is_up_to_date(&self, told: i64) -> bool {
        told == self.now || self.has_caught_up
    }
}

fn revision(answer: &WatchResponse) -> i64 {
    answer.header.as_ref().map_or(0, |header| header.revision)
}

/// Questions about progress that no client has asked.
struct Questions {
    at: Instant,
    pause: Duration,
    left: u32,
    /// One was asked, and not answered yet.
    is_open: bool,
}

impl Questions {
    fn new() -> Self {
        Self { at: Instant::now() + QUIET, pause: QUIET, left: QUESTIONS_MAX, is_open: false }
    }

    /// Waits until one is to be asked, if one may be.
    fn due(&self, may_ask: bool) -> impl Future<Output = ()> + use<> {
        let at = self.at;
        let may_ask = may_ask && self.left > 0;
        async move { if may_ask { sleep_until(at).await } else { future::pending().await } }
    }

    fn asked(&mut self) {
        self.is_open = true;
        self.left -= 1;
        self.pause *= 2;
        self.put_off();
    }

    /// Something was told.
    fn put_off(&mut self) {
        self.at = Instant::now() + self.pause;
    }

    /// Whether this answers one.
    fn answered(&mut self) -> bool {
        mem::take(&mut self.is_open)
    }
}

fn too_many() -> Error {
    Error::Refused(client::v3::Refusal {
        code: tonic::Code::ResourceExhausted,
        message: format!(
            "etcdserver: more than {GRPC_PROXY_UPSTREAM_WATCHES_MAX} different ranges are watched \
             through this proxy, or by so many users"
        ),
    })
}

/// A watch of the members that is open.
struct Open<'a>(&'a Figures);

impl<'a> Open<'a> {
    fn new(figures: &'a Figures) -> Self {
        figures.upstream.fetch_add(1, Relaxed);
        Self(figures)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.upstream.fetch_sub(1, Relaxed);
    }
}
