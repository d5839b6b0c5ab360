//! What only a build has that says to be a version on, for tests of upgrades.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use proto::command::{Note, Op};
use serde_json::json;
use server::Handle;
use state::Response;

use crate::{
    context::Context,
    reply::{self, Reply},
    upload,
};

/// What `/version` tells besides.
pub(super) fn more(handle: &Handle) -> String {
    let next = handle.reader().next();
    let next = json!({ "since": next.since, "writes": next.writes, "note": next.note });
    format!(",\"next\":{next}")
}

/// `PUT` sets the note, `DELETE` removes it.
pub(crate) async fn note(context: &Context, request: Request<Incoming>) -> Reply {
    let removes = *request.method() == Method::DELETE;
    if !removes && *request.method() != Method::PUT {
        return reply::method_not_allowed("PUT,DELETE");
    }
    let body = match upload::read(request).await {
        Ok(body) if !removes => body,
        Ok(_) => Bytes::new(),
        Err(reply) => return reply,
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    match context.handle.write(Op::Note(Note { text })).await.map(|done| done.response) {
        Ok(Response::Done) => reply::empty(StatusCode::NO_CONTENT),
        Ok(other) => reply::message(StatusCode::PRECONDITION_FAILED, &format!("{other:?}")),
        Err(why) => reply::message(StatusCode::PRECONDITION_FAILED, &why.to_string()),
    }
}
