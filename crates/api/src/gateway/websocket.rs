//! Websockets: `GET /v3/…` that asks for one, for every method as in the original. Each message of the
//! client is a question, each line of the answer a message for it.

use std::{pin::Pin, sync::Arc, time::Duration};

use base::{
    Refused,
    limits::{self, ANSWER_BYTES_MAX},
    room::Share,
};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{Content, Head, Question, asked, deadline::Deadline, failure, metadata};
use crate::{
    body::{Cut, ReplyBody},
    context::Context,
    portions::Portions,
    reply::{self, Reply},
    under_way::Held,
};

/// How long a client is waited for that is to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(1);
/// How long a client may take over a message.
const SEND_PATIENCE: Duration = Duration::from_mins(1);
/// Messages of a client that wait to be looked at. Each may be as large as a request; what comes behind it
/// waits in the socket.
const WAITING_MAX: usize = 1;

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

pub(super) fn is_asked_for(request: &Request<Incoming>) -> bool {
    let is_it = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    *request.method() == Method::GET && request.headers().get(header::UPGRADE).is_some_and(is_it)
}

/// Agrees, and serves what follows; ends with the client, with the answer, or with the server.
pub(super) fn answer(
    context: &Arc<Context>,
    mut request: Request<Incoming>,
    path: String,
) -> Reply {
    let headers = request.headers();
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let (Some(key), Some(b"13")) = (headers.get(header::SEC_WEBSOCKET_KEY), version) else {
        let mut reply =
            reply::text(StatusCode::BAD_REQUEST, "a websocket of version 13 is needed\n");
        let version = HeaderValue::from_static("13");
        reply.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
        return reply;
    };
    let accepted = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    let (Ok(accepted), Ok(place)) = (accepted, Arc::clone(&context.websockets).try_acquire_owned())
    else {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many websockets\n");
    };
    let mut reply = Response::new(ReplyBody::EMPTY);
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let agreed = reply.headers_mut();
    agreed.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    agreed.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    agreed.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    let mut headers = request.headers().clone();
    if let Some(protocol) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        // A page cannot send other headers along.
        if let Some(token) = token(protocol) {
            headers.insert(header::AUTHORIZATION, token);
        }
        agreed.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer"));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let head = Head::new(metadata(&headers), request.extensions());
    tokio::spawn(serve(Arc::clone(context), (path, headers, head), upgrade, place));
    reply
}

/// `Bearer, TOKEN`.
fn token(protocol: &HeaderValue) -> Option<HeaderValue> {
    let (_, token) = protocol.to_str().ok()?.split_once("Bearer,")?;
    HeaderValue::from_str(token.trim()).ok()
}

async fn serve(
    context: Arc<Context>,
    (path, headers, head): (String, HeaderMap, Head),
    upgrade: OnUpgrade,
    place: OwnedSemaphorePermit,
) {
    let bytes_max = limits::REQUEST_HEAD_BYTES_MAX.max(context.config.grpc.request_bytes_max * 2);
    let config = WebSocketConfig::default()
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
    let Ok(upgraded) = upgrade.await else { return };
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (give, take) = mpsc::channel(WAITING_MAX);
    let mut stop = context.stop.clone();
    let share = Arc::clone(&context.share);
    let answer = Box::pin(async move {
        let deadline = match Deadline::of(&headers) {
            Ok(deadline) => deadline,
            Err(status) => return failure::reply(&status),
        };
        let content = Content::Messages(take);
        let mut reply = asked(&context, &path, Question { head, deadline, content }).await;
        // Lines are put together of all pieces, and sent as texts of their own.
        if let Some(held) = reply.extensions_mut().get_mut::<Held>() {
            held.is_whole = false;
        }
        reply
    });
    let answer = Answer::Awaited(answer, share);
    tokio::select! {
        ended = exchange(&mut socket, &give, answer) => if let Err(error) = ended {
            tracing::debug!(%error, "a websocket ended");
        },
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let good_bye = async {
        // It may be gone. Whoever has said good-bye first hears ours when we read on.
        drop(socket.close(None).await);
        while let Some(Ok(_)) = socket.next().await {}
    };
    drop(time::timeout(GOOD_BYE, good_bye).await);
    drop(place);
}

/// Passes questions and answers on, until either side has no more.
async fn exchange(
    socket: &mut Socket,
    give: &mpsc::Sender<Bytes>,
    mut answer: Answer,
) -> Result<(), Error> {
    let mut line = BytesMut::new();
    loop {
        tokio::select! {
            question = next_question(socket, give) => {
                if question?.is_none() {
                    return Ok(());
                }
            }
            piece = answer.next() => match piece {
                Some(Ok(piece)) => {
                    // What came before has no end of a line in it.
                    let mut looked = line.len();
                    line.extend_from_slice(&piece);
                    while let Some(end) = memchr::memchr(b'\n', line.get(looked..).unwrap_or_default()) {
                        let whole = line.split_to(looked + end + 1);
                        send(socket, whole.get(..looked + end).unwrap_or_default()).await?;
                        looked = 0;
                    }
                    if line.len() > ANSWER_BYTES_MAX {
                        let reason = Refused::AnswerTooLarge.text().into();
                        socket.close(Some(CloseFrame { code: CloseCode::Size, reason })).await?;
                        return Ok(());
                    }
                }
                Some(Err(Cut)) => return Ok(()),
                None => {
                    send(socket, &line).await?;
                    return Ok(());
                }
            },
        }
    }
}

/// Takes one message of the client, once there is room for it; `None`: there is no more.
async fn next_question(
    socket: &mut Socket,
    give: &mpsc::Sender<Bytes>,
) -> Result<Option<()>, Error> {
    let Ok(room) = give.reserve().await else {
        // Nobody asks for more; that the client goes away is of interest still.
        return match socket.next().await.transpose()? {
            None | Some(Message::Close(_)) => Ok(None),
            Some(_) => Ok(Some(())),
        };
    };
    match socket.next().await.transpose()? {
        None | Some(Message::Close(_)) => return Ok(None),
        Some(Message::Text(text)) => room.send(Bytes::from(text)),
        Some(Message::Binary(bytes)) => room.send(bytes),
        Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
    }
    Ok(Some(()))
}

async fn send(socket: &mut Socket, line: &[u8]) -> Result<(), Error> {
    if line.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(line).into_owned();
    // Whoever takes nothing for so long must not keep from others the memory that it needs.
    let sent = time::timeout(SEND_PATIENCE, socket.send(Message::text(text))).await;
    sent.unwrap_or(Err(Error::ConnectionClosed))
}

/// What the client is told.
enum Answer {
    Awaited(Pin<Box<dyn Future<Output = Reply> + Send>>, Arc<Share>),
    Coming(Portions<ReplyBody>),
}

impl Answer {
    /// The next piece; whoever stops waiting for it loses nothing.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            match self {
                Self::Awaited(reply, share) => {
                    let reply = Portions::single(share, reply.as_mut().await);
                    *self = Self::Coming(reply.into_body());
                }
                Self::Coming(body) => {
                    match body.frame().await?.map(hyper::body::Frame::into_data) {
                        Ok(Ok(data)) => return Some(Ok(data)),
                        Ok(Err(_)) => {}
                        Err(cut) => return Some(Err(cut)),
                    }
                }
            }
        }
    }
}
