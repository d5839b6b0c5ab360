//! What stands at the head of every answer.

use proto::etcdserverpb::ResponseHeader;
use server::Handle;

/// The head of an answer that saw the keyspace at this revision.
pub(crate) fn header(handle: &Handle, revision: i64) -> ResponseHeader {
    ResponseHeader {
        cluster_id: handle.cluster_id().0,
        member_id: handle.member_id().0,
        revision,
        raft_term: handle.status().term.0,
    }
}

/// Completes the head of an answer, which has only the revision.
pub(crate) fn complete(handle: &Handle, head: &mut Option<ResponseHeader>, term: u64) {
    let revision = head.as_ref().map_or(0, |head| head.revision);
    *head = Some(ResponseHeader { raft_term: term, ..header(handle, revision) });
}

/// The same, at the newest revision.
pub(crate) fn now(handle: &Handle) -> ResponseHeader {
    header(handle, handle.reader().store().revision())
}
