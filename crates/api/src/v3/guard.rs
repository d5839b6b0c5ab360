//! What is asked of every request before its service sees it.

use std::{sync::Arc, time::Duration};

use base::Refused;
use http::HeaderMap;
use proto::etcdserverpb::RangeRequest;
use tonic::Status;

use super::{failure::status, methods::Method, patience};
use crate::{context::Context, ops::metrics::grpc::Call};

/// What a client says of itself.
const CLIENT_VERSION: &str = "client-api-version";
/// What a member may be asked that does not vote.
const FOR_LEARNERS: [(&str, &str); 3] = [
    // Only what needs no leader: see `range`.
    ("etcdserverpb.KV", "Range"),
    ("etcdserverpb.Maintenance", "Status"),
    ("etcdserverpb.Maintenance", "Snapshot"),
];

/// What a member is not asked that differs from the others: these, and for a snapshot.
const OF_DATA: [&str; 6] = [
    // Its users may be what differs.
    "etcdserverpb.Auth",
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "v3lockpb.Lock",
    "v3electionpb.Election",
];

/// Begins a call of a method, if it may be called with this metadata, here and now.
pub(crate) fn begin(
    context: &Arc<Context>,
    (at, method): (usize, &Method),
    metadata: &HeaderMap,
) -> Result<Call, Status> {
    check(context, method, metadata)?;
    let tracer = context.config.tracer.as_ref();
    let span = tracer.and_then(|tracer| tracer.begin(method.service, method.name, metadata));
    Ok(Call::begin(&context.counters.grpc, at).followed_by(span).from(context.remote))
}

/// Whether a method may be called with this metadata, here and now; counts who calls. In etcd's
/// order.
fn check(context: &Context, method: &Method, metadata: &HeaderMap) -> Result<(), Status> {
    let is_for_learners = || FOR_LEARNERS.iter().any(|(service, name)| method.is(service, name));
    if context.is_learner() && !is_for_learners() {
        return Err(status(Refused::NotSupportedForLearner));
    }
    if context.handle.is_fenced() && is_of_data(method) {
        return Err(status(Refused::Corrupt));
    }
    let version = metadata.get(CLIENT_VERSION).map(http::HeaderValue::as_bytes);
    let version = version.map_or(Ok("unknown"), str::from_utf8);
    let version = version.map_err(|_| status(Refused::InvalidClientApiVersion))?;
    context.counters.grpc.client(method.is_unary(), version);
    if patience::needs_leader(metadata) && context.handle.status().leader.is_none() {
        return Err(status(Refused::NoLeader));
    }
    Ok(())
}

/// Whether what a method answers, or changes, comes from the keyspace.
fn is_of_data(method: &Method) -> bool {
    OF_DATA.iter().any(|service| method.is_of(service))
        || method.is("etcdserverpb.Maintenance", "Snapshot")
}

/// A learner answers from what it has, and only who is content with that.
pub(crate) fn range(context: &Context, request: &RangeRequest) -> Result<(), Status> {
    if !request.serializable && context.is_learner() {
        return Err(status(Refused::NotSupportedForLearner));
    }
    Ok(())
}

/// How long a client waits for its answer, if it says so. What it says wrongly is left to its own
/// patience.
pub(crate) fn patience_of(metadata: &HeaderMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_number)?;
    time(count, unit)
}

/// So many of gRPC's units of time.
pub(crate) fn time(count: u64, unit: &str) -> Option<Duration> {
    Some(match unit {
        "H" => Duration::from_secs(count.saturating_mul(3_600)),
        "M" => Duration::from_secs(count.saturating_mul(60)),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_patience_is_read_as_grpc_writes_it() {
        let check = |text: &'static str, expected| {
            let mut metadata = HeaderMap::new();
            metadata.insert("grpc-timeout", http::HeaderValue::from_static(text));
            assert_eq!(patience_of(&metadata), expected, "{text:?}");
        };
        check("5S", Some(Duration::from_secs(5)));
        check("4999m", Some(Duration::from_millis(4_999)));
        check("99999999u", Some(Duration::from_micros(99_999_999)));
        check("1n", Some(Duration::from_nanos(1)));
        check("2H", Some(Duration::from_hours(2)));
        check("0M", Some(Duration::ZERO));
        for wrong in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", " 5S", "5 S"] {
            check(wrong, None);
        }
        assert_eq!(patience_of(&HeaderMap::new()), None);
    }
}
