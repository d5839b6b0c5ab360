//! Asking name servers for SRV records, as `/etc/resolv.conf` says whom and how.

use std::time::Duration;

use hickory_resolver::{
    Resolver,
    config::{ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, rdata::SRV},
    system_conf,
};
use tokio::time::timeout;

use super::{LookupError, Reason, Target};

/// A look-up takes no longer, whatever `/etc/resolv.conf` says.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any cluster has.
const TARGETS_MAX: usize = 1_000;

/// The records of that name; never none.
pub(super) async fn targets(name: &str, secure: bool) -> Result<Vec<Target>, LookupError> {
    let mut servers = String::new();
    let found = match timeout(PATIENCE, ask(name, &mut servers)).await {
        Ok(answer) => answer.and_then(|records| read(&records, secure)),
        Err(_) => Err(Reason::Unanswered("i/o timeout".to_owned())),
    };
    found.map_err(|reason| LookupError { name: name.to_owned(), servers, reason })
}

async fn ask(name: &str, servers: &mut String) -> Result<Vec<SRV>, Reason> {
    let bad = |why: String| Reason::Bad(format!("this is no domain name: {why}"));
    let wanted = Name::from_utf8(name).map_err(|error| bad(error.to_string()))?;
    let (config, options) = system_conf::read_system_conf()
        .map_err(|error| Reason::Unanswered(format!("read /etc/resolv.conf: {error}")))?;
    let addresses = config.name_servers().iter().map(|server| match server.ip {
        std::net::IpAddr::V4(ip) => format!("{ip}:53"),
        std::net::IpAddr::V6(ip) => format!("[{ip}]:53"),
    });
    *servers = addresses.collect::<Vec<_>>().join(", ");
    let names = candidates(&wanted, &config, options.ndots);
    let resolver = resolver(config, options).map_err(|error| reason(&error))?;
    // As the system's resolver: the first answer counts, and without one what went wrong.
    let mut failed = Reason::Absent;
    for name in names {
        match resolver.srv_lookup(name).await {
            Err(error) if failed == Reason::Absent => failed = reason(&error),
            Err(_) => {}
            Ok(answer) => {
                let records = answer.answers().iter();
                return Ok(records.filter_map(|record| srv(&record.data)).collect());
            }
        }
    }
    Err(failed)
}

fn srv(data: &RData) -> Option<SRV> {
    if let RData::SRV(srv) = data { Some(srv.clone()) } else { None }
}

fn resolver(
    config: ResolverConfig,
    mut options: ResolverOpts,
) -> Result<Resolver<TokioRuntimeProvider>, NetError> {
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    // It is asked once.
    options.cache_size = 0;
    *builder.options_mut() = options;
    builder.build()
}

/// What a name may stand for, most likely first: `ndots`, `search` and `domain` of resolv.conf(5).
fn candidates(wanted: &Name, config: &ResolverConfig, ndots: usize) -> Vec<Name> {
    let mut absolute = wanted.clone();
    absolute.set_fqdn(true);
    if wanted.is_fqdn() {
        return vec![absolute];
    }
    let suffixes = config.search().iter().chain(config.domain());
    let mut names: Vec<Name> =
        suffixes.filter_map(|suffix| wanted.clone().append_domain(suffix).ok()).collect();
    let has_dots = usize::from(wanted.num_labels()) > ndots;
    names.insert(if has_dots { 0 } else { names.len() }, absolute);
    let mut asked = Vec::new();
    names.retain(|name| {
        let is_new = !asked.contains(name);
        asked.push(name.clone());
        is_new
    });
    names
}

/// Go's words where it has some.
#[allow(clippy::wildcard_enum_match_arm, reason = "the others all speak for themselves")]
fn reason(error: &NetError) -> Reason {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => Reason::Absent,
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Reason::Unanswered(format!("server misbehaving ({code})"))
        }
        NetError::Timeout => Reason::Unanswered("i/o timeout".to_owned()),
        _ => Reason::Unanswered(error.to_string()),
    }
}

fn read(records: &[SRV], secure: bool) -> Result<Vec<Target>, Reason> {
    if records.len() > TARGETS_MAX {
        return Err(Reason::Bad(format!("there are more than {TARGETS_MAX} records")));
    }
    let mut targets = Vec::new();
    // A root as the target: the service is decidedly not available at this domain.
    for record in records.iter().filter(|record| !record.target.is_root()) {
        let target = target(record, secure)?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    if targets.is_empty() { Err(Reason::Absent) } else { Ok(targets) }
}

fn target(record: &SRV, secure: bool) -> Result<Target, Reason> {
    // In lower case: ids of members are computed of it, and some name servers change the case from
    // answer to answer.
    let host = record.target.to_ascii().to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if !host.chars().all(fits) || record.port == 0 {
        return Err(Reason::Bad(format!("\"{host}\" port {} is no target", record.port)));
    }
    let SRV { priority, weight, port, .. } = *record;
    Ok(Target { secure, host: host.to_owned(), port, priority, weight })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn record(target: &str, port: u16) -> SRV {
        SRV::new(1, 2, port, Name::from_str(target).expect("a name"))
    }

    #[test]
    fn a_record_becomes_a_url() {
        let found = read(&[record("Infra0.Example.COM.", 2380)], false).expect("a target");
        assert_eq!(found[0].url(), "http://infra0.example.com:2380");
        assert_eq!((found[0].priority, found[0].weight), (1, 2));
        let found = read(&[record("a.test.", 1), record("A.test.", 1)], true).expect("a target");
        let urls: Vec<_> = found.iter().map(Target::url).collect();
        assert_eq!(urls, ["https://a.test:1"]);
    }

    #[test]
    fn what_is_no_target_is_refused_or_means_that_there_is_none() {
        assert_eq!(read(&[], false), Err(Reason::Absent));
        assert_eq!(read(&[record(".", 0)], false), Err(Reason::Absent));
        let odd = Name::from_labels([b"a,b=c".as_slice(), b"test"]).expect("DNS takes any bytes");
        for bad in [record("a.test.", 0), SRV::new(0, 0, 1, odd)] {
            assert!(
                matches!(read(std::slice::from_ref(&bad), false), Err(Reason::Bad(_))),
                "{bad}"
            );
        }
        let many: Vec<_> = (0..=TARGETS_MAX).map(|_| record("a.test.", 1)).collect();
        assert!(matches!(read(&many, false), Err(Reason::Bad(_))));
    }

    #[test]
    fn a_name_is_looked_for_as_resolv_conf_says() {
        let suffixes = ["one.test.", "two.test."].map(|name| Name::from_str(name).expect("a name"));
        let own = Name::from_str("one.test.").expect("a name");
        let config = ResolverConfig::from_parts(Some(own), suffixes.to_vec(), Vec::new());
        let names = |wanted: &str, ndots| -> Vec<String> {
            let wanted = Name::from_str(wanted).expect("a name");
            candidates(&wanted, &config, ndots).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            names("_a._tcp.b", 1),
            ["_a._tcp.b.", "_a._tcp.b.one.test.", "_a._tcp.b.two.test."]
        );
        assert_eq!(
            names("_a._tcp.b", 5),
            ["_a._tcp.b.one.test.", "_a._tcp.b.two.test.", "_a._tcp.b."]
        );
        assert_eq!(names("_a._tcp.b.", 5), ["_a._tcp.b."]);
    }
}
