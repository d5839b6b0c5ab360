//! From the global flags and the environment to a client that knows its cluster.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use client::{Client, Config, Credentials, Trace, srv::Target};
use tls::Settings;

use crate::{argv::parse_bool, cli::Globals, failure::Failure, output, password};

const DEFAULT: &str = "http://127.0.0.1:2379,http://127.0.0.1:4001";

/// A client of the cluster, which knows its members' URLs unless `--no-sync` is given.
pub(crate) async fn connect(globals: &Globals) -> Result<Client, Failure> {
    let client = build(globals).await?;
    if !globals.no_sync {
        sync(&client, globals).await?;
    }
    if globals.debug {
        output::note(format_args!("Cluster-Endpoints: {}", listed(&client, ", ")));
    }
    Ok(client)
}

/// A client of the endpoints as given.
pub(crate) async fn connect_without_sync(globals: &Globals) -> Result<Client, Failure> {
    let client = build(globals).await?;
    if globals.debug {
        output::note(format_args!("Cluster-Endpoints: {}", listed(&client, ", ")));
    }
    Ok(client)
}

/// Only a cluster that cannot be reached ends the run here: one that does not tell its members,
/// or publishes no URL that can be used, may well serve the request at the endpoints as given.
async fn sync(client: &Client, globals: &Globals) -> Result<(), Failure> {
    if globals.debug {
        output::note(format_args!(
            "start to sync cluster using endpoints({})",
            listed(client, ",")
        ));
    }
    match client.sync().await {
        Err(error) if error.is_connection() => return Err(Failure::connection(&error)),
        Err(error) if globals.debug => output::note(format_args!("sync failed: {error}")),
        Ok(()) | Err(_) => {}
    }
    if globals.debug {
        output::note(format_args!("got endpoints({}) after sync", listed(client, ",")));
    }
    Ok(())
}

async fn build(globals: &Globals) -> Result<Client, Failure> {
    let environment = |name: &str| {
        let value = std::env::var_os(name)?;
        Some(value.to_string_lossy().into_owned())
    };
    let domain = domain(globals, environment)?;
    let endpoints = match &domain {
        Some(domain) => domain.endpoints().await.map_err(Failure::plain)?,
        None => endpoints(globals, environment),
    };
    let server_name = domain.and_then(Domain::server_name);
    let config = Config {
        request_timeout: limit(globals.timeout),
        total_timeout: limit(globals.total_timeout),
        tls: Settings { server_name, ..tls(globals, environment) },
        credentials: globals.username.as_deref().map(credentials).transpose()?,
        trace: globals
            .debug
            .then(|| Trace::new(|curl| output::note(format_args!("cURL Command: {curl}")))),
        ..Config::default()
    };
    Client::new(&endpoints, config).map_err(|error| Failure::plain(format!("etcdctl: {error}")))
}

/// How API 3 is asked at the same endpoints.
pub(crate) fn v3_config(globals: &Globals) -> client::v3::Config {
    let environment = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
    client::v3::Config { tls: Some(tls(globals, environment)), ..Default::default() }
}

fn listed(client: &Client, separator: &str) -> String {
    let endpoints: Vec<String> = client.endpoints().iter().map(ToString::to_string).collect();
    endpoints.join(separator)
}

fn limit(flag: Duration) -> Option<Duration> {
    (!flag.is_zero()).then_some(flag)
}

/// The flags, then the environment, newest name first; what is empty counts as not given.
fn endpoints(globals: &Globals, environment: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let variables = ["ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS"];
    let given = named(globals).into_iter().chain(variables.map(environment));
    let given = given.flatten().map(|list| split(&list));
    given.into_iter().find(|list| !list.is_empty()).unwrap_or_else(|| split(DEFAULT))
}

fn named(globals: &Globals) -> [Option<String>; 3] {
    [&globals.endpoints, &globals.endpoint, &globals.peers].map(Clone::clone)
}

fn split(list: &str) -> Vec<String> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

/// A domain whose SRV records name the endpoints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    pub(crate) name: String,
    pub(crate) service_name: String,
    /// Endpoints without TLS will do.
    pub(crate) insecure: bool,
}

/// The domain that was given, if any. One of the environment does not count where the command line
/// names endpoints.
fn domain(
    globals: &Globals,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Domain>, Failure> {
    let filled = |text: &String| !text.is_empty();
    let has_endpoints = named(globals).iter().flatten().any(|list| !split(list).is_empty());
    let variable = || environment("ETCDCTL_DISCOVERY_SRV").filter(|_| !has_endpoints);
    let name = globals.discovery_srv.clone().filter(filled).or_else(variable).filter(filled);
    let Some(name) = name else { return Ok(None) };
    let service_name = globals.discovery_srv_name.clone().filter(filled);
    let service_name = service_name.or_else(|| environment("ETCDCTL_DISCOVERY_SRV_NAME"));
    let insecure = match (globals.insecure_discovery, environment("ETCDCTL_INSECURE_DISCOVERY")) {
        (Some(insecure), _) => insecure,
        (None, Some(text)) if !text.is_empty() => parse_bool(text.as_ref()).ok_or_else(|| {
            Failure::plain("etcdctl: ETCDCTL_INSECURE_DISCOVERY must be true or false")
        })?,
        (None, _) => true,
    };
    Ok(Some(Domain { name, service_name: service_name.unwrap_or_default(), insecure }))
}

impl Domain {
    /// What certificates must be good for where records are not to be trusted.
    pub(crate) fn server_name(self) -> Option<String> {
        (!self.insecure).then(|| self.name.trim_end_matches('.').to_owned())
    }

    /// Their URLs, or a line that says why there are none.
    pub(crate) async fn endpoints(&self) -> Result<Vec<String>, String> {
        let found = client::srv::endpoints(&self.name, &self.service_name).await;
        let found = found.map_err(|error| error.to_string())?;
        let (taken, ignored): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|target| target.secure || self.insecure);
        for target in &ignored {
            output::note(format_args!("ignoring discovered insecure endpoint {:?}", target.url()));
        }
        if taken.is_empty() {
            return Err(format!(
                "{} names no endpoint with TLS (_etcd-client-ssl._tcp), and without TLS none \
                 is taken: leave out --insecure-discovery=false, or use --endpoints",
                self.name
            ));
        }
        Ok(taken.iter().map(Target::url).collect())
    }
}

/// The flags, then the environment: first the names of 2.3, then those of 3.
fn tls(globals: &Globals, environment: impl Fn(&str) -> Option<String>) -> Settings {
    let file = |flag: &Option<OsString>, variables: [&str; 2]| -> Option<PathBuf> {
        let given = || variables.into_iter().find_map(&environment).map(OsString::from);
        flag.clone().or_else(given).filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    Settings {
        cert_file: file(&globals.cert_file, ["ETCDCTL_CERT_FILE", "ETCDCTL_CERT"]),
        key_file: file(&globals.key_file, ["ETCDCTL_KEY_FILE", "ETCDCTL_KEY"]),
        trusted_ca_file: file(&globals.ca_file, ["ETCDCTL_CA_FILE", "ETCDCTL_CACERT"]),
        insecure_skip_verify: globals.insecure_skip_tls_verify,
        ..Settings::default()
    }
}

fn credentials(flag: &str) -> Result<Credentials, Failure> {
    if let Some((username, password)) = flag.split_once(':') {
        return Ok(Credentials { username: username.to_owned(), password: password.to_owned() });
    }
    let password = password::ask("Password: ").map_err(|problem| {
        Failure::plain(format!(
            "etcdctl: cannot ask for the password ({problem}); give it as --username name:password"
        ))
    })?;
    Ok(Credentials { username: flag.to_owned(), password })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::Cli;

    fn globals(flags: &str) -> Globals {
        let line = format!("etcdctl {flags} ls");
        let words = line.split_whitespace().map(OsString::from).collect();
        let grammar = crate::cli::grammar();
        let words = crate::argv::arrange(&grammar, words).words;
        Cli::read(grammar, words).expect("reads").globals
    }

    #[test]
    fn flags_come_before_the_environment_and_new_names_before_old() {
        let none = |_: &str| None;
        let environment = |name: &str| match name {
            "ETCDCTL_ENDPOINTS" => Some(String::new()),
            "ETCDCTL_ENDPOINT" => Some("env-b".to_owned()),
            "ETCDCTL_PEERS" => Some("env-c".to_owned()),
            _ => None,
        };
        assert_eq!(
            endpoints(&globals(""), none),
            ["http://127.0.0.1:2379", "http://127.0.0.1:4001"]
        );
        assert_eq!(endpoints(&globals(""), environment), ["env-b"]);
        assert_eq!(endpoints(&globals("-C a,b"), environment), ["a", "b"]);
        assert_eq!(endpoints(&globals("--peers a --endpoint b"), none), ["b"]);
        assert_eq!(endpoints(&globals("--endpoint a --endpoints b,,c,"), none), ["b", "c"]);
    }

    #[test]
    fn a_domain_is_taken_from_the_flags_then_from_the_environment() {
        let environment = |name: &str| match name {
            "ETCDCTL_DISCOVERY_SRV" => Some("env.test".to_owned()),
            "ETCDCTL_DISCOVERY_SRV_NAME" => Some("env".to_owned()),
            "ETCDCTL_INSECURE_DISCOVERY" => Some("f".to_owned()),
            _ => None,
        };
        let shown = |flags: &str, environment: &dyn Fn(&str) -> Option<String>| {
            let domain = domain(&globals(flags), environment).expect("a domain or none");
            domain.map(|one| format!("{} {} {}", one.name, one.service_name, one.insecure))
        };
        let none = |_: &str| None;
        assert_eq!(shown("", &none), None);
        assert_eq!(shown("--discovery-srv=", &none), None);
        assert_eq!(shown("-D a.test", &none).as_deref(), Some("a.test  true"));
        let flags = "-D a.test --discovery-srv-name b --insecure-discovery=false";
        assert_eq!(shown(flags, &none).as_deref(), Some("a.test b false"));
        assert_eq!(shown("", &environment).as_deref(), Some("env.test env false"));
        let flags = "-D a.test --discovery-srv-name b --insecure-discovery";
        assert_eq!(shown(flags, &environment).as_deref(), Some("a.test b true"));
        // Whoever names endpoints on the line means them.
        assert_eq!(shown("-C http://a:1", &environment), None);
        assert_eq!(shown("-C http://a:1 -D a.test", &none).as_deref(), Some("a.test  true"));
        let odd = |name: &str| (name == "ETCDCTL_INSECURE_DISCOVERY").then(|| "perhaps".to_owned());
        assert!(domain(&globals("-D a.test"), odd).is_err());
    }

    #[test]
    fn the_files_of_tls_have_their_names_of_2_3_and_of_3() {
        let none = |_: &str| None;
        let files = |flags: &str, environment: &dyn Fn(&str) -> Option<String>| {
            let found = tls(&globals(flags), environment);
            [found.cert_file, found.key_file, found.trusted_ca_file]
                .map(|path| path.map(|path| path.display().to_string()).unwrap_or_default())
        };
        assert_eq!(files("--cert-file a --key-file b --ca-file c", &none), ["a", "b", "c"]);
        assert_eq!(files("--cert a --key b --cacert c", &none), ["a", "b", "c"]);
        let old = |name: &str| name.ends_with("_FILE").then(|| name.to_owned());
        let [cert, key, ca] = ["ETCDCTL_CERT_FILE", "ETCDCTL_KEY_FILE", "ETCDCTL_CA_FILE"];
        assert_eq!(files("--cert-file a", &old), ["a", key, ca]);
        assert_eq!(files("", &old), [cert, key, ca]);
        let new = |name: &str| (name == "ETCDCTL_CACERT").then(|| "c".to_owned());
        assert_eq!(files("", &new), ["", "", "c"]);
    }

    #[test]
    fn a_password_may_hold_colons() {
        let credentials = credentials("root:a:b").expect("complete");
        assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("root", "a:b"));
    }
}
