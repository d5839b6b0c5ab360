//! Reads that take long are told in the log, in etcd's words.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use proto::{
    Loggable, Message as _,
    etcdserverpb::{RangeRequest, TxnRequest, TxnResponse},
};

use super::range::Answer;
use crate::context::Context;

/// A range was read, or was not.
pub(super) fn range(
    context: &Context,
    asked: &RangeRequest,
    took: Duration,
    answer: Option<&Answer>,
) {
    if took > context.handle.apply_expected() {
        let response = match answer {
            Some(Answer::Whole(whole, _)) => {
                format!("range_response_count:{} size:{}", whole.kvs.len(), whole.encoded_len())
            }
            Some(Answer::Large(_, sizes, _)) => format!("size:{}", sizes.all),
            None => String::new(),
        };
        tell(context, took, ("read-only range ", Loggable(asked).to_string(), response));
    }
}

/// What a transaction asks for, by number: more of it would have to be copied beforehand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    compare: usize,
    success: usize,
    failure: usize,
}

impl Counts {
    pub(super) fn of(request: &TxnRequest) -> Self {
        let TxnRequest { compare, success, failure } = request;
        Self { compare: compare.len(), success: success.len(), failure: failure.len() }
    }
}

/// A transaction that only reads was carried out.
pub(super) fn txn(context: &Context, asked: Counts, took: Duration, answer: &TxnResponse) {
    if took > context.handle.apply_expected() {
        let Counts { compare, success, failure } = asked;
        let request = format!("compare:{compare} success:{success} failure:{failure}");
        let size = answer.encoded_len();
        let response = format!("responses:{} size:{size}", answer.responses.len());
        tell(context, took, ("read-only txn ", request, response));
    }
}

#[cold]
fn tell(context: &Context, took: Duration, (prefix, request, response): (&str, String, String)) {
    let handle = &context.handle;
    handle.counters().applies_slow.fetch_add(1, Relaxed);
    let Some(times) = context.slow_reads.note(handle.clock().monotonic()) else { return };
    tracing::warn!(
        target: "etcdserver",
        ?took,
        "expected-duration" = ?handle.apply_expected(),
        prefix,
        request,
        response,
        times,
        "apply request took too long"
    );
}
