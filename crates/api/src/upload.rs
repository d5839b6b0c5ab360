//! Reading a request's body, within bounds of size and time.

use std::time::Duration;

use base::limits;
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time;

use crate::reply::{self, Reply};

/// How long a client may take over a body.
const PATIENCE: Duration = Duration::from_secs(30);
/// A body that is too large is read up to here and thrown away, so that the client, who sends
/// first and listens then, gets to read the answer.
const DISCARDED_BYTES_MAX: usize = 8 << 20;

/// Why a body could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    TooLarge {
        /// All of it has been read and thrown away.
        at_end: bool,
    },
    TooSlow,
    /// Not well-formed, or cut off.
    Broken(String),
}

impl Bad {
    pub(crate) fn reply(&self) -> Reply {
        self.reply_within(limits::REQUEST_BYTES_MAX)
    }

    fn reply_within(&self, bytes_max: usize) -> Reply {
        let closing = |status, text: &str| reply::and_close(reply::text(status, text));
        match self {
            Self::TooLarge { at_end: true } => too_large(bytes_max),
            Self::TooLarge { at_end: false } => reply::and_close(too_large(bytes_max)),
            Self::TooSlow => closing(
                StatusCode::REQUEST_TIMEOUT,
                "408 Request Timeout: the body took too long\n",
            ),
            Self::Broken(_) => {
                closing(StatusCode::BAD_REQUEST, "400 Bad Request: the body is broken\n")
            }
        }
    }
}

/// The whole body; or the answer for whoever sends too much, or too slowly.
pub(crate) async fn read(request: Request<Incoming>) -> Result<Bytes, Reply> {
    read_up_to(request, limits::REQUEST_BYTES_MAX).await
}

/// The same, with another bound.
pub(crate) async fn read_up_to(
    request: Request<Incoming>,
    bytes_max: usize,
) -> Result<Bytes, Reply> {
    let waits = request.headers().contains_key(header::EXPECT);
    let read = read_body_up_to(waits, request.into_body(), bytes_max).await;
    read.map_err(|bad| bad.reply_within(bytes_max))
}

/// The same, for whoever has words of his own for what is too large.
pub(crate) async fn try_up_to(
    request: Request<Incoming>,
    bytes_max: usize,
) -> Result<Bytes, (Bad, u64)> {
    let waits = request.headers().contains_key(header::EXPECT);
    let body = request.into_body();
    let announced = body.size_hint().lower();
    read_body_up_to(waits, body, bytes_max).await.map_err(|bad| (bad, announced))
}

/// The whole body of a client that waits to be told to go on, or does not.
pub(crate) async fn read_body(waits: bool, body: Incoming) -> Result<Bytes, Bad> {
    read_body_up_to(waits, body, limits::REQUEST_BYTES_MAX).await
}

async fn read_body_up_to(waits: bool, mut body: Incoming, bytes_max: usize) -> Result<Bytes, Bad> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = body.size_hint().lower();
    // Who asks first has not begun to send. Who announces more than is ever read learns it now.
    let most = if waits { bytes_max } else { DISCARDED_BYTES_MAX.max(bytes_max) };
    if announced > most as u64 {
        return Err(Bad::TooLarge { at_end: false });
    }
    time::timeout(PATIENCE, collect(&mut body, bytes_max)).await.unwrap_or(Err(Bad::TooSlow))
}

async fn collect(body: &mut Incoming, bytes_max: usize) -> Result<Bytes, Bad> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Bad::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > DISCARDED_BYTES_MAX.max(bytes_max) {
            return Err(Bad::TooLarge { at_end: false });
        }
        if length > bytes_max {
            rest = BytesMut::new();
            first = None;
            continue;
        }
        // Most bodies come in one piece, which needs no copy.
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(earlier) => {
                rest.extend_from_slice(&earlier);
                rest.extend_from_slice(&data);
            }
        }
    }
    if length > bytes_max {
        return Err(Bad::TooLarge { at_end: true });
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

fn too_large(bytes_max: usize) -> Reply {
    let text = format!("413 Payload Too Large: at most {bytes_max} bytes\n");
    reply::text(StatusCode::PAYLOAD_TOO_LARGE, text)
}
