//! `grpc.reflection`: tools such as grpcurl ask what there is to be asked.

use std::{convert::Infallible, pin::Pin};

use http::{Request, Response};
use tonic::{Status, body::Body};
use tonic_reflection::server::Builder;
use tower_service::Service;

use super::unread::Unread;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Answer = Box<dyn Fn(Request<Unread>) -> Answering + Send + Sync>;

/// Both versions of the service, which differ in name alone.
pub(crate) struct Reflection {
    v1: Answer,
    v1alpha: Answer,
}

impl Reflection {
    pub(crate) fn new() -> Self {
        let builder =
            || Builder::configure().register_encoded_file_descriptor_set(proto::DESCRIPTORS);
        let (v1, v1alpha) = (builder().build_v1(), builder().build_v1alpha());
        Self {
            v1: v1.map_or_else(|error| without(&error), answer),
            v1alpha: v1alpha.map_or_else(|error| without(&error), answer),
        }
    }

    pub(crate) async fn answer(&self, service: &str, request: Request<Unread>) -> Response<Body> {
        if service.contains("v1alpha") {
            (self.v1alpha)(request).await
        } else {
            (self.v1)(request).await
        }
    }
}

fn answer<S>(service: S) -> Answer
where
    S: Service<Request<Unread>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    Box::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    })
}

/// The descriptors are our own, and a test asks for them.
fn without(error: &dyn std::error::Error) -> Answer {
    let status = Status::internal(format!("there are no descriptors: {error}"));
    Box::new(move |_| {
        let response = status.clone().into_http();
        Box::pin(std::future::ready(response))
    })
}
