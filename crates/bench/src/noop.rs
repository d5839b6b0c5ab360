//! An HTTP service that does nothing: what a GET would cost if the keyspace cost nothing.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, header::HeaderValue, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// As long as the answer to a GET of a 64-byte value.
const BODY: &str = "{\"action\":\"get\",\"node\":{\"key\":\"/bench/000000\",\"value\":\"\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",\
    \"modifiedIndex\":100000,\"createdIndex\":100000}}\n";

/// Serves until it is killed; prints its address first.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let service = service_fn(|_| async { Ok::<_, Infallible>(answer()) });
                let served =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                // The client went away.
                drop(served);
            });
        }
    })
}

fn answer() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(BODY.as_bytes())));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-etcd-cluster-id", HeaderValue::from_static("7e27652122e8b2ae"));
    headers.insert("x-etcd-index", HeaderValue::from_static("100000"));
    headers.insert("x-raft-index", HeaderValue::from_static("100000"));
    headers.insert("x-raft-term", HeaderValue::from_static("2"));
    response
}
