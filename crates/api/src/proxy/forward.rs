//! One request to a member and its answer back.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header, request::Parts, uri::PathAndQuery};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::{sync::watch, time::Instant};

use super::{
    Proxy, endpoints::Endpoint, figures::Dropped, headers, link::Failed, passing::Passing,
};
use crate::{
    body::ReplyBody,
    reply::{self, Reply},
    upload::{self, Bad},
};

impl Proxy {
    /// Passes a request on to the first member that takes it.
    pub(super) async fn forward(
        &self,
        request: Request<Incoming>,
        from: Option<SocketAddr>,
        stop: watch::Receiver<bool>,
    ) -> Reply {
        let began = Instant::now();
        self.figures.received(request.method());
        let (mut parts, body) = request.into_parts();
        let waits = parts.headers.contains_key(header::EXPECT);
        let body = match upload::read_body(waits, body).await {
            Ok(body) => body,
            Err(bad) => return unread(&bad),
        };
        headers::remove_those_of_one_hop(&mut parts.headers);
        // The body is here already, and its length is what it is.
        parts.headers.remove(header::EXPECT);
        parts.headers.remove(header::CONTENT_LENGTH);
        if from.is_some_and(|from| !headers::add_forwarded_for(&mut parts.headers, from)) {
            return circling(&parts);
        }
        match self.ask_around(&parts, &body).await {
            Ok(response) => {
                self.figures.handled(&parts.method, response.status(), began.elapsed());
                let stop = is_watch(&parts).then_some(stop);
                pass_back(response, stop)
            }
            Err(reply) => reply,
        }
    }

    /// Asks one member after the other, the first one as long as it answers: a client who reads
    /// what it wrote should find it.
    async fn ask_around(&self, parts: &Parts, body: &Bytes) -> Result<Response<Incoming>, Reply> {
        let endpoints = self.endpoints.available();
        if endpoints.is_empty() {
            self.figures.dropped(&parts.method, Dropped::NoEndpoint);
            let text = "zero endpoints currently available";
            if self.endpoints.tells_of_none() {
                tracing::warn!(target: "proxy", "{text}");
            }
            return Err(failure(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        let mut asked = 0;
        let mut may_be_done = false;
        for endpoint in &endpoints {
            asked += 1;
            match self.ask(endpoint, parts, body).await {
                Ok(response) => return Ok(response),
                Err(failed) => {
                    self.figures.dropped(&parts.method, Dropped::NotSent);
                    self.endpoints.failed(endpoint, &failed.why);
                    may_be_done = !failed.is_unsent && !only_reads(&parts.method);
                }
            }
            // What must not be carried out twice is asked for once.
            if may_be_done {
                break;
            }
        }
        self.figures.dropped(&parts.method, Dropped::NoResponse);
        let mut text = format!("unable to get response from {asked} endpoint(s)");
        if may_be_done {
            text.push_str(": whether the request was carried out is not known");
        }
        Err(failure(StatusCode::BAD_GATEWAY, &text))
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Response<Incoming>, Failed> {
        let unsent = |error: http::Error| Failed { is_unsent: true, why: error.to_string() };
        let root = PathAndQuery::from_static("/");
        let uri = endpoint.with(parts.uri.path_and_query().unwrap_or(&root)).map_err(unsent)?;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = parts.headers.clone();
        self.link.send(request).await
    }
}

/// Whether asking twice is the same as asking once.
fn only_reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether the answer may be as long in coming as it likes.
fn is_watch(parts: &Parts) -> bool {
    let mut pairs = parts.uri.query().unwrap_or_default().split('&');
    pairs.any(|pair| pair.starts_with("wait=")) || parts.uri.path() == "/v3/watch"
}

fn pass_back(response: Response<Incoming>, stop: Option<watch::Receiver<bool>>) -> Reply {
    let (parts, body) = response.into_parts();
    let mut reply = Response::new(ReplyBody::Passing(Box::new(Passing::new(body, stop))));
    *reply.status_mut() = parts.status;
    *reply.headers_mut() = parts.headers;
    headers::remove_those_of_one_hop(reply.headers_mut());
    reply
}

/// In the original's words.
fn failure(status: StatusCode, text: &str) -> Reply {
    reply::message(status, &format!("httpproxy: {text}"))
}

fn unread(bad: &Bad) -> Reply {
    let Bad::Broken(why) = bad else { return bad.reply() };
    let text = format!("failed to read request body: {why}");
    reply::and_close(failure(StatusCode::INTERNAL_SERVER_ERROR, &text))
}

fn circling(parts: &Parts) -> Reply {
    let path = parts.uri.path();
    tracing::warn!(
        target: "proxy",
        "a request for {path} goes round in circles: does a member advertise the address of a proxy \
         as its client URL (--advertise-client-urls)?"
    );
    failure(StatusCode::LOOP_DETECTED, "the request goes round in circles between proxies")
}
