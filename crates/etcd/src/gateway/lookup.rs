//! Names to addresses, when a gateway starts.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use client::srv;
use http::Uri;
use peer::Dialer;
use tls::{Connector, Settings};
use tokio::{net::lookup_host, task::JoinSet, time};

use crate::{
    config::{Discovery, Gateway, Target},
    records,
};

/// How long a member may take to show its certificate.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the members are. The error is one line.
pub(super) async fn targets(gateway: &Gateway) -> Result<Vec<Target>, String> {
    let Some(discovery) = &gateway.discovery else { return Ok(gateway.targets.clone()) };
    let found = discovered(discovery).await?;
    if found.is_empty() && gateway.has_endpoints {
        return Ok(gateway.targets.clone());
    }
    if found.is_empty() {
        return Err(nobody(discovery));
    }
    let target = |one: srv::Target| {
        let srv::Target { host, port, priority, weight, .. } = one;
        Target { host, port, priority, weight }
    };
    Ok(found.into_iter().map(target).collect())
}

/// What records say, as far as it may be believed.
pub(crate) async fn discovered(discovery: &Discovery) -> Result<Vec<srv::Target>, String> {
    let found = records::client_targets(&discovery.domain).await?;
    tell(discovery, "discovered cluster from SRV", &found);
    if discovery.insecure { Ok(found) } else { validated(discovery, found).await }
}

/// What there is to say if that is nobody.
pub(crate) fn nobody(discovery: &Discovery) -> String {
    format!(
        "no endpoints found: --discovery-srv {} leads to none whose certificate is good: see the log, \
         give their authority with --{}, or --insecure-discovery where members speak no TLS",
        discovery.domain.name, discovery.trusted_ca_flag
    )
}

fn tell(discovery: &Discovery, what: &str, found: &[srv::Target]) {
    let endpoints: Vec<String> = found.iter().map(srv::Target::url).collect();
    let domain = discovery.domain.name.as_str();
    tracing::info!(target: "etcdmain", { "srv-server" = domain, ?endpoints }, "{what}");
}

/// Those that speak TLS with a certificate that is good for the domain: whoever forges records
/// chooses the names in them.
async fn validated(
    discovery: &Discovery,
    found: Vec<srv::Target>,
) -> Result<Vec<srv::Target>, String> {
    let domain = discovery.domain.name.as_str();
    tell(discovery, "validating discovered SRV endpoints", &found);
    let settings = Settings {
        trusted_ca_file: discovery.trusted_ca_file.clone(),
        server_name: Some(discovery.domain.bare().to_owned()),
        ..Settings::default()
    };
    let connector = Connector::new(settings, &[])
        .map_err(|why| format!("--{}: {why}", discovery.trusted_ca_flag))?;
    let dialer = Dialer::with_tls(Arc::new(connector));
    let mut judged = JoinSet::new();
    for (at, target) in found.iter().enumerate() {
        let (dialer, target) = (dialer.clone(), target.clone());
        judged.spawn(async move { (at, judge(&dialer, &target).await) });
    }
    let mut verdicts = judged.join_all().await;
    verdicts.sort_unstable_by_key(|(at, _)| *at);
    let why: Vec<&str> = verdicts
        .iter()
        .filter_map(|(_, verdict)| verdict.as_ref().err())
        .map(String::as_str)
        .collect();
    if !why.is_empty() {
        let error = why.join(",");
        tracing::warn!(
            target: "etcdmain",
            { "srv-server" = domain, error },
            "failed to validate discovered endpoints"
        );
    }
    let good: Vec<_> = found
        .into_iter()
        .zip(&verdicts)
        .filter(|(_, (_, verdict))| verdict.is_ok())
        .map(|(target, _)| target)
        .collect();
    if !good.is_empty() {
        tell(discovery, "using validated discovered SRV endpoints", &good);
    }
    Ok(good)
}

async fn judge(dialer: &Dialer, target: &srv::Target) -> Result<(), String> {
    let url = target.url();
    if !target.secure {
        return Err(format!("\"{url}\" is insecure"));
    }
    let failed = |why: &dyn std::fmt::Display| format!("\"{url}\" failed to dial ({why})");
    let uri: Uri = url.parse().map_err(|error| failed(&error))?;
    match time::timeout(PATIENCE, dialer.dial(&uri)).await {
        Ok(dialled) => dialled.map(drop).map_err(|error| failed(&error)),
        Err(_) => Err(failed(&format!("no TLS handshake within {} s", PATIENCE.as_secs()))),
    }
}

/// Where to listen: no target may be there.
pub(super) async fn listen_address(
    gateway: &Gateway,
    targets: &[Target],
) -> Result<SocketAddr, String> {
    let (host, port) = &gateway.listen;
    let own = addresses(host, *port).await;
    let own = own.ok_or_else(|| format!("failed to resolve listen host: {host}"))?;
    let is_own = |ip: &IpAddr| {
        let everywhere = own.iter().any(|own| own.ip().is_unspecified());
        own.iter().any(|own| own.ip() == *ip) || everywhere && ip.is_loopback()
    };
    for target in targets {
        let Target { host, port: target_port, .. } = target;
        let found = addresses(host, *target_port).await;
        let found = found.ok_or_else(|| format!("failed to resolve endpoint host: {host}"))?;
        let same = found.iter().map(SocketAddr::ip).find(is_own);
        if let Some(same) = same.filter(|_| target_port == port) {
            return Err(format!(
                "SRV or endpoint ({target}->{same}:{port}) should not resolve to the gateway listen \
                 addr ({})",
                gateway.listen_text
            ));
        }
    }
    // Of `localhost`, which has two, the one that all clients try.
    let first = own.iter().find(|own| own.is_ipv4()).or(own.first());
    first.copied().ok_or_else(|| format!("failed to resolve listen host: {host}"))
}

async fn addresses(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let found: Vec<_> = lookup_host((host, port)).await.ok()?.collect();
    (!found.is_empty()).then_some(found)
}
