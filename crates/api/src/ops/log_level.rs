//! `/config/local/log`: another log level while the member runs.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;

use crate::{
    auth::Claim,
    context::Context,
    reply::{self, Reply},
    upload,
};

#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "Level", alias = "level", default)]
    level: String,
}

pub(crate) async fn answer(context: &Context, request: Request<Incoming>) -> Reply {
    if *request.method() != Method::PUT {
        return reply::method_not_allowed("PUT");
    }
    let claim = Claim::of(&request);
    let by = match claim.is_admin(context).await {
        Ok(()) => claim.settle(context).await,
        Err(why) => Err(why),
    };
    let by = match by {
        Ok(by) => by.map_or_else(|| "nobody who was asked".to_owned(), |by| by.user),
        Err(why) => return why.reply(),
    };
    let body = match upload::read(request).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let Ok(Wanted { level }) = serde_json::from_slice(&body) else {
        return reply::message(StatusCode::BAD_REQUEST, "Invalid json body");
    };
    claim.note(|trail| trail.level(&level));
    // At the level that still is: nobody silences the log without a trace of himself.
    let from = context.remote.map(|from| from.to_string()).unwrap_or_default();
    tracing::warn!(?level, by, from, "the log level is to be set");
    if !(context.set_log_level)(&level.to_uppercase()) {
        let text = format!("Invalid log level {level}");
        return reply::message(StatusCode::BAD_REQUEST, &text);
    }
    tracing::info!(level, "the log level was set");
    reply::empty(StatusCode::NO_CONTENT)
}
