//! Asking the peer port of a cluster who its members are.

use std::time::Duration;

use base::{
    ClusterId, MemberId,
    version::{Minor, SERVER},
};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time;

use crate::{Dialer, identity};

/// The header in which the answer has the cluster's version.
pub const CLUSTER_VERSION: &str = "x-etcd-cluster-version";

/// The header in which a member tells who leads, when it is asked who the members are.
pub const LEADER: &str = "x-raft-leader";

/// A list of members is small.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A cluster as one of its members tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub cluster: ClusterId,
    /// What all its members can do; `None` before agreement.
    pub version: Option<Minor>,
    /// Who leads, for all that it knows; the original does not tell.
    pub leader: Option<MemberId>,
    pub members: Vec<ToldMember>,
}

/// A member as another one tells.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ToldMember {
    #[serde(deserialize_with = "id")]
    pub id: MemberId,
    #[serde(default, rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Empty until it has started once.
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "clientURLs")]
    pub client_urls: Vec<String>,
}

fn id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<MemberId, D::Error> {
    u64::deserialize(deserializer).map(MemberId)
}

/// Asks at this peer URL, for so long. The error is for people.
pub async fn members(dialer: &Dialer, url: &str, patience: Duration) -> Result<Told, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    match time::timeout(patience, ask(dialer, &uri)).await {
        Ok(told) => told.map_err(|why| format!("{url}: {why}")),
        Err(_) => Err(format!("{url}: no answer in time")),
    }
}

async fn ask(dialer: &Dialer, url: &Uri) -> Result<Told, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let connection = dialer.dial(url).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(connection)).await.map_err(|error| text(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/members")
        .header(header::HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(identity::VERSION, SERVER)
        .body(Empty::<Bytes>::new())
        .map_err(|error| text(&error))?;
    let response = sender.send_request(request).await.map_err(|error| text(&error))?;
    if response.status() != StatusCode::OK {
        return Err(format!("it answers {}", response.status()));
    }
    let header = |name| response.headers().get(name).map(HeaderValue::to_str).and_then(Result::ok);
    let version = header(CLUSTER_VERSION).and_then(Minor::parse);
    let id = |name| header(name).and_then(|id| u64::from_str_radix(id, 16).ok());
    let cluster = id("x-etcd-cluster-id");
    let cluster = cluster.ok_or("it does not name its cluster: is this a peer URL?")?;
    let leader = id(LEADER).map(MemberId);
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| text(&error))?.to_bytes();
    connection.abort();
    let members = serde_json::from_slice(&body).map_err(|error| text(&error))?;
    Ok(Told { cluster: ClusterId(cluster), version, leader, members })
}
