//! Asking the peer port of a cluster who its members are.

use std::{fmt::Display, time::Duration};

use base::{
    ClusterId, Index, MemberId, Term,
    version::{Minor, SERVER},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time;

use crate::{Dialer, Identity, identity};

/// The header in which the answer has the cluster's version.
pub const CLUSTER_VERSION: &str = "x-etcd-cluster-version";

/// The header in which a member tells who leads, when it is asked who the members are.
pub const LEADER: &str = "x-raft-leader";

/// The header by which a member that is started with `--force-new-cluster` says so, to whoever asks
/// before it leads; with term and index of its last entry.
const FORCING: &str = "x-raft-forcing";

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
    #[serde(deserialize_with = "number")]
    pub id: MemberId,
    #[serde(default, rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Empty until it has started once.
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "clientURLs")]
    pub client_urls: Vec<String>,
}

fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<MemberId, D::Error> {
    u64::deserialize(deserializer).map(MemberId)
}

/// A member that is being started with `--force-new-cluster`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forcing {
    pub identity: Identity,
    /// The last entry of its log.
    pub last: (Term, Index),
}

impl Forcing {
    /// With these headers it refuses to tell who the members are: with 409.
    pub fn headers(&self) -> [(&'static str, String); 4] {
        let (term, index) = self.last;
        let [cluster, from, version] = self.identity.signature();
        [cluster, from, version, (FORCING, format!("{term} {index}"))]
    }

    fn told(headers: &HeaderMap) -> Option<Self> {
        let (term, index) = text(headers, FORCING)?.split_once(' ')?;
        let last = (Term(term.parse().ok()?), Index(index.parse().ok()?));
        let cluster = ClusterId(id(headers, identity::CLUSTER)?);
        let member = MemberId(id(headers, identity::FROM)?);
        Some(Self { identity: Identity { cluster, member }, last })
    }
}

/// Why a question has no answer; the texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No member serves there.
    #[error("{url}: {why}")]
    Nobody { url: String, why: String },
    /// Somebody is there, and says nothing: a member that hangs, or has only just been started.
    #[error("{url}: no answer in time")]
    Silent { url: String },
    #[error("{url}: member {} is started with --force-new-cluster", .forcing.identity.member)]
    Forcing { url: String, forcing: Forcing },
}

/// Asks at this peer URL, for so long.
pub async fn members(dialer: &Dialer, url: &str, patience: Duration) -> Result<Told, Unanswered> {
    let nobody = |why| Unanswered::Nobody { url: url.to_owned(), why };
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| nobody(error.to_string()))?;
    match time::timeout(patience, ask(dialer, &uri)).await {
        Ok(Ok(Answered::Told(told))) => Ok(told),
        Ok(Ok(Answered::Forcing(forcing))) => {
            Err(Unanswered::Forcing { url: url.to_owned(), forcing })
        }
        Ok(Err(why)) => Err(nobody(why)),
        // A connection that nobody accepts is given up before that.
        Err(_) => Err(Unanswered::Silent { url: url.to_owned() }),
    }
}

enum Answered {
    Told(Told),
    Forcing(Forcing),
}

async fn ask(dialer: &Dialer, url: &Uri) -> Result<Answered, String> {
    let failed = |error: &dyn Display| error.to_string();
    let connection = dialer.dial(url).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(connection)).await.map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/members")
        .header(header::HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(identity::VERSION, SERVER)
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    if response.status() == StatusCode::CONFLICT
        && let Some(forcing) = Forcing::told(response.headers())
    {
        return Ok(Answered::Forcing(forcing));
    }
    if response.status() != StatusCode::OK {
        return Err(format!("it answers {}", response.status()));
    }
    let headers = response.headers();
    let version = text(headers, CLUSTER_VERSION).and_then(Minor::parse);
    let cluster = id(headers, identity::CLUSTER);
    let cluster = cluster.ok_or("it does not name its cluster: is this a peer URL?")?;
    let leader = id(headers, LEADER).map(MemberId);
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| failed(&error))?.to_bytes();
    connection.abort();
    let members = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    Ok(Answered::Told(Told { cluster: ClusterId(cluster), version, leader, members }))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::to_str).and_then(Result::ok)
}

fn id(headers: &HeaderMap, name: &str) -> Option<u64> {
    u64::from_str_radix(text(headers, name)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    async fn ask_at(listener: &TcpListener, patience: Duration) -> Result<Told, Unanswered> {
        let url = format!("http://{}", listener.local_addr().unwrap());
        members(&Dialer::default(), &url, patience).await
    }

    async fn answer(listener: &TcpListener, head: &str) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        let answer = format!("{head}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn nobody_and_who_is_silent_and_who_is_forced_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = ask_at(&listener, PATIENCE).await.unwrap_err();
        assert!(matches!(silent, Unanswered::Silent { .. }), "{silent}");
        drop(listener.accept().await.unwrap());

        let identity = Identity { cluster: ClusterId(0xc), member: MemberId(0xa) };
        let forcing = Forcing { identity, last: (Term(3), Index(77)) };
        let headers = forcing.headers().map(|(name, value)| format!("\r\n{name}: {value}"));
        let conflict = "HTTP/1.1 409 Conflict";
        for (head, expected) in [
            (format!("{conflict}{}", headers.concat()), Some(forcing)),
            (format!("HTTP/1.1 503 Busy{}", headers.concat()), None),
            (conflict.to_owned(), None),
        ] {
            let patience = Duration::from_secs(20);
            let (told, ()) = tokio::join!(ask_at(&listener, patience), answer(&listener, &head));
            match (told.unwrap_err(), expected) {
                (Unanswered::Forcing { forcing, .. }, Some(expected)) => {
                    assert_eq!(forcing, expected);
                }
                (Unanswered::Nobody { why, .. }, None) => {
                    assert!(why.contains("it answers"), "{why}");
                }
                (other, _) => panic!("{other}"),
            }
        }

        let address = listener.local_addr().unwrap();
        drop(listener);
        let told = members(&Dialer::default(), &format!("http://{address}"), PATIENCE).await;
        assert!(matches!(told, Err(Unanswered::Nobody { .. })), "{told:?}");
    }
}
