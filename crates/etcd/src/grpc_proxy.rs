//! `etcd grpc-proxy start`: answers clients of the v3 API in the members' place.

use std::{net::SocketAddr, path::Path, sync::Arc};

use api::{Offer, Port, Through};
use base::{Clock as _, OsClock, url::Bind};
use grpc_proxy::{Config, Proxy};
use tls::{Acceptor, Settings};
use tokio::{net::lookup_host, sync::watch, task::JoinSet, time};

use crate::{
    announce,
    config::{GrpcProxy, Listening},
    descriptors,
    gateway::lookup,
    listen::{self, Bound},
    logging,
    secure::CLIENTS_ALPN,
    serve::{STOP_TIMEOUT, runtime},
    signals::Signals,
};

const RUNTIME_TIMEOUT: time::Duration = time::Duration::from_millis(50);

/// Serves until a signal, whose number is returned. The error is one line.
pub(crate) fn run(proxy: &GrpcProxy) -> Result<i32, String> {
    // Nobody changes the level at run time.
    drop(logging::start(&logging::Settings::json(if proxy.debug { "debug" } else { "info" })?)?);
    let runtime = runtime().map_err(|error| format!("start the network threads: {error}"))?;
    let signal = runtime.block_on(serve(proxy))?;
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    Ok(signal)
}

async fn serve(proxy: &GrpcProxy) -> Result<i32, String> {
    let arguments = api::arguments();
    tracing::info!(target: "etcdmain", args = ?arguments, "Running: ");
    for warning in &proxy.warnings {
        tracing::warn!(target: "etcdmain", "{warning}");
    }
    // Ports come first, so that a refused start leaves no trace.
    let bound = open(proxy).await?;
    let mut signals = Signals::install().map_err(|error| format!("listen for signals: {error}"))?;
    let (stop, stopping) = watch::channel(false);
    let started = tokio::select! {
        started = start(proxy, bound, stopping.clone()) => started?,
        signal = signals.first() => {
            announce::stopping(signal);
            return Ok(signal);
        }
    };
    let Started { passes, ports, endpoints } = started;
    // Clients and members share the descriptors.
    let connections_max = (descriptors::connections_max() / 2 / ports.len().max(1)).max(1);
    let since = (OsClock::new().wall(), stopping);
    let through = Through::new(
        Arc::clone(&passes) as Arc<dyn api::Passes>,
        proxy.limits.clone(),
        connections_max,
        since,
    );
    let mut serving = JoinSet::new();
    for (port, offer) in ports {
        serving.spawn(through.clone().serve(port, offer));
    }
    serving.spawn(passes.run());
    let (host, port) = &proxy.listen;
    announce::grpc_proxy_ready(&format!("{host}:{port}"), &endpoints);
    let signal = signals.first().await;
    announce::stopping(signal);
    stop.send_replace(true);
    if time::timeout(STOP_TIMEOUT, serving.join_all()).await.is_err() {
        let seconds = STOP_TIMEOUT.as_secs();
        tracing::warn!(target: "etcdmain", "not all requests ended within {seconds} s");
    }
    Ok(signal)
}

/// A proxy that is ready to serve.
struct Started {
    passes: Arc<Proxy>,
    ports: Vec<(Port, Offer)>,
    endpoints: Vec<String>,
}

async fn start(
    proxy: &GrpcProxy,
    bound: Vec<(Bound, Offer)>,
    stop: watch::Receiver<bool>,
) -> Result<Started, String> {
    let settings =
        proxy.listen_tls.as_ref().map(|tls| listening(tls, &proxy.listen.0)).transpose()?;
    let acceptor = settings.clone().map(|settings| Acceptor::new(settings, &CLIENTS_ALPN));
    let acceptor = acceptor.transpose().map_err(|why| format!("TLS for clients: {why}"))?;
    let acceptor = acceptor.map(Arc::new);
    let endpoints = endpoints(proxy).await?;
    let passes = Arc::new(Proxy::new(config(proxy, endpoints.clone(), settings)?, stop)?);
    passes.ready().await;
    let port = |Bound { listener, is_secure }| match &acceptor {
        Some(acceptor) if is_secure => Port::with_tls(listener, Arc::clone(acceptor)),
        Some(_) | None => Port::plain(listener),
    };
    let ports = bound.into_iter().map(|(bound, offer)| (port(bound), offer)).collect();
    Ok(Started { passes, ports, endpoints })
}

fn config(
    proxy: &GrpcProxy,
    endpoints: Vec<String>,
    served: Option<Settings>,
) -> Result<Config, String> {
    if let Some(tls) = &proxy.client.tls {
        check_certificate(tls)?;
    }
    let is_auto = proxy.listen_tls.as_ref().is_some_and(|tls| tls.auto.is_some());
    Ok(Config {
        endpoints,
        client: proxy.client.clone(),
        sync_interval: proxy.sync_interval,
        namespace: proxy.namespace.clone(),
        address: proxy.advertise.clone(),
        registration: proxy.registration.clone(),
        is_ordered: proxy.is_ordered,
        logs_calls: proxy.logs_calls,
        // What we have made ourselves nobody else vouches for.
        own_tls: served.map(|settings| Settings {
            insecure_skip_verify: is_auto,
            crl_file: None,
            ..settings
        }),
    })
}

/// A member takes the common name of a certificate for a user: every client of the proxy would be
/// that user.
fn check_certificate(tls: &Settings) -> Result<(), String> {
    if tls.insecure_skip_verify {
        tracing::warn!(
            target: "etcdmain",
            "--insecure-skip-tls-verify was given, this grpc proxy process skips authentication of \
             etcd server TLS certificates. This option should be enabled only for testing purposes."
        );
    }
    let Some(cert) = &tls.cert_file else { return Ok(()) };
    match tls::common_name(cert).map_err(|error| format!("--cert: {error}"))? {
        name if name.is_empty() => Ok(()),
        name => Err(format!(
            "cert has non empty Common Name ({name}): {}: members would take every client for the \
             user of that name; give a certificate without one with --cert",
            cert.display()
        )),
    }
}

fn listening(tls: &Listening, host: &str) -> Result<Settings, String> {
    let Some((dir, years)) = &tls.auto else { return Ok(tls.settings.clone()) };
    let made = made(dir, *years, host)?;
    let Settings { cert_file, key_file, .. } = made;
    Ok(Settings { cert_file, key_file, ..tls.settings.clone() })
}

fn made(dir: &Path, years: u64, host: &str) -> Result<Settings, String> {
    let made = tls::self_signed(dir, &[host.to_owned()], years, OsClock::new().wall());
    made.map_err(|error| format!("--auto-tls: {error}"))
}

/// Where the members are: what records say goes before the flag.
async fn endpoints(proxy: &GrpcProxy) -> Result<Vec<String>, String> {
    let Some(discovery) = &proxy.discovery else { return Ok(proxy.endpoints.clone()) };
    let found = lookup::discovered(discovery).await?;
    if found.is_empty() && !proxy.has_endpoints {
        return Err(lookup::nobody(discovery));
    }
    if found.is_empty() {
        return Ok(proxy.endpoints.clone());
    }
    Ok(found.iter().map(client::srv::Target::url).collect())
}

async fn open(proxy: &GrpcProxy) -> Result<Vec<(Bound, Offer)>, String> {
    let (host, port) = &proxy.listen;
    let own: Vec<SocketAddr> = match lookup_host((host.as_str(), *port)).await {
        Ok(found) => found.collect(),
        Err(error) => return Err(format!("--listen-addr {host}:{port}: {error}")),
    };
    // Of `localhost`, which has two, the one that all clients try.
    let address = own.iter().find(|own| own.is_ipv4()).or(own.first());
    let address = *address.ok_or_else(|| format!("failed to resolve listen host: {host}"))?;
    let is_secure = proxy.listen_tls.is_some();
    let mut bound = vec![(bind(address, "listen-addr", is_secure)?, Offer::All)];
    tracing::info!(target: "etcdmain", %address, "listening for gRPC proxy client requests");
    if let Some(url) = &proxy.metrics {
        let Some(Bind::Tcp(address)) = url.bind() else {
            return Err(format!("--metrics-addr {url} names no IP"));
        };
        bound.push((bind(address, "metrics-addr", url.is_secure())?, Offer::Metrics));
        tracing::info!(target: "etcdmain", address = %url, "gRPC proxy listening for metrics");
    }
    Ok(bound)
}

fn bind(address: SocketAddr, flag: &str, is_secure: bool) -> Result<Bound, String> {
    let listener = listen::bind(address, false).map_err(|error| {
        format!("cannot listen on {address}: {}", listen::advise(address, flag, &error))
    })?;
    Ok(Bound { listener: listener.into(), is_secure })
}
