//! The command line of `etcd gateway`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{Command, Domain, Refusal, own, own::Flags};
use crate::flags::gateway as flags;

/// In the original, 0 stands for this.
const RETRY_DELAY_OF_ZERO: Duration = Duration::from_mins(5);

/// All that is needed to start a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gateway {
    /// Host and port.
    pub(crate) listen: (String, u16),
    /// As it was given.
    pub(crate) listen_text: String,
    /// `--endpoints`, or its default.
    pub(crate) targets: Vec<Target>,
    /// Whether they were given.
    pub(crate) has_endpoints: bool,
    pub(crate) discovery: Option<Discovery>,
    pub(crate) retry_delay: Duration,
}

/// Where a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Of SRV records: the least is asked first.
    pub(crate) priority: u16,
    /// Among equals, how often it is asked; if all have 0, in turn.
    pub(crate) weight: u16,
}

/// `--discovery-srv`: how targets are found in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovery {
    pub(crate) domain: Domain,
    /// Take all that is found, without a look at certificates.
    pub(crate) insecure: bool,
    pub(crate) trusted_ca_file: Option<PathBuf>,
    /// The flag that names it.
    pub(crate) trusted_ca_flag: &'static str,
}

/// `arguments`: what follows `etcd gateway`.
pub(super) fn gather(arguments: &[OsString]) -> Result<Command, Refusal> {
    match own::gather("gateway", arguments, flags::GROUPS)? {
        None => Ok(Command::GatewayHelp),
        Some(given) => read(&Flags { given: &given, groups: flags::GROUPS }).map(Command::Gateway),
    }
}

fn read(given: &Flags<'_>) -> Result<Gateway, Refusal> {
    let discovery = given.discovery("trusted-ca-file")?;
    let listen_text = given.text("listen-addr");
    let listen =
        host_and_port(listen_text).filter(|(host, _)| !host.is_empty()).ok_or_else(|| {
            Refusal::Conflict(format!(
                "failed to validate listen address: {listen_text}: give host:port, such as \
             127.0.0.1:23790 or 0.0.0.0:23790"
            ))
        })?;
    let retry_delay = given.duration("retry-delay");
    Ok(Gateway {
        listen,
        listen_text: listen_text.to_owned(),
        targets: targets(given.text("endpoints"))?,
        has_endpoints: given.given.is_set("endpoints"),
        discovery,
        retry_delay: if retry_delay.is_zero() { RETRY_DELAY_OF_ZERO } else { retry_delay },
    })
}

/// Endpoints as `host:port`, or as URLs of which the rest does not count.
pub(crate) fn targets(text: &str) -> Result<Vec<Target>, Refusal> {
    let endpoints = text.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty());
    let targets: Result<Vec<_>, _> = endpoints
        .map(|endpoint| {
            let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let found = host_and_port(authority).filter(|(host, _)| !host.is_empty());
            let (host, port) = found.ok_or_else(|| {
                // The part that is wrong may be one of a password.
                let is_shown = base::url::shown(text) == text;
                let endpoint = if is_shown { endpoint.to_owned() } else { base::url::shown(text) };
                Refusal::Conflict(format!("error parsing endpoint \"{endpoint}\": give host:port"))
            })?;
            Ok(Target { host, port, priority: 0, weight: 0 })
        })
        .collect();
    let targets = targets?;
    if targets.is_empty() {
        return Err(Refusal::Conflict("no endpoints found: give some with --endpoints".to_owned()));
    }
    Ok(targets)
}

/// Of `host:port`; an IPv6 address stands in brackets.
pub(super) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(line: &str) -> Result<Command, String> {
        let arguments: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        gather(&arguments).map_err(|refusal| refusal.to_string())
    }

    fn gateway(line: &str) -> Gateway {
        match gathered(line) {
            Ok(Command::Gateway(gateway)) => gateway,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn places(gateway: &Gateway) -> Vec<(&str, u16)> {
        gateway.targets.iter().map(|target| (target.host.as_str(), target.port)).collect()
    }

    #[test]
    fn without_flags_it_leads_from_its_port_to_a_local_member() {
        let gateway = gateway("start");
        assert_eq!(gateway.listen, ("127.0.0.1".to_owned(), 23_790));
        assert_eq!(places(&gateway), [("127.0.0.1", 2379)]);
        assert_eq!((gateway.retry_delay, gateway.discovery), (Duration::from_mins(1), None));
    }

    #[test]
    fn endpoints_are_addresses_or_urls_and_may_be_given_more_than_once() {
        let line = "start --endpoints=http://a:1/x,b:2 --endpoints https://[::1]:3";
        assert_eq!(places(&gateway(line)), [("a", 1), ("b", 2), ("::1", 3)]);
    }

    #[test]
    fn a_delay_is_written_as_go_writes_it_and_zero_means_five_minutes() {
        assert_eq!(gateway("start --retry-delay=1m30s").retry_delay, Duration::from_secs(90));
        assert_eq!(gateway("start --retry-delay 0").retry_delay, Duration::from_mins(5));
    }

    #[test]
    fn what_srv_records_are_to_be_found_by_is_kept_together() {
        let line = "start --discovery-srv example.com --discovery-srv-name x --insecure-discovery \
                    --trusted-ca-file ca.pem";
        let expected = Discovery {
            domain: Domain { name: "example.com".to_owned(), service_name: "x".to_owned() },
            insecure: true,
            trusted_ca_file: Some(PathBuf::from("ca.pem")),
            trusted_ca_flag: "trusted-ca-file",
        };
        assert_eq!(gateway(line).discovery, Some(expected));
    }

    #[test]
    fn help_is_given_wherever_it_is_asked_for() {
        for line in ["", "help", "--help", "-h", "start --help", "start -h"] {
            assert!(matches!(gathered(line), Ok(Command::GatewayHelp)), "{line}");
        }
        let help = flags::help();
        for flag in flags::GROUPS.iter().flat_map(|group| group.flags) {
            assert!(help.contains(&format!("--{} '{}'", flag.name, flag.default)), "{}", flag.name);
        }
    }

    #[test]
    fn a_wrong_command_line_is_refused_with_advice() {
        let check = |line: &str, expected: &str| {
            let refused = gathered(line).expect_err(line);
            assert_eq!(refused, expected, "{line}");
        };
        let see = "; see 'etcd gateway --help'";
        check("stop", &format!("unknown command \"stop\" for \"etcd gateway\"{see}"));
        check("start x", &format!("\"x\" is not a valid flag{see}"));
        check(
            "start --endpoint=x",
            &format!("unknown flag --endpoint: did you mean --endpoints?{see}"),
        );
        check("start --name=x", &format!("unknown flag --name{see}"));
        let why = "a duration like 500ms, 2s or 1m30s is needed";
        check(
            "start --retry-delay=5",
            &format!("invalid value \"5\" for --retry-delay: {why}{see}"),
        );
        let advice = "give host:port, such as 127.0.0.1:23790 or 0.0.0.0:23790";
        for listen in ["x", ":1", "a:b", "::1:2"] {
            check(
                &format!("start --listen-addr={listen}"),
                &format!("failed to validate listen address: {listen}: {advice}"),
            );
        }
        for endpoint in ["127.0.0.1", "http://a", "a:65536", "a:+1"] {
            check(
                &format!("start --endpoints={endpoint}"),
                &format!("error parsing endpoint \"{endpoint}\": give host:port"),
            );
        }
        let no_domain = "is no domain: give one like example.com, which has records \
                         _etcd-server._tcp.example.com";
        check("start --discovery-srv=a/b", &format!("--discovery-srv \"a/b\" {no_domain}"));
        check("start --endpoints=", "no endpoints found: give some with --endpoints");
    }
}
