//! What `fuzz/` reaches: parsers of what clients send.

use bytes::Bytes;
use http::Method;
use proto::{Message as _, command::KeysWrite, etcdserverpb};

use crate::{
    gateway,
    v2::{form::Form, parameters::Parameters},
};

/// A request to the keys of v2: a byte for its method, its query, a byte 0, and its form. What is
/// understood must come through the log as it is.
pub fn form(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let methods = [Method::PUT, Method::POST, Method::DELETE, Method::GET];
    let [writes @ .., get] = &methods;
    let method = writes.get(usize::from(first % 4)).unwrap_or(get);
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let mut form = Form::default();
    for part in parts.by_ref() {
        if form.add(part).is_err() {
            return;
        }
    }
    let Ok(parameters) = Parameters::parse(method, &form) else { return };
    if method != Method::GET {
        let write = parameters.write(method, Bytes::from_static(b"/a"), None);
        let decoded = KeysWrite::decode(&*write.encode_to_vec());
        assert_eq!(decoded.ok().as_ref(), Some(&write));
    }
}

/// Questions to the gateway, and messages that it answers with: a byte for their kind. Questions have
/// one for the size of the pieces in which they come, and JSON: pieces give what the whole gives.
/// Answers are messages of gRPC: as JSON they say the same.
pub fn json(data: &[u8]) {
    let [kind, piece, rest @ ..] = data else { return };
    let piece = usize::from(*piece).max(1);
    match kind % 16 {
        0 => gateway::fuzz::<etcdserverpb::PutRequest>(rest, piece),
        1 => gateway::fuzz::<etcdserverpb::RangeRequest>(rest, piece),
        2 => gateway::fuzz::<etcdserverpb::TxnRequest>(rest, piece),
        3 => gateway::fuzz::<etcdserverpb::WatchRequest>(rest, piece),
        4 => gateway::fuzz::<etcdserverpb::LeaseKeepAliveRequest>(rest, piece),
        5 => gateway::fuzz::<etcdserverpb::AuthRoleGrantPermissionRequest>(rest, piece),
        6 => gateway::fuzz_answer::<etcdserverpb::RangeResponse>(rest),
        7 => gateway::fuzz_answer::<etcdserverpb::TxnResponse>(rest),
        8 => gateway::fuzz_answer::<etcdserverpb::WatchResponse>(rest),
        9 => gateway::fuzz_answer::<etcdserverpb::LeaseTimeToLiveResponse>(rest),
        10 => gateway::fuzz_answer::<etcdserverpb::MemberListResponse>(rest),
        11 => gateway::fuzz_answer::<etcdserverpb::StatusResponse>(rest),
        12 => gateway::fuzz_answer::<etcdserverpb::AlarmResponse>(rest),
        13 => gateway::fuzz_answer::<etcdserverpb::AuthRoleGetResponse>(rest),
        // The same for what is asked.
        14 => gateway::fuzz_answer::<etcdserverpb::TxnRequest>(rest),
        _ => gateway::fuzz_answer::<etcdserverpb::WatchRequest>(rest),
    }
}
