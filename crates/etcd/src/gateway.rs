//! `etcd gateway start`: passes TCP connections on to the members of a cluster, in turn.
//!
//! Nothing is looked into, and so TLS and every protocol pass. A connection that a member has ended
//! ends for its client too: the client comes again, and another member takes it.

pub(crate) mod lookup;
mod targets;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use crate::{
    announce,
    config::{Gateway, Target},
    descriptors, listen, logging,
    serve::runtime,
    signals::Signals,
};
use targets::Targets;

/// After a failed accept (say, no file descriptor is left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// By what a machine is noticed that vanished without a word.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// What waits in each direction of a connection when the other side does not read.
const BUFFER_BYTES: usize = 16 * 1024;
const RUNTIME_TIMEOUT: Duration = Duration::from_millis(50);

/// Serves until a signal, whose number is returned. The error is one line.
pub(crate) fn run(gateway: &Gateway) -> Result<i32, String> {
    // Nobody changes the level at run time.
    drop(logging::start(&logging::Settings::json("info")?)?);
    let runtime = runtime().map_err(|error| format!("start the network threads: {error}"))?;
    let signal = runtime.block_on(serve(gateway))?;
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    Ok(signal)
}

async fn serve(gateway: &Gateway) -> Result<i32, String> {
    let arguments = api::arguments();
    tracing::info!(target: "etcdmain", args = ?arguments, "Running: ");
    let found = lookup::targets(gateway).await?;
    let address = lookup::listen_address(gateway, &found).await?;
    let listener = listen::bind(address, false).map_err(|error| {
        format!("cannot listen on {address}: {}", listen::advise(address, "listen-addr", &error))
    })?;
    let mut signals = Signals::install().map_err(|error| format!("listen for signals: {error}"))?;
    let shown: Vec<String> = found.iter().map(Target::to_string).collect();
    let targets = Arc::new(Targets::new(found, gateway.retry_delay));
    // A client takes two.
    let places = Arc::new(Semaphore::new((descriptors::connections_max() / 2).max(1)));
    announce::gateway_ready(&shown);
    tokio::select! {
        signal = signals.first() => {
            announce::stopping(signal);
            Ok(signal)
        }
        () = Arc::clone(&targets).watch_over() => Err("the gateway has ended".to_owned()),
        () = accept(&listener, &targets, &places) => Err("the gateway has ended".to_owned()),
    }
}

async fn accept(listener: &TcpListener, targets: &Arc<Targets>, places: &Arc<Semaphore>) {
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        match listener.accept().await {
            Ok((client, from)) => {
                tokio::spawn(pass(client, from, Arc::clone(targets), place));
            }
            Err(error) => {
                tracing::warn!(target: "tcpproxy", %error, "cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Passes bytes in both directions until both have ended: who has said all may go on listening.
async fn pass(
    mut client: TcpStream,
    from: SocketAddr,
    targets: Arc<Targets>,
    place: OwnedSemaphorePermit,
) {
    let Some(mut member) = targets.connect().await else {
        tracing::warn!(target: "tcpproxy", client = %from, "no endpoint takes a connection");
        return;
    };
    for stream in [&client, &member] {
        if let Err(error) = set_options(stream) {
            tracing::debug!(target: "tcpproxy", %error, "cannot set a connection's options");
        }
    }
    let passed =
        io::copy_bidirectional_with_sizes(&mut client, &mut member, BUFFER_BYTES, BUFFER_BYTES);
    if let Err(error) = passed.await {
        tracing::debug!(target: "tcpproxy", client = %from, %error, "a connection broke");
    }
    drop(place);
}

fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
