//! What to do and how, from the command line, the environment and a file.
//!
//! The only place that reads the environment. Nothing here touches the network or the data.

pub(crate) mod value;

mod argv;
mod auth;
mod bootstrap;
mod checks;
mod cluster;
mod environment;
mod file;
mod gates;
mod gateway;
mod given;
mod grpc_proxy;
mod limits;
mod own;
mod proxy;
mod security;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use crate::{
    flags::{self, Fate},
    logging, traces,
};
use given::Source;

pub(crate) use self::grpc_proxy::{GrpcProxy, Listening};
pub(crate) use auth::Auth;
pub(crate) use bootstrap::{Bootstrap, Domain, Registry};
pub(crate) use cluster::{DiscoveryUrl, Members};
pub(crate) use gateway::{Discovery, Gateway, Target};
pub(crate) use given::Given;
pub(crate) use proxy::{Mode, Proxy};

pub(crate) use base::url::{Url, parse_members as parse_cluster};
pub(crate) use security::{Security, Side};

/// What the user asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Version,
    Start(Box<Config>),
    Gateway(Gateway),
    GatewayHelp,
    GrpcProxy(Box<GrpcProxy>),
    GrpcProxyHelp,
}

/// All that is needed to start.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) member: server::Config,
    /// Nobody said where the data should go.
    pub(crate) is_default_data_dir: bool,
    pub(crate) cors: Vec<String>,
    /// The names by which clients may call us without TLS; empty: any.
    pub(crate) hosts: Vec<String>,
    /// The v3 API is there as JSON too.
    pub(crate) gateway: bool,
    pub(crate) grpc: api::Grpc,
    pub(crate) auth: Auth,
    /// How long each method takes is told as well.
    pub(crate) extensive_metrics: bool,
    /// Where spans of calls go.
    pub(crate) traces: Option<traces::Settings>,
    /// Where it is written who did what.
    pub(crate) audit_log: Option<PathBuf>,
    /// Anybody may ask where the processor's time goes.
    pub(crate) profiling: bool,
    pub(crate) listen_clients: Vec<Listen>,
    pub(crate) listen_http: Vec<Listen>,
    pub(crate) listen_metrics: Vec<Listen>,
    pub(crate) listen_peers: Vec<Listen>,
    pub(crate) security: Security,
    /// How the initial cluster is found, if no flag lists it.
    pub(crate) bootstrap: Option<Bootstrap>,
    /// The flags given that count at a first start only, as their user wrote them.
    pub(crate) first_start: Vec<String>,
    pub(crate) proxy: Proxy,
    pub(crate) reuse_port: bool,
    /// Nothing is made to survive a loss of power.
    pub(crate) no_fsync: bool,
    pub(crate) logging: logging::Settings,
    /// What the user should know about the flags that were given; for the log.
    pub(crate) warnings: Vec<String>,
    defaults: Defaults,
}

/// An address to serve on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) url: Url,
    /// The flag that it came from.
    pub(crate) flag: &'static str,
    /// One of the two ports that only etcd 0.4 used, and that nobody asked for: when it is taken,
    /// the member starts without it.
    pub(crate) is_legacy_default: bool,
}

/// Which lists of URLs the user left to us.
#[derive(Debug)]
struct Defaults {
    client_urls: bool,
    peer_urls: bool,
    initial_cluster: bool,
}

/// Why the flags cannot be taken: one line that says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No such flag, or not such a value: the original's exit code 2.
    #[error("{0}; see 'etcd --help'")]
    Usage(String),
    /// A word where a flag should be: exit code 1.
    #[error("\"{}\" is not a valid flag; see 'etcd --help'", base::url::shown(.0))]
    Stray(String),
    /// Flags that do not go together: exit code 1.
    #[error("{0}")]
    Conflict(String),
}

/// Reads everything and checks it. `arguments` come without the program's name.
pub(crate) fn gather(
    arguments: &[OsString],
    environment: &BTreeMap<String, String>,
) -> Result<Command, Refusal> {
    match arguments.split_first() {
        Some((first, rest)) if first == "gateway" => return gateway::gather(rest),
        Some((first, rest)) if first == "grpc-proxy" => return grpc_proxy::gather(rest),
        Some(_) | None => {}
    }
    let line = argv::parse(arguments, flags::GROUPS)?;
    match line.asks {
        Some(argv::Asks::Help) => return Ok(Command::Help),
        Some(argv::Asks::Version) => return Ok(Command::Version),
        None => {}
    }
    let named = line.given.get("config-file").map(|(file, _)| file.clone());
    let named = named.or_else(|| environment.get("ETCD_CONFIG_FILE").cloned());
    let mut given = match named.filter(|file| !file.is_empty()) {
        Some(path) => from_file(&PathBuf::from(path), &line.given, environment)?,
        None => environment::add(line.given, environment)?,
    };
    judge(&mut given)?;
    checks::config(given).map(|config| Command::Start(Box::new(config)))
}

/// The `ETCD_*` variables among these; of the rest nothing is used.
pub(crate) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut environment = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("ETCD_")) else { continue };
        let value = value.into_string().map_err(|value| {
            let value = value.display();
            Refusal::Conflict(format!("environment variable {name}={value} is no UTF-8 text"))
        })?;
        environment.insert(name.to_owned(), value);
    }
    Ok(environment)
}

/// As in etcd 3, a file stands alone: what else was given is ignored, but not in silence.
fn from_file(
    path: &std::path::Path,
    line: &Given,
    environment: &BTreeMap<String, String>,
) -> Result<Given, Refusal> {
    let mut given = file::read(path)?;
    let mut ignored: Vec<_> = line
        .names()
        .filter(|name| *name != "config-file")
        .map(|name| format!("--{name}"))
        .collect();
    let variables = flags::all().map(flags::Flag::variable);
    ignored.extend(variables.filter(|variable| {
        variable != "ETCD_CONFIG_FILE" && environment.get(variable).is_some_and(|v| !v.is_empty())
    }));
    if !ignored.is_empty() {
        given.warn(format!(
            "the configuration comes from {} alone: ignored {}",
            path.display(),
            ignored.join(", ")
        ));
    }
    Ok(given)
}

/// Carries out the fate of each flag that was given: warns, refuses, renames.
fn judge(given: &mut Given) -> Result<(), Refusal> {
    for (name, value, source) in given.all() {
        let Some(flag) = flags::find(name) else { continue };
        let shown = source.show(name);
        match flag.fate {
            Fate::Used(_) => {}
            Fate::Idle(_) | Fate::Later(_) if value::same(flag, &value) => {}
            Fate::Idle(reason) => given.warn(format!("{shown} has no effect: {reason}")),
            Fate::Later(feature) => {
                return Err(Refusal::Conflict(format!(
                    "{shown}: {feature} is not supported yet: leave it out"
                )));
            }
            Fate::Gone(advice) => {
                return Err(Refusal::Conflict(format!("{shown} is no longer supported: {advice}")));
            }
            Fate::Past => given.warn(format!("{shown} is no longer supported: ignored")),
            Fate::Renamed(to) => rename(given, name, to, (&value, &source))?,
        }
    }
    listen_where_addr_says(given);
    Ok(())
}

fn rename(
    given: &mut Given,
    name: &str,
    to: &'static str,
    (value, source): (&str, &Source),
) -> Result<(), Refusal> {
    let shown = source.show(name);
    if given.is_set(to) {
        return Err(Refusal::Conflict(format!("set only one of {shown} and --{to}")));
    }
    given.warn(format!("{shown} is deprecated: use --{to}"));
    let is_address = flags::find(name).is_some_and(|flag| flag.kind == flags::Kind::Address);
    let value = if is_address { format!("http://{value}") } else { value.to_owned() };
    given.set(to, value, source.clone());
    Ok(())
}

/// etcd 0.4's `--addr 10.0.0.1:4001` without `--bind-addr` listened on that port of all addresses;
/// `--peer-addr` alike.
fn listen_where_addr_says(given: &mut Given) {
    for (address, listen) in [("addr", "listen-client-urls"), ("peer-addr", "listen-peer-urls")] {
        let Some((value, source)) = given.get(address).cloned() else { continue };
        if let Some((_, port)) = value.rsplit_once(':')
            && !given.is_set(listen)
        {
            given.set(listen, format!("http://[::]:{port}"), source);
        }
    }
}

impl Config {
    /// Goes on without a port of etcd 0.4 that somebody else has: it is no longer advertised
    /// either, where advertising it was our own idea.
    pub(crate) fn leave_out(&mut self, url: &Url) {
        let gone = |urls: &mut Vec<String>| urls.retain(|listed| listed != url.as_str());
        if self.defaults.client_urls {
            gone(&mut self.member.client_urls);
        }
        if self.defaults.peer_urls {
            gone(&mut self.member.peer_urls);
            if self.defaults.initial_cluster {
                self.member.initial_cluster.iter_mut().for_each(|(_, urls)| gone(urls));
            }
        }
    }
}

#[cfg(test)]
mod tests;
