//! The other members, as the shell sees them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use base::{Clock, Complaints, MemberId, UnixNanos};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use parking_lot::{Mutex, RwLock};
use tokio::{runtime, sync::mpsc, task::AbortHandle};

use crate::{
    Answer, Arriving, Dialer, Identity, Piece, Question, RoundTrips, Timeouts, Transfers,
    calls::{self, Calls},
    incoming, outgoing,
    queue::{Queue, Stay},
    snapshots,
};

/// The same complaint is repeated after so long.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

/// What the shell is told. Called on the threads of the network: must not block.
pub trait Inbound: Send + Sync + 'static {
    /// A message from somebody who says to be this member, of our cluster.
    fn received(&self, from: MemberId, message: Bytes);
    /// Messages to this member were lost.
    fn unreachable(&self, member: MemberId);
    /// This member of this version (`major.minor.patch`) has opened a stream.
    fn connected(&self, from: MemberId, version: &str);
    /// Whether that member was removed from the cluster: it is told so, and not heard.
    fn is_removed(&self, member: MemberId) -> bool;
    /// A member says that *this* one was removed from the cluster.
    fn removed(&self, by: MemberId);
    /// A snapshot begins to come.
    fn snapshot(&self, arriving: Arriving);
}

/// Which of the two streams to a peer a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Heartbeats, votes, acknowledgements.
    Message,
    /// What may be large: entries, and proposals on their way to the leader.
    Append,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Message, Self::Append];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Append => "append",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.name() == name)
    }
}

/// How a peer is doing.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    pub id: MemberId,
    /// Since when both streams to it have been open; `None` while one is not.
    pub active_since: Option<UnixNanos>,
    pub sent: u64,
    pub sent_bytes: u64,
    /// Messages that were lost on this side.
    pub failed: u64,
    pub received_bytes: u64,
    /// Streams of it that ended otherwise than in order.
    pub received_failures: u64,
    /// How often it became inactive.
    pub disconnected: u64,
    pub round_trips: RoundTrips,
    /// To it, and from it.
    pub snapshots_sent: Arc<Transfers>,
    pub snapshots_received: Arc<Transfers>,
}

/// The other members. Cheap to clone.
#[derive(Clone)]
pub struct Peers(pub(crate) Arc<Inner>);

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("identity", &self.0.identity).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) identity: Identity,
    pub(crate) inbound: Arc<dyn Inbound>,
    pub(crate) dialer: Dialer,
    pub(crate) timeouts: Timeouts,
    pub(crate) clock: Arc<dyn Clock>,
    runtime: runtime::Handle,
    pub(crate) peers: RwLock<BTreeMap<MemberId, Arc<Peer>>>,
    /// The streams that are open to this member; a newer one of the same lane ends the older.
    pub(crate) incoming: Mutex<BTreeMap<(MemberId, Option<Lane>), AbortHandle>>,
    /// What was said of streams that are refused, which are tried again every second.
    pub(crate) refused: Mutex<Complaints<String>>,
}

/// One of the others.
pub(crate) struct Peer {
    pub(crate) id: MemberId,
    pub(crate) urls: RwLock<Vec<Uri>>,
    /// How often a URL has failed for a snapshot: then it is the next one's turn.
    pub(crate) snapshot_failures: AtomicUsize,
    queues: [Queue; 2],
    pub(crate) calls: Calls,
    tasks: Mutex<Vec<AbortHandle>>,
    standing: Mutex<Standing>,
    pub(crate) counts: Counts,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) received_failures: AtomicU64,
    pub(crate) snapshots_sent: Arc<Transfers>,
    pub(crate) snapshots_received: Arc<Transfers>,
    disconnected: AtomicU64,
}

#[derive(Default)]
struct Standing {
    open: [bool; 2],
    active_since: Option<UnixNanos>,
    round_trips: RoundTrips,
    /// What was last said of it in the log, and when.
    complaint: Option<(String, Duration)>,
}

impl Peers {
    pub fn new(
        identity: Identity,
        inbound: Arc<dyn Inbound>,
        (dialer, timeouts): (Dialer, Timeouts),
        clock: Arc<dyn Clock>,
        runtime: runtime::Handle,
    ) -> Self {
        let (peers, incoming, refused) = (RwLock::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner {
            identity,
            inbound,
            dialer,
            timeouts,
            clock,
            runtime,
            peers,
            incoming,
            refused,
        }))
    }

    /// Who the others are now, with their peer URLs; this member may be among them. Those that are
    /// gone are cut off.
    pub fn set(&self, members: &[(MemberId, Vec<String>)]) {
        let mut peers = self.0.peers.write();
        peers.retain(|id, peer| {
            let stays = members.iter().any(|(member, _)| member == id);
            if !stays {
                peer.stop();
                self.0.incoming.lock().retain(|(from, _), stream| {
                    if from == id {
                        stream.abort();
                    }
                    from != id
                });
                tracing::info!(peer = %id, "stopped talking to a member that is gone");
            }
            stays
        });
        for (id, urls) in members.iter().filter(|(id, _)| *id != self.0.identity.member) {
            let urls: Vec<Uri> = urls.iter().filter_map(|url| url.parse().ok()).collect();
            match peers.get(id) {
                Some(peer) => *peer.urls.write() = urls,
                None => {
                    peers.insert(*id, self.begin(*id, urls));
                }
            }
        }
    }

    fn begin(&self, id: MemberId, urls: Vec<Uri>) -> Arc<Peer> {
        let peer = Arc::new(Peer::new(id, urls));
        for lane in Lane::ALL {
            let task = outgoing::run(Arc::clone(&self.0), Arc::clone(&peer), lane);
            peer.tasks.lock().push(self.0.runtime.spawn(task).abort_handle());
        }
        peer
    }

    /// Sends a message, now or never. What does not fit, or is for a stranger, is dropped.
    pub fn send(&self, to: MemberId, lane: Lane, message: Bytes) {
        self.send_while(to, lane, message, Stay::Always);
    }

    /// The same; it waits for its turn no longer than that.
    pub fn send_while(&self, to: MemberId, lane: Lane, message: Bytes, stay: Stay) {
        let Some(peer) = self.0.peers.read().get(&to).map(Arc::clone) else { return };
        if !peer.queue(lane).push(message, stay) {
            peer.counts.failed.fetch_add(1, Relaxed);
            self.0.inbound.unreachable(to);
        }
    }

    /// How the others are doing, in order of their ids.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.0.peers.read().values().map(|peer| peer.status()).collect()
    }

    /// Sends a snapshot; resolves once the peer has all of it durably.
    pub fn send_snapshot(
        &self,
        to: MemberId,
        header: Bytes,
        pieces: mpsc::Receiver<Piece>,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let (inner, peer) = (Arc::clone(&self.0), self.0.peer(to));
        async move {
            let peer = peer.ok_or_else(|| format!("{to} is no member"))?;
            snapshots::send(inner, peer, header, pieces).await
        }
    }

    /// Asks a peer; see [`Question`]. Dropping the future gives it up.
    pub fn ask(
        &self,
        to: MemberId,
        question: Question,
    ) -> impl Future<Output = Result<Answer, String>> + Send + use<> {
        let (inner, peer) = (Arc::clone(&self.0), self.0.peer(to));
        async move {
            let peer = peer.ok_or_else(|| format!("{to} is no member"))?;
            calls::ask(inner, peer, question).await
        }
    }

    /// Whether a question to this member may be answered: what is told of its asker must fit. The
    /// error is for both logs.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let inner = &self.0;
        let checked = inner.identity.check(headers, |member| inner.inbound.is_removed(member));
        checked.map(drop).map_err(|refusal| (refusal.status, refusal.text))
    }

    /// Answers a request for `/raft/stream/<lane>`, by upgrading its connection.
    pub fn answer(&self, request: Request<Incoming>) -> Response<Bytes> {
        incoming::answer(&self.0, request)
    }

    /// Ends all streams.
    pub fn stop(&self) {
        for peer in std::mem::take(&mut *self.0.peers.write()).into_values() {
            peer.stop();
        }
        for stream in std::mem::take(&mut *self.0.incoming.lock()).into_values() {
            stream.abort();
        }
    }
}

impl Inner {
    pub(crate) fn peer(&self, id: MemberId) -> Option<Arc<Peer>> {
        self.peers.read().get(&id).map(Arc::clone)
    }
}

impl Peer {
    pub(crate) fn new(id: MemberId, urls: Vec<Uri>) -> Self {
        Self {
            id,
            urls: RwLock::new(urls),
            snapshot_failures: AtomicUsize::new(0),
            queues: Default::default(),
            calls: Calls::default(),
            tasks: Mutex::default(),
            standing: Mutex::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn queue(&self, lane: Lane) -> &Queue {
        let [message, append] = &self.queues;
        match lane {
            Lane::Message => message,
            Lane::Append => append,
        }
    }

    fn stop(&self) {
        self.calls.close();
        self.tasks.lock().iter().for_each(AbortHandle::abort);
    }

    pub(crate) fn set_open(&self, lane: Lane, is_open: bool, now: UnixNanos) {
        let mut standing = self.standing.lock();
        let [message, append] = &mut standing.open;
        match lane {
            Lane::Message => *message = is_open,
            Lane::Append => *append = is_open,
        }
        let all = *message && *append;
        let was = standing.active_since.is_some();
        standing.active_since = all.then(|| standing.active_since.unwrap_or(now));
        if all {
            standing.complaint = None;
        }
        drop(standing);
        let peer = self.id;
        match (was, all) {
            (false, true) => tracing::info!(%peer, "peer became active"),
            (true, false) => {
                self.counts.disconnected.fetch_add(1, Relaxed);
                tracing::warn!(%peer, "peer became inactive");
            }
            _ => {}
        }
    }

    /// Says what is wrong, unless that was said just now.
    pub(crate) fn complain(&self, why: &str, now: Duration) {
        let mut standing = self.standing.lock();
        let said = standing.complaint.as_ref();
        if said.is_some_and(|(said, at)| said == why && now < *at + COMPLAIN_EVERY) {
            return;
        }
        standing.complaint = Some((why.to_owned(), now));
        drop(standing);
        let urls: Vec<String> = self.urls.read().iter().map(Uri::to_string).collect();
        tracing::warn!(peer = %self.id, urls = urls.join(","), "cannot talk to a peer: {why}");
    }

    pub(crate) fn round_trip(&self, took: Duration) {
        self.standing.lock().round_trips.add(took);
    }

    fn status(&self) -> PeerStatus {
        let standing = self.standing.lock();
        PeerStatus {
            id: self.id,
            active_since: standing.active_since,
            sent: self.counts.sent.load(Relaxed),
            sent_bytes: self.counts.sent_bytes.load(Relaxed),
            failed: self.counts.failed.load(Relaxed),
            received_bytes: self.counts.received_bytes.load(Relaxed),
            received_failures: self.counts.received_failures.load(Relaxed),
            snapshots_sent: Arc::clone(&self.counts.snapshots_sent),
            snapshots_received: Arc::clone(&self.counts.snapshots_received),
            disconnected: self.counts.disconnected.load(Relaxed),
            round_trips: standing.round_trips,
        }
    }
}
