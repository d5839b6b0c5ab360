//! Version, health and statistics.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    cluster::Client,
    endpoint::Endpoint,
    error::Error,
    members::{expect, parse},
    request::Request,
};

/// `/version`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// The member's.
    #[serde(rename = "etcdserver")]
    pub server: String,
    /// What all members agree on; `not_decided` at the very beginning.
    #[serde(rename = "etcdcluster")]
    pub cluster: String,
}

/// The pages of `/v2/stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stats {
    /// The member that answers.
    Own,
    /// Its counters of requests.
    Store,
    /// The leader's view of its followers; others refuse.
    Leader,
}

impl Client {
    /// The version of the endpoint that answers.
    pub async fn version(&self) -> Result<Version, Error> {
        parse(&self.send(&Request::get("/version")).await?, &[200])
    }

    /// A page of statistics, as it comes.
    pub async fn stats(&self, page: Stats) -> Result<Value, Error> {
        let name = match page {
            Stats::Own => "self",
            Stats::Store => "store",
            Stats::Leader => "leader",
        };
        parse(&self.send(&Request::get(format!("/v2/stats/{name}"))).await?, &[200])
    }

    /// The metrics of the member at `endpoint`, as Prometheus reads them. Asks it and no other.
    pub async fn metrics(&self, endpoint: &Endpoint) -> Result<String, Error> {
        let answer = self.ask_only(endpoint, &Request::get("/metrics")).await?;
        expect(&answer, &[200])?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Whether the member at `endpoint` says that it is healthy. Asks it and no other.
    pub async fn health(&self, endpoint: &Endpoint) -> Result<bool, Error> {
        let answer = self.ask_only(endpoint, &Request::get("/health")).await?;
        let page: Value = serde_json::from_slice(&answer.body)
            .map_err(|problem| Error::Malformed { reason: problem.to_string() })?;
        // etcd 2.0 to 3.2 write a string or a boolean, by version.
        match page.get("health") {
            Some(Value::Bool(healthy)) => Ok(*healthy),
            Some(Value::String(text)) => Ok(text == "true"),
            _ => Err(Error::Malformed { reason: "no \"health\" in it".to_owned() }),
        }
    }
}
