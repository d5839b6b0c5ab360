//! `etcdserverpb.Watch`: one client's stream, with many watches on it.
//!
//! - `receiver`: one watch of a client; `queue`: what waits for that client
//! - `own`: the watch at the members that each begins as
//! - `hub`: where watches of the same keys meet; `group`: those that go together

mod group;
mod hub;
mod own;
mod queue;
mod receiver;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed},
    },
};

use base::{
    Refused,
    limits::{GRPC_PROXY_WATCHES_MAX, WATCHES_PER_STREAM_MAX},
};
use proto::etcdserverpb::{
    ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
    watch_create_request::FilterType, watch_request::RequestUnion,
};
use tokio::sync::{oneshot, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    behalf::Asker, failure::refused, generated::etcdserverpb::watch_server, proxy::stopped,
};

pub(crate) use self::hub::Hub;
use self::{
    hub::{Keys, Turn},
    queue::{Answers, QUEUE_BYTES, queue},
    receiver::{Outlet, Receiver, Wants},
};

/// The id in an answer that is about no single watch.
const NO_WATCH: i64 = -1;

pub(crate) struct Watch {
    pub(crate) hub: Arc<Hub>,
    pub(crate) stop: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl watch_server::Watch for Watch {
    type WatchStream = Answers;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (queue, answers) = queue(QUEUE_BYTES);
        let session = Session {
            asker: Asker::new(&self.hub.client, request.metadata()),
            hub: Arc::clone(&self.hub),
            outlet: Arc::new(Outlet::new(queue)),
            watches: BTreeMap::new(),
            ids: api::WatchIds::default(),
            last: None,
        };
        tokio::spawn(session.serve(request.into_inner(), self.stop.clone()));
        Ok(Response::new(answers))
    }
}

/// The watches of one stream.
struct Session {
    asker: Asker,
    hub: Arc<Hub>,
    outlet: Arc<Outlet>,
    watches: BTreeMap<i64, Arc<Receiver>>,
    ids: api::WatchIds,
    /// Of the last creation.
    last: Option<oneshot::Receiver<()>>,
}

impl Session {
    async fn serve(
        mut self,
        mut requests: Streaming<WatchRequest>,
        mut stop: watch::Receiver<bool>,
    ) {
        let outlet = Arc::clone(&self.outlet);
        let mut has_more = true;
        loop {
            let request = tokio::select! {
                request = requests.message(), if has_more => request,
                () = outlet.closed() => return,
                () = stopped(&mut stop) => {
                    outlet.end(refused(Refused::Stopped)).await;
                    return;
                }
            };
            match request {
                Ok(Some(request)) => self.take(request).await,
                // It goes on listening.
                Ok(None) => has_more = false,
                Err(status) => {
                    outlet.end(status).await;
                    return;
                }
            }
        }
    }

    async fn take(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => {
                if let Err(why) = self.create(&request) {
                    self.refuse(why);
                }
            }
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.ask_all(),
            None => {}
        }
    }

    fn create(&mut self, request: &WatchCreateRequest) -> Result<(), String> {
        self.forget_ended();
        if self.watches.len() >= WATCHES_PER_STREAM_MAX {
            return Err(format!("more than {WATCHES_PER_STREAM_MAX} watches on one stream"));
        }
        let place = Place::take(&self.hub.watches).ok_or_else(|| {
            format!("more than {GRPC_PROXY_WATCHES_MAX} watches through this proxy")
        })?;
        let id = self.ids.choose(request.watch_id, |id| self.watches.contains_key(&id))?;
        let namespace = &self.hub.namespace;
        let keys = Keys {
            key: namespace.key(&request.key),
            end: namespace.end(&request.range_end),
            prev_kv: request.prev_kv,
            needs_leader: self.asker.needs_leader,
            who: self.asker.who.clone(),
        };
        let has = |filter: FilterType| request.filters.contains(&filter.into());
        let receiver = Arc::new(Receiver::new(
            id,
            (keys, self.asker.client.clone()),
            Wants {
                progress: request.progress_notify,
                fragment: request.fragment,
                puts: !has(FilterType::Noput),
                deletes: !has(FilterType::Nodelete),
            },
            AtomicI64::new(request.start_revision.max(0)),
            (Arc::clone(&self.outlet), place),
        ));
        self.watches.insert(id, Arc::clone(&receiver));
        let turn = Turn::behind(&mut self.last);
        tokio::spawn(hub::follow(Arc::clone(&self.hub), receiver, Some(turn)));
        Ok(())
    }

    /// Says so once those before have been answered.
    fn refuse(&mut self, why: String) {
        let (mut turn, outlet) = (Turn::behind(&mut self.last), Arc::clone(&self.outlet));
        tokio::spawn(async move {
            turn.comes().await;
            outlet.send(not_created(why)).await;
        });
    }

    /// Those that members have ended keep no id, and no place.
    fn forget_ended(&mut self) {
        if self.outlet.has_ended_some() {
            self.watches.retain(|_, receiver| !receiver.is_gone());
        }
    }

    async fn cancel(&mut self, id: i64) {
        let Some(receiver) = self.watches.remove(&id) else { return };
        // It has ended before, and its client knows.
        if !self.hub.leave(&receiver) {
            return;
        }
        let header =
            Some(ResponseHeader { revision: receiver.told(), ..ResponseHeader::default() });
        let answer = WatchResponse { header, watch_id: id, canceled: true, ..Default::default() };
        self.outlet.send(answer).await;
    }

    /// Has all watches say how far they are, and the last one answer for all.
    fn ask_all(&mut self) {
        self.forget_ended();
        self.outlet.await_progress(self.watches.keys().copied().collect());
        self.watches.values().for_each(|receiver| receiver.ask());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for receiver in self.watches.values() {
            self.hub.leave(receiver);
        }
    }
}

fn not_created(why: String) -> WatchResponse {
    WatchResponse {
        header: Some(ResponseHeader::default()),
        watch_id: NO_WATCH,
        created: true,
        canceled: true,
        cancel_reason: why,
        ..WatchResponse::default()
    }
}

/// A place among the watches that this proxy takes.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        if taken.fetch_add(1, Relaxed) >= GRPC_PROXY_WATCHES_MAX {
            taken.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
