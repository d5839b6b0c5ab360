//! `/health`: whether this member has a leader, and could serve a read that misses nothing.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time;

use crate::{
    context::Context,
    reply::{self, Reply},
};

/// 2.3.8 gave up after three times 250 ms.
const PATIENCE: Duration = Duration::from_millis(750);

pub(crate) async fn answer(context: &Context, method: &Method) -> Reply {
    if *method != Method::GET {
        return reply::method_not_allowed("GET");
    }
    let handle = &context.handle;
    let is_healthy = handle.status().leader.is_some()
        && matches!(time::timeout(PATIENCE, handle.read_barrier()).await, Ok(Ok(())));
    if is_healthy {
        reply::text(StatusCode::OK, "{\"health\": \"true\"}")
    } else {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, "{\"health\": \"false\"}\n")
    }
}
