//! `/health`, `/livez` and `/readyz`: whether this member is alive, and could serve a read that misses
//! nothing. As etcd 3.6 answers; `/health` alone, on a port for clients, in the words of 2.3.8.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use proto::etcdserverpb::{AlarmMember, AlarmType, RangeRequest};
use serde_json::json;
use state::kv::Most;
use tokio::time;

use crate::{
    context::Context,
    reply::{self, Reply},
    v2::form::Form,
};

/// 2.3.8 gave up after three times 250 ms: with the default timers, by which it is known how far away the
/// members are, three quarters of an election timeout.
const PATIENCE_MIN: Duration = Duration::from_millis(750);

/// What can be looked at, with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

/// A path, the checks behind it, and their names.
type Kind = (&'static str, &'static [(&'static str, Check)]);

const KINDS: [Kind; 2] = [
    ("livez", &[("serializable_read", Check::SerializableRead)]),
    (
        "readyz",
        &[
            ("data_corruption", Check::DataCorruption),
            ("serializable_read", Check::SerializableRead),
            ("linearizable_read", Check::LinearizableRead),
            ("non_learner", Check::NonLearner),
        ],
    ),
];

/// What was found, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    health_successes: AtomicU64,
    health_failures: AtomicU64,
    /// As the checks in [`KINDS`], one kind after the other.
    checks: [Found; 5],
}

#[derive(Debug, Default)]
struct Found {
    is_good: AtomicBool,
    successes: AtomicU64,
    errors: AtomicU64,
}

/// What was found by a check.
pub(crate) struct OfCheck {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    /// When it was last made.
    pub(crate) is_good: bool,
    pub(crate) successes: u64,
    pub(crate) errors: u64,
}

impl Checked {
    /// How often `/health` was good, and how often bad.
    pub(crate) fn health(&self) -> (u64, u64) {
        (self.health_successes.load(Relaxed), self.health_failures.load(Relaxed))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = OfCheck> {
        let names =
            KINDS.iter().flat_map(|(kind, checks)| checks.iter().map(|(name, _)| (*kind, *name)));
        names.zip(&self.checks).map(|((kind, name), found)| OfCheck {
            kind,
            name,
            is_good: found.is_good.load(Relaxed),
            successes: found.successes.load(Relaxed),
            errors: found.errors.load(Relaxed),
        })
    }

    fn note(&self, kind: &str, name: &str, is_good: bool) {
        let Some(at) = self.all().position(|of| of.kind == kind && of.name == name) else { return };
        let Some(found) = self.checks.get(at) else { return };
        found.is_good.store(is_good, Relaxed);
        let count = if is_good { &found.successes } else { &found.errors };
        count.fetch_add(1, Relaxed);
    }
}

/// Where `/health` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Where 2.3.8 had it, too.
    Clients,
    Metrics,
}

/// Answers `/health`.
pub(crate) async fn answer(
    context: &Context,
    port: Port,
    method: &Method,
    query: Option<&str>,
) -> Reply {
    if *method != Method::GET {
        return reply::method_not_allowed("GET");
    }
    let query = parse(query);
    let is_local = query.get("serializable") == Some(b"true");
    let excluded: Vec<&[u8]> = query.all("exclude").filter(|name| !name.is_empty()).collect();
    // What 2.3.8 does not know is asked for in 3's words.
    let in_words_of_2 = port == Port::Clients && !is_local && excluded.is_empty();
    let found = if in_words_of_2 {
        let patience = PATIENCE_MIN.max(context.handle.election_timeout() * 3 / 4);
        let looked = time::timeout(patience, look(context, &excluded, is_local)).await;
        looked.unwrap_or_else(|_| Err("RANGE ERROR:context deadline exceeded".to_owned()))
    } else {
        look(context, &excluded, is_local).await
    };
    let checked = &context.counters.checked;
    let count = if found.is_ok() { &checked.health_successes } else { &checked.health_failures };
    count.fetch_add(1, Relaxed);
    if let Err(reason) = &found {
        tracing::warn!(target: "etcdserver/api/etcdhttp", reason, "status-code" = 503, "/health error");
    }
    match (found, in_words_of_2) {
        (Ok(()), true) => reply::text(StatusCode::OK, "{\"health\": \"true\"}"),
        (Ok(()), false) => reply::text(StatusCode::OK, "{\"health\":\"true\",\"reason\":\"\"}"),
        (Err(_), true) => reply::text(StatusCode::SERVICE_UNAVAILABLE, "{\"health\": \"false\"}\n"),
        (Err(reason), false) => {
            let reason = json!(reason);
            let text = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
            reply::text(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// What is wrong with this member, in etcd's order and words. `is_local`: it need not hear of others.
async fn look(context: &Context, excluded: &[&[u8]], is_local: bool) -> Result<(), String> {
    let alarms = context.handle.reader().alarms().all();
    let counts = |alarm: &&AlarmMember| {
        // While a majority is sound, who differs from it is no affair of the others.
        let concerns_it = alarm.alarm() != AlarmType::Corrupt || is_corrupt(context);
        concerns_it && !excluded.contains(&alarm.alarm().as_str_name().as_bytes())
    };
    if let Some(alarm) = alarms.iter().find(counts) {
        return Err(match alarm.alarm() {
            AlarmType::Nospace => "ALARM NOSPACE".to_owned(),
            AlarmType::Corrupt => "ALARM CORRUPT".to_owned(),
            AlarmType::None => "ALARM UNKNOWN".to_owned(),
        });
    }
    if !is_local && context.handle.status().leader.is_none() {
        return Err("RAFT NO LEADER".to_owned());
    }
    read(context, is_local).await.map_err(|why| format!("RANGE ERROR:{why}"))
}

/// Reads one key, which need not be there: how many there are is not looked at.
async fn read(context: &Context, is_serializable: bool) -> Result<(), String> {
    if !is_serializable {
        context.handle.read_barrier().await.map_err(|why| why.to_string())?;
    }
    let request = RangeRequest {
        key: bytes::Bytes::from_static(b"\0"),
        keys_only: true,
        serializable: true,
        ..RangeRequest::default()
    };
    let found = context.handle.reader().range_up_to(&request, Most::SMALL);
    found.map(drop).map_err(|why| why.to_string())
}

/// Answers `/livez`, `/readyz` and the paths of their checks; `None`: there is no such path.
pub(crate) async fn check(
    context: &Context,
    path: &str,
    method: &Method,
    query: Option<&str>,
) -> Option<Reply> {
    let path = path.strip_prefix('/')?;
    let (kind, single) = path.split_once('/').map_or((path, None), |(kind, one)| (kind, Some(one)));
    let (kind, all) = KINDS.into_iter().find(|(name, _)| *name == kind)?;
    if single.is_some_and(|single| all.iter().all(|(name, _)| *name != single)) {
        return None;
    }
    if *method != Method::GET {
        return Some(reply::method_not_allowed("GET"));
    }
    let query = parse(query);
    let excluded: Vec<&[u8]> = if single.is_some() {
        Vec::new()
    } else {
        query.all("exclude").filter(|name| !name.is_empty()).collect()
    };
    complain_of_unknown(path, all, &excluded);
    let is_wanted = |name: &str| {
        single.map_or_else(|| !excluded.contains(&name.as_bytes()), |single| single == name)
    };
    let (mut report, mut is_good) = (String::new(), true);
    for (name, check) in all.iter().filter(|(name, _)| is_wanted(name)) {
        let found = make(context, *check).await;
        context.counters.checked.note(kind, name, found.is_ok());
        is_good &= found.is_ok();
        report.push_str(&match found {
            Ok(()) => format!("[+]{name} ok\n"),
            Err(why) => format!("[-]{name} failed: {why}\n"),
        });
    }
    Some(told(path, &report, is_good, query.get("verbose").is_some()))
}

fn complain_of_unknown(path: &str, all: &[(&str, Check)], excluded: &[&[u8]]) {
    let is_known = |name: &[u8]| all.iter().any(|(known, _)| known.as_bytes() == name);
    let unknown: Vec<_> = excluded
        .iter()
        .filter(|name| !is_known(name))
        .map(|name| format!("{:?}", String::from_utf8_lossy(name)))
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(",");
        tracing::warn!(
            path = format!("/{path}"),
            "missing-health-checks" = unknown,
            "some health checks cannot be excluded"
        );
    }
}

/// What is wrong is always told, and the rest if asked for.
fn told(path: &str, report: &str, is_good: bool, is_verbose: bool) -> Reply {
    let mut reply = if is_good {
        let report = if is_verbose { report } else { "" };
        reply::text(StatusCode::OK, format!("{report}ok\n"))
    } else {
        tracing::error!(
            path = format!("/{path}"),
            reason = report,
            "status-code" = 503,
            "Health check error"
        );
        reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{report}\n"))
    };
    let headers = reply.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// Whether this member differs from the others, or so many do that the cluster stops.
fn is_corrupt(context: &Context) -> bool {
    let (handle, reader) = (&context.handle, context.handle.reader());
    handle.is_fenced() || reader.alarms().corrupt(&reader.members())
}

async fn make(context: &Context, check: Check) -> Result<(), String> {
    match check {
        Check::SerializableRead => read(context, true).await,
        Check::LinearizableRead => read(context, false).await,
        Check::DataCorruption if is_corrupt(context) => Err("alarm activated: CORRUPT".to_owned()),
        Check::NonLearner if context.is_learner() => Err("not supported for learner".to_owned()),
        Check::DataCorruption | Check::NonLearner => Ok(()),
    }
}

/// What cannot be understood of a query does not count.
fn parse(query: Option<&str>) -> Form<'_> {
    let mut form = Form::default();
    drop(form.add(query.unwrap_or_default().as_bytes()));
    form
}
