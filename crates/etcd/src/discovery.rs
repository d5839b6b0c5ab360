//! `--discovery`: members of a new cluster that find each other at a token of another one, and
//! proxies that find them there, by the protocol of etcd 2 (its keys API; `_config/size` says how many
//! are to come).

mod note;
pub(crate) mod registry;

use std::{path::Path, time::Duration};

use base::{OsDisk, disk, url::shown};
use client::{Client, Error, EtcdError, Get, Node, Proxy, Response, Watch};
use tokio::time;

use crate::config::{DiscoveryUrl, Members, parse_cluster};
use note::Note;

/// Between two tries; doubled each time, up to a minute (etcd: without end).
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// A listing of a token is small.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// More members than any cluster has.
const MEMBERS_MAX: usize = 1_000;
const KEY_NOT_FOUND: u16 = 100;
const NODE_EXISTS: u16 = 105;

/// Why there is no cluster to be a member of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// Others have filled it.
    Full(String),
    Other(String),
}

/// A token, and the HTTP proxy that it is behind, if it is.
type Token<'a> = (&'a DiscoveryUrl, Option<&'a Proxy>);

/// Registers this member at the token, waits until all have come that are to come, and returns
/// them. Waits as long as it takes; drop it to give up. The error is one line.
pub(crate) async fn join(token: Token<'_>, member: &server::Config) -> Result<Members, NotFound> {
    let url = token.0;
    let row = member.peer_urls.iter().map(|url| format!("{}={url}", member.name));
    let row = row.collect::<Vec<_>>().join(",");
    let id = server::founding_id(member);
    let note = Note { disk: &OsDisk, data_dir: &member.data_dir, token: &url.text, member: id };
    let may_be_there = note.is_there().map_err(|error| cannot("read", &note, &error));
    let may_be_there = may_be_there.map_err(NotFound::Other)?;
    let mut service = Service::new(token, id.to_string()).map_err(NotFound::Other)?;
    let found = service.join(Registration { row, note, may_be_there }).await;
    found.map_err(|why| match why {
        NotFound::Full(why) => NotFound::Full(format!("--discovery {}: {why}", shown(&url.text))),
        NotFound::Other(why) => NotFound::Other(format!("--discovery {}: {why}", shown(&url.text))),
    })
}

/// Waits until all have come that are to come, and returns them; registers nobody.
pub(crate) async fn look(token: Token<'_>) -> Result<Members, String> {
    // No member's key is empty.
    let mut service = Service::new(token, String::new())?;
    let found = service.wait_for_all().await;
    found.map_err(|why| format!("--discovery {}: {why}", shown(&token.0.text)))
}

/// To be called once there is a member in this data directory.
pub(crate) fn forget(data_dir: &Path) {
    if let Err(error) = note::remove(&OsDisk, data_dir) {
        let path = data_dir.display();
        tracing::warn!(target: "discovery", "remove the note of registration in {path}: {error}");
    }
}

fn cannot(verb: &str, note: &Note<'_>, error: &std::io::Error) -> String {
    let (path, advice) = (note.data_dir.display(), disk::advice(error.kind()));
    format!("{verb} the note of registration in {path}: {error}{advice}; check --data-dir")
}

/// A token of a discovery service, as one member sees it.
struct Service<'a> {
    client: Client,
    url: &'a DiscoveryUrl,
    /// The key of whoever asks.
    own: String,
    pause: Duration,
}

/// What a member has to say of itself.
struct Registration<'a> {
    row: String,
    note: Note<'a>,
    /// It may have registered already, by a write without an answer.
    may_be_there: bool,
}

/// Who has come.
struct Come {
    /// The first first, and no more than are to come.
    members: Vec<Node>,
    size: usize,
    index: u64,
}

/// Why a step failed: for good, or for now.
enum Failed {
    ForGood(String),
    ForNow(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error {
            Error::Malformed { reason } => Self::ForGood(format!(
                "discovery: bad discovery endpoint: it does not answer as etcd does ({reason})"
            )),
            Error::Etcd(EtcdError { code: 300.., .. })
            | Error::Unavailable(_)
            | Error::DeadlineExceeded { .. } => Self::ForNow(error),
            Error::Endpoint(_)
            | Error::Tls(_)
            | Error::NoEndpoints
            | Error::Etcd(_)
            | Error::Refused { .. } => Self::ForGood(error.to_string()),
        }
    }
}

fn for_good(text: impl Into<String>) -> Failed {
    Failed::ForGood(text.into())
}

impl<'a> Service<'a> {
    fn new((url, proxy): Token<'a>, own: String) -> Result<Self, String> {
        let config = client::Config {
            request_timeout: Some(Duration::from_secs(5)),
            total_timeout: Some(Duration::from_secs(10)),
            response_bytes_max: ANSWER_BYTES_MAX,
            // The URL's path is all there is in front of the token's keys.
            keys_prefix: url.path.clone(),
            proxy: proxy.cloned(),
            ..client::Config::default()
        };
        let client = Client::new(&[&url.origin], config)
            .map_err(|error| format!("--discovery {}: {error}", shown(&url.text)))?;
        tracing::info!(target: "discovery", "asking the discovery service at {}", shown(&url.text));
        if let Some(proxy) = proxy {
            tracing::info!(target: "discovery", "using proxy {proxy}");
        }
        Ok(Self { client, url, own, pause: PAUSE })
    }

    async fn join(&mut self, registration: Registration<'_>) -> Result<Members, NotFound> {
        // Who finds the token full does not register.
        let come = self.look_at_last().await.map_err(NotFound::Other)?;
        self.has_place(&come)?;
        self.register_at_last(registration).await.map_err(NotFound::Other)?;
        let come = self.look_at_last().await.map_err(NotFound::Other)?;
        self.has_place(&come)?;
        self.wait_for_all().await.map_err(NotFound::Other)
    }

    async fn wait_for_all(&mut self) -> Result<Members, String> {
        loop {
            let come = self.look_at_last().await?;
            let (there, size) = (come.members.len(), come.size);
            if there == size {
                tracing::info!(target: "discovery", "found {size} needed peer(s)");
                return members(&come);
            }
            for member in &come.members {
                let (key, own) = (base_name(&member.key), base_name(&member.key) == self.own);
                let who = if own { "self" } else { "peer" };
                tracing::info!(target: "discovery", "found {who} {key} in the cluster");
            }
            tracing::info!(
                target: "discovery",
                "found {there} peer(s), waiting for {} more", size - there
            );
            let next = self.next_change(come.index).await;
            if let Err(failed) = next {
                self.back_off("waiting for other nodes", failed).await?;
            }
        }
    }

    /// Refuses whoever is not among those who have come, where nobody else is to come.
    fn has_place(&self, come: &Come) -> Result<(), NotFound> {
        let is_among = come.members.iter().any(|member| base_name(&member.key) == self.own);
        if is_among || come.members.len() < come.size {
            return Ok(());
        }
        Err(NotFound::Full(full(come.size)))
    }

    async fn register_at_last(&mut self, registration: Registration<'_>) -> Result<(), String> {
        let Registration { row, note, mut may_be_there } = registration;
        note.leave().map_err(|error| cannot("leave", &note, &error))?;
        while let Err(failed) = self.register(&row, may_be_there).await {
            // A write that got no answer may have been carried out.
            may_be_there = true;
            self.back_off("registration", failed).await?;
        }
        Ok(())
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
        let (origin, pause) = (&self.url.origin, self.pause);
        let why = if let Error::Unavailable(unavailable) = &error {
            let attempts = unavailable.attempts.iter().map(ToString::to_string);
            attempts.collect::<Vec<_>>().join("; ")
        } else {
            error.to_string()
        };
        tracing::warn!(
            target: "discovery",
            "{step}: error connecting to {origin}, retrying in {}s: {why}", pause.as_secs()
        );
        time::sleep(pause).await;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    /// Who has come.
    async fn look(&self) -> Result<Come, Failed> {
        let size = match self.client.get("/_config/size", &Get::default()).await {
            Err(Error::Etcd(EtcdError { code: KEY_NOT_FOUND, .. })) => {
                return Err(for_good(format!(
                    "discovery: size key not found: this is no token, or it has no size yet: curl \
                     -X PUT {}/_config/size -d value=3",
                    shown(&self.url.text)
                )));
            }
            answer => answer?,
        };
        let text = size.node.value.unwrap_or_default();
        let size = text.parse().ok().filter(|size| (1..=MEMBERS_MAX).contains(size));
        let size = size.ok_or_else(|| {
            for_good(format!("discovery: size key is bad: {text:?} is no number of members"))
        })?;
        let Response { node, index, .. } = self.client.get("", &Get::default()).await?;
        let mut members = node.nodes;
        members.retain(|member| base_name(&member.key) != "_config" && !member.dir);
        members.sort_unstable_by_key(|member| member.created_index);
        members.truncate(size);
        Ok(Come { members, size, index })
    }

    async fn register(&self, row: &str, may_be_there: bool) -> Result<(), Failed> {
        let key = format!("/{}", self.own);
        match self.client.create(&key, row).await {
            Err(Error::Etcd(EtcdError { code: NODE_EXISTS, .. })) => {}
            answer => return Ok(answer.map(drop)?),
        }
        let there = self.client.get(&key, &Get { quorum: true, ..Get::default() }).await?;
        if may_be_there && there.node.value.as_deref() == Some(row) {
            return Ok(());
        }
        Err(for_good(twice(&self.own)))
    }

    async fn next_change(&self, index: u64) -> Result<(), Failed> {
        let how = Watch { after_index: Some(index), recursive: true, outage_max: Duration::ZERO };
        match self.client.watch("", how).next().await {
            // History does not go back so far: a look tells as much.
            Ok(_) | Err(Error::Etcd(EtcdError { code: 401, .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Those who have come, as an initial cluster.
fn members(come: &Come) -> Result<Members, String> {
    let rows: Vec<&str> = come.members.iter().filter_map(|one| one.value.as_deref()).collect();
    cluster(&rows.join(","), come.size)
}

/// Rows of so many members, as an initial cluster.
fn cluster(rows: &str, size: usize) -> Result<Members, String> {
    let members =
        parse_cluster(rows).map_err(|why| format!("discovery: invalid URL: {why}: {rows}"))?;
    if members.len() != size {
        return Err(format!("discovery: found duplicate name: {rows}"));
    }
    Ok(members)
}

/// What is said to whoever comes when all places are taken.
fn full(size: usize) -> String {
    format!(
        "discovery: cluster is full: {size} members have registered before: give a new token, or \
         join the cluster when it runs (etcdctl member add)"
    )
}

/// What is said to a member of whose name and URLs there is one already.
fn twice(id: &str) -> String {
    format!(
        "discovery: found duplicate id: member {id} has registered before, from another data \
         directory. If another member has the same peer URLs, give this one its own. If this member \
         lost its data, replace it in its cluster (etcdctl member remove, then add); if the cluster \
         never came to be, give a new token"
    )
}

fn base_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}
