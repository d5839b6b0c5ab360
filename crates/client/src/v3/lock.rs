//! Locks, as the original's: the key `name/lease` waits for all that were made before it.

use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
    response_op::Response,
};

use super::{
    error::Error,
    session::{Session, oldest},
};

/// A lock that is held for as long as its session lives.
#[derive(Clone, Debug)]
pub struct Lock {
    /// The key that stands for it.
    pub key: String,
    /// The store's revision once it was held: grows with every owner, so that a storage behind it
    /// can refuse who held it before.
    pub revision: i64,
}

impl Session {
    /// Waits until the lock is ours.
    pub async fn lock(&self, name: &str) -> Result<Lock, Error> {
        let prefix = format!("{name}/");
        let key = format!("{prefix}{:x}", self.lease());
        let joined = self.join(&prefix, &key, "").await?;
        if joined.is_first {
            return Ok(Lock { key, revision: joined.now });
        }
        let expired = Error::SessionExpired { what: "mutex" };
        tokio::select! {
            turn = self.wait_for_turn(&prefix, joined.created) => { turn?; }
            () = self.expired() => return Err(expired),
        }
        // The lease may have gone while we waited, and the key with it.
        let own = self.client.range(RangeRequest { key: key.clone().into(), ..Default::default() });
        let own = own.await?;
        if own.kvs.is_empty() {
            return Err(expired);
        }
        Ok(Lock { key, revision: super::session::revision_of(&own) })
    }

    /// Gives the lock back.
    pub async fn unlock(&self, lock: &Lock) -> Result<(), Error> {
        let request = DeleteRangeRequest { key: lock.key.clone().into(), ..Default::default() };
        self.client.delete_range(request).await.map(drop)
    }

    /// Makes the session's key below a prefix, unless it is there, and sees who was first.
    pub(super) async fn join(&self, prefix: &str, key: &str, value: &str) -> Result<Joined, Error> {
        let own = RangeRequest { key: key.to_owned().into(), ..Default::default() };
        let put = PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            lease: self.lease(),
            ..PutRequest::default()
        };
        let op = |request| RequestOp { request: Some(request) };
        let first = op(Request::RequestRange(oldest(prefix)));
        // Carried out twice, it finds the key the second time.
        let request = TxnRequest {
            compare: vec![is_absent(key)],
            success: vec![op(Request::RequestPut(put)), first.clone()],
            failure: vec![op(Request::RequestRange(own)), first],
        };
        Ok(Joined::read(&self.client.txn_repeatable(request).await?, value))
    }
}

/// Holds while there is no such key.
pub(super) fn is_absent(key: &str) -> Compare {
    created_at(key, 0)
}

/// Holds while the key is the one that was made at that revision.
pub(super) fn created_at(key: &str, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}

/// How a session's key stands among the others.
pub(super) struct Joined {
    /// When our key was made.
    pub(super) created: i64,
    /// Whether ours is the oldest.
    pub(super) is_first: bool,
    /// Whether it holds what we wanted it to.
    pub(super) is_as_wanted: bool,
    /// The store's revision.
    pub(super) now: i64,
}

impl Joined {
    fn read(answer: &TxnResponse, value: &str) -> Self {
        let now = answer.header.as_ref().map_or(0, |header| header.revision);
        let kv = |at: usize| {
            let response = answer.responses.get(at)?.response.as_ref()?;
            let Response::ResponseRange(range) = response else { return None };
            range.kvs.first()
        };
        let own = if answer.succeeded { None } else { kv(0) };
        let created = own.map_or(now, |own| own.create_revision);
        let is_first = kv(1).is_none_or(|first| first.create_revision == created);
        let is_as_wanted = own.is_none_or(|own| own.value == value);
        Self { created, is_first, is_as_wanted, now }
    }
}
