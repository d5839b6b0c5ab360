//! Where watches of the same keys meet.
//!
//! Each watch of a client begins as a watch of its own at the members, with the client's own token:
//! they say whether it may. Once it has been told all that a group of the same keys has been told, it
//! goes along with that, and its own watch ends. So one that starts in the past comes to the group
//! when it has caught up, and nobody waits for it.
//!
//! *Invariant: all of a group have the same token.* Members go on asking whether its owner may, as users
//! and roles change, and end the one watch that they know of.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use base::limits::GRPC_PROXY_UPSTREAM_WATCHES_MAX;
use bytes::Bytes;
use client::v3::{Asker, Client, Error};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, oneshot},
    time::sleep,
};

use super::{
    group::{Group, Joined, Led},
    own::Own,
    receiver::Receiver,
};
use crate::{behalf::Who, figures::Figures, namespace::Namespace};

/// Before a watch is opened again whose members could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// What is watched, by whom, and how: who watches the same goes together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Keys {
    pub(super) key: Bytes,
    pub(super) end: Bytes,
    /// Members look for what was there before.
    pub(super) prev_kv: bool,
    /// A member without a leader ends it.
    pub(super) needs_leader: bool,
    pub(super) who: Who,
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
    pub(super) places: Semaphore,
    pub(super) figures: Arc<Figures>,
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

    /// Goes along with the group of its keys if that has told no more than this one was told; founds
    /// one if there is none, and others would not have to wait for its past or future.
    pub(super) fn join(
        &self,
        receiver: &Arc<Receiver>,
        may_found: bool,
        asker: impl FnOnce() -> Asker,
    ) -> Joined {
        let told = receiver.told();
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
        if !may_found {
            return Joined::Behind;
        }
        let group = Arc::new(Group::new(receiver, told, asker()));
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
            joined = own.until_joined(receiver) => joined?,
            () = receiver.left() => return Ok(()),
        };
        let Some(group) = joined else { return Ok(()) };
        match lead(hub, &group, receiver, &mut own).await {
            Led::Over => return Ok(()),
            // Its client is slow, and there is no other to be held up.
            Led::Alone(answer) => {
                own.tell(receiver, &answer).await;
            }
        }
    }
}

/// Tells a group what its watch is told. Nobody is waited for.
///
/// This goes on in the task of whoever founded the group, also when that one has left.
async fn lead(
    hub: &Arc<Hub>,
    group: &Arc<Group>,
    founder: &Arc<Receiver>,
    own: &mut Own<'_>,
) -> Led {
    loop {
        let outcome = tokio::select! {
            outcome = own.next() => outcome,
            () = group.emptied() => {
                hub.remove(&founder.keys, group);
                return Led::Over;
            }
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(answer)) => {
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
