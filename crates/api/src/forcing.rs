//! What the peer port of a member answers that is started with `--force-new-cluster`, until it leads.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::future;
use http::{HeaderName, HeaderValue, StatusCode};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use server::Forcing;
use tls::{Acceptor, Socket};
use tokio::{
    sync::{Semaphore, watch},
    time,
};

use crate::{
    port::{self, Listener},
    reply::{self, Reply},
};

/// Who asks at once.
const CONNECTIONS_MAX: usize = 64;
/// How long one may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

/// Tells whoever comes to these ports that the member is started with `--force-new-cluster`, from when
/// that is known. Never ends; until it begins, the kernel keeps the connections.
pub async fn answer_forcing(
    ports: &[(&Listener, Option<Arc<Acceptor>>)],
    mut forcing: watch::Receiver<Option<Forcing>>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let known = forcing.wait_for(Option::is_some).await.ok().and_then(|known| *known);
    if let Some(forcing) = known {
        let ports = ports.iter();
        future::join_all(ports.map(|(port, tls)| accept(port, tls.clone(), forcing, &places)))
            .await;
    }
    future::pending::<()>().await;
}

async fn accept(
    listener: &Listener,
    tls: Option<Arc<Acceptor>>,
    forcing: Forcing,
    places: &Arc<Semaphore>,
) {
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let tls = tls.clone();
                tokio::spawn(async move {
                    let answered = time::timeout(PATIENCE, answer(socket, tls, forcing)).await;
                    drop((answered, place));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(socket: Socket, tls: Option<Arc<Acceptor>>, forcing: Forcing) {
    let wire = match port::begin(socket, tls.as_deref()).await {
        Ok(wire) => wire,
        Err(why) => return tracing::debug!("rejected connection: {why}"),
    };
    let service = service_fn(|_| async { Ok::<_, Infallible>(reply(&forcing)) });
    let mut http = http1::Builder::new();
    let served = http.keep_alive(false).serve_connection(TokioIo::new(wire), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}

pub(crate) fn reply(forcing: &Forcing) -> Reply {
    let text = "this member is started with --force-new-cluster\n";
    let mut reply = reply::text(StatusCode::CONFLICT, text);
    for (name, value) in forcing.headers() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            reply.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    reply
}
