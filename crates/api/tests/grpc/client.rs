//! A client of gRPC that hides nothing: messages go out as they are given, and all that comes back
//! is seen.

use std::{marker::PhantomData, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::Message;
use tokio::{net::TcpStream, runtime, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::member::Member;

/// Longer takes nothing that is well.
const PATIENCE: Duration = Duration::from_secs(20);

type Sent = BoxBody<Bytes, std::convert::Infallible>;
type Part = Result<Frame<Bytes>, std::convert::Infallible>;

/// How a call has ended, if not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) code: u32,
    pub(crate) text: String,
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) runtime: runtime::Handle,
    sender: SendRequest<Sent>,
}

impl Client {
    pub(crate) fn connect(member: &Member) -> Self {
        let runtime = member.runtime.handle().clone();
        let sender = runtime.block_on(async {
            let tcp = TcpStream::connect(member.address).await.expect("the member accepts");
            let (sender, connection) =
                handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.expect("it speaks HTTP/2");
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// One message, one answer.
    pub(crate) fn call<Q: Message, A: Message + Default>(
        &self,
        method: &str,
        message: &Q,
    ) -> Result<A, Failed> {
        self.call_with(&[], method, message)
    }

    pub(crate) fn call_with<Q: Message, A: Message + Default>(
        &self,
        metadata: &[(&str, &[u8])],
        method: &str,
        message: &Q,
    ) -> Result<A, Failed> {
        self.call_raw(metadata, method, framed(0, &message.encode_to_vec()))
    }

    /// The same with these bytes as the request's body.
    pub(crate) fn call_raw<A: Message + Default>(
        &self,
        metadata: &[(&str, &[u8])],
        method: &str,
        body: Bytes,
    ) -> Result<A, Failed> {
        let mut stream = self.begin::<A, A>(metadata, method);
        stream.send_raw(body);
        stream.close();
        let answer = stream.next();
        match stream.next() {
            None => answer.expect("an answer, or why not"),
            Some(Err(failed)) => Err(failed),
            Some(Ok(second)) => panic!("a second answer of {} bytes", second.encoded_len()),
        }
    }

    /// Messages and answers as they come.
    pub(crate) fn open<Q: Message, A: Message + Default>(&self, method: &str) -> Stream<Q, A> {
        self.begin(&[], method)
    }

    pub(crate) fn begin<Q: Message, A: Message + Default>(
        &self,
        metadata: &[(&str, &[u8])],
        method: &str,
    ) -> Stream<Q, A> {
        let (give, parts) = mpsc::channel::<Part>(64);
        let body = BoxBody::new(StreamBody::new(ReceiverStream::new(parts)));
        let mut request = Request::post(format!("http://member{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        let mut sender = self.sender.clone();
        let response = self.runtime.spawn(async move { sender.send_request(request).await });
        Stream {
            runtime: self.runtime.clone(),
            give: Some(give),
            response: Some(response),
            body: None,
            come: BytesMut::new(),
            told: false,
            messages: PhantomData,
        }
    }
}

/// A call that goes on. Dropping it gives it up.
pub(crate) struct Stream<Q, A> {
    runtime: runtime::Handle,
    give: Option<mpsc::Sender<Part>>,
    response: Option<tokio::task::JoinHandle<hyper::Result<Response<Incoming>>>>,
    body: Option<Incoming>,
    come: BytesMut,
    told: bool,
    messages: PhantomData<fn(Q) -> A>,
}

impl<Q, A> Drop for Stream<Q, A> {
    fn drop(&mut self) {
        if let Some(response) = &self.response {
            response.abort();
        }
    }
}

impl<Q: Message, A: Message + Default> Stream<Q, A> {
    pub(crate) fn send(&self, message: &Q) {
        self.send_raw(framed(0, &message.encode_to_vec()));
    }

    pub(crate) fn send_raw(&self, bytes: Bytes) {
        let give = self.give.as_ref().expect("it is not closed");
        // Whoever is refused at once is not read.
        drop(self.runtime.block_on(give.send(Ok(Frame::data(bytes)))));
    }

    /// Waits for the head of the answer; false if that says how it has ended already.
    pub(crate) fn begins(&mut self) -> bool {
        let runtime = self.runtime.clone();
        let response = self.response.take().expect("it was not looked at");
        let response = runtime.block_on(async { timeout(PATIENCE, response).await });
        let response = response.expect("within patience").expect("it does not panic").unwrap();
        let has_begun = !response.headers().contains_key("grpc-status");
        self.body = Some(response.into_body());
        has_begun
    }

    /// Nothing more is asked.
    pub(crate) fn close(&mut self) {
        self.give = None;
    }

    /// The next answer; `None` at a good end. Waits, but not for ever.
    pub(crate) fn next(&mut self) -> Option<Result<A, Failed>> {
        let runtime = self.runtime.clone();
        runtime.block_on(async { timeout(PATIENCE, self.read()).await }).expect("within patience")
    }

    /// Whether nothing comes for so long.
    pub(crate) fn is_silent(&mut self, long: Duration) -> bool {
        let runtime = self.runtime.clone();
        runtime.block_on(async { timeout(long, self.read()).await }).is_err()
    }

    async fn read(&mut self) -> Option<Result<A, Failed>> {
        if self.told {
            return None;
        }
        if let Some(response) = &mut self.response {
            let response = response.await.expect("it does not panic");
            self.response = None;
            let response = match response {
                Ok(response) => response,
                Err(error) => return self.end(Err(broken(&error))),
            };
            if response.headers().contains_key("grpc-status") {
                let ended = ended(response.headers());
                return self.end(ended);
            }
            self.body = Some(response.into_body());
        }
        loop {
            if let Some(message) = self.take_message() {
                return Some(Ok(message));
            }
            let body = self.body.as_mut().expect("it has begun");
            match body.frame().await {
                None => return self.end(Err(lost())),
                Some(Err(error)) => return self.end(Err(broken(&error))),
                Some(Ok(frame)) if frame.is_trailers() => {
                    assert!(self.come.is_empty(), "part of a message at the end");
                    let trailers = frame.into_trailers().unwrap();
                    let ended = ended(&trailers);
                    return self.end(ended);
                }
                Some(Ok(frame)) => self.come.extend_from_slice(&frame.into_data().unwrap()),
            }
        }
    }

    fn end(&mut self, how: Result<(), Failed>) -> Option<Result<A, Failed>> {
        self.told = true;
        how.err().map(Err)
    }

    fn take_message(&mut self) -> Option<A> {
        let mut head = self.come.get(..5)?;
        assert_eq!(head.get_u8(), 0, "compressed");
        let length = head.get_u32() as usize;
        if self.come.len() < 5 + length {
            return None;
        }
        self.come.advance(5);
        Some(A::decode(self.come.split_to(length).freeze()).expect("a message"))
    }
}

fn ended(headers: &HeaderMap) -> Result<(), Failed> {
    let text = |name| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let code = text("grpc-status").parse().expect("a code");
    if code == 0 {
        return Ok(());
    }
    let text = percent_encoding::percent_decode_str(text("grpc-message"));
    Err(Failed { code, text: text.decode_utf8().unwrap().into_owned() })
}

fn broken(error: &hyper::Error) -> Failed {
    Failed { code: 999, text: format!("{error:?}") }
}

fn lost() -> Failed {
    Failed { code: 999, text: "the answer has no end".to_owned() }
}

/// A message as it goes over the wire.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(flag);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    framed.freeze()
}

/// What a call is refused with.
#[track_caller]
pub(crate) fn refused<A: std::fmt::Debug>(answer: Result<A, Failed>, code: u32, text: &str) {
    assert_eq!(answer.unwrap_err(), Failed { code, text: text.to_owned() });
}
