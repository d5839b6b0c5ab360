//! The proxies that serve beside this one: each keeps a key with its address below a prefix.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use client::v3::{Client, Error, Session, prefix_end};
use parking_lot::Mutex;
use proto::{
    etcdserverpb::{Member, PutRequest, RangeRequest, WatchCreateRequest},
    mvccpb::{KeyValue, event::EventType},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{namespace::Namespace, proxy::stopped};

/// Before something is tried again that did not work.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the key of a proxy that stops may take to be removed; then its lease ends it.
const FAREWELL: Duration = Duration::from_secs(1);

/// The proxies that serve, by the keys that they keep.
#[derive(Debug)]
pub(crate) struct Registry {
    client: Client,
    namespace: Namespace,
    prefix: String,
    /// Seconds.
    ttl: i64,
    address: String,
    known: Mutex<BTreeMap<Bytes, Member>>,
}

/// What is in the key: the form of the original's resolver.
#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    #[serde(rename = "Op", default)]
    op: u8,
    #[serde(rename = "Addr", default)]
    addr: String,
    #[serde(rename = "Metadata", default)]
    metadata: Value,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Meta {
    #[serde(default)]
    name: String,
}

impl Registry {
    pub(crate) fn new(
        client: Client,
        namespace: Namespace,
        (prefix, ttl): (String, i64),
        address: String,
    ) -> Self {
        Self { client, namespace, prefix, ttl, address, known: Mutex::default() }
    }

    /// Those that are known to serve.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.known.lock().values().cloned().collect()
    }

    /// Keeps the key until the proxy stops, and takes it back then.
    pub(crate) async fn register(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let entered = tokio::select! {
                entered = self.enter() => entered,
                // What has been granted meanwhile ends by itself.
                () = stopped(&mut stop) => return,
            };
            match entered {
                Ok(session) => tokio::select! {
                    () = session.expired() => tracing::warn!(
                        "session expired; possible network partition or server restart: creating a \
                         new session to rejoin"
                    ),
                    () = stopped(&mut stop) => {
                        timeout(FAREWELL, session.end()).await.ok();
                        return;
                    }
                },
                Err(error) => tracing::warn!(%error, "failed to create a session"),
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    async fn enter(&self) -> Result<Session, Error> {
        let session = self.client.session(self.ttl).await?;
        let key = Bytes::from(format!("{}/{}", self.prefix, self.address));
        let put = PutRequest {
            key: self.namespace.key(&key),
            value: self.entry().into(),
            lease: session.lease(),
            ..PutRequest::default()
        };
        self.client.put(put).await?;
        tracing::info!(
            addr = self.address,
            { "lease-ttl" } = self.ttl,
            "registered session with lease"
        );
        Ok(session)
    }

    fn entry(&self) -> String {
        let meta = serde_json::to_string(&Meta { name: hostname() }).unwrap_or_default();
        let entry = Entry { op: 0, addr: self.address.clone(), metadata: Value::String(meta) };
        serde_json::to_string(&entry).unwrap_or_default()
    }

    /// Follows what others keep.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            if let Err(error) = self.follow_once().await {
                let prefix = self.prefix.as_str();
                tracing::warn!(prefix, %error, "the watch of the registered proxies has ended");
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self) -> Result<(), Error> {
        let key = self.namespace.key(&Bytes::from(format!("{}/", self.prefix)));
        let range_end = prefix_end(&key);
        let all =
            RangeRequest { key: key.clone(), range_end: range_end.clone(), ..Default::default() };
        let all = self.client.range(all).await?;
        let found = all.kvs.iter().filter_map(member).collect();
        *self.known.lock() = found;
        let start_revision = all.header.map_or(0, |header| header.revision + 1);
        let mut watcher = self.client.watch(WatchCreateRequest {
            key,
            range_end,
            start_revision,
            ..WatchCreateRequest::default()
        });
        loop {
            for event in watcher.next().await?.events {
                let kind = event.r#type();
                let Some(kv) = event.kv else { continue };
                match (kind, member(&kv)) {
                    (EventType::Put, Some((key, member))) => {
                        self.known.lock().insert(key, member);
                    }
                    (EventType::Put, None) => {}
                    (EventType::Delete, _) => {
                        self.known.lock().remove(&kv.key);
                    }
                }
            }
        }
    }
}

/// A proxy, as a member of a cluster is listed.
fn member(kv: &KeyValue) -> Option<(Bytes, Member)> {
    let entry: Entry = serde_json::from_slice(&kv.value)
        .inspect_err(|error| {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            tracing::warn!(key, %error, "unmarshal endpoint update failed");
        })
        .ok()?;
    let meta = entry.metadata.as_str().and_then(|text| serde_json::from_str::<Meta>(text).ok());
    let name = meta.unwrap_or_default().name;
    Some((kv.key.clone(), Member { name, client_ur_ls: vec![entry.addr], ..Member::default() }))
}

/// This machine's name; empty if it has none.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_entries_are_read() {
        let value = r#"{"Op":0,"Addr":"127.0.0.1:23790","Metadata":"{\"name\":\"host\"}"}"#;
        let kv = KeyValue {
            key: Bytes::from_static(b"___grpc_proxy_endpoint/127.0.0.1:23790"),
            value: Bytes::from_static(value.as_bytes()),
            ..KeyValue::default()
        };
        let (_, found) = member(&kv).unwrap();
        assert_eq!(
            (found.name.as_str(), found.client_ur_ls),
            ("host", vec!["127.0.0.1:23790".to_owned()])
        );
        let other = KeyValue { value: Bytes::from_static(b"nonsense"), ..kv };
        assert_eq!(member(&other), None);
    }
}
