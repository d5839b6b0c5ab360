//! Calls of the v3 API as bytes, and what of their answers is looked at.

use std::{net::SocketAddr, rc::Rc};

use proto::{
    Message as _,
    etcdserverpb::{
        Compare, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, PutRequest,
        RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        watch_request::RequestUnion,
    },
};

use super::work::Method;
use crate::{calls::Calls, frames::Call};

/// Of every value.
pub(super) const VALUE_BYTES: usize = 256;
/// Of every key.
const KEY_BYTES: usize = 32;
const PREFIX: &str = "/bench/";

pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub(super) const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";

/// An hour: none ends while it is measured.
const TTL_SECONDS: i64 = 3600;

pub(super) fn key(number: u64) -> Vec<u8> {
    let digits = KEY_BYTES - PREFIX.len();
    format!("{PREFIX}{number:0digits$}").into_bytes()
}

fn put_request(key: Vec<u8>) -> PutRequest {
    PutRequest { key: key.into(), value: vec![b'x'; VALUE_BYTES].into(), ..PutRequest::default() }
}

pub(super) fn put_message(key: Vec<u8>) -> Vec<u8> {
    put_request(key).encode_to_vec()
}

fn put(endpoint: SocketAddr, key: Vec<u8>) -> Call {
    Call::new(endpoint, PUT, &put_message(key))
}

/// A call of this method about this key, or all.
pub(super) fn call(endpoint: SocketAddr, method: Method, number: u64) -> Call {
    let range = |range: RangeRequest| Call::new(endpoint, RANGE, &range.encode_to_vec());
    let key = key(number);
    let all = RangeRequest {
        key: PREFIX.into(),
        // What follows the prefix: `/` becomes `0`.
        range_end: "/bench0".into(),
        ..RangeRequest::default()
    };
    match method {
        Method::Put => put(endpoint, key),
        Method::Get => range(RangeRequest { key: key.into(), ..RangeRequest::default() }),
        Method::SerializableGet => {
            range(RangeRequest { key: key.into(), serializable: true, ..RangeRequest::default() })
        }
        Method::Range | Method::RangeOfAll => range(all),
        Method::Txn => {
            let there = Compare {
                result: CompareResult::NotEqual.into(),
                target: CompareTarget::Create.into(),
                key: key.clone().into(),
                target_union: Some(TargetUnion::CreateRevision(0)),
                ..Compare::default()
            };
            let get = RangeRequest { key: key.clone().into(), ..RangeRequest::default() };
            let step = |request| RequestOp { request: Some(request) };
            let txn = TxnRequest {
                compare: vec![there],
                success: vec![
                    step(Request::RequestPut(put_request(key))),
                    step(Request::RequestRange(get)),
                ],
                failure: Vec::new(),
            };
            Call::new(endpoint, TXN, &txn.encode_to_vec())
        }
    }
}

/// Writes so many keys, over and over.
pub(super) fn fill(endpoint: SocketAddr, keys: u64) -> Calls {
    Rc::new(move |number, stream, out| {
        let call = put(endpoint, key(number % keys.max(1)));
        call.write(out, stream);
        call.data_bytes()
    })
}

/// Grants the leases from 1 on.
pub(super) fn grants(endpoint: SocketAddr) -> Calls {
    Rc::new(move |number, stream, out| {
        let id = i64::try_from(number + 1).unwrap_or(1);
        let grant = LeaseGrantRequest { ttl: TTL_SECONDS, id };
        let call = Call::new(endpoint, GRANT, &grant.encode_to_vec());
        call.write(out, stream);
        call.data_bytes()
    })
}

pub(super) fn keep_alive(id: i64) -> Vec<u8> {
    LeaseKeepAliveRequest { id }.encode_to_vec()
}

/// Whether the lease is there.
pub(super) fn is_kept_alive(answer: &[u8]) -> bool {
    LeaseKeepAliveResponse::decode(answer).is_ok_and(|answer| answer.ttl > 0)
}

/// Begins a watch of a key.
pub(super) fn watch(key: Vec<u8>) -> Vec<u8> {
    let create = WatchCreateRequest { key: key.into(), ..WatchCreateRequest::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec()
}

/// What a watch says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Created,
    Events(usize),
    /// It is over, or makes no sense.
    Lost,
}

/// Looks at the numbers of fields only: there are very many of these, and the load's time is the server's.
pub(super) fn told(mut message: &[u8]) -> Told {
    let (mut events, mut created) = (0, false);
    while !message.is_empty() {
        let Some((tag, rest)) = varint(message) else { return Told::Lost };
        let Some((value, rest)) = varint(rest) else { return Told::Lost };
        message = match (tag >> 3, tag & 7) {
            // `canceled`
            (4, 0) if value != 0 => return Told::Lost,
            (3, 0) => {
                created = value != 0;
                rest
            }
            (_, 0) => rest,
            (number, 2) => {
                events += usize::from(number == 11);
                match usize::try_from(value).ok().and_then(|length| rest.get(length..)) {
                    Some(rest) => rest,
                    None => return Told::Lost,
                }
            }
            _ => return Told::Lost,
        };
    }
    if created { Told::Created } else { Told::Events(events) }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at_checked(end + 1)?;
    let value = number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use proto::{
        etcdserverpb::{ResponseHeader, WatchResponse},
        mvccpb::{Event, KeyValue},
    };

    use super::*;

    fn said(response: &WatchResponse) -> Told {
        told(&response.encode_to_vec())
    }

    #[test]
    fn what_a_watch_says_is_seen_without_decoding_it() {
        let header =
            ResponseHeader { cluster_id: u64::MAX, member_id: 1, revision: 7, raft_term: 2 };
        let base =
            WatchResponse { header: Some(header), watch_id: 300, ..WatchResponse::default() };
        let created = WatchResponse { created: true, ..base.clone() };
        assert_eq!(said(&created), Told::Created);
        let kv =
            KeyValue { key: key(1).into(), value: vec![0x5a; 300].into(), ..KeyValue::default() };
        let event = Event { kv: Some(kv), ..Event::default() };
        let events = WatchResponse { events: vec![event.clone(), event], ..base.clone() };
        assert_eq!(said(&events), Told::Events(2));
        let canceled = WatchResponse { canceled: true, ..base.clone() };
        assert_eq!(said(&canceled), Told::Lost);
        assert_eq!(said(&base), Told::Events(0));
        let bytes = events.encode_to_vec();
        assert_eq!(told(&bytes[..bytes.len() - 1]), Told::Lost);
    }

    #[test]
    fn keys_have_their_length_and_lie_in_the_range_of_all() {
        for number in [0, 999_999, u64::from(u32::MAX)] {
            let key = key(number);
            assert_eq!(key.len(), KEY_BYTES);
            assert!(b"/bench/"[..] <= key[..] && key[..] < b"/bench0"[..]);
        }
    }
}
