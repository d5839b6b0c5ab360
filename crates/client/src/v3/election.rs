//! Elections, as the original's: who made the oldest key below the name leads, and its value is
//! what is proclaimed.

use std::collections::VecDeque;

use proto::{
    etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
        WatchCreateRequest, request_op::Request,
    },
    mvccpb::{KeyValue, event::EventType},
};

use super::{
    client::Client,
    error::Error,
    lock::created_at,
    range::prefix_end,
    session::{Session, oldest, revision_of},
    watch::Watcher,
};

/// A leadership that was won.
#[derive(Clone, Debug)]
pub struct Election {
    /// The key that stands for it.
    pub key: String,
    created: i64,
}

impl Session {
    /// Waits until we lead, with `value` proclaimed.
    pub async fn campaign(&self, name: &str, value: &str) -> Result<Election, Error> {
        let prefix = format!("{name}/");
        let key = format!("{prefix}{:x}", self.lease());
        let joined = self.join(&prefix, &key, value).await?;
        let election = Election { key, created: joined.created };
        if !joined.is_as_wanted {
            self.proclaim(&election, value).await?;
        }
        if joined.is_first {
            return Ok(election);
        }
        tokio::select! {
            turn = self.wait_for_turn(&prefix, joined.created) => { turn?; }
            () = self.expired() => return Err(Error::SessionExpired { what: "election" }),
        }
        Ok(election)
    }

    /// Gives leadership back.
    pub async fn resign(&self, election: &Election) -> Result<(), Error> {
        let key = election.key.clone().into();
        let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        self.if_ours(election, Request::RequestDeleteRange(delete)).await
    }

    async fn proclaim(&self, election: &Election, value: &str) -> Result<(), Error> {
        let put = PutRequest {
            key: election.key.clone().into(),
            value: value.to_owned().into(),
            lease: self.lease(),
            ..PutRequest::default()
        };
        self.if_ours(election, Request::RequestPut(put)).await
    }

    /// Does it unless the key has become another's.
    async fn if_ours(&self, election: &Election, request: Request) -> Result<(), Error> {
        let request = TxnRequest {
            compare: vec![created_at(&election.key, election.created)],
            success: vec![RequestOp { request: Some(request) }],
            failure: Vec::new(),
        };
        self.client.txn(request).await.map(drop)
    }
}

impl Client {
    /// Follows who leads.
    pub fn leaders(&self, name: &str) -> Leaders {
        let prefix = format!("{name}/");
        Leaders { client: self.with_leader(), prefix, follows: None, found: VecDeque::new() }
    }
}

/// Each leader of an election, and each of its proclamations, told once.
#[derive(Debug)]
pub struct Leaders {
    client: Client,
    prefix: String,
    /// The one who leads.
    follows: Option<Watcher>,
    found: VecDeque<RangeResponse>,
}

impl Leaders {
    /// Waits for the next leader or proclamation: a range of the one key. Dropping the returned
    /// future loses nothing.
    pub async fn next(&mut self) -> Result<RangeResponse, Error> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(found);
            }
            let Some(watcher) = &mut self.follows else {
                self.find().await?;
                continue;
            };
            let answer = watcher.next().await?;
            for event in answer.events {
                if event.r#type() == EventType::Delete {
                    self.follows = None;
                    break;
                }
                self.found.extend(event.kv.map(|kv| found(answer.header, kv)));
            }
        }
    }

    /// Finds the one who leads, or the first who comes.
    async fn find(&mut self) -> Result<(), Error> {
        let mut leads = self.client.range(oldest(&self.prefix)).await?;
        if leads.kvs.is_empty() {
            leads = self.first_to_come(revision_of(&leads) + 1).await?;
        }
        let Some(leader) = leads.kvs.first() else { return Ok(()) };
        self.follows = Some(self.client.watch(WatchCreateRequest {
            key: leader.key.clone(),
            start_revision: revision_of(&leads) + 1,
            ..WatchCreateRequest::default()
        }));
        self.found.push_back(leads);
        Ok(())
    }

    async fn first_to_come(&self, from: i64) -> Result<RangeResponse, Error> {
        let mut watcher = self.client.watch(WatchCreateRequest {
            key: self.prefix.clone().into(),
            range_end: prefix_end(self.prefix.as_bytes()),
            start_revision: from,
            ..WatchCreateRequest::default()
        });
        loop {
            let answer = watcher.next().await?;
            let put = answer.events.into_iter().find(|event| event.r#type() == EventType::Put);
            if let Some(kv) = put.and_then(|event| event.kv) {
                // What follows it in the same answer is asked for again.
                let now = kv.mod_revision;
                let header = answer.header.map(|head| ResponseHeader { revision: now, ..head });
                return Ok(found(header, kv));
            }
        }
    }
}

fn found(header: Option<ResponseHeader>, kv: KeyValue) -> RangeResponse {
    RangeResponse { header, kvs: vec![kv], more: false, count: 1 }
}
