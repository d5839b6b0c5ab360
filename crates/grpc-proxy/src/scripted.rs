//! Members that say what a test has them say, and clients of this proxy's services.

use std::{convert::Infallible, sync::Arc};

use client::v3::{Client, Config};
use http::{Request, Response, uri::PathAndQuery};
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::Message;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, body::Body, server::Grpc};
use tonic_prost::ProstCodec;
use tower_service::Service;

/// Serves on a port of its own for as long as the test runs; a client of that.
pub(crate) async fn serve<F>(answer: impl Fn(Request<Body>) -> F + Send + Sync + 'static) -> Client
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let answer = answer(request.map(Body::new));
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let connection = TokioIo::new(connection);
                let server = http2::Builder::new(TokioExecutor::new());
                server.serve_connection(connection, service).await.ok();
            });
        }
    });
    Client::new(&[address], Config::default()).unwrap()
}

/// Opens a stream of one of this proxy's services: what it is asked through, and its answers.
pub(crate) async fn open<S, Q, A>(service: S, path: &'static str) -> (mpsc::Sender<Q>, Streaming<A>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    open_as(service, path, None).await
}

/// The same, with a token.
pub(crate) async fn open_as<S, Q, A>(
    service: S,
    path: &'static str,
    token: Option<&'static str>,
) -> (mpsc::Sender<Q>, Streaming<A>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let (ask, asked) = mpsc::channel(16);
    let client = tonic::client::Grpc::new(service);
    let mut client = client.max_decoding_message_size(usize::MAX);
    let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<Q, A>::default());
    let mut request = tonic::Request::new(ReceiverStream::new(asked));
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.parse().unwrap());
    }
    (ask, client.streaming(request, path, codec).await.unwrap().into_inner())
}

/// Answers a stream as `talk` has it, which takes what is asked and says what is answered.
pub(crate) async fn talk<Q, A, F>(
    request: Request<Body>,
    talk: impl FnOnce(Streaming<Q>, mpsc::Sender<Result<A, Status>>) -> F + Send,
) -> Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let talking = |request: tonic::Request<Streaming<Q>>| {
        let (send, answers) = mpsc::channel(16);
        tokio::spawn(talk(request.into_inner(), send));
        std::future::ready(Ok(tonic::Response::new(ReceiverStream::new(answers))))
    };
    let mut server = Grpc::new(ProstCodec::<A, Q>::default());
    server.streaming(Once(Some(talking)), request).await
}

/// Is called with one request.
struct Once<F>(Option<F>);

impl<Q, A, F, Fut> tonic::server::StreamingService<Q> for Once<F>
where
    F: FnOnce(tonic::Request<Streaming<Q>>) -> Fut,
    Fut: Future<Output = Result<tonic::Response<ReceiverStream<Result<A, Status>>>, Status>>,
{
    type Response = A;
    type ResponseStream = ReceiverStream<Result<A, Status>>;
    type Future = Fut;

    fn call(&mut self, request: tonic::Request<Streaming<Q>>) -> Fut {
        (self.0.take().unwrap())(request)
    }
}
