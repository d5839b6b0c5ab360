//! `etcdserverpb.Watch`: many watches on one stream.
//!
//! The stream is polled by whoever sends it: while the client takes nothing, nothing is made, and what
//! happens meanwhile waits in the watchers' bounded mailboxes, then in history. No watch holds up
//! another, nor the apply thread.
//!
//! What a watch has to tell is `state::kv::watch`'s affair.
//!
//! - `answer`: the stream over HTTP/2; `large`: an answer that is made while it is sent
//! - `wakes`: which of a stream's watches have something to tell
//! - `permitted`: whether a watch may still tell
//! - `fragments`: cutting an answer that is too large; `ids`: which id a watch gets

mod answer;
mod fragments;
mod ids;
mod large;
mod permitted;
mod wakes;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context as Cx, Poll},
};

use base::{Refused, limits::WATCHES_PER_STREAM_MAX};
use bytes::Bytes;
use mvcc::Store;
use proto::etcdserverpb::{
    WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};
use state::kv::{self, watch::Next};
use tokio_stream::Stream;
use tonic::{Code, Status};

pub(super) use self::permitted::Permitted;
use self::wakes::Wakes;
pub(crate) use self::{
    answer::{WatchBody, answer},
    large::Large,
};
pub use self::{fragments::cut, ids::WatchIds};
use super::{
    failure,
    header::header,
    patience::{Ends, Ticks},
};
use crate::{audit::Does, auth::Asker, context::Context};

/// The id in an answer that is about no single watch.
const NO_WATCH: i64 = -1;
/// So often all watches of a stream are asked whether they have told everything. If there is always one
/// that has not, the client has to ask again, as in etcd.
const PROGRESS_ROUNDS_MAX: u32 = 16;

/// What the client asks, one after the other.
pub(crate) type Requests = Pin<Box<dyn Stream<Item = Result<WatchRequest, Status>> + Send>>;

/// The watches of one stream.
pub(crate) struct WatchStream {
    context: Arc<Context>,
    asker: Asker,
    /// `None` once the client has nothing more to ask.
    requests: Option<Requests>,
    watches: BTreeMap<i64, kv::watch::Watch>,
    /// Of each.
    permitted: BTreeMap<i64, Permitted>,
    wakes: Arc<Wakes>,
    ids: WatchIds,
    /// To be sent, in this order.
    out: VecDeque<Told>,
    progress: Ticks,
    progress_of_all: Option<ProgressOfAll>,
    ends: Ends,
    has_ended: bool,
    /// A part of this watch's revision is told: clients take what comes next for the rest of it.
    within: Option<i64>,
    /// A watch has looked at much and told nothing: others have their turn.
    gives_way: bool,
}

/// What comes next on a stream.
pub(crate) enum Told {
    Answer(WatchResponse),
    /// Nothing else comes before all of it is sent.
    Large(Box<Large>),
}

/// The client wants to know how far all watches of the stream are.
struct ProgressOfAll {
    /// Those that may still have something to tell from before.
    behind: BTreeSet<i64>,
    /// How often all were asked one after the other, and one had something to tell.
    rounds: u32,
}

impl WatchStream {
    pub(crate) fn new(context: Arc<Context>, asker: Asker, ends: Ends, requests: Requests) -> Self {
        let progress = Ticks::of_progress(&context);
        context.counters.grpc.watch_streams.fetch_add(1, Relaxed);
        Self {
            context,
            asker,
            requests: Some(requests),
            watches: BTreeMap::new(),
            permitted: BTreeMap::new(),
            wakes: Arc::default(),
            ids: WatchIds::default(),
            out: VecDeque::new(),
            progress,
            progress_of_all: None,
            ends,
            has_ended: false,
            within: None,
            gives_way: false,
        }
    }

    fn store(&self) -> &Arc<Store> {
        self.context.handle.reader().store()
    }

    fn say(&mut self, answer: WatchResponse) {
        self.out.push_back(Told::Answer(answer));
    }

    fn answer(&self, watch_id: i64, revision: i64) -> WatchResponse {
        let header = Some(header(&self.context.handle, revision));
        WatchResponse { header, watch_id, ..WatchResponse::default() }
    }

    /// Takes the client's next request; `Err`: the stream is over.
    fn poll_request(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Status>> {
        let Some(requests) = &mut self.requests else { return Poll::Pending };
        match requests.as_mut().poll_next(cx) {
            Poll::Pending => Poll::Pending,
            // It goes on listening.
            Poll::Ready(None) => {
                self.requests = None;
                Poll::Pending
            }
            Poll::Ready(Some(Err(status))) => {
                self.asked(Err(status.code()));
                self.asker.note_unread(&self.context, status.code());
                Poll::Ready(Err(status))
            }
            Poll::Ready(Some(Ok(request))) => {
                self.asked(Ok(()));
                match request.request_union {
                    Some(RequestUnion::CreateRequest(request)) => self.create(&request),
                    Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
                    Some(RequestUnion::ProgressRequest(_)) => self.ask_all(),
                    None => {}
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn asked(&self, question: Result<(), Code>) {
        let counters = &self.context.counters.grpc;
        counters.asked(&counters.watch, question);
    }

    fn create(&mut self, request: &WatchCreateRequest) {
        let revision = self.store().revision();
        match self.try_create(request) {
            Ok(watch_id) => {
                let created = self.answer(watch_id, revision);
                self.say(WatchResponse { created: true, ..created });
                self.wakes.wake(watch_id);
            }
            Err(why) => {
                let answer = self.answer(NO_WATCH, revision);
                let (created, canceled, cancel_reason) = (true, true, why);
                self.say(WatchResponse { created, canceled, cancel_reason, ..answer });
            }
        }
    }

    /// What is permitted is asked when a watch begins; and again when users have changed before it tells
    /// something.
    fn try_create(&mut self, request: &WatchCreateRequest) -> Result<i64, String> {
        // A watch of no key is one of all from the first on.
        let first = Bytes::from_static(b"\0");
        let key = if request.key.is_empty() { first } else { request.key.clone() };
        let asker = self.asker.branch(&self.context, true);
        asker.note_keys(Does::Watch, &key, &request.range_end);
        let keys = (key, request.range_end.clone());
        let permitted = Permitted::ask(&self.context, &asker, keys);
        let refused = permitted.as_ref().err().copied();
        asker.note(|trail| {
            trail.ended(refused.map_or(Code::Ok, |why| failure::status(why).code()));
        });
        let permitted = permitted.map_err(|refused| refused.text().to_owned())?;
        if self.watches.len() >= WATCHES_PER_STREAM_MAX {
            return Err(format!("more than {WATCHES_PER_STREAM_MAX} watches on one stream"));
        }
        let id = self.ids.choose(request.watch_id, |id| self.watches.contains_key(&id))?;
        // What is refused takes no number.
        let watch = kv::watch::Watch::new(self.store(), request, self.wakes.waker(id))
            .inspect_err(|_| self.ids.take_back(id))?;
        self.watches.insert(id, watch);
        self.permitted.insert(id, permitted);
        Ok(id)
    }

    fn cancel(&mut self, watch_id: i64) {
        if self.watches.remove(&watch_id).is_none() {
            return;
        }
        self.permitted.remove(&watch_id);
        let answer = self.answer(watch_id, self.store().revision());
        self.say(WatchResponse { canceled: true, ..answer });
        self.is_up_to_date(watch_id);
    }

    /// Lets all watches tell what they have; see [`Self::is_up_to_date`]. As in etcd from 3.6.2 on there
    /// is no answer while one of them is of the future: its client takes it for that one's progress,
    /// and would come back to a time before its start.
    fn ask_all(&mut self) {
        if self.watches.is_empty() || !self.have_begun() {
            return;
        }
        let behind = self.watches.keys().copied().collect();
        self.progress_of_all = Some(ProgressOfAll { behind, rounds: 0 });
        self.watches.keys().for_each(|id| self.wakes.wake(*id));
    }

    fn have_begun(&self) -> bool {
        let revision = self.store().published();
        self.watches.values().all(|watch| watch.has_begun(revision))
    }

    /// A watch has told all that there was when the client asked how far they are, or is gone.
    fn is_up_to_date(&mut self, watch_id: i64) {
        let Some(progress) = &mut self.progress_of_all else { return };
        progress.behind.remove(&watch_id);
        if progress.behind.is_empty()
            && let Some(progress) = self.progress_of_all.take()
        {
            self.tell_progress_of_all(progress.rounds);
        }
    }

    /// Tells how far all are, once none has anything to tell: else what is told would be less than some
    /// have told meanwhile.
    fn tell_progress_of_all(&mut self, rounds: u32) {
        if !self.have_begun() {
            return;
        }
        let revision = self.store().published();
        let ids: Vec<i64> = self.watches.keys().copied().collect();
        let mut behind = ids.iter().copied().find(|id| self.tell(*id, revision));
        let rounds = rounds + u32::from(behind.is_some());
        if behind.is_none() {
            behind = ids.into_iter().find(|id| self.is_ahead(*id, revision));
        }
        match behind {
            None => self.say(self.answer(NO_WATCH, revision)),
            Some(_) if rounds > PROGRESS_ROUNDS_MAX => {}
            Some(id) => {
                // Whoever publishes is about to say so: asking at once would only use up the rounds.
                self.gives_way |= self.is_ahead(id, revision);
                self.progress_of_all = Some(ProgressOfAll { behind: BTreeSet::from([id]), rounds });
                self.wakes.wake(id);
            }
        }
    }

    /// Whether a watch has told of more than was published to all.
    fn is_ahead(&self, watch_id: i64, revision: i64) -> bool {
        self.watches.get(&watch_id).is_some_and(|watch| watch.told() > revision)
    }

    fn tick(&mut self) {
        for (id, watch) in &mut self.watches {
            if watch.is_due_for_progress() {
                self.wakes.wake(*id);
            }
        }
    }

    /// Asks a watch that was woken for what it has to tell.
    fn ask(&mut self, watch_id: i64) {
        // Before the watch is asked: what it has told then includes all of that.
        let revision = self.store().published();
        if !self.tell(watch_id, revision) {
            self.is_up_to_date(watch_id);
        }
    }

    /// Lets a watch tell what it has; whether that may not be all.
    fn tell(&mut self, watch_id: i64, published: i64) -> bool {
        let store = Arc::clone(self.store());
        let Some(watch) = self.watches.get_mut(&watch_id) else { return false };
        let next = watch.next(&store);
        // Asked behind it: what is told was written before users became what they are now, or may be read.
        let permitted = self.permitted.get_mut(&watch_id);
        if !matches!(next, Next::Nothing)
            && let Some(Err(refused)) = permitted.map(|permitted| permitted.holds(&self.context))
        {
            let cancel_reason = refused.text().to_owned();
            self.end(watch_id, WatchResponse { cancel_reason, ..Default::default() });
            return false;
        }
        match next {
            Next::Nothing => {
                if watch.take_progress(published) {
                    self.say(self.answer(watch_id, published));
                }
                return false;
            }
            Next::Later => self.gives_way = true,
            Next::Events(events, revision) => {
                let fragments = watch.asked().fragment;
                self.within = None;
                let answer = WatchResponse { events, ..self.answer(watch_id, revision) };
                self.tell_events(answer, fragments);
            }
            Next::Part(events, revision) => {
                self.within = Some(watch_id);
                let fragment = true;
                let answer = self.answer(watch_id, revision);
                self.tell_events(WatchResponse { events, fragment, ..answer }, true);
            }
            Next::Large(events, revision) => {
                self.within = None;
                self.context.counters.grpc.events.fetch_add(events.events() as u64, Relaxed);
                let hold = self.context.share.charge(events.bytes_held());
                let large = Large::new(self.answer(watch_id, revision), events, hold);
                self.out.push_back(Told::Large(Box::new(large)));
            }
            Next::TooLarge => {
                let cancel_reason = Refused::AnswerTooLarge.text().to_owned();
                self.end(watch_id, WatchResponse { cancel_reason, ..Default::default() });
                return false;
            }
            Next::Compacted => {
                let compact_revision = store.compacted();
                self.end(watch_id, WatchResponse { compact_revision, ..Default::default() });
                return false;
            }
            Next::Failed(error) => {
                tracing::error!(%error, "a watch cannot read history");
                let cancel_reason = error.to_string();
                self.end(watch_id, WatchResponse { cancel_reason, ..Default::default() });
                return false;
            }
        }
        // There may be more.
        self.wakes.wake(watch_id);
        true
    }

    fn tell_events(&mut self, answer: WatchResponse, fragments: bool) {
        self.context.counters.grpc.events.fetch_add(answer.events.len() as u64, Relaxed);
        if fragments {
            let bytes_max = self.context.config.grpc.request_bytes_max;
            self.out.extend(cut(answer, bytes_max).into_iter().map(Told::Answer));
        } else {
            self.say(answer);
        }
    }

    /// A watch is over, for this reason.
    fn end(&mut self, watch_id: i64, why: WatchResponse) {
        self.watches.remove(&watch_id);
        self.permitted.remove(&watch_id);
        self.within = None;
        let WatchResponse { header, watch_id, .. } = self.answer(watch_id, self.store().revision());
        self.say(WatchResponse { header, watch_id, canceled: true, ..why });
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.context.counters.grpc.watch_streams.fetch_sub(1, Relaxed);
    }
}

impl WatchStream {
    /// Ready once our side ends the stream.
    pub(crate) fn poll_over(&mut self, cx: &mut Cx<'_>) -> Poll<Status> {
        self.ends.poll(cx).map(failure::status)
    }

    /// What comes next; `None` or an error at the end.
    pub(crate) fn poll_told(&mut self, cx: &mut Cx<'_>) -> Poll<Option<Result<Told, Status>>> {
        self.wakes.listen(cx.waker());
        loop {
            if self.has_ended {
                return Poll::Ready(None);
            }
            if let Some(told) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(told)));
            }
            let over = match self.poll_over(cx) {
                Poll::Ready(status) => Some(status),
                Poll::Pending if self.within.is_some() => None,
                Poll::Pending => match self.poll_request(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(status)) => Some(status),
                    Poll::Pending => None,
                },
            };
            if let Some(status) = over {
                self.has_ended = true;
                self.watches.clear();
                self.permitted.clear();
                return Poll::Ready(Some(Err(status)));
            }
            if self.within.is_none() && self.progress.poll(cx).is_ready() {
                self.tick();
                // It wakes only whoever has heard that it is not time yet.
                continue;
            }
            match self.within.or_else(|| self.wakes.take()) {
                Some(watch_id) => self.ask(watch_id),
                None => return Poll::Pending,
            }
            if std::mem::take(&mut self.gives_way) {
                // Of the stream there may be more at once: other tasks come first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}
