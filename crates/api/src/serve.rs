//! Listeners and connections: their limits and their end.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use base::limits;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use server::Handle;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time,
};

use crate::{
    Config, SetLogLevel,
    context::Context,
    peers,
    reply::Reply,
    route,
    stream::Stream,
    watchdog::{Activity, LOOK_INTERVAL},
};

/// How long a stopping server lets running requests finish.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// After a failed accept (say, no file descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How soon a peer that vanished without a word is noticed; Go's default.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Connections on the peer port.
const PEER_CONNECTIONS_MAX: usize = 256;

/// Serves the client API on a bound listener until `stop` turns true; then accepts no more, ends
/// watches, lets running requests finish for at most two seconds, and returns.
pub async fn serve_clients(
    listener: TcpListener,
    handle: Handle,
    config: Config,
    set_log_level: SetLogLevel,
    stop: watch::Receiver<bool>,
) {
    let connections = config.max_connections;
    let context = Arc::new(Context::new(handle, config, set_log_level, stop.clone()));
    accept(listener, connections, stop, move |request| {
        if let Some(reply) = route::answer_now(&context, &request) {
            return Answering::Now(Some(reply));
        }
        let context = Arc::clone(&context);
        Answering::Later(Box::pin(async move { route::answer(&context, request).await }))
    })
    .await;
}

/// Serves the peer port: for one member `/members`, `/version`, `/raft/probing`. Ends as
/// [`serve_clients`] does.
pub async fn serve_peers(listener: TcpListener, handle: Handle, stop: watch::Receiver<bool>) {
    accept(listener, PEER_CONNECTIONS_MAX, stop, move |request| {
        let reply = peers::answer(&handle, &request);
        async move { reply }
    })
    .await;
}

/// An answer that is there, or on its way.
enum Answering {
    Now(Option<Reply>),
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

impl Future for Answering {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Reply> {
        match &mut *self {
            Self::Now(reply) => reply.take().map_or(Poll::Pending, Poll::Ready),
            Self::Later(answer) => answer.as_mut().poll(cx),
        }
    }
}

async fn accept<A, F>(
    listener: TcpListener,
    connections: usize,
    mut stop: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let connections = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
    let places = Arc::new(Semaphore::new(connections as usize));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = next(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (answer, stop) = (answer.clone(), stop.clone());
        tokio::spawn(async move {
            serve_connection(stream, stop, answer).await;
            drop(place);
        });
    }
    drop(listener);
    // All places are free once all connections are gone.
    drop(time::timeout(STOP_PATIENCE, places.acquire_many(connections)).await);
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Place)> {
    // The semaphore is never closed.
    let place =
        Arc::clone(places).acquire_owned().await.map_err(|_| std::io::ErrorKind::NotConnected)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn serve_connection<A, F>(stream: TcpStream, mut stop: watch::Receiver<bool>, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    if let Err(error) = set_options(&stream) {
        tracing::debug!(%error, "cannot set a connection's options");
    }
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(Stream::new(stream, Arc::clone(&activity)));
    let service = service_fn(|request| {
        activity.begin();
        let answered = answer(request);
        let activity = Arc::clone(&activity);
        async move {
            let reply = answered.await;
            activity.end(&reply);
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(limits::REQUEST_HEAD_BYTES_MAX)
        .max_header_size(limits::REQUEST_HEAD_BYTES_MAX)
        .title_case_headers(true)
        // Most bodies are small: copying one behind its head is cheaper than a vectored write.
        .writev(false)
        .half_close(true)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut looks = time::interval_at(time::Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    let mut was_partial = false;
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                activity.stop();
                connection.as_mut().graceful_shutdown();
            }
            _ = looks.tick() => {
                let is_partial = activity.has_partial_head();
                if is_partial && was_partial {
                    tracing::debug!("a client sent a request's head too slowly");
                    return;
                }
                was_partial = is_partial;
            }
        }
    }
}

fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
