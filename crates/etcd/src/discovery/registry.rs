//! `--discovery-token`: the same through API 3, at any cluster that speaks it. Its keys lie below
//! `/_etcd/registry/<token>`: `_config/size`, and `members/<id>` with `name=URL` as value.

use std::time::Duration;

use base::OsDisk;
use bytes::Bytes;
use client::v3::{Client, Error, Watcher, prefix_end};
use proto::{
    etcdserverpb::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
    mvccpb::KeyValue,
};
use tokio::time;

use super::{MEMBERS_MAX, NotFound, Note, PAUSE, PAUSE_MAX, cannot, full, twice};
use crate::config::{Members, Registry};

/// As [`super::join`], at a registry.
pub(crate) async fn join(
    registry: &Registry,
    member: &server::Config,
) -> Result<Members, NotFound> {
    let row = member.peer_urls.iter().map(|url| format!("{}={url}", member.name));
    let row = row.collect::<Vec<_>>().join(",");
    let id = server::founding_id(member);
    let token = shown(registry);
    let note = Note { disk: &OsDisk, data_dir: &member.data_dir, token: &token, member: id };
    let found = async {
        let mut service = Service::new(registry, &id.to_string())?;
        service.join(&row, &note).await
    };
    // A member that comes late is no proxy here, as in etcd.
    found.await.map_err(|why| NotFound::Other(format!("--discovery-token {token}: {why}")))
}

/// As [`super::look`], at a registry.
pub(crate) async fn look(registry: &Registry) -> Result<Members, String> {
    let found = async {
        // No member's key is empty.
        let mut service = Service::new(registry, "")?;
        service.wait_for_all().await
    };
    found.await.map_err(|why| format!("--discovery-token {}: {why}", shown(registry)))
}

/// For messages, and for the note: tokens of two registries may be the same.
fn shown(registry: &Registry) -> String {
    format!("{} at {}", registry.token, base::url::shown(&registry.endpoints.join(",")))
}

/// A token, as one member sees it.
struct Service<'a> {
    client: Client,
    registry: &'a Registry,
    size_key: String,
    members_prefix: String,
    /// The key of whoever asks.
    own: String,
    pause: Duration,
}

/// Who has come.
struct Come {
    /// The first first, and no more than are to come.
    members: Vec<KeyValue>,
    size: usize,
    revision: i64,
}

/// Why a step failed: for good, or for now.
enum Failed {
    ForGood(String),
    ForNow(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        // History that is gone is no harm: a look tells as much.
        if error.is_passing() || matches!(error, Error::Compacted { .. }) {
            Self::ForNow(error)
        } else {
            Self::ForGood(error.to_string())
        }
    }
}

impl<'a> Service<'a> {
    fn new(registry: &'a Registry, own: &str) -> Result<Self, String> {
        let client = registry.client().map_err(|error| error.to_string())?;
        let token = format!("/_etcd/registry/{}", registry.token.trim_matches('/'));
        tracing::info!(target: "discovery", "asking the discovery service for {}", shown(registry));
        Ok(Self {
            client,
            registry,
            size_key: format!("{token}/_config/size"),
            own: format!("{token}/members/{own}"),
            members_prefix: format!("{token}/members/"),
            pause: PAUSE,
        })
    }

    async fn join(&mut self, row: &str, note: &Note<'_>) -> Result<Members, String> {
        let mut may_be_there = note.is_there().map_err(|error| cannot("read", note, &error))?;
        // Who finds the token full does not register.
        let come = self.look_at_last().await?;
        self.has_place(&come)?;
        note.leave().map_err(|error| cannot("leave", note, &error))?;
        while let Err(failed) = self.register(row, may_be_there).await {
            // A write that got no answer may have been carried out.
            may_be_there = true;
            self.back_off("registration", failed).await?;
        }
        let come = self.look_at_last().await?;
        self.has_place(&come)?;
        self.wait_for_all().await
    }

    async fn wait_for_all(&mut self) -> Result<Members, String> {
        loop {
            let come = self.look_at_last().await?;
            let (there, size) = (come.members.len(), come.size);
            if there == size {
                tracing::info!(target: "discovery", "found {size} needed peer(s)");
                return members(&come);
            }
            let left = size - there;
            tracing::info!(
                target: "discovery",
                "found {there} peer(s), waiting for {left} more"
            );
            if let Err(failed) = self.next_change(come.revision).await {
                self.back_off("waiting for other nodes", failed).await?;
            }
        }
    }

    fn has_place(&self, come: &Come) -> Result<(), String> {
        let is_among = come.members.iter().any(|member| member.key == self.own.as_bytes());
        if is_among || come.members.len() < come.size { Ok(()) } else { Err(full(come.size)) }
    }

    async fn look_at_last(&mut self) -> Result<Come, String> {
        loop {
            match self.look().await {
                Ok(come) => {
                    self.pause = PAUSE;
                    return Ok(come);
                }
                Err(failed) => self.back_off("cluster status check", failed).await?,
            }
        }
    }

    async fn back_off(&mut self, step: &str, failed: Failed) -> Result<(), String> {
        let error = match failed {
            Failed::ForGood(why) => return Err(why),
            Failed::ForNow(error) => error,
        };
        let mut why = error.to_string();
        if let Error::Deadline { troubles } = &error
            && !troubles.is_empty()
        {
            why = troubles.join("; ");
        }
        let (endpoints, pause) = (self.registry.endpoints.join(","), self.pause);
        tracing::warn!(
            target: "discovery",
            "{step}: error connecting to {endpoints}, retrying in {}s: {why}", pause.as_secs()
        );
        time::sleep(pause).await;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    /// A client whose calls end as `--discovery-request-timeout` says.
    fn briefly(&self) -> Client {
        self.client.within(self.registry.request_timeout)
    }

    async fn look(&self) -> Result<Come, Failed> {
        let one = RangeRequest { key: bytes(&self.size_key), ..RangeRequest::default() };
        let found = self.briefly().range(one).await?;
        let Some(size) = found.kvs.first() else {
            return Err(Failed::ForGood(format!(
                "discovery: size key not found: this is no token, or it has no size yet: etcdctl \
                 put {} 3",
                self.size_key
            )));
        };
        let text = String::from_utf8_lossy(&size.value).into_owned();
        let size = text.parse().ok().filter(|size| (1..=MEMBERS_MAX).contains(size));
        let bad = || format!("discovery: size key is bad: {text:?} is no number of members");
        let size = size.ok_or_else(|| Failed::ForGood(bad()))?;
        let all = RangeRequest {
            key: bytes(&self.members_prefix),
            range_end: prefix_end(self.members_prefix.as_bytes()),
            limit: 2 * i64::try_from(MEMBERS_MAX).unwrap_or(i64::MAX),
            ..RangeRequest::default()
        };
        let found = self.briefly().range(all).await?;
        let mut members = found.kvs;
        // Others are skipped, as in etcd.
        members.retain(|member| member.value.contains(&b'='));
        members.sort_unstable_by_key(|member| member.create_revision);
        members.truncate(size);
        let revision = found.header.map_or(0, |header| header.revision);
        Ok(Come { members, size, revision })
    }

    async fn register(&self, row: &str, may_be_there: bool) -> Result<(), Failed> {
        let key = bytes(&self.own);
        let absent = Compare {
            key: key.clone(),
            result: CompareResult::Equal.into(),
            target: CompareTarget::Create.into(),
            target_union: Some(TargetUnion::CreateRevision(0)),
            ..Compare::default()
        };
        let put = PutRequest { key: key.clone(), value: bytes(row), ..PutRequest::default() };
        let txn = TxnRequest {
            compare: vec![absent],
            success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
            failure: Vec::new(),
        };
        if self.briefly().txn(txn).await?.succeeded {
            return Ok(());
        }
        let one = RangeRequest { key, ..RangeRequest::default() };
        let there = self.briefly().range(one).await?;
        let is_ours = there.kvs.first().is_some_and(|there| there.value == row.as_bytes());
        if may_be_there && is_ours {
            return Ok(());
        }
        let id = self.own.rsplit('/').next().unwrap_or_default();
        Err(Failed::ForGood(twice(id)))
    }

    async fn next_change(&self, revision: i64) -> Result<(), Failed> {
        let what = WatchCreateRequest {
            key: bytes(&self.members_prefix),
            range_end: prefix_end(self.members_prefix.as_bytes()),
            start_revision: revision + 1,
            ..WatchCreateRequest::default()
        };
        let mut watcher: Watcher = self.client.watch(what);
        loop {
            if !watcher.next().await?.events.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Those who have come, as an initial cluster.
fn members(come: &Come) -> Result<Members, String> {
    let rows = come.members.iter().map(|one| String::from_utf8_lossy(&one.value));
    let rows = rows.collect::<Vec<_>>().join(",");
    super::cluster(&rows, come.size)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
