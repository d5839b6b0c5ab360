//! From a configuration to a member that serves, and to its end.

use std::{num::NonZero, sync::Arc, time::Duration};

use base::{Disk, OsClock, OsDisk, UnsyncedDisk};
use server::{CorruptionChecks, Handle};
use tokio::runtime::Runtime;

use crate::{
    announce,
    apis::Apis,
    audit::Auditing,
    config::{Bootstrap, Config, Members},
    descriptors,
    discovery::{self, NotFound},
    flags::gates,
    founding,
    listen::{self, Bound},
    proxy, records,
    role::{self, Role},
    secure,
    signals::Signals,
    traces::Sending,
    version,
};

/// What running requests and the last flush may take after a signal; a second signal ends all.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member that was removed still tells the others what they need to know (etcd: 1 s).
const LEAVING: Duration = Duration::from_secs(1);
/// Network tasks left over after that are dropped, not waited for.
const RUNTIME_TIMEOUT: Duration = Duration::from_millis(50);

/// In etcd's words.
const JOINS_BY_TOKEN: &str = "discovery URL should not be set when joining existing initial \
                              cluster: give --initial-cluster instead of --discovery or \
                              --discovery-token, or --initial-cluster-state new";

/// Why a member that served does no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Signal(i32),
    Failed,
    /// It was removed from its cluster.
    Removed,
}

/// Starts a member or a proxy and serves until a signal or a failure ends it. The error is one line.
///
/// Ports come first: a start that fails for a port leaves no trace on disk.
pub(crate) fn run(config: Config, set_log_level: api::SetLogLevel) -> Result<Ended, String> {
    let role = role::decide(&config, &OsDisk)?;
    let runtime = runtime().map_err(|error| format!("start the network threads: {error}"))?;
    let entered = runtime.enter();
    let opening = Opening { role, config, connections_max: descriptors::connections_max() };
    let served = match role {
        Role::Member => run_member(opening, set_log_level, &runtime),
        Role::Proxy => run_proxy(opening, &runtime),
    };
    drop(entered);
    let ended = served?;
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    Ok(ended)
}

/// What is to be started.
struct Opening {
    role: Role,
    config: Config,
    connections_max: usize,
}

fn run_member(
    opening: Opening,
    set_log_level: api::SetLogLevel,
    runtime: &Runtime,
) -> Result<Ended, String> {
    let Opening { mut config, connections_max, .. } = opening;
    let listeners = listen::open(&mut config)?;
    let mut secured = secure::secure(&config)?;
    let auth = config.auth.load()?;
    config.member.dialer = std::mem::take(&mut secured.dialer);
    let mut signals = install_signals()?;
    greet(&config, opening.role);
    match runtime.block_on(discover(&mut config, &mut signals))? {
        Discovered::Signal(signal) => return Ok(Ended::Signal(signal)),
        Discovered::Cluster => {}
        Discovered::Full => {
            let clients = listeners.clients;
            drop(listeners.peers);
            return runtime.block_on(proxy::serve(config, clients, signals, connections_max));
        }
    }
    // Before data: whoever cannot send, or write a record, leaves no trace.
    let auditing = config.audit_log.as_deref().map(Auditing::begin).transpose()?;
    let sending = config.traces.as_ref().map(Sending::begin).transpose()?;
    let handle = if is_founded(&config) {
        founding::turning_away(runtime, &listeners.peers, || start(&config))?
    } else if config.member.force_new_cluster {
        // Another one may be started so at the same moment.
        let ports = secured.of_peers(&listeners);
        let forcing = config.member.forcing.subscribe();
        let telling = api::answer_forcing(&ports, forcing);
        founding::meanwhile(runtime, telling, || start(&config))?
    } else {
        start(&config)?
    };
    discovery::forget(&config.member.data_dir);
    let api_config = api::Config {
        cors: config.cors,
        hosts: config.hosts,
        // The limit is for each listener.
        max_connections: (connections_max / listeners.of_clients().max(1)).max(1),
        gateway: config.gateway,
        grpc: config.grpc,
        auth,
        extensive_metrics: config.extensive_metrics,
        tracer: sending.as_ref().map(Sending::tracer),
        audit: auditing.as_ref().map(Auditing::audit),
        profiling: config.profiling,
        features: features(config.member.corruption),
    };
    let serving = Serving {
        client_urls: config.member.client_urls,
        served: listeners.clients.iter().chain(&listeners.http).filter_map(served).collect(),
        apis: Apis::new(secured.ports(listeners), &handle, api_config, set_log_level),
        handle,
        signals,
    };
    let ended = runtime.block_on(serving.until_the_end());
    if let Some(sending) = sending {
        sending.end();
    }
    if let Some(auditing) = auditing {
        auditing.end();
    }
    Ok(ended)
}

fn run_proxy(opening: Opening, runtime: &Runtime) -> Result<Ended, String> {
    let Opening { role, mut config, connections_max } = opening;
    let clients = listen::open_clients(&mut config)?;
    let signals = install_signals()?;
    greet(&config, role);
    runtime.block_on(proxy::serve(config, clients, signals, connections_max))
}

/// What metrics tell of the original's switches.
fn features(checks: CorruptionChecks) -> Vec<api::Feature> {
    let all = gates::GATES.iter().map(|gate| {
        let is_on = match (gate.always, gate.name) {
            (Some((is_on, _)), _) => is_on,
            (None, gates::INITIAL_CORRUPT_CHECK) => checks.hash_at_start,
            (None, gates::COMPACT_HASH_CHECK) => checks.hash_compactions.is_some(),
            (None, _) => false,
        };
        api::Feature { name: gate.name, stage: gate.stage, is_on }
    });
    all.collect()
}

/// Whether it is a member of a new cluster, and there is nothing of it yet.
fn is_founded(config: &Config) -> bool {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    // What is wrong with the data is for the start to say.
    config.member.new_cluster && server::has_member(&config.member, &disk).is_ok_and(|has| !has)
}

fn install_signals() -> Result<Signals, String> {
    Signals::install().map_err(|error| format!("listen for signals: {error}"))
}

pub(crate) fn runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(cores.max(2)).thread_name("network").enable_all().build()
}

fn served(bound: &Bound) -> Option<(String, bool)> {
    Some((bound.listener.local_address()?, bound.is_secure))
}

/// Says what there is to say about version and flags.
fn greet(config: &Config, role: Role) {
    for line in version::lines() {
        tracing::info!(target: "etcdmain", "{line}");
    }
    role::tell(config, role);
    for warning in &config.warnings {
        tracing::warn!(target: "etcdmain", "{warning}");
    }
}

/// What became of looking for the cluster.
enum Discovered {
    /// It is known, or there was nothing to look for.
    Cluster,
    /// It has as many members as it wants: this is to be a proxy.
    Full,
    /// That ended the search.
    Signal(i32),
}

/// Finds the initial cluster of a member that is not there yet, where the flags say where to look.
async fn discover(config: &mut Config, signals: &mut Signals) -> Result<Discovered, String> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let has_member =
        server::has_member(&config.member, &disk).map_err(|error| error.to_string())?;
    let search = async {
        match &config.bootstrap {
            None => Ok(None),
            Some(_) if has_member => Ok(ask_again(config, &disk).await),
            Some(Bootstrap::Token(..) | Bootstrap::Registry(_)) if !config.member.new_cluster => {
                Err(NotFound::Other(JOINS_BY_TOKEN.to_owned()))
            }
            Some(Bootstrap::Registry(registry)) => {
                discovery::registry::join(registry, &config.member).await.map(Some)
            }
            Some(Bootstrap::Token(url, proxy)) => {
                discovery::join((url, proxy.as_ref()), &config.member).await.map(Some)
            }
            Some(Bootstrap::Records(domain)) => {
                records::find(domain, &config.member).await.map(Some).map_err(NotFound::Other)
            }
        }
    };
    tokio::select! {
        found = search => match found {
            Ok(None) => {}
            Ok(Some(members)) => config.member.initial_cluster = members,
            Err(NotFound::Full(why)) if config.proxy.falls_back => {
                tracing::warn!(
                    target: "etcdmain",
                    "discovery cluster full, falling back to proxy ({why})"
                );
                discovery::forget(&config.member.data_dir);
                return Ok(Discovered::Full);
            }
            Err(NotFound::Full(why) | NotFound::Other(why)) => return Err(why),
        },
        signal = signals.first() => {
            announce::stopping(signal);
            return Ok(Discovered::Signal(signal));
        }
    }
    let flags = config.first_start.join(", ");
    if has_member && !flags.is_empty() {
        tracing::info!(
            target: "etcdmain",
            "ignored, since they count at a member's first start only: {flags}"
        );
    }
    Ok(Discovered::Cluster)
}

/// Of a member that joined and has heard nothing yet, only the records say where the others are.
async fn ask_again(config: &Config, disk: &Arc<dyn Disk>) -> Option<Members> {
    let Some(Bootstrap::Records(domain)) = &config.bootstrap else { return None };
    if config.member.new_cluster || !server::knows_nobody(&config.member, disk) {
        return None;
    }
    let found = records::find(domain, &config.member).await;
    found.inspect_err(|why| tracing::warn!(target: "etcdmain", "{why}")).ok()
}

fn start(config: &Config) -> Result<Handle, String> {
    let member = &config.member;
    tracing::info!(
        target: "etcdmain",
        name = %member.name,
        data_dir = %member.data_dir.display(),
        "starting a member"
    );
    let disk: Arc<dyn Disk> =
        if config.no_fsync { Arc::new(UnsyncedDisk(OsDisk)) } else { Arc::new(OsDisk) };
    let started = server::start(member.clone(), disk, Arc::new(OsClock::new()));
    let handle = started.map_err(|error| error.to_string())?;
    // Whoever is refused has a worse thing to read about.
    if config.is_default_data_dir {
        let path = member.data_dir.display();
        tracing::warn!(target: "etcdmain", "no --data-dir is given: using ./{path}");
    }
    Ok(handle)
}

/// A member with its APIs.
struct Serving {
    handle: Handle,
    client_urls: Vec<String>,
    /// Addresses for clients, and whether with TLS.
    served: Vec<(String, bool)>,
    apis: Apis,
    signals: Signals,
}

impl Serving {
    async fn until_the_end(mut self) -> Ended {
        let mut is_ready = false;
        let ended = loop {
            tokio::select! {
                () = self.handle.ready(), if !is_ready => {
                    is_ready = true;
                    self.apis.serve_clients();
                    announce::ready(&self.handle, &self.client_urls, &self.served);
                }
                reason = self.handle.failed() => {
                    tracing::error!(target: "etcdmain", "the member cannot go on: {reason}");
                    return Ended::Failed;
                }
                () = self.handle.removed() => {
                    tokio::time::sleep(LEAVING).await;
                    break Ended::Removed;
                }
                signal = self.signals.first() => {
                    announce::stopping(signal);
                    break Ended::Signal(signal);
                }
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, self.stop()).await.is_err() {
            let seconds = STOP_TIMEOUT.as_secs();
            tracing::warn!(target: "etcdmain", "not all requests ended within {seconds} s");
        }
        ended
    }

    /// Requests that were accepted get their answers before the member stops.
    async fn stop(self) {
        self.handle.close();
        self.apis.stop().await;
        self.handle.stop().await;
    }
}
