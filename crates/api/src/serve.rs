//! Listeners and connections: their limits and their end.

use std::{
    convert::Infallible,
    fmt::Display,
    future,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use base::{Room, limits};
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use server::Handle;
use socket2::{SockRef, TcpKeepalive};
use tls::{Acceptor, Socket};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time,
};

use crate::{
    Config, SetLogLevel,
    answering::Answering,
    at_once::AtOnce,
    auth::CommonName,
    context::{Common, Context},
    eager, gateway,
    ops::profiling::PROFILE,
    peers,
    port::{self, Listener, Port, Wire},
    portions::Portions,
    protocol,
    proxy::Proxy,
    route,
    stream::Stream,
    v3,
    watchdog::{Activity, Connection, Connections, LOOK_AT_ANSWERS_INTERVAL, LOOK_INTERVAL, Order},
};

/// How long a stopping server lets running requests finish.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// After a failed accept (say, no file descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How soon a peer that vanished without a word is noticed; Go's default.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Connections on the peer port.
const PEER_CONNECTIONS_MAX: usize = 256;

/// The client API, on as many ports as there are. Clones share counters and limits.
#[derive(Clone)]
pub struct Clients {
    common: Arc<Common>,
    services: Arc<v3::Services>,
}

impl Clients {
    /// Serves nobody yet. All ends once `stop` turns true.
    pub fn new(
        handle: Handle,
        config: Config,
        set_log_level: SetLogLevel,
        stop: watch::Receiver<bool>,
    ) -> Self {
        handle.reader().tokens().keep_for(config.auth.token_ttl);
        let common = Arc::new(Common::new(handle, config, set_log_level, stop));
        common.warn_of_guests();
        let context = Context::new(&common, &common.room.share(), None);
        let services = Arc::new(v3::Services::new(&context));
        Self { common, services }
    }

    /// Serves on a port until the server stops; then accepts no more, ends watches, lets running
    /// requests finish for at most two seconds, and returns.
    pub async fn serve(self, port: Port, offer: Offer) {
        let Self { common, services } = self;
        let rules = Rules {
            connections_max: common.config.max_connections,
            half_close: true,
            room: Arc::clone(&common.room),
            idle_make_way: false,
        };
        let grpc = Grpc { services, is_offered: offer.has_grpc() };
        let place = route::Place { offer, is_secure: port.tls.is_some() };
        accept(port, rules, (common.stop.clone(), Some(grpc)), move |connection| {
            let Connection { activity, share, from, .. } = connection;
            let (from, presence) = (*from, Arc::clone(activity.presence()));
            let (context, connected) =
                (Context::new(&common, share, from), common.handle.connected());
            move |mut request| {
                let _ = &connected;
                context.mark(from, Some(&presence), &mut request);
                if context.config.audit.is_none()
                    && let Some(reply) = route::answer_now(&context, place, &request)
                {
                    return Answering::now(reply);
                }
                let context = Arc::clone(&context);
                let waits = waits(request.uri().path());
                let answer = Box::pin(async move { route::answer(&context, place, request).await });
                if waits { Answering::Waiting(answer) } else { Answering::Later(answer) }
            }
        })
        .await;
    }
}

/// Whether what is asked for takes as long as somebody likes, and is worth nothing without its client.
fn waits(path: &str) -> bool {
    path == PROFILE || gateway::waits(path)
}

impl Offer {
    pub(crate) fn has_grpc(self) -> bool {
        matches!(self, Self::All | Self::Grpc)
    }
}

/// What a port for clients offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    All,
    /// All but gRPC.
    Http,
    Grpc,
    /// Metrics and health.
    Metrics,
}

/// The services of gRPC, on a port that offers them or not.
pub(crate) struct Grpc<S> {
    pub(crate) services: Arc<S>,
    pub(crate) is_offered: bool,
}

impl<S> Clone for Grpc<S> {
    fn clone(&self) -> Self {
        Self { services: Arc::clone(&self.services), is_offered: self.is_offered }
    }
}

/// On ports that speak HTTP/1.1 alone.
const NO_GRPC: Option<Grpc<v3::Services>> = None;

/// Serves clients in the members' place, on a port with so many connections at once. Ends as
/// [`serve_clients`] does.
pub async fn serve_proxy(
    port: Port,
    proxy: Arc<Proxy>,
    connections_max: usize,
    stop: watch::Receiver<bool>,
) {
    // A client that is gone must not be waited for at a member: half a connection is none here, as
    // in the original.
    let rules =
        Rules { connections_max, half_close: false, room: Arc::default(), idle_make_way: false };
    let stopping = stop.clone();
    accept(port, rules, (stop, NO_GRPC), move |connection| {
        let from = connection.from;
        let (proxy, stop) = (Arc::clone(&proxy), stopping.clone());
        move |request| {
            let (proxy, stop) = (Arc::clone(&proxy), stop.clone());
            Answering::Later(Box::pin(async move { proxy.answer(request, from, stop).await }))
        }
    })
    .await;
}

/// Serves the peer port: the other members' streams, `/members`, `/version`, `/raft/probing`. Ends as
/// [`serve_clients`] does.
pub async fn serve_peers(port: Port, handle: Handle, stop: watch::Receiver<bool>) {
    let rules = Rules {
        connections_max: PEER_CONNECTIONS_MAX,
        half_close: true,
        room: Arc::default(),
        // Whoever holds connections open here must not part the members.
        idle_make_way: true,
    };
    accept(port, rules, (stop, NO_GRPC), move |_| {
        let (member, connected) = (handle.clone(), handle.connected());
        move |request| {
            let _ = &connected;
            peers::answer(&member, request)
        }
    })
    .await;
}

/// What connections of a listener may do.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// At once.
    pub(crate) connections_max: usize,
    /// Whether a client that has closed its half of a plain connection still gets its answer.
    pub(crate) half_close: bool,
    /// For their answers.
    pub(crate) room: Arc<Room>,
    /// Whether one on which nothing is asked makes way for the next when there is no room for more.
    pub(crate) idle_make_way: bool,
}

/// `meet` gives each connection what answers it, which lives as long as the connection.
pub(crate) async fn accept<M, A, S>(
    port: Port,
    rules: Rules,
    (mut stop, grpc): (watch::Receiver<bool>, Option<Grpc<S>>),
    meet: M,
) where
    S: v3::Calls,
    M: Fn(&Connection) -> A,
    A: Fn(Request<Incoming>) -> Answering + Send + Sync + 'static,
{
    let Port { listener, tls } = port;
    let connections_max = u32::try_from(rules.connections_max).unwrap_or(u32::MAX).max(1);
    let places = Arc::new(Semaphore::new(connections_max as usize));
    let connections = Arc::new(Connections::new(&rules.room));
    let mut looks = time::interval_at(time::Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    let mut looks_at_answers = time::interval(LOOK_AT_ANSWERS_INTERVAL);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            _ = looks.tick() => {
                connections.look();
                continue;
            }
            _ = looks_at_answers.tick() => {
                connections.look_at_answers();
                continue;
            }
            accepted = next(&listener, &places, || {
                if rules.idle_make_way {
                    connections.make_way();
                }
            }) => accepted,
        };
        let (socket, from, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = connections.add(from);
        let answer = Arc::new(meet(&connection));
        let tls = tls.clone();
        let grpc = grpc.clone();
        tokio::spawn(async move {
            if let Some(wire) = begin(socket, from, tls.as_deref(), &connection.activity).await {
                match grpc {
                    Some(grpc) if speaks_http2(&wire, &connection.activity).await => {
                        serve_http2(wire, &connection, &answer, grpc).await;
                    }
                    Some(_) | None => {
                        let half_close = rules.half_close && matches!(wire, Wire::Plain(_));
                        serve_connection(wire, half_close, &connection, &*answer).await;
                    }
                }
            }
            drop((connection, answer, place));
        });
    }
    drop(listener);
    connections.stop();
    // All places are free once all connections are gone.
    drop(time::timeout(STOP_PATIENCE, places.acquire_many(connections_max)).await);
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// The next connection, once there is a place for it; `is_full` is called when there is none.
async fn next(
    listener: &Listener,
    places: &Arc<Semaphore>,
    is_full: impl FnOnce(),
) -> std::io::Result<(Socket, Option<SocketAddr>, Place)> {
    if places.available_permits() == 0 {
        is_full();
    }
    // The semaphore is never closed.
    let place =
        Arc::clone(places).acquire_owned().await.map_err(|_| std::io::ErrorKind::NotConnected)?;
    let (socket, from) = listener.accept().await?;
    Ok((socket, from, place))
}

/// A connection that may ask; `None`: it may not, and the log says why.
async fn begin(
    socket: Socket,
    from: Option<SocketAddr>,
    tls: Option<&Acceptor>,
    activity: &Activity,
) -> Option<Wire> {
    if let Socket::Tcp(stream) = &socket
        && let Err(error) = set_options(stream)
    {
        tracing::debug!(%error, "cannot set a connection's options");
    }
    let begun = tokio::select! {
        begun = port::begin(socket, tls) => begun,
        () = told(activity) => return None,
    };
    match begun {
        Ok(wire) => Some(wire),
        Err(why) => {
            // Go's word for those without an address.
            let from = from.map_or_else(|| "@".to_owned(), |from| from.to_string());
            tracing::warn!("rejected connection from \"{from}\": {why}");
            None
        }
    }
}

async fn serve_connection<A>(stream: Wire, half_close: bool, connection: &Connection, answer: &A)
where
    A: Fn(Request<Incoming>) -> Answering,
{
    let Connection { activity, share, .. } = connection;
    let io = TokioIo::new(Stream::new(stream, Arc::clone(activity)));
    let service = service_fn(|request| {
        let reply = answer(request).counted(activity);
        async move { reply.await.map(|reply| Portions::single(share, reply)) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(limits::REQUEST_HEAD_BYTES_MAX)
        .max_header_size(limits::REQUEST_HEAD_BYTES_MAX)
        .title_case_headers(true)
        // Most bodies are small: copying one behind its head is cheaper than a vectored write.
        .writev(false)
        .half_close(half_close)
        .serve_connection(io, service)
        .with_upgrades();
    let serving = until_told(connection, activity, http1::UpgradeableConnection::graceful_shutdown);
    AtOnce::new(pin!(serving)).await;
}

/// Looks what a connection speaks, unless it is told to end before that.
async fn speaks_http2(wire: &Wire, activity: &Activity) -> bool {
    tokio::select! {
        is_http2 = protocol::is_http2(wire) => is_http2,
        () = told(activity) => false,
    }
}

/// Ends once the connection is told something.
async fn told(activity: &Activity) {
    future::poll_fn(|cx| {
        activity.listen(cx.waker());
        if activity.has_order() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Many requests at once on one connection: gRPC, and all that is served over HTTP/1.1 as well.
async fn serve_http2<A, S>(stream: Wire, connection: &Connection, answer: &Arc<A>, grpc: Grpc<S>)
where
    S: v3::Calls,
    A: Fn(Request<Incoming>) -> Answering + Send + Sync + 'static,
{
    let Connection { activity, share, from, .. } = connection;
    let from = *from;
    let is_offered = grpc.is_offered;
    let services = grpc.services.on(share, from);
    activity.multiplex();
    let name = services.knows_by_name().then(|| common_name(&stream)).flatten();
    let stream = Stream::new(stream, Arc::clone(activity))
        .multiplexed(services.traffic(), services.limits().keepalive_min_time);
    let io = TokioIo::new(stream);
    let service = service_fn(|mut request: Request<Incoming>| {
        let (services, answer, activity) =
            (Arc::clone(&services), Arc::clone(answer), Arc::clone(activity));
        let share = Arc::clone(share);
        if let Some(name) = &name {
            request.extensions_mut().insert(name.clone());
        }
        async move {
            let response = if is_offered && v3::is_grpc(&request) {
                services.mark(from, &mut request);
                v3::answer(&*services, request).await
            } else {
                eager::step_back().await;
                answer(request).counted(&activity).await?.map(v3::Body::plain)
            };
            Ok::<_, Infallible>(Portions::one_of_many(&share, response))
        }
    });
    let connection = v3::http2(services.limits()).serve_connection(io, service);
    until_told(connection, activity, http2::Connection::graceful_shutdown).await;
}

/// The name in the certificate that the client has shown.
fn common_name(wire: &Wire) -> Option<CommonName> {
    let Wire::Tls(stream) = wire else { return None };
    Some(CommonName(stream.common_name()?.into()))
}

/// Polls a connection to its end, or until it is told to quit.
async fn until_told<C, E>(connection: C, activity: &Activity, finish: impl Fn(Pin<&mut C>))
where
    C: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut connection = pin!(connection);
    future::poll_fn(|cx| {
        activity.listen(cx.waker());
        Poll::Ready(())
    })
    .await;
    future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return Poll::Ready(());
            }
            match activity.take_order() {
                None => return Poll::Pending,
                Some(Order::Quit) => return Poll::Ready(()),
                Some(Order::Finish) => finish(connection.as_mut()),
            }
        }
    })
    .await;
}

fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
