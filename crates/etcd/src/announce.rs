//! What the log says once a member serves, in the wording by which supervisors and test harnesses
//! know the original to be up.

use base::version::THIS;
use server::Handle;

/// Logs the wordings of 2.3, of 3.4, and of 3.5 on; tells systemd.
pub(crate) fn ready(handle: &Handle, client_urls: &[String], served: &[(String, bool)]) {
    // Who is ready has one.
    let agreed = handle.reader().cluster_version().unwrap_or(THIS.oldest);
    let (name, cluster) = (handle.name(), handle.cluster_id());
    let urls = client_urls.join(" ");
    tracing::info!(
        target: "etcdserver",
        "published {{Name:{name} ClientURLs:[{urls}]}} to cluster {cluster}"
    );
    tracing::info!(target: "etcdserver", "set the initial cluster version to {agreed}");
    tracing::info!(target: "etcdserver/api", "enabled capabilities for version {agreed}");
    tracing::info!(target: "embed", "ready to serve client requests");
    for (address, is_secure) in served {
        let how = if *is_secure { "" } else { "insecure " };
        tracing::info!(target: "embed", "serving {how}client requests on {address}");
    }
    notify(sd_notify::NotifyState::Ready);
}

/// The same for a proxy, in the wordings of 2.3 and of 3.4.
pub(crate) fn proxy_ready<'a>(urls: impl Iterator<Item = &'a str>) {
    for url in urls {
        tracing::info!(target: "etcdmain", "proxy: listening for client requests on {url}");
        tracing::info!(
            target: "etcdmain",
            "v2 proxy started listening on client requests on {url:?}"
        );
    }
    notify(sd_notify::NotifyState::Ready);
}

/// The same for a gateway.
pub(crate) fn gateway_ready(endpoints: &[String]) {
    tracing::info!(target: "tcpproxy", ?endpoints, "ready to proxy client requests");
    notify(sd_notify::NotifyState::Ready);
}

/// The same for a gRPC proxy.
pub(crate) fn grpc_proxy_ready(address: &str, endpoints: &[String]) {
    tracing::info!(target: "etcdmain", address, ?endpoints, "started gRPC proxy");
    notify(sd_notify::NotifyState::Ready);
}

/// Tells systemd that the end has begun.
pub(crate) fn stopping(signal: i32) {
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
    tracing::info!(target: "etcdmain", "received {name}, shutting down...");
    notify(sd_notify::NotifyState::Stopping);
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(target: "etcdmain", %error, "cannot notify systemd");
    }
}
