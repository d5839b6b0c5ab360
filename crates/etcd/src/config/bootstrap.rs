//! How a member that has no data yet finds its cluster, when `--initial-cluster` does not say.

mod registry;

use client::Proxy;

use super::{DiscoveryUrl, Refusal, given::Given};

pub(crate) use registry::Registry;

/// Flags that count at a member's first start only.
const FIRST_START: [&str; 10] = [
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "initial-advertise-peer-urls",
    "discovery",
    "discovery-proxy",
    "discovery-token",
    "discovery-endpoints",
    "discovery-srv",
    "discovery-srv-name",
];

/// Where to ask for the initial cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bootstrap {
    /// A token of a discovery service, which may be behind a proxy.
    Token(DiscoveryUrl, Option<Proxy>),
    /// A token at a cluster that speaks API 3.
    Registry(Box<Registry>),
    Records(Domain),
}

/// A domain whose SRV records name the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    /// As it was given: a dot at its end means that it is to be looked for nowhere else.
    pub(crate) name: String,
    /// `--discovery-srv-name`; mostly empty.
    pub(crate) service_name: String,
}

impl Domain {
    /// What certificates call it.
    pub(crate) fn bare(&self) -> &str {
        self.name.trim_end_matches('.')
    }
}

/// What was given, if anything.
pub(super) fn read(given: &mut Given) -> Result<Option<Bootstrap>, Refusal> {
    let is_given = |given: &Given, flag: &str| !given.text(flag).is_empty();
    let ways = ["initial-cluster", "discovery", "discovery-endpoints", "discovery-srv"];
    if ways.iter().filter(|flag| is_given(given, flag)).count() > 1 {
        return Err(Refusal::Conflict(
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
             \"discovery\", \"discovery-endpoints\" or \"discovery-srv\""
                .to_owned(),
        ));
    }
    for (flag, of) in [("discovery-proxy", "discovery"), ("discovery-srv-name", "discovery-srv")] {
        if is_given(given, flag) && !is_given(given, of) {
            given.warn(format!("{} has no effect without --{of}", given.show(flag)));
        }
    }
    if is_given(given, "discovery") {
        return token(given).map(Some);
    }
    if let Some(registry) = registry::read(given)? {
        return Ok(Some(Bootstrap::Registry(Box::new(registry))));
    }
    if is_given(given, "discovery-srv") {
        return domain(given).map(Some);
    }
    Ok(None)
}

/// Those of them that were given, as their user wrote them.
pub(super) fn first_start(given: &Given) -> Vec<String> {
    let flags = FIRST_START.iter().filter(|flag| given.is_set(flag));
    flags.map(|flag| given.show(flag)).collect()
}

fn token(given: &Given) -> Result<Bootstrap, Refusal> {
    let refuse =
        |flag: &str, reason: String| Refusal::Conflict(format!("{}: {reason}", given.show(flag)));
    let url = DiscoveryUrl::parse(given.text("discovery"))
        .map_err(|reason| refuse("discovery", reason))?;
    let proxy = Some(given.text("discovery-proxy")).filter(|text| !text.is_empty());
    let proxy = proxy.map(str::parse).transpose();
    let proxy =
        proxy.map_err(|error: client::BadProxy| refuse("discovery-proxy", error.to_string()))?;
    Ok(Bootstrap::Token(url, proxy))
}

fn domain(given: &Given) -> Result<Bootstrap, Refusal> {
    let domain = parse_domain(given.text("discovery-srv"), given.text("discovery-srv-name"));
    let domain = domain
        .map_err(|reason| Refusal::Conflict(format!("{} {reason}", given.show("discovery-srv"))))?;
    Ok(Bootstrap::Records(domain))
}

/// A domain and the suffix of its services. The error goes behind the flag's name.
pub(super) fn parse_domain(text: &str, service_name: &str) -> Result<Domain, String> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if labels.is_empty() || !labels.chars().all(fits) {
        return Err(format!(
            "\"{text}\" is no domain: give one like example.com, which has records \
             _etcd-server._tcp.example.com"
        ));
    }
    Ok(Domain { name: text.to_owned(), service_name: service_name.to_owned() })
}
