//! An HTTP service that does nothing: what a GET would cost if the keyspace cost nothing.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, header::HeaderValue, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves until it is killed; prints its address first. The body is as long as that of a GET of
/// such a value.
pub(crate) fn serve(listen: SocketAddr, value_bytes: usize) -> anyhow::Result<()> {
    let body = Bytes::from(format!(
        "{{\"action\":\"get\",\"node\":{{\"key\":\"/bench/000000\",\"value\":\"{}\",\
         \"modifiedIndex\":100000,\"createdIndex\":100000}}}}\n",
        "x".repeat(value_bytes)
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(|_| {
                    let answer = answer(body.clone());
                    async { Ok::<_, Infallible>(answer) }
                });
                let served =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                // The client went away.
                drop(served);
            });
        }
    })
}

fn answer(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-etcd-cluster-id", HeaderValue::from_static("7e27652122e8b2ae"));
    headers.insert("x-etcd-index", HeaderValue::from_static("100000"));
    headers.insert("x-raft-index", HeaderValue::from_static("100000"));
    headers.insert("x-raft-term", HeaderValue::from_static("2"));
    response
}
