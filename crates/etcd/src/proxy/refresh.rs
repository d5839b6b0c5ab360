//! Asking again and again who the members are.

use std::{sync::Arc, time::Duration};

use api::Proxy;
use base::OsDisk;
use peer::{
    Dialer,
    ask::{self, Told},
};
use tokio::{task::JoinSet, time};

use super::ClusterFile;

/// How long a member may take to tell (the original's number).
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries while nobody can be asked, or nobody tells.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps a proxy's endpoints up to date, and the file.
pub(super) struct Refresh {
    peer_urls: Vec<String>,
    dialer: Dialer,
    file: ClusterFile,
    proxy: Arc<Proxy>,
    interval: Duration,
    /// What the last answer has led to.
    endpoints: Vec<String>,
    written: bool,
    /// The last try has failed, and that has been told.
    fails: bool,
}

impl Refresh {
    pub(super) fn new(
        peer_urls: Vec<String>,
        dialer: Dialer,
        file: ClusterFile,
        proxy: Arc<Proxy>,
        interval: Duration,
    ) -> Self {
        let (endpoints, written, fails) = (Vec::new(), false, false);
        Self { peer_urls, dialer, file, proxy, interval, endpoints, written, fails }
    }

    pub(super) async fn go_on(mut self) {
        loop {
            let mut left = self.interval;
            while !left.is_zero() {
                let pause = left.min(PAUSE);
                time::sleep(pause).await;
                left -= pause;
                if self.fails || self.proxy.endpoints().is_empty() {
                    break;
                }
            }
            self.once().await;
        }
    }

    /// Asks the members. Where nobody tells, what was known stays: a member that does not answer
    /// here may well answer clients.
    pub(super) async fn once(&mut self) {
        match self.ask().await {
            Ok(told) => self.take(&told),
            Err(reasons) if !self.fails => {
                for why in reasons {
                    tracing::warn!(target: "etcdmain", "could not get cluster response from {why}");
                }
                tracing::warn!(
                    target: "etcdmain",
                    "proxy: could not retrieve cluster information from the given URLs"
                );
                self.fails = true;
            }
            Err(_) => {}
        }
    }

    /// What the first one says that answers. All are asked at once, so that one that hangs holds
    /// nobody up.
    async fn ask(&self) -> Result<Told, Vec<String>> {
        let mut asked = JoinSet::new();
        for url in &self.peer_urls {
            let (dialer, url) = (self.dialer.clone(), url.clone());
            asked.spawn(async move {
                let told = ask::members(&dialer, &url, PATIENCE).await;
                let told = told.map_err(|why| why.to_string())?;
                if told.members.is_empty() {
                    return Err(format!("{url}: it tells of no member"));
                }
                Ok(told)
            });
        }
        let mut reasons = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(told)) => return Ok(told),
                Ok(Err(why)) => reasons.push(why),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        reasons.sort_unstable();
        Err(reasons)
    }

    fn take(&mut self, told: &Told) {
        if self.fails {
            tracing::info!(target: "etcdmain", "proxy: the members answer again");
            self.fails = false;
        }
        let members = told.members.iter();
        let endpoints = sorted(members.clone().flat_map(|member| &member.client_urls));
        self.proxy.set_endpoints(&endpoints);
        if endpoints != self.endpoints {
            tracing::info!(target: "proxy", "endpoints found {endpoints:?}");
            self.endpoints = endpoints;
        }
        let peer_urls = sorted(members.flat_map(|member| &member.peer_urls));
        if peer_urls.is_empty() || self.written && peer_urls == self.peer_urls {
            return;
        }
        match self.file.write(&OsDisk, &peer_urls) {
            Ok(()) => {
                self.written = true;
                if peer_urls != self.peer_urls {
                    let (before, now) = (self.peer_urls.join(" "), peer_urls.join(" "));
                    tracing::info!(
                        target: "etcdmain",
                        "proxy: updated peer urls in cluster file from [{before}] to [{now}]"
                    );
                }
            }
            Err(error) => {
                self.written = false;
                let (path, advice) = (self.file.path().display(), base::disk::advice(error.kind()));
                tracing::warn!(target: "etcdmain", "proxy: error on writing {path}: {error}{advice}");
            }
        }
        self.peer_urls = peer_urls;
    }
}

fn sorted<'a>(urls: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut urls: Vec<String> = urls.cloned().collect();
    urls.sort_unstable();
    urls.dedup();
    urls
}
