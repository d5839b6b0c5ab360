//! Requests that take long are told in the log, with what they waited for: in etcd's words where it has
//! some.

use std::{fmt, sync::atomic::Ordering::Relaxed, time::Duration};

use base::Pace;
use http::{Method, StatusCode};
use proto::{
    Loggable, Message as _,
    etcdserverpb::{RangeRequest, TxnRequest, TxnResponse},
};
use tokio::time::Instant;
use tonic::Status;

use crate::{context::Context, v3::range::Answer};

/// When a request began, and what it has waited for since.
#[derive(Debug)]
pub(crate) struct Times {
    began: Instant,
    read_index: Duration,
    room: Duration,
}

impl Times {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), read_index: Duration::ZERO, room: Duration::ZERO }
    }

    /// Waits until a quorum has said what a read must not miss.
    pub(crate) async fn at_read_index<T>(&mut self, wait: impl Future<Output = T>) -> T {
        timed(&mut self.read_index, wait).await
    }

    /// Waits for memory.
    pub(crate) async fn for_room<T>(&mut self, wait: impl Future<Output = T>) -> T {
        timed(&mut self.room, wait).await
    }

    /// All of it, and what is not waiting.
    fn took(&self) -> (Duration, Duration) {
        let took = self.began.elapsed();
        (took, took.saturating_sub(self.read_index).saturating_sub(self.room))
    }
}

async fn timed<T>(sum: &mut Duration, wait: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = wait.await;
    *sum = sum.saturating_add(began.elapsed());
    done
}

/// How often lines may come, for each kind of request.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    ranges: Pace,
    txns: Pace,
    v2: Pace,
}

/// A range was read, or was not.
pub(crate) fn range(
    context: &Context,
    asked: &RangeRequest,
    times: &Times,
    answer: Result<&Answer, &Status>,
) {
    let (took, _) = times.took();
    if took > context.handle.apply_expected() {
        let response = match answer {
            Ok(Answer::Whole(whole, _)) => {
                format!("range_response_count:{} size:{}", whole.kvs.len(), whole.encoded_len())
            }
            Ok(Answer::Large(_, sizes, _)) => format!("size:{}", sizes.all),
            Err(_) => String::new(),
        };
        let error = answer.err().map(Status::message);
        let pace = &context.slow_reads.ranges;
        let told = Told { prefix: "read-only range ", request: &Loggable(asked), response, error };
        tell(context, pace, times, &told);
    }
}

/// What a transaction asks for, by number: more of it would have to be copied beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    compare: usize,
    success: usize,
    failure: usize,
}

impl Counts {
    pub(crate) fn of(request: &TxnRequest) -> Self {
        let TxnRequest { compare, success, failure } = request;
        Self { compare: compare.len(), success: success.len(), failure: failure.len() }
    }
}

/// A transaction that only reads was carried out, or was not.
pub(crate) fn txn(
    context: &Context,
    asked: Counts,
    times: &Times,
    answer: Result<&TxnResponse, &Status>,
) {
    let (took, _) = times.took();
    if took > context.handle.apply_expected() {
        let Counts { compare, success, failure } = asked;
        let request = format_args!("compare:{compare} success:{success} failure:{failure}");
        let response = answer.map(|answer| {
            format!("responses:{} size:{}", answer.responses.len(), answer.encoded_len())
        });
        let told = Told {
            prefix: "read-only txn ",
            request: &request,
            response: response.unwrap_or_default(),
            error: answer.err().map(Status::message),
        };
        tell(context, &context.slow_reads.txns, times, &told);
    }
}

struct Told<'a> {
    prefix: &'static str,
    request: &'a dyn fmt::Display,
    response: String,
    error: Option<&'a str>,
}

#[cold]
fn tell(context: &Context, pace: &Pace, times: &Times, told: &Told<'_>) {
    let handle = &context.handle;
    handle.counters().applies_slow.fetch_add(1, Relaxed);
    let Some(count) = pace.note(handle.clock().monotonic()) else { return };
    let (took, reading) = times.took();
    tracing::warn!(
        target: "etcdserver",
        ?took,
        "expected-duration" = ?handle.apply_expected(),
        prefix = told.prefix,
        request = %told.request,
        response = told.response,
        "read-index" = ?times.read_index,
        "waiting-for-memory" = ?times.room,
        ?reading,
        error = told.error,
        remote = context.remote.map(tracing::field::display),
        times = count,
        "apply request took too long"
    );
}

/// A request to v2 was answered: for keys, members or users.
pub(crate) fn v2(
    context: &Context,
    (method, path): (&Method, &[u8]),
    times: &Times,
    status: StatusCode,
) {
    if times.began.elapsed() > context.config.grpc.request_expected {
        tell_v2(context, (method, path), times, status);
    }
}

#[cold]
fn tell_v2(context: &Context, (method, path): (&Method, &[u8]), times: &Times, status: StatusCode) {
    let Some(count) = context.slow_reads.v2.note(context.handle.clock().monotonic()) else {
        return;
    };
    let (took, _) = times.took();
    tracing::warn!(
        target: "etcdserver/api/v2http",
        ?took,
        "expected-duration" = ?context.config.grpc.request_expected,
        %method,
        path = %path.escape_ascii(),
        status = status.as_u16(),
        "read-index" = ?times.read_index,
        "waiting-for-memory" = ?times.room,
        remote = context.remote.map(tracing::field::display),
        times = count,
        "v2 request took too long"
    );
}
