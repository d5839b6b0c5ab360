//! Proxies in front of a cluster, of ours or of the original.

use crate::{Member, Start, cluster::Cluster, ports};

/// What a proxy says while members come and go.
const COMPLAINTS: [&str; 5] = [
    "could not get cluster response from",
    "could not retrieve cluster information",
    "failed to direct request to",
    "marked endpoint",
    "zero endpoints currently available",
];

/// A proxy in front of this cluster, serving.
pub fn start(cluster: &Cluster, flags: &[&str]) -> Member {
    let urls: Vec<_> = cluster.members.iter().map(Member::peer_url).collect();
    let mut proxy = spawn(Start::new(), &urls, flags);
    proxy.wait_until_ready();
    proxy
}

/// A proxy that looks for the members at these peer URLs.
pub fn spawn(start: Start, peer_urls: &[&str], flags: &[&str]) -> Member {
    let rows = peer_urls.iter().enumerate().map(|(at, url)| format!("m{at}={url}"));
    let flag = format!("--initial-cluster={}", rows.collect::<Vec<_>>().join(","));
    spawn_with(start.flag(&flag), flags)
}

/// A proxy that looks for the members as these flags say.
pub fn spawn_with(start: Start, flags: &[&str]) -> Member {
    let port = ports::free();
    let start = start
        .bare()
        .client_port(port)
        .flag("--proxy=on")
        .flag(&format!("--listen-client-urls=http://127.0.0.1:{port}"));
    let mut proxy = flags.iter().fold(start, |start, flag| start.flag(flag)).spawn();
    for complaint in COMPLAINTS {
        proxy.allow(complaint);
    }
    proxy
}
