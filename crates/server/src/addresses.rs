//! Where URLs lead: `http://infra0:2380` and `http://10.0.0.1:2380` may be the same place.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use tokio::{net, time};

/// A host that is not resolved by then is taken for one that cannot be.
const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses of a URL's host, as the system resolves it. The error is for people.
pub async fn addresses(url: &str) -> Result<Vec<SocketAddr>, String> {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let found = time::timeout(PATIENCE, net::lookup_host(host)).await;
    let found = found.map_err(|_| format!("resolve {host}: no answer in time"))?;
    Ok(found.map_err(|error| format!("resolve {host}: {error}"))?.collect())
}

/// Where each of some URLs leads.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Result<BTreeSet<SocketAddr>, String>>);

impl Places {
    /// Resolves all at once.
    pub(crate) async fn of(urls: Vec<String>) -> Self {
        let resolve = |url: String| {
            let asked = url.clone();
            (url, tokio::spawn(async move { addresses(&asked).await }))
        };
        let resolving: BTreeMap<_, _> = urls.into_iter().map(resolve).collect();
        let mut places = Self::default();
        for (url, found) in resolving {
            let found = found.await.unwrap_or_else(|error| Err(error.to_string()));
            places.0.insert(url, found.map(|addresses| addresses.into_iter().collect()));
        }
        places
    }

    /// Whether each URL of one list leads where one of the other does, and the other way round.
    pub(crate) fn same(&self, one: &[String], other: &[String]) -> bool {
        let covers = |one: &[String], other: &[String]| {
            one.iter().all(|url| other.iter().any(|there| self.meet(url, there)))
        };
        covers(one, other) && covers(other, one)
    }

    fn meet(&self, one: &str, other: &str) -> bool {
        let scheme = |url: &str| url.split_once("://").map(|(scheme, _)| scheme.to_owned());
        let found = |url: &str| self.0.get(url).and_then(|found| found.as_ref().ok());
        let share =
            found(one).zip(found(other)).is_some_and(|(one, other)| !one.is_disjoint(other));
        one == other || share && scheme(one) == scheme(other)
    }

    /// Why one of the URLs could not be resolved, if so.
    pub(crate) fn unresolved(&self) -> Option<&str> {
        self.0.values().find_map(|found| found.as_ref().err()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn same(one: &[&str], other: &[&str]) -> bool {
        let owned = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let (one, other) = (owned(one), owned(other));
        Places::of([one.clone(), other.clone()].concat()).await.same(&one, &other)
    }

    #[tokio::test]
    async fn urls_are_the_same_if_they_lead_to_the_same_addresses() {
        let (name, ip) = ("http://localhost:2380", "http://127.0.0.1:2380");
        assert!(same(&[name], &[ip]).await && same(&[ip], &[name]).await);
        assert!(same(&[name, "http://127.0.0.2:1"], &["http://127.0.0.2:1", ip]).await);
        assert!(!same(&[name], &["https://127.0.0.1:2380"]).await);
        assert!(!same(&[name], &["http://127.0.0.1:2381"]).await);
        assert!(!same(&[name, "http://127.0.0.2:1"], &[ip]).await);
        assert!(!same(&[ip], &[name, "http://127.0.0.2:1"]).await);
    }

    #[tokio::test]
    async fn what_cannot_be_resolved_is_told_and_equals_itself_only() {
        let (lost, other) = ("http://no-such-host.invalid:2380", "http://nor-this.invalid:2380");
        assert!(same(&[lost], &[lost]).await && !same(&[lost], &[other]).await);
        let places = Places::of(vec![lost.to_owned()]).await;
        let why = places.unresolved().unwrap();
        assert!(why.starts_with("resolve no-such-host.invalid:2380: "), "{why}");
    }
}
