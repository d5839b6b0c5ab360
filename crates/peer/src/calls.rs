//! Questions to a peer that are no messages of raft: one request, one answer, over connections that
//! are kept for the next.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::peers::{Inner, Peer};

/// Questions to one peer at once; others wait.
const CALLS_MAX: usize = 64;
/// Connections that are kept.
const IDLE_MAX: usize = 4;

/// What a peer is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub path: String,
    /// A message of protobuf, or empty.
    pub body: Bytes,
    /// Of an answer no more is taken.
    pub answer_bytes_max: usize,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

type Connection = SendRequest<Full<Bytes>>;

pub(crate) struct Calls {
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { places: Semaphore::new(CALLS_MAX), idle: Mutex::default() }
    }
}

impl Calls {
    pub(crate) fn close(&self) {
        self.places.close();
        self.idle.lock().clear();
    }

    /// One that is still open.
    async fn take(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.lock().pop()?;
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !self.places.is_closed() {
            idle.push(connection);
        }
    }
}

/// Asks a peer. Whoever waits bounds the time: giving up ends the connection. The error is for
/// people.
pub(crate) async fn ask(
    inner: Arc<Inner>,
    peer: Arc<Peer>,
    question: Question,
) -> Result<Answer, String> {
    let calls = &peer.calls;
    let _place = calls.places.acquire().await.map_err(|_| "it is gone".to_owned())?;
    let mut connection = match calls.take().await {
        Some(connection) => connection,
        None => connect(&inner, &peer).await?,
    };
    let answer = exchange(&inner, &peer, &mut connection, question).await?;
    calls.keep(connection);
    Ok(answer)
}

/// The first of its URLs that answers.
async fn connect(inner: &Inner, peer: &Peer) -> Result<Connection, String> {
    let urls: Vec<Uri> = peer.urls.read().clone();
    let mut why = "it has no peer URL that can be used".to_owned();
    for url in urls {
        match inner.dialer.dial(&url).await {
            Ok(stream) => {
                let opened = http1::handshake(TokioIo::new(stream)).await;
                let (connection, task) = opened.map_err(|error| format!("{url}: {error}"))?;
                // Ends with `connection`.
                tokio::spawn(task);
                return Ok(connection);
            }
            Err(error) => why = format!("{url}: {error}"),
        }
    }
    Err(why)
}

async fn exchange(
    inner: &Inner,
    peer: &Peer,
    connection: &mut Connection,
    question: Question,
) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let host = peer.urls.read().first().and_then(|url| url.authority().cloned());
    let mut request = Request::post(&question.path)
        .header(header::HOST, host.as_ref().map_or("", |host| host.as_str()))
        .header(header::CONTENT_TYPE, "application/protobuf");
    for (name, value) in inner.identity.headers(peer.id) {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(question.body)).map_err(|error| text(&error))?;
    let response = connection.send_request(request).await.map_err(|error| text(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), question.answer_bytes_max).collect().await;
    let body = body.map_err(|error| text(&error))?.to_bytes();
    Ok(Answer { status, body })
}
