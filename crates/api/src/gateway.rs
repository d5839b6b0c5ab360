//! The JSON gateway: the services of v3 as `POST /v3/…`, with bytes in base64.
//!
//! - `messages`: answers that come one after the other; `requests`: questions that do
//! - `failure`: errors as JSON

mod failure;
mod messages;
mod requests;

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use tonic::{Response, Status, metadata::MetadataMap};

pub(crate) use self::messages::MessagesBody;
use crate::{
    context::Context,
    reply::{self, Reply},
    v2::upload,
    v3::{self, services},
};

/// Calls a method of a service with the message in the request's body.
macro_rules! unary {
    ($service:ident :: $trait:ident :: $method:ident, $context:expr, $request:expr) => {
        unary($context, $request, async |context, request| {
            services::$trait::$method(&v3::$service(context), request).await
        })
        .await
    };
}

/// Answers a request below `/v3/`.
pub(crate) async fn answer(context: &Arc<Context>, request: Request<Incoming>) -> Reply {
    if *request.method() != Method::POST {
        return failure::reply(&Status::unimplemented("Method Not Allowed"));
    }
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/v3/kv/range" => unary!(Kv::Kv::range, context, request),
        "/v3/kv/put" => unary!(Kv::Kv::put, context, request),
        "/v3/kv/deleterange" => unary!(Kv::Kv::delete_range, context, request),
        "/v3/kv/txn" => unary!(Kv::Kv::txn, context, request),
        "/v3/kv/compaction" => unary!(Kv::Kv::compact, context, request),
        "/v3/watch" => watch(context, request),
        _ => failure::reply(&Status::not_found("Not Found")),
    }
}

async fn unary<Q, A>(
    context: &Arc<Context>,
    request: Request<Incoming>,
    call: impl AsyncFnOnce(Arc<Context>, tonic::Request<Q>) -> Result<Response<A>, Status>,
) -> Reply
where
    Q: DeserializeOwned + Default,
    A: Serialize,
{
    let metadata = metadata(&request);
    // In base64 bytes are a third longer.
    let bytes_max = context.config.grpc.request_bytes_max * 2;
    let body = match upload::read_up_to(request, bytes_max).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let message = match requests::one(&body) {
        Ok(message) => message,
        Err(status) => return failure::reply(&status),
    };
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = metadata;
    match call(Arc::clone(context), request).await {
        Ok(answer) => match serde_json::to_string(answer.get_ref()) {
            Ok(text) => reply::json(StatusCode::OK, text),
            Err(error) => failure::reply(&Status::internal(error.to_string())),
        },
        Err(status) => failure::reply(&status),
    }
}

fn watch(context: &Arc<Context>, request: Request<Incoming>) -> Reply {
    let ends = v3::Ends::new(context, &metadata(&request));
    let requests = requests::stream(request.into_body());
    let answers = v3::WatchStream::new(Arc::clone(context), ends, Box::pin(requests));
    messages::reply(answers)
}

/// What the client has sent along for the services: `Grpc-Metadata-NAME`, and its token.
fn metadata(request: &Request<Incoming>) -> MetadataMap {
    let mut headers = http::HeaderMap::new();
    for (name, value) in request.headers() {
        let name = match name.as_str() {
            "authorization" => "token",
            name => name.strip_prefix("grpc-metadata-").unwrap_or_default(),
        };
        if let Ok(name) = http::HeaderName::try_from(name) {
            headers.append(name, value.clone());
        }
    }
    MetadataMap::from_headers(headers)
}
