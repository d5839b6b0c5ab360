//! Copying keys from one cluster to another: all that there is, then what changes.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use client::v3::{Client, after, prefix_end};
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
        request_op::Request,
    },
    mvccpb::{Event, KeyValue, event::EventType},
};

use crate::{
    failure::{Exit, Failure},
    v3::{failed, progress::Progress},
};

/// Keys that are read at a time.
const PAGE: i64 = 1000;
/// What one transaction writes at most, so that it is no larger than a server takes; one key alone
/// may be larger.
const TXN_BYTES: usize = 1 << 20;

/// How many keys have been copied.
#[derive(Clone, Default)]
pub(super) struct Counter(Rc<Cell<u64>>);

impl Counter {
    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// One way from a cluster to another.
pub(super) struct Copy {
    from: Client,
    to: Client,
    prefix: Bytes,
    new_prefix: Bytes,
    ops_max: usize,
    /// What the next transaction is to write.
    waiting: Vec<RequestOp>,
    waiting_bytes: usize,
    copied: Counter,
    progress: Progress,
}

impl Copy {
    pub(super) fn new(
        from: Client,
        to: Client,
        prefix: Bytes,
        new_prefix: Bytes,
        ops_max: usize,
    ) -> Self {
        Self {
            from,
            to,
            prefix,
            new_prefix,
            ops_max,
            waiting: Vec::new(),
            waiting_bytes: 0,
            copied: Counter::default(),
            progress: Progress::endless("mirror"),
        }
    }

    pub(super) fn counter(&self) -> Counter {
        self.copied.clone()
    }

    /// Goes on until something fails. `revision`: the first whose changes are copied; 0 copies all
    /// that there is before.
    pub(super) async fn run(&mut self, revision: i64) -> Result<(), Failure> {
        // The original takes 1 for 0 too.
        let first = if revision > 1 { revision } else { self.copy_all().await? + 1 };
        self.copy_changes(first).await
    }

    fn range(&self) -> (Bytes, Bytes) {
        let all = Bytes::from_static(b"\0");
        if self.prefix.is_empty() {
            return (all.clone(), all);
        }
        (self.prefix.clone(), prefix_end(&self.prefix))
    }

    /// Copies what there is at one revision, and gives that.
    async fn copy_all(&mut self) -> Result<i64, Failure> {
        let (mut key, range_end) = self.range();
        let mut revision = 0;
        loop {
            let request = RangeRequest {
                key,
                range_end: range_end.clone(),
                limit: PAGE,
                revision,
                ..RangeRequest::default()
            };
            let page = self.from.range(request).await.map_err(failed(Exit::Error))?;
            if revision == 0 {
                revision = page.header.map_or(0, |header| header.revision);
            }
            let last = page.kvs.last().map(|kv| after(&kv.key));
            for kv in page.kvs {
                self.add(Some(kv), EventType::Put).await?;
            }
            match last {
                Some(next) if page.more => key = next,
                Some(_) | None => break,
            }
        }
        self.write().await?;
        Ok(revision)
    }

    /// Copies changes: those of one revision in one transaction, if it can hold them.
    async fn copy_changes(&mut self, first: i64) -> Result<(), Failure> {
        let (key, range_end) = self.range();
        let mut watcher = self.from.watch(WatchCreateRequest {
            key,
            range_end,
            start_revision: first,
            ..WatchCreateRequest::default()
        });
        loop {
            let answer = watcher.next().await.map_err(failed(Exit::Error))?;
            let mut revision = 0;
            for event in answer.events {
                let of = revision_of(&event);
                if of != revision {
                    self.write().await?;
                    revision = of;
                }
                let kind = event.r#type();
                self.add(event.kv, kind).await?;
            }
            self.write().await?;
        }
    }

    async fn add(&mut self, kv: Option<KeyValue>, kind: EventType) -> Result<(), Failure> {
        let Some(kv) = kv else { return Ok(()) };
        let size = kv.key.len() + kv.value.len();
        if self.waiting.len() >= self.ops_max || self.waiting_bytes + size > TXN_BYTES {
            self.write().await?;
        }
        let rest = kv.key.get(self.prefix.len()..).unwrap_or_default();
        let key: Bytes = self.new_prefix.iter().chain(rest).copied().collect();
        let request = match kind {
            EventType::Put => {
                Request::RequestPut(PutRequest { key, value: kv.value, ..Default::default() })
            }
            EventType::Delete => {
                Request::RequestDeleteRange(DeleteRangeRequest { key, ..Default::default() })
            }
        };
        self.waiting.push(RequestOp { request: Some(request) });
        self.waiting_bytes += size;
        Ok(())
    }

    /// Writes what waits. Nobody else writes there: twice is as good as once.
    async fn write(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let success = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let count = success.len() as u64;
        let request = TxnRequest { success, ..TxnRequest::default() };
        self.to.txn_repeatable(request).await.map_err(failed(Exit::Error))?;
        self.copied.0.set(self.copied.get() + count);
        self.progress.add(count);
        Ok(())
    }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}
