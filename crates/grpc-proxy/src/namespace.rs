//! The part of the keyspace that clients see: all their keys begin with a prefix that they do not
//! know of.

use base::Refused;
use bytes::{BufMut as _, Bytes, BytesMut};
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse, request_op, response_op,
    },
    mvccpb::{Event, KeyValue},
};

/// The end of a range that has none.
const TO_THE_END: &[u8] = &[0];

/// The prefix; empty: clients see all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespace(Bytes);

impl Namespace {
    pub(crate) fn new(prefix: impl Into<Bytes>) -> Self {
        Self(prefix.into())
    }

    /// A client's key as members have it.
    pub(crate) fn key(&self, key: &Bytes) -> Bytes {
        if self.0.is_empty() {
            return key.clone();
        }
        let mut whole = BytesMut::with_capacity(self.0.len() + key.len());
        whole.put_slice(&self.0);
        whole.put_slice(key);
        whole.freeze()
    }

    /// The end of a range, likewise. What goes to the end goes to that of the namespace.
    pub(crate) fn end(&self, end: &Bytes) -> Bytes {
        if self.0.is_empty() || end.is_empty() {
            return end.clone();
        }
        if end == TO_THE_END {
            return client::v3::prefix_end(&self.0);
        }
        self.key(end)
    }

    /// Takes the prefix off a member's key.
    fn strip(&self, key: &mut Bytes) {
        if key.starts_with(&self.0) {
            *key = key.slice(self.0.len()..);
        }
    }

    fn strip_kv(&self, kv: &mut KeyValue) {
        self.strip(&mut kv.key);
    }

    /// Only within a namespace: else the empty key is for the members to refuse. There it would be a
    /// key.
    fn check(&self, key: &Bytes) -> Result<(), Refused> {
        let is_bad = key.is_empty() && !self.0.is_empty();
        if is_bad { Err(Refused::EmptyKey) } else { Ok(()) }
    }

    pub(crate) fn range(&self, request: &mut RangeRequest) -> Result<(), Refused> {
        self.check(&request.key)?;
        request.key = self.key(&request.key);
        request.range_end = self.end(&request.range_end);
        Ok(())
    }

    pub(crate) fn put(&self, request: &mut PutRequest) -> Result<(), Refused> {
        self.check(&request.key)?;
        request.key = self.key(&request.key);
        Ok(())
    }

    pub(crate) fn delete(&self, request: &mut DeleteRangeRequest) -> Result<(), Refused> {
        self.check(&request.key)?;
        request.key = self.key(&request.key);
        request.range_end = self.end(&request.range_end);
        Ok(())
    }

    pub(crate) fn txn(&self, request: &mut TxnRequest) -> Result<(), Refused> {
        if self.0.is_empty() {
            return Ok(());
        }
        for compare in &mut request.compare {
            self.check(&compare.key)?;
            compare.key = self.key(&compare.key);
            compare.range_end = self.end(&compare.range_end);
        }
        let ops = request.success.iter_mut().chain(&mut request.failure);
        for op in ops {
            self.op(op)?;
        }
        Ok(())
    }

    fn op(&self, op: &mut RequestOp) -> Result<(), Refused> {
        match &mut op.request {
            Some(request_op::Request::RequestRange(request)) => self.range(request),
            Some(request_op::Request::RequestPut(request)) => self.put(request),
            Some(request_op::Request::RequestDeleteRange(request)) => self.delete(request),
            // Decoding has bounded how deep this goes.
            Some(request_op::Request::RequestTxn(request)) => self.txn(request),
            None => Ok(()),
        }
    }

    pub(crate) fn ranged(&self, answer: &mut RangeResponse) {
        answer.kvs.iter_mut().for_each(|kv| self.strip_kv(kv));
    }

    pub(crate) fn was_put(&self, answer: &mut PutResponse) {
        answer.prev_kv.iter_mut().for_each(|kv| self.strip_kv(kv));
    }

    pub(crate) fn deleted(&self, answer: &mut DeleteRangeResponse) {
        answer.prev_kvs.iter_mut().for_each(|kv| self.strip_kv(kv));
    }

    pub(crate) fn txned(&self, answer: &mut TxnResponse) {
        answer.responses.iter_mut().for_each(|op| self.opped(op));
    }

    fn opped(&self, op: &mut ResponseOp) {
        match &mut op.response {
            Some(response_op::Response::ResponseRange(answer)) => self.ranged(answer),
            Some(response_op::Response::ResponsePut(answer)) => self.was_put(answer),
            Some(response_op::Response::ResponseDeleteRange(answer)) => self.deleted(answer),
            Some(response_op::Response::ResponseTxn(answer)) => self.txned(answer),
            None => {}
        }
    }

    pub(crate) fn events(&self, events: &mut [Event]) {
        for event in events {
            let kvs = event.kv.iter_mut().chain(&mut event.prev_kv);
            kvs.for_each(|kv| self.strip_kv(kv));
        }
    }

    /// The keys of a lease: of other namespaces nothing is told.
    pub(crate) fn keys(&self, keys: &mut Vec<Bytes>) {
        keys.retain(|key| key.starts_with(&self.0));
        for key in keys {
            self.strip(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::Compare;

    use super::*;

    fn namespace() -> Namespace {
        Namespace::new("ns/")
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_range_stays_within_the_namespace() {
        let check = |key, end, expected: (&str, &str)| {
            let mut request =
                RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() };
            namespace().range(&mut request).unwrap();
            assert_eq!(
                (&*request.key, &*request.range_end),
                (expected.0.as_bytes(), expected.1.as_bytes())
            );
        };
        check("a", "", ("ns/a", ""));
        check("a", "b", ("ns/a", "ns/b"));
        check("a", "\0", ("ns/a", "ns0"));
        check("\0", "\0", ("ns/\0", "ns0"));
        let mut nothing = RangeRequest::default();
        assert_eq!(namespace().range(&mut nothing), Err(Refused::EmptyKey));
        // All bytes are as large as they can be: there is nothing behind them.
        let last = Namespace::new(vec![255, 255]);
        assert_eq!(last.end(&bytes("\0")), bytes("\0"));
    }

    #[test]
    fn transactions_within_transactions_are_of_the_namespace_too() {
        let op = |request| RequestOp { request: Some(request) };
        let put = |key| PutRequest { key: bytes(key), ..Default::default() };
        let inner = |key| TxnRequest {
            compare: vec![Compare {
                key: bytes("c"),
                range_end: bytes("\0"),
                ..Default::default()
            }],
            success: vec![op(request_op::Request::RequestPut(put(key)))],
            failure: vec![op(request_op::Request::RequestDeleteRange(DeleteRangeRequest {
                key: bytes("d"),
                range_end: bytes("e"),
                ..Default::default()
            }))],
        };
        let outer = |key| TxnRequest {
            failure: vec![op(request_op::Request::RequestTxn(inner(key)))],
            ..Default::default()
        };
        let mut request = outer("p");
        namespace().txn(&mut request).unwrap();
        let Some(request_op::Request::RequestTxn(found)) = &request.failure[0].request else {
            panic!("{request:?}");
        };
        let mut expected = inner("ns/p");
        expected.compare[0].key = bytes("ns/c");
        expected.compare[0].range_end = bytes("ns0");
        if let Some(request_op::Request::RequestDeleteRange(delete)) =
            &mut expected.failure[0].request
        {
            delete.key = bytes("ns/d");
            delete.range_end = bytes("ns/e");
        }
        assert_eq!(found, &expected);
        assert_eq!(namespace().txn(&mut outer("")), Err(Refused::EmptyKey));
    }

    #[test]
    fn answers_lose_the_prefix_and_other_namespaces_are_not_told_of() {
        let kv = |key| KeyValue { key: bytes(key), ..Default::default() };
        let mut answer = TxnResponse {
            responses: vec![ResponseOp {
                response: Some(response_op::Response::ResponseTxn(TxnResponse {
                    responses: vec![ResponseOp {
                        response: Some(response_op::Response::ResponseRange(RangeResponse {
                            kvs: vec![kv("ns/a")],
                            ..Default::default()
                        })),
                    }],
                    ..Default::default()
                })),
            }],
            ..Default::default()
        };
        namespace().txned(&mut answer);
        assert!(format!("{answer:?}").contains("key: b\"a\""), "{answer:?}");
        let mut keys = vec![bytes("ns/a"), bytes("nsb"), bytes("n"), bytes("ns/")];
        namespace().keys(&mut keys);
        assert_eq!(keys, [bytes("a"), bytes("")]);
        let mut events =
            [Event { kv: Some(kv("ns/a")), prev_kv: Some(kv("ns/a")), ..Default::default() }];
        namespace().events(&mut events);
        assert_eq!(events[0].kv, events[0].prev_kv);
        assert_eq!(events[0].kv, Some(kv("a")));
    }
}
