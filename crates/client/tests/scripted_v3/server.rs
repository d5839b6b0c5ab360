//! A gRPC server that answers calls from a script and remembers what it was asked.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use client::v3::{Client, Config};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use proto::Message;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;

/// What to do with one call.
pub(crate) enum Reply {
    /// These messages, and then this.
    Tell(Vec<Bytes>, End),
    /// A status and nothing else.
    Refuse(u16, &'static str),
    /// The connection breaks before there is an answer.
    Break,
    /// No answer.
    Silence,
}

/// How an answer ends.
pub(crate) enum End {
    Well,
    /// It does not.
    Open,
    Break,
    Refuse(u16, &'static str),
}

/// One message, as an answer.
pub(crate) fn answer(message: &impl Message) -> Reply {
    Reply::Tell(vec![encode(message)], End::Well)
}

/// Several messages, and then this.
pub(crate) fn tell<M: Message>(messages: &[M], end: End) -> Reply {
    Reply::Tell(messages.iter().map(encode).collect(), end)
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// A call as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The method's name.
    pub(crate) name: String,
    pub(crate) headers: HeaderMap,
    /// The first message.
    message: Bytes,
}

impl Call {
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        M::decode(self.message.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A server with its script. What is asked beyond it gets no answer.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Call>>>,
}

impl Server {
    pub(crate) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move {
                    let breaks = Arc::new(Notify::new());
                    let broken = Arc::clone(&breaks);
                    let service = service_fn(move |request| {
                        serve(request, Arc::clone(&script), Arc::clone(&log), Arc::clone(&breaks))
                    });
                    let served = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(connection), service);
                    tokio::select! {
                        _ = served => {}
                        () = broken.notified() => {}
                    }
                });
            }
        });
        Self { url, seen }
    }

    /// What it was asked, in order.
    pub(crate) fn seen(&self) -> Vec<Call> {
        self.seen.lock().clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.seen().into_iter().map(|call| call.name).collect()
    }
}

type Body = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

async fn serve(
    request: Request<Incoming>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    seen: Arc<Mutex<Vec<Call>>>,
    breaks: Arc<Notify>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let name = head.uri.path().rsplit('/').next().unwrap().to_owned();
    let message = first_message(body).await;
    let reply = {
        seen.lock().push(Call { name, headers: head.headers, message });
        script.lock().pop_front().unwrap_or(Reply::Silence)
    };
    let (send, receive) = mpsc::channel(16);
    let response = Response::builder().header("content-type", "application/grpc");
    match reply {
        Reply::Silence => std::future::pending().await,
        Reply::Break => {
            breaks.notify_one();
            std::future::pending().await
        }
        Reply::Refuse(code, message) => {
            send.send(Ok(Frame::trailers(status(code, message)))).await.unwrap();
        }
        Reply::Tell(messages, end) => {
            tokio::spawn(async move {
                for message in messages {
                    send.send(Ok(Frame::data(framed(&message)))).await.unwrap();
                }
                match end {
                    End::Well => send.send(Ok(Frame::trailers(status(0, "")))).await.unwrap(),
                    End::Open => send.closed().await,
                    End::Break => {
                        // What was sent before is to arrive.
                        sleep(Duration::from_millis(100)).await;
                        breaks.notify_one();
                        send.closed().await;
                    }
                    End::Refuse(code, message) => {
                        send.send(Ok(Frame::trailers(status(code, message)))).await.unwrap();
                    }
                }
            });
        }
    }
    Ok(response.body(StreamBody::new(ReceiverStream::new(receive))).unwrap())
}

fn status(code: u16, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    trailers.insert("grpc-message", HeaderValue::from_static(message));
    trailers
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().unwrap());
    frame.put_slice(message);
    frame.freeze()
}

async fn first_message(mut body: Incoming) -> Bytes {
    let mut read = BytesMut::new();
    loop {
        if read.len() >= 5 {
            let length = usize::try_from((&read[1..]).get_u32()).unwrap();
            if read.len() >= 5 + length {
                return read.freeze().slice(5..5 + length);
            }
        }
        let frame = body.frame().await.unwrap().unwrap();
        read.put(frame.into_data().unwrap());
    }
}

/// A client of these servers, whose patience lasts for a test.
pub(crate) fn client(servers: &[&Server]) -> Client {
    client_with(servers, Config::default())
}

pub(crate) fn client_with(servers: &[&Server], config: Config) -> Client {
    let urls: Vec<_> = servers.iter().map(|server| server.url.clone()).collect();
    Client::new(&urls, config).unwrap().within(Duration::from_secs(30))
}
