//! Who is asked, and who is left alone for a while because he did not answer.

use std::{fmt, time::Duration};

use http::{Uri, uri::PathAndQuery};
use parking_lot::Mutex;
use tokio::time::Instant;

/// A member's client URL, of which scheme, host and port count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint(Uri);

impl Endpoint {
    fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !known || uri.host().is_none_or(str::is_empty) {
            return Err("it is no http:// or https:// URL".to_owned());
        }
        Ok(Self(uri))
    }

    /// Where `target` is on this endpoint.
    pub(super) fn with(&self, target: &PathAndQuery) -> http::Result<Uri> {
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(target.clone());
        Ok(Uri::from_parts(parts)?)
    }
}

/// As it was written: without a path, if it had none.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        let path = self.0.path_and_query().map_or("", PathAndQuery::as_str);
        write!(f, "{scheme}://{authority}{}", if path == "/" { "" } else { path })
    }
}

/// All endpoints, in the order in which they are asked.
#[derive(Debug)]
pub(super) struct Endpoints {
    failure_wait: Duration,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    places: Vec<Place>,
    /// That nobody can be asked has been told, and is not told again until somebody could.
    none_told: bool,
}

#[derive(Debug)]
struct Place {
    endpoint: Endpoint,
    /// Left alone until then.
    failed_until: Option<Instant>,
}

impl Endpoints {
    pub(super) fn new(failure_wait: Duration) -> Self {
        Self { failure_wait, list: Mutex::default() }
    }

    /// Takes these instead, in any order: else all proxies would load the same member. Who is left
    /// alone stays so.
    pub(super) fn replace(&self, urls: &[String]) {
        let mut places = Vec::new();
        for url in urls {
            match Endpoint::parse(url) {
                Ok(endpoint) => places.push(Place { endpoint, failed_until: None }),
                Err(why) => {
                    tracing::warn!(target: "proxy", "upstream URL invalid: {url:?}: {why}");
                }
            }
        }
        fastrand::shuffle(&mut places);
        let mut list = self.list.lock();
        for place in &mut places {
            let before = list.places.iter().find(|before| before.endpoint == place.endpoint);
            place.failed_until = before.and_then(|before| before.failed_until);
        }
        list.places = places;
    }

    /// Who can be asked now.
    pub(super) fn available(&self) -> Vec<Endpoint> {
        let (mut list, now) = (self.list.lock(), Instant::now());
        for place in &mut list.places {
            if place.failed_until.take_if(|until| *until <= now).is_some() {
                let endpoint = &place.endpoint;
                tracing::info!(
                    target: "proxy",
                    "marked endpoint {endpoint} available, to retest connectivity"
                );
            }
        }
        let free = list.places.iter().filter(|place| place.failed_until.is_none());
        let free: Vec<Endpoint> = free.map(|place| place.endpoint.clone()).collect();
        if !free.is_empty() {
            list.none_told = false;
        }
        free
    }

    /// Whether it is worth a line that nobody can be asked.
    pub(super) fn tells_of_none(&self) -> bool {
        !std::mem::replace(&mut self.list.lock().none_told, true)
    }

    /// Leaves this one alone for a while.
    pub(super) fn failed(&self, endpoint: &Endpoint, why: &str) {
        let mut list = self.list.lock();
        let mut places = list.places.iter_mut();
        let Some(place) = places.find(|place| place.endpoint == *endpoint) else { return };
        if place.failed_until.is_some() {
            return;
        }
        place.failed_until = Some(Instant::now() + self.failure_wait);
        tracing::warn!(target: "proxy", "failed to direct request to {endpoint}: {why}");
        tracing::warn!(target: "proxy", "marked endpoint {endpoint} unavailable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(endpoints: &Endpoints) -> Vec<String> {
        let mut shown: Vec<_> = endpoints.available().iter().map(ToString::to_string).collect();
        shown.sort_unstable();
        shown
    }

    fn owned(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_is_left_alone_for_a_while_though_the_list_is_replaced() {
        let endpoints = Endpoints::new(Duration::from_secs(5));
        assert!(shown(&endpoints).is_empty());
        let urls = owned(&["http://a:1", "https://b:2"]);
        endpoints.replace(&urls);
        assert_eq!(shown(&endpoints), ["http://a:1", "https://b:2"]);
        endpoints.failed(&Endpoint::parse("http://a:1").unwrap(), "refused");
        assert_eq!(shown(&endpoints), ["https://b:2"]);
        tokio::time::advance(Duration::from_secs(3)).await;
        endpoints.replace(&urls);
        // A second failure does not make it longer.
        endpoints.failed(&Endpoint::parse("http://a:1").unwrap(), "refused");
        tokio::time::advance(Duration::from_millis(1_999)).await;
        assert_eq!(shown(&endpoints), ["https://b:2"]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(shown(&endpoints), ["http://a:1", "https://b:2"]);
        endpoints.replace(&owned(&["http://c:3"]));
        assert_eq!(shown(&endpoints), ["http://c:3"]);
    }

    #[tokio::test]
    async fn what_is_no_url_is_left_out() {
        let endpoints = Endpoints::new(Duration::ZERO);
        endpoints.replace(&owned(&["a:1", "unix://a", "http://", "http://[::1]:2379/", "x y"]));
        assert_eq!(shown(&endpoints), ["http://[::1]:2379"]);
    }

    #[tokio::test]
    async fn that_nobody_can_be_asked_is_told_once() {
        let endpoints = Endpoints::new(Duration::from_secs(5));
        assert!(endpoints.tells_of_none());
        assert!(!endpoints.tells_of_none());
        endpoints.replace(&owned(&["http://a:1"]));
        assert_eq!(endpoints.available().len(), 1);
        assert!(endpoints.tells_of_none());
    }

    #[tokio::test]
    async fn the_order_changes_with_each_replacement() {
        let endpoints = Endpoints::new(Duration::ZERO);
        let urls = owned(&["http://a:1", "http://b:1", "http://c:1"]);
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            endpoints.replace(&urls);
            firsts.insert(endpoints.available()[0].to_string());
        }
        assert_eq!(firsts.len(), 3, "{firsts:?}");
    }

    #[test]
    fn a_target_is_put_behind_an_endpoint() {
        let endpoint = Endpoint::parse("https://a.example:2379").unwrap();
        let target = PathAndQuery::from_static("/v2/keys/a?wait=true");
        let uri = endpoint.with(&target).unwrap();
        assert_eq!(uri.to_string(), "https://a.example:2379/v2/keys/a?wait=true");
    }
}
