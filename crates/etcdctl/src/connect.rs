//! From the global flags and the environment to a client that knows its cluster.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use client::{Client, Config, Credentials, Trace};
use tls::Settings;

use crate::{cli::Globals, failure::Failure, output, password};

const DEFAULT: &str = "http://127.0.0.1:2379,http://127.0.0.1:4001";

/// A client of the cluster, which knows its members' URLs unless `--no-sync` is given.
pub(crate) async fn connect(globals: &Globals) -> Result<Client, Failure> {
    let client = build(globals)?;
    if !globals.no_sync {
        sync(&client, globals).await?;
    }
    if globals.debug {
        output::note(format_args!("Cluster-Endpoints: {}", listed(&client, ", ")));
    }
    Ok(client)
}

/// A client of the endpoints as given.
pub(crate) fn connect_without_sync(globals: &Globals) -> Result<Client, Failure> {
    let client = build(globals)?;
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

fn build(globals: &Globals) -> Result<Client, Failure> {
    let environment = |name: &str| {
        let value = std::env::var_os(name)?;
        Some(value.to_string_lossy().into_owned())
    };
    refuse_what_comes_later(globals, environment)?;
    let config = Config {
        request_timeout: limit(globals.timeout),
        total_timeout: limit(globals.total_timeout),
        tls: tls(globals, environment),
        credentials: globals.username.as_deref().map(credentials).transpose()?,
        trace: globals
            .debug
            .then(|| Trace::new(|curl| output::note(format_args!("cURL Command: {curl}")))),
        ..Config::default()
    };
    Client::new(&endpoints(globals, environment), config)
        .map_err(|error| Failure::plain(format!("etcdctl: {error}")))
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
    let flags = [&globals.endpoints, &globals.endpoint, &globals.peers].into_iter().cloned();
    let variables = ["ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS"];
    let split = |list: &str| -> Vec<String> {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    };
    let given = flags.chain(variables.map(environment)).flatten().map(|list| split(&list));
    given.into_iter().find(|list| !list.is_empty()).unwrap_or_else(|| split(DEFAULT))
}

fn refuse_what_comes_later(
    globals: &Globals,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(), Failure> {
    let discovery = globals.discovery_srv.clone().or_else(|| environment("ETCDCTL_DISCOVERY_SRV"));
    if discovery.is_some_and(|domain| !domain.is_empty()) {
        return Err(Failure::plain(
            "etcdctl: discovery by DNS (--discovery-srv) is not supported yet; \
             name the members with --endpoints",
        ));
    }
    Ok(())
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
    fn what_comes_later_is_refused() {
        assert!(refuse_what_comes_later(&globals("-D example.com"), |_| None).is_err());
        let srv = |name: &str| (name == "ETCDCTL_DISCOVERY_SRV").then(|| "a.example".to_owned());
        assert!(refuse_what_comes_later(&globals(""), srv).is_err());
        assert!(refuse_what_comes_later(&globals(""), |_| None).is_ok());
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
