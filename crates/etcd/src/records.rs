//! `--discovery-srv`: the members of a new cluster, or of one that runs, as the SRV records of a
//! domain name them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use client::srv::{self, SrvError, Target};
use tokio::time::{self, Instant};

use crate::config::{Domain, Members};

/// How long a name server that does not answer is asked again: machines that boot together may
/// come up before it does.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// All members that the records name, this one under its own name. The error is one line.
pub(crate) async fn find(domain: &Domain, member: &server::Config) -> Result<Members, String> {
    patiently(domain, async || look_up(domain, member).await).await
}

/// The peer URLs that the records name, for whoever is no member.
pub(crate) async fn peer_urls(domain: &Domain) -> Result<Vec<String>, String> {
    let found = patiently(domain, async || {
        srv::peers(&domain.name, &domain.service_name)
            .await
            .map_err(|error| unknown(domain, "server", &error))
    });
    Ok(found.await?.iter().map(Target::url).collect())
}

/// Where the records send clients, in the order in which to ask.
pub(crate) async fn client_targets(domain: &Domain) -> Result<Vec<Target>, String> {
    let found = patiently(domain, async || {
        srv::endpoints(&domain.name, &domain.service_name)
            .await
            .map_err(|error| unknown(domain, "client", &error))
    });
    found.await
}

async fn patiently<T>(
    domain: &Domain,
    look_up: impl AsyncFn() -> Result<T, Failed>,
) -> Result<T, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look_up().await {
            Ok(found) => return Ok(found),
            Err(Failed::ForNow(why)) if Instant::now() + PAUSE < deadline => {
                tracing::warn!(target: "discovery", "{why}: asking again");
                time::sleep(PAUSE).await;
            }
            Err(Failed::ForNow(why) | Failed::ForGood(why)) => {
                return Err(format!("--discovery-srv {}: {why}", domain.name));
            }
        }
    }
}

/// Why there is no initial cluster: for now, or for good.
#[derive(Debug, PartialEq, Eq)]
enum Failed {
    ForNow(String),
    ForGood(String),
}

async fn look_up(domain: &Domain, member: &server::Config) -> Result<Members, Failed> {
    let found = srv::peers(&domain.name, &domain.service_name).await;
    let found = found.map_err(|error| unknown(domain, "server", &error))?;
    let urls = found.iter().map(Target::url).chain(member.peer_urls.iter().cloned());
    let mut places = Places::new();
    for url in urls.collect::<BTreeSet<_>>() {
        let leads = server::addresses(&url).await;
        if let Err(why) = &leads {
            tracing::warn!(target: "discovery", "couldn't {why} during SRV discovery");
        }
        places.insert(url, leads.map(|addresses| addresses.into_iter().collect()));
    }
    let own = (member.name.as_str(), member.peer_urls.as_slice());
    let members = members(&found, own, &places)?;
    for (name, urls) in &members {
        tracing::info!(target: "discovery", "got bootstrap from DNS for {name} at {}", urls.join(","));
    }
    Ok(members)
}

fn unknown(domain: &Domain, service: &str, error: &SrvError) -> Failed {
    let text = format!("error querying DNS SRV records: {error}");
    if error.is_temporary() {
        return Failed::ForNow(text);
    }
    let Domain { name, service_name } = domain;
    let suffix = if service_name.is_empty() { String::new() } else { format!("-{service_name}") };
    let name = name.trim_end_matches('.');
    let port = if service == "client" { 2379 } else { 2380 };
    Failed::ForGood(format!(
        "{text}: add a record for each member, like _etcd-{service}{suffix}._tcp.{name}. IN SRV 0 0 \
         {port} infra0.{name}. (with TLS _etcd-{service}-ssl{suffix}), or correct the flag"
    ))
}

/// Where each URL leads, or why nobody knows.
type Places = BTreeMap<String, Result<BTreeSet<SocketAddr>, String>>;

/// Each record is a member: the one that leads to where this member is advertised has its name, the
/// others have numbers.
///
/// All members must come to the same URLs, of which the cluster's id is made. So a host that cannot
/// be resolved at the moment counts all the same (etcd leaves it out).
fn members(found: &[Target], own: (&str, &[String]), places: &Places) -> Result<Members, Failed> {
    let (name, advertised) = own;
    let urls = of_one_scheme(found, advertised);
    let is_own = |url: &String| advertised.iter().any(|own| same_place(url, own, places));
    let mine: Vec<&String> = urls.iter().filter(|url| is_own(url)).collect();
    match &mine[..] {
        [] => return Err(not_among(&urls, own, places)),
        [one, other, ..] if urls.len() > mine.len() => {
            return Err(Failed::ForGood(format!(
                "{one} and {other} both lead to this member: each member needs just one record, \
                 since the others cannot know that two are one"
            )));
        }
        [_, ..] => {}
    }
    let own = (name.to_owned(), mine.into_iter().cloned().collect());
    let others = urls.iter().filter(|url| !is_own(url));
    let numbers = (0_usize..).map(|number| number.to_string()).filter(|number| number != name);
    let others = numbers.zip(others).map(|(number, url)| (number, vec![url.clone()]));
    Ok(std::iter::once(own).chain(others).collect())
}

/// Sorted. A place that is listed both with TLS and without counts as this member has it.
fn of_one_scheme(found: &[Target], advertised: &[String]) -> Vec<String> {
    let secure = advertised.iter().any(|url| url.starts_with("https:"));
    let place = |target: &Target| (target.host.clone(), target.port);
    let preferred: BTreeSet<_> =
        found.iter().filter(|target| target.secure == secure).map(place).collect();
    let counts = |target: &Target| target.secure == secure || !preferred.contains(&place(target));
    let urls: BTreeSet<String> = found.iter().filter(|one| counts(one)).map(Target::url).collect();
    urls.into_iter().collect()
}

/// As etcd: by address, and with the same scheme.
fn same_place(one: &str, other: &str, places: &Places) -> bool {
    one == other || scheme(one) == scheme(other) && meet(one, other, places)
}

fn meet(one: &str, other: &str, places: &Places) -> bool {
    let of = |url: &str| places.get(url).and_then(|leads| leads.as_ref().ok());
    of(one).zip(of(other)).is_some_and(|(one, other)| !one.is_disjoint(other))
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

fn not_among(urls: &[String], (name, advertised): (&str, &[String]), places: &Places) -> Failed {
    let listed = urls.join(", ");
    let mismatch = |url: &&String| advertised.iter().any(|own| meet(url, own, places));
    if let Some(url) = urls.iter().find(mismatch) {
        return Failed::ForGood(format!(
            "bootstrap at {url} from DNS has scheme mismatch with expected peer {}: records of \
             _etcd-server are for http, those of _etcd-server-ssl for https",
            advertised.join(",")
        ));
    }
    let text = format!(
        "cannot find local etcd member \"{name}\" in SRV records: none of {listed} leads to \
         --initial-advertise-peer-urls {}",
        advertised.join(",")
    );
    match places.values().find_map(|leads| leads.as_ref().err()) {
        Some(why) => Failed::ForNow(format!("{text} ({why})")),
        None => Failed::ForGood(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, port) = rest.split_once(':').unwrap();
        let (host, port) = (host.to_owned(), port.parse().unwrap());
        Target { secure: scheme == "https", host, port, priority: 0, weight: 0 }
    }

    /// `a`, `b` and `c` are 10.0.0.1, 2 and 3, `lost` is nowhere.
    fn place(url: &str) -> Result<BTreeSet<SocketAddr>, String> {
        let (_, rest) = url.split_once("://").unwrap();
        let (host, port) = rest.split_once(':').unwrap();
        let ip = match host {
            "a" | "alias" => "10.0.0.1",
            "b" => "10.0.0.2",
            "c" => "10.0.0.3",
            "lost" => return Err("resolve lost:1: no such host".to_owned()),
            ip => ip,
        };
        Ok([format!("{ip}:{port}").parse().unwrap()].into())
    }

    fn found(records: &[&str], name: &str, advertised: &[&str]) -> Result<Members, Failed> {
        let urls = records.iter().chain(advertised);
        let places = urls.map(|url| ((*url).to_owned(), place(url))).collect();
        let advertised: Vec<String> = advertised.iter().map(|url| (*url).to_owned()).collect();
        let found: Vec<_> = records.iter().map(|url| target(url)).collect();
        members(&found, (name, &advertised), &places)
    }

    #[track_caller]
    fn check(records: &[&str], name: &str, advertised: &[&str], expected: &str) {
        let rows = found(records, name, advertised).unwrap();
        let rows = rows.iter().map(|(name, urls)| format!("{name}={}", urls.join("+")));
        assert_eq!(rows.collect::<Vec<_>>().join(" "), expected);
    }

    #[track_caller]
    fn refused(records: &[&str], advertised: &[&str], for_now: bool, part: &str) {
        let failed = found(records, "m", advertised).unwrap_err();
        assert_eq!(matches!(failed, Failed::ForNow(_)), for_now, "{failed:?}");
        let (Failed::ForNow(text) | Failed::ForGood(text)) = failed;
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn each_record_is_a_member_and_the_own_one_is_known_by_its_address() {
        let three = ["http://c:1", "http://a:1", "http://b:1"];
        check(&three, "m", &["http://b:1"], "m=http://b:1 0=http://a:1 1=http://c:1");
        check(&three, "m", &["http://10.0.0.2:1"], "m=http://b:1 0=http://a:1 1=http://c:1");
        check(&three, "m", &["http://10.0.0.3:1"], "m=http://c:1 0=http://a:1 1=http://b:1");
        // On one machine ports tell members apart.
        let ports = ["http://a:2", "http://a:1"];
        check(&ports, "m", &["http://10.0.0.1:2"], "m=http://a:2 0=http://a:1");
    }

    #[test]
    fn a_member_may_be_called_by_a_number() {
        let three = ["http://a:1", "http://b:1", "http://c:1"];
        check(&three, "0", &["http://a:1"], "0=http://a:1 1=http://b:1 2=http://c:1");
        check(&three, "1", &["http://a:1"], "1=http://a:1 0=http://b:1 2=http://c:1");
    }

    #[test]
    fn a_host_that_cannot_be_resolved_counts() {
        check(
            &["http://a:1", "http://lost:1"],
            "m",
            &["http://a:1"],
            "m=http://a:1 0=http://lost:1",
        );
        // Even this member's own, if it is written alike.
        check(
            &["http://a:1", "http://lost:1"],
            "m",
            &["http://lost:1"],
            "m=http://lost:1 0=http://a:1",
        );
    }

    #[test]
    fn what_is_listed_with_and_without_tls_counts_once() {
        let both = ["http://a:1", "https://a:1", "https://b:1", "http://b:1"];
        check(&both, "m", &["https://a:1"], "m=https://a:1 0=https://b:1");
        check(&both, "m", &["http://b:1"], "m=http://b:1 0=http://a:1");
        // Elsewhere each counts.
        check(&["http://a:1", "https://b:1"], "m", &["http://a:1"], "m=http://a:1 0=https://b:1");
    }

    #[test]
    fn a_member_alone_may_have_two_records() {
        check(
            &["http://a:1", "http://a:2"],
            "m",
            &["http://a:1", "http://a:2"],
            "m=http://a:1+http://a:2",
        );
        let three = ["http://a:1", "http://alias:1", "http://b:1"];
        refused(&three, &["http://a:1"], false, "http://a:1 and http://alias:1 both lead to this");
    }

    #[test]
    fn a_member_that_is_not_among_them_is_told_why() {
        let two = ["http://a:1", "http://b:1"];
        refused(
            &two,
            &["http://c:1"],
            false,
            "cannot find local etcd member \"m\" in SRV records: \
            none of http://a:1, http://b:1 leads to --initial-advertise-peer-urls http://c:1",
        );
        refused(&two, &["https://a:1"], false, "http://a:1 from DNS has scheme mismatch");
        refused(&two, &["http://lost:1"], true, "(resolve lost:1: no such host)");
        refused(&["http://lost:1"], &["http://c:1"], true, "(resolve lost:1: no such host)");
    }
}
