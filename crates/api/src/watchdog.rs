//! What a connection has done, and what is to become of it.
//!
//! hyper's own header timeout also ends connections that are merely idle, which clients keep in
//! their pools for long, and a timer of one's own is looked at with every request. Here one task
//! looks at all connections now and then: part of a request's head and no request in between, for
//! two looks in a row, and a connection goes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release},
    },
    task::Waker,
    time::Duration,
};

use base::{Complaints, Room, room::Share};
use http::header;
use parking_lot::Mutex;
use server::Presence;
use tokio::time::Instant;

use crate::{body::ReplyBody, reply::Reply};

/// Between two looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Between two looks whether clients take what others wait for: five in a row, and they go.
pub(crate) const LOOK_AT_ANSWERS_INTERVAL: Duration = Duration::from_secs(2);

/// What a connection is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Answer what runs, and end then.
    Finish,
    /// End.
    Quit,
}

/// What a connection has done so far, and what it was told.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Reads that brought bytes.
    reads: AtomicU64,
    /// Reads as they stood when the last answer was there.
    reads_at_answer: AtomicU64,
    /// Requests whose head was complete.
    begun: AtomicU64,
    /// Requests under way.
    running: AtomicU64,
    /// The last answer is a watch.
    watching: AtomicBool,
    /// The last answer was given before its request had been read to the end.
    refused: AtomicBool,
    /// It speaks HTTP/2, where bytes between requests are no part of a head.
    multiplexed: AtomicBool,
    /// The server stops.
    stopping: AtomicBool,
    /// Whether `orders` is worth a look.
    is_ordered: AtomicBool,
    orders: Mutex<Orders>,
    presence: Arc<Presence>,
}

#[derive(Debug, Default)]
struct Orders {
    order: Option<Order>,
    /// Of the connection's task; there once it has run.
    waker: Option<Waker>,
    /// `begun` at the last look, if part of a head was there.
    partial_at: Option<u64>,
}

impl Activity {
    /// Bytes have come.
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Relaxed);
    }

    /// Many requests at once are coming.
    pub(crate) fn multiplex(&self) {
        self.multiplexed.store(true, Relaxed);
    }

    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
        self.running.fetch_add(1, Relaxed);
        self.watching.store(false, Relaxed);
    }

    /// What is under way ends when the client goes away.
    pub(crate) fn watch(&self) {
        self.watching.store(true, Relaxed);
    }

    /// The answer is there, though perhaps not its whole body.
    pub(crate) fn end(&self, reply: &Reply) {
        self.reads_at_answer.store(self.reads.load(Relaxed), Relaxed);
        self.running.fetch_sub(1, Relaxed);
        let is_watch = matches!(reply.body(), ReplyBody::Watch(_) | ReplyBody::Messages(_));
        self.watching.store(is_watch, Relaxed);
        self.refused.store(reply.headers().contains_key(header::CONNECTION), Relaxed);
    }

    /// Whether part of a request's head has come, and no request is under way.
    fn has_partial_head(&self) -> bool {
        !self.multiplexed.load(Relaxed)
            && self.running.load(Relaxed) == 0
            && self.reads.load(Relaxed) != self.reads_at_answer.load(Relaxed)
    }

    /// Whether nothing is asked, and it was told nothing either.
    fn is_idle(&self) -> bool {
        self.running.load(Relaxed) == 0 && !self.is_watching() && !self.has_order()
    }

    /// Whether a watch is being answered, which a client ends by going away.
    pub(crate) fn is_watching(&self) -> bool {
        self.watching.load(Relaxed)
    }

    /// Whether the client still listens, for when a password of his waits to be looked at.
    pub(crate) fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    /// Whether the client may still be sending what nobody will read.
    pub(crate) fn leaves_unread(&self) -> bool {
        let unread = self.refused.load(Relaxed) || self.has_partial_head();
        unread && !self.stopping.load(Relaxed)
    }

    /// Lets `waker` hear of orders from now on.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.orders.lock().waker = Some(waker.clone());
    }

    /// Whether it was told something that it has not asked for yet.
    pub(crate) fn has_order(&self) -> bool {
        self.is_ordered.load(Acquire)
    }

    /// What the connection was told since it asked last.
    pub(crate) fn take_order(&self) -> Option<Order> {
        if !self.is_ordered.load(Acquire) {
            return None;
        }
        let mut orders = self.orders.lock();
        self.is_ordered.store(false, Release);
        orders.order.take()
    }

    fn order(&self, order: Order) {
        let mut orders = self.orders.lock();
        orders.order = Some(order);
        self.is_ordered.store(true, Release);
        if let Some(waker) = &orders.waker {
            waker.wake_by_ref();
        }
    }

    fn look(&self) {
        let partial = self.has_partial_head().then(|| self.begun.load(Relaxed));
        let before = std::mem::replace(&mut self.orders.lock().partial_at, partial);
        if partial.is_some() && partial == before {
            tracing::debug!("a client sends a request's head too slowly");
            self.order(Order::Quit);
        }
    }
}

/// All connections of a listener.
#[derive(Debug)]
pub(crate) struct Connections {
    /// For their answers.
    room: Arc<Room>,
    began: Instant,
    complaints: Mutex<Complaints<&'static str>>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    stopping: bool,
    activities: BTreeMap<u64, Connected>,
}

#[derive(Debug)]
struct Connected {
    activity: Arc<Activity>,
    share: Arc<Share>,
    from: Option<SocketAddr>,
}

impl Connections {
    /// None yet; their answers share a room.
    pub(crate) fn new(room: &Arc<Room>) -> Self {
        Self {
            room: Arc::clone(room),
            began: Instant::now(),
            complaints: Mutex::default(),
            open: Mutex::default(),
        }
    }

    /// A new connection; it is forgotten when what is returned is dropped.
    pub(crate) fn add(self: &Arc<Self>, from: Option<SocketAddr>) -> Connection {
        let (activity, share) = (Arc::new(Activity::default()), self.room.share());
        let mut open = self.open.lock();
        if open.stopping {
            finish(&activity);
        }
        let id = open.next;
        open.next += 1;
        let connected =
            Connected { activity: Arc::clone(&activity), share: Arc::clone(&share), from };
        open.activities.insert(id, connected);
        Connection { connections: Arc::clone(self), id, activity, share, from }
    }

    /// Ends those that were sending a head at the last look already.
    pub(crate) fn look(&self) {
        self.open.lock().activities.values().for_each(|connected| connected.activity.look());
    }

    /// Ends those that keep others waiting for room, and take nothing themselves.
    pub(crate) fn look_at_answers(&self) {
        if !self.room.is_waited_for() {
            return;
        }
        for Connected { activity, share, from } in self.open.lock().activities.values() {
            let Some(bytes) = share.look() else { continue };
            activity.order(Order::Quit);
            if let Some(times) = self.complain("answer") {
                let from = shown(*from);
                tracing::warn!(
                    bytes,
                    times,
                    "closed the connection from \"{from}\": it takes nothing of a large answer, and \
                     other clients wait for the memory. Read answers as they come, or ask for less at \
                     once"
                );
            }
        }
    }

    /// Ends one on which nothing is asked, since others wait for its place: one that never asked
    /// anything if there is such a one, and of several the oldest.
    pub(crate) fn make_way(&self) {
        let open = self.open.lock();
        let idle = open.activities.iter().filter(|(_, connected)| connected.activity.is_idle());
        let has_asked = |connected: &Connected| connected.activity.begun.load(Relaxed) > 0;
        let chosen = idle.min_by_key(|(id, connected)| (has_asked(connected), **id));
        let Some((_, Connected { activity, from, .. })) = chosen else { return };
        activity.order(Order::Quit);
        if let Some(times) = self.complain("places") {
            tracing::warn!(
                connections = open.activities.len(),
                times,
                "closed the connection from \"{}\": nothing is asked on it, and there is room for no \
                 more connections on this port",
                shown(*from)
            );
        }
    }

    /// Whether to say so again, and how often it has happened since.
    fn complain(&self, what: &'static str) -> Option<u64> {
        self.complaints.lock().note(what, self.began.elapsed())
    }

    /// Lets all finish what runs.
    pub(crate) fn stop(&self) {
        let mut open = self.open.lock();
        open.stopping = true;
        open.activities.values().for_each(|connected| finish(&connected.activity));
    }
}

fn shown(from: Option<SocketAddr>) -> String {
    // Go's word for those without an address.
    from.map_or_else(|| "@".to_owned(), |from| from.to_string())
}

fn finish(activity: &Arc<Activity>) {
    activity.stopping.store(true, Relaxed);
    activity.order(Order::Finish);
}

/// One of [`Connections`].
#[derive(Debug)]
pub(crate) struct Connection {
    connections: Arc<Connections>,
    id: u64,
    pub(crate) activity: Arc<Activity>,
    pub(crate) share: Arc<Share>,
    pub(crate) from: Option<SocketAddr>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.open.lock().activities.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_never_asked_anything_makes_way_first_and_who_is_being_answered_does_not() {
        let connections = Arc::new(Connections::new(&Arc::default()));
        let open: Vec<Connection> = (0..4).map(|_| connections.add(None)).collect();
        let end = |at: usize| open[at].activity.end(&crate::reply::not_found());
        for at in [0, 1] {
            open[at].activity.begin();
        }
        end(1);
        let goes = |at: usize| {
            // Who was told goes, sooner or later, and is not told again.
            connections.make_way();
            assert!(open[at].activity.has_order(), "{at}");
        };
        goes(2);
        goes(3);
        goes(1);
        connections.make_way();
        assert!(!open[0].activity.has_order(), "it waits for its answer");
        end(0);
        goes(0);
        let orders = open.iter().map(|one| one.activity.take_order());
        assert!(orders.eq([Some(Order::Quit); 4]));
    }
}
