//! A lease that is kept for as long as its owner lives, on which locks and elections hang.

use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseRevokeRequest, RangeRequest, RangeResponse, WatchCreateRequest,
    range_request::{SortOrder, SortTarget},
    watch_create_request::FilterType,
};
use tokio::{sync::watch, task::JoinHandle};

use super::{client::Client, error::Error, range::prefix_end};

/// A lease that is kept. Dropping it ends the keeping, and the lease with its time.
#[derive(Debug)]
pub struct Session {
    pub(super) client: Client,
    lease: i64,
    keeper: JoinHandle<()>,
    /// True once the lease is gone.
    gone: watch::Receiver<bool>,
}

impl Client {
    /// Grants a lease of so many seconds, and keeps it.
    pub async fn session(&self, ttl: i64) -> Result<Session, Error> {
        let granted = self.lease_grant(LeaseGrantRequest { ttl, id: 0 }).await?;
        let mut kept = self.keep_alive(granted.id);
        let (tell, gone) = watch::channel(false);
        let keeper = tokio::spawn(async move {
            while let Ok(Some(_)) = kept.next().await {}
            tell.send_replace(true);
        });
        Ok(Session { client: self.clone(), lease: granted.id, keeper, gone })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Session {
    /// The lease's id.
    pub fn lease(&self) -> i64 {
        self.lease
    }

    /// Waits until the lease is gone.
    pub async fn expired(&self) {
        let mut gone = self.gone.clone();
        // The keeper says so before it goes.
        gone.wait_for(|gone| *gone).await.ok();
    }

    /// Gives the lease back, and with it all that hangs on it.
    pub async fn end(self) -> Result<(), Error> {
        self.keeper.abort();
        self.client.lease_revoke(LeaseRevokeRequest { id: self.lease }).await.map(drop)
    }

    /// Waits until no key below `prefix` is older than `revision`; gives the store's revision then.
    pub(super) async fn wait_for_turn(&self, prefix: &str, revision: i64) -> Result<i64, Error> {
        loop {
            // Who came right before us: one watch for each who waits, and nobody is woken in vain.
            let before = self.client.range(newest_before(prefix, revision)).await?;
            let now = before.header.as_ref().map_or(0, |header| header.revision);
            let Some(last) = before.kvs.first() else { return Ok(now) };
            let mut watcher = self.client.watch(WatchCreateRequest {
                key: last.key.clone(),
                start_revision: now + 1,
                filters: vec![FilterType::Noput.into()],
                ..WatchCreateRequest::default()
            });
            while watcher.next().await?.events.is_empty() {}
        }
    }
}

fn newest_before(prefix: &str, revision: i64) -> RangeRequest {
    RangeRequest {
        key: prefix.to_owned().into(),
        range_end: prefix_end(prefix.as_bytes()),
        limit: 1,
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Create.into(),
        max_create_revision: revision - 1,
        ..RangeRequest::default()
    }
}

/// The oldest key below a prefix: who holds the lock, or leads.
pub(super) fn oldest(prefix: &str) -> RangeRequest {
    RangeRequest {
        key: prefix.to_owned().into(),
        range_end: prefix_end(prefix.as_bytes()),
        limit: 1,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..RangeRequest::default()
    }
}

/// The store's revision when an answer was given.
pub(super) fn revision_of(answer: &RangeResponse) -> i64 {
    answer.header.as_ref().map_or(0, |header| header.revision)
}
