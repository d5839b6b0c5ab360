//! Where watches of the same keys meet.
//!
//! Each watch of a client begins as a watch of its own at the members, with the client's own token:
//! they say whether it may. Once it has been told all that a group of the same keys has been told, it
//! goes along with that, and its own watch ends. So one that starts in the past comes to the group
//! when it has caught up, and nobody waits for it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use base::limits::GRPC_PROXY_UPSTREAM_WATCHES_MAX;
use bytes::Bytes;
use client::v3::{Client, Error, Watcher};
use parking_lot::Mutex;
use proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot},
    time::{sleep, timeout},
};

use super::{
    NO_WATCH,
    group::{Group, Joined, Led},
    receiver::{Receiver, last_revision},
};
use crate::{figures::Figures, namespace::Namespace};

/// A new watch waits so long for a place among those at the members.
const PLACE_PATIENCE: Duration = Duration::from_secs(10);
/// Before a watch is opened again whose members could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// What is watched, and how: who watches the same goes together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Keys {
    pub(super) key: Bytes,
    pub(super) end: Bytes,
    /// A member without a leader ends it.
    pub(super) needs_leader: bool,
}

/// All watches of this proxy.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Its connections carry watches and nothing else: they take no place from other calls.
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
    /// How many there are of clients.
    pub(crate) watches: Arc<AtomicUsize>,
    groups: Mutex<BTreeMap<Keys, Arc<Group>>>,
    /// Places for watches at the members.
    places: Semaphore,
    figures: Arc<Figures>,
}

impl Hub {
    pub(crate) fn new(client: Client, namespace: Namespace, figures: Arc<Figures>) -> Self {
        Self {
            client,
            namespace,
            watches: Arc::default(),
            groups: Mutex::default(),
            places: Semaphore::new(GRPC_PROXY_UPSTREAM_WATCHES_MAX),
            figures,
        }
    }

    /// The client does not want this one any more; whether it was still told.
    pub(super) fn leave(&self, receiver: &Arc<Receiver>) -> bool {
        let was_told = receiver.leave();
        let group = self.groups.lock().get(&receiver.keys).cloned();
        if let Some(group) = group {
            group.leave(receiver, &self.figures);
        }
        was_told
    }

    /// Goes along with the group of its keys if that has told no more than `told`, which all has been
    /// told of; founds one if there is none.
    fn join(&self, receiver: &Arc<Receiver>, told: i64, watcher: &Watcher) -> Joined {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.get(&receiver.keys) {
            let joined = group.join(receiver, told, &self.figures);
            if !matches!(joined, Joined::Ended) {
                return joined;
            }
        }
        // It may have left a moment ago, and have found no group.
        if receiver.is_gone() {
            return Joined::Along;
        }
        let group = Arc::new(Group::new(receiver, told, watcher.asker()));
        groups.insert(receiver.keys.clone(), Arc::clone(&group));
        Joined::Founded(group)
    }

    /// The group has ended: nobody finds it any more.
    fn remove(&self, keys: &Keys, group: &Arc<Group>) {
        let mut groups = self.groups.lock();
        if groups.get(keys).is_some_and(|found| Arc::ptr_eq(found, group)) {
            groups.remove(keys);
        }
    }
}

/// The answers to a client's creations come in the order of its requests.
#[derive(Debug)]
pub(super) struct Turn {
    /// Is over once the creation before has been answered.
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when this one has.
    _done: oneshot::Sender<()>,
}

impl Turn {
    /// The turn behind `last`, which becomes this one.
    pub(super) fn behind(last: &mut Option<oneshot::Receiver<()>>) -> Self {
        let (done, answered) = oneshot::channel();
        Self { before: last.replace(answered), _done: done }
    }

    pub(super) async fn comes(&mut self) {
        if let Some(before) = self.before.take() {
            before.await.ok();
        }
    }
}

/// Sees to one watch of a client until it is gone, or goes along with others. `turn`: the client has
/// not heard of it yet.
pub(super) async fn follow(hub: Arc<Hub>, receiver: Arc<Receiver>, mut turn: Option<Turn>) {
    loop {
        let ended = tokio::select! {
            own = Own::open(&hub, &receiver, &mut turn) => own,
            () = receiver.left() => return,
        };
        let ended = match ended {
            Ok(own) => go_on(&hub, &receiver, own).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => return,
            // Nobody could be reached: it is no end of the watch.
            Err(Error::Lost { .. }) => tokio::select! {
                () = sleep(PAUSE) => {}
                () = receiver.left() => return,
            },
            Err(error) => {
                if let Some(turn) = &mut turn {
                    turn.comes().await;
                }
                return receiver.refuse(&error, turn.is_some()).await;
            }
        }
    }
}

async fn go_on(hub: &Arc<Hub>, receiver: &Arc<Receiver>, mut own: Own<'_>) -> Result<(), Error> {
    loop {
        let joined = tokio::select! {
            joined = own.until_joined(hub, receiver) => joined?,
            () = receiver.left() => return Ok(()),
        };
        let Some(group) = joined else { return Ok(()) };
        match lead(hub, &group, receiver, &mut own.watcher).await {
            Led::Over => return Ok(()),
            // Its client is slow, and there is no other to be held up.
            Led::Alone(answer) => {
                receiver.tell(&answer).await;
                own.took(&answer);
            }
        }
    }
}

/// A watch of its own.
struct Own<'a> {
    watcher: Watcher,
    /// All up to this has been told.
    told: i64,
    /// The store's revision when it was created.
    now: i64,
    /// There has been an event.
    has_begun: bool,
    _place: SemaphorePermit<'a>,
    _open: Open<'a>,
}

impl<'a> Own<'a> {
    async fn open(
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
            prev_kv: true,
            ..WatchCreateRequest::default()
        });
        receiver.set_asker(watcher.asker());
        let header = watcher.created().await?;
        if let Some(mut turn) = turn.take() {
            turn.comes().await;
            receiver.created(&header).await;
        }
        Ok(Self {
            watcher,
            told: receiver.told(),
            now: header.revision,
            has_begun: false,
            _place: place,
            _open: open,
        })
    }

    /// Tells its client alone, until it goes along with others (`None`) or has founded a group.
    async fn until_joined(
        &mut self,
        hub: &Hub,
        receiver: &Arc<Receiver>,
    ) -> Result<Option<Arc<Group>>, Error> {
        loop {
            if self.is_up_to_date() {
                match hub.join(receiver, self.told, &self.watcher) {
                    Joined::Along => return Ok(None),
                    Joined::Founded(group) => return Ok(Some(group)),
                    Joined::Behind | Joined::Ended => {}
                }
            }
            let answer = next(hub, &mut self.watcher).await?;
            receiver.tell(&answer).await;
            self.took(&answer);
        }
    }

    fn took(&mut self, answer: &WatchResponse) {
        if let Some(last) = last_revision(answer) {
            self.told = self.told.max(last);
            self.has_begun = true;
        } else if answer.watch_id != NO_WATCH {
            // Progress that was not asked for comes behind all events, also from etcd before 3.4.25,
            // where the other kind may overtake them.
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            self.told = self.told.max(revision);
        }
    }

    /// It does not come from the past any more, nor wait for the future.
    fn is_up_to_date(&self) -> bool {
        self.told == self.now || (self.told > self.now && self.has_begun)
    }
}

/// What members tell next, with the keys that clients know.
async fn next(hub: &Hub, watcher: &mut Watcher) -> Result<WatchResponse, Error> {
    let mut answer = watcher.next().await?;
    hub.namespace.events(&mut answer.events);
    Ok(answer)
}

/// Tells a group what its watch is told. Nobody is waited for.
///
/// This goes on in the task of whoever founded the group, also when that one has left.
async fn lead(
    hub: &Arc<Hub>,
    group: &Arc<Group>,
    founder: &Arc<Receiver>,
    watcher: &mut Watcher,
) -> Led {
    loop {
        let outcome = tokio::select! {
            outcome = next(hub, watcher) => outcome,
            () = group.emptied() => {
                hub.remove(&founder.keys, group);
                return Led::Over;
            }
        };
        match outcome {
            Ok(answer) => {
                let Ok(slow) = group.tell(&answer, founder, &hub.figures) else {
                    hub.remove(&founder.keys, group);
                    return Led::Alone(answer);
                };
                open_anew(hub, slow);
            }
            Err(error) => {
                hub.remove(&founder.keys, group);
                let mut receivers = group.end(&hub.figures);
                if let Some(at) = receivers.iter().position(|one| Arc::ptr_eq(one, founder))
                    && !matches!(error, Error::Lost { .. })
                {
                    receivers.remove(at).refuse(&error, false).await;
                }
                // What was said to the one who asked is not said to the others.
                open_anew(hub, receivers);
                return Led::Over;
            }
        }
    }
}

fn open_anew(hub: &Arc<Hub>, receivers: Vec<Arc<Receiver>>) {
    for receiver in receivers {
        tokio::spawn(follow(Arc::clone(hub), receiver, None));
    }
}

fn too_many() -> Error {
    Error::Refused(client::v3::Refusal {
        code: tonic::Code::ResourceExhausted,
        message: format!(
            "etcdserver: more than {GRPC_PROXY_UPSTREAM_WATCHES_MAX} different ranges are watched \
             through this proxy"
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
