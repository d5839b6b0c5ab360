//! Health and metrics: of the members, and of this proxy.

use std::time::Duration;

use base::Refused;
use bytes::Bytes;
use client::{
    Endpoint,
    v3::{Client, Error},
};
use proto::etcdserverpb::{RangeRequest, WatchCreateRequest};
use tokio::time::timeout;

use crate::namespace::Namespace;

/// How long a read may take that shows health, and a watch (etcd).
const READ: Duration = Duration::from_secs(1);
const WATCH: Duration = Duration::from_secs(3);
/// The key that is read, which need not be there (etcd).
const KEY: &[u8] = b"a";

/// Whether a key can be read. Who may not is served too.
pub(crate) async fn reads(client: &Client, namespace: &Namespace) -> Result<(), String> {
    let key = namespace.key(&Bytes::from_static(KEY));
    let request = RangeRequest { key, ..RangeRequest::default() };
    match client.within(READ).range(request).await {
        Ok(_) => Ok(()),
        Err(error) if error.is(Refused::PermissionDenied) => Ok(()),
        Err(error) => Err(format!("GET ERROR:{error}{}", troubles(&error))),
    }
}

/// Whether a key can be read and watched through this proxy's own port.
pub(crate) async fn serves(own: Option<&Client>) -> Result<(), String> {
    let own = own.ok_or("no connection to proxy")?;
    reads(own, &Namespace::default()).await?;
    let key = Bytes::from_static(KEY);
    let mut watcher = own.watch(WatchCreateRequest { key, ..WatchCreateRequest::default() });
    match timeout(WATCH, watcher.created()).await {
        // As the original: an answer is an answer.
        Ok(_) => Ok(()),
        Err(_) => Err("WATCH TIMEOUT".to_owned()),
    }
}

fn troubles(error: &Error) -> String {
    match error {
        Error::Deadline { troubles } if !troubles.is_empty() => {
            format!(": {}", troubles.join("; "))
        }
        Error::Deadline { .. }
        | Error::Endpoint(_)
        | Error::Tls(_)
        | Error::NoEndpoints
        | Error::Refused(_)
        | Error::Lost { .. }
        | Error::TooLarge { .. }
        | Error::Compacted { .. }
        | Error::SessionExpired { .. } => String::new(),
    }
}

/// The metrics of a member that answers; which one is chance.
pub(crate) async fn metrics(
    plain: &client::Client,
    mut endpoints: Vec<Endpoint>,
) -> Result<String, String> {
    fastrand::shuffle(&mut endpoints);
    let mut why = "there is no endpoint".to_owned();
    for endpoint in endpoints {
        match plain.metrics(&endpoint).await {
            Ok(text) => return Ok(text),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}
