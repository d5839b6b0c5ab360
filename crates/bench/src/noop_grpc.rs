//! A gRPC service that does nothing, on tonic's own server: what a call would cost if the keyspace, the log
//! and the disk cost nothing.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use proto::{
    etcdserverpb::{PutResponse, RangeResponse, ResponseHeader, TxnResponse},
    mvccpb::KeyValue,
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

/// What it always says.
struct Answers {
    put: PutResponse,
    range: RangeResponse,
    txn: TxnResponse,
}

impl Answers {
    fn new(value_bytes: usize) -> Self {
        let header = Some(ResponseHeader {
            cluster_id: 0x7e27_6521_22e8_b2ae,
            member_id: 0x8e9e_05c5_2164_694d,
            revision: 100_000,
            raft_term: 2,
        });
        let kv = KeyValue {
            key: vec![b'k'; 32].into(),
            value: vec![b'x'; value_bytes].into(),
            create_revision: 100_000,
            mod_revision: 100_000,
            version: 1,
            lease: 0,
        };
        let range = RangeResponse { header, kvs: vec![kv], more: false, count: 1 };
        let txn = TxnResponse { header, succeeded: true, responses: Vec::new() };
        Self { put: PutResponse { header, prev_kv: None }, range, txn }
    }
}

/// Serves until it is killed; prints its address first.
pub(crate) fn serve(listen: SocketAddr, value_bytes: usize) -> anyhow::Result<()> {
    let answers = Arc::new(Answers::new(value_bytes));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        println!("{}", listener.local_addr()?);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder().serve_with_incoming(Noop(answers), incoming).await?;
        Ok(())
    })
}

/// What tonic would make of a `.proto` file.
#[derive(Clone)]
struct Noop(Arc<Answers>);

impl NamedService for Noop {
    const NAME: &'static str = "etcdserverpb.KV";
}

impl Service<http::Request<Body>> for Noop {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answers = Arc::clone(&self.0);
        Box::pin(async move { Ok(answer(&answers, request).await) })
    }
}

async fn answer(answers: &Answers, request: http::Request<Body>) -> http::Response<Body> {
    use proto::etcdserverpb::{PutRequest, RangeRequest, TxnRequest};
    match request.uri().path() {
        "/etcdserverpb.KV/Put" => unary::<PutRequest, _>(&answers.put, request).await,
        "/etcdserverpb.KV/Range" => unary::<RangeRequest, _>(&answers.range, request).await,
        "/etcdserverpb.KV/Txn" => unary::<TxnRequest, _>(&answers.txn, request).await,
        _ => Status::unimplemented("").into_http(),
    }
}

async fn unary<Q, A>(answer: &A, request: http::Request<Body>) -> http::Response<Body>
where
    Q: proto::Message + Default + 'static,
    A: proto::Message + Clone + 'static,
{
    Grpc::new(ProstCodec::<A, Q>::default()).unary(Fixed(answer), request).await
}

/// A method that takes anything.
struct Fixed<'a, A>(&'a A);

impl<Q, A: Clone> Service<Request<Q>> for Fixed<'_, A> {
    type Response = Response<A>;
    type Error = Status;
    type Future = Ready<Result<Response<A>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}
