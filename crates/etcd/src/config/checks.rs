//! From the values of the flags to a configuration that makes sense as a whole.

use std::{path::PathBuf, time::Duration};

use base::url::{self, Bind, Url};
use server::CorruptionChecks;

use super::{
    Bootstrap, Config, Defaults, Listen, Refusal, auth, bootstrap, cluster, gates,
    given::Given,
    limits,
    proxy::{self, Mode, Proxy},
    security, value,
};
use crate::{
    flags::{self, Kind},
    logging, traces,
};

const ELECTION_MILLIS_MAX: u64 = 50_000;
/// The ports of etcd 0.4, on which etcd 2 still listens when it is not told otherwise.
const LEGACY_PORTS: [u16; 2] = [4001, 7001];

pub(super) fn config(mut given: Given) -> Result<Config, Refusal> {
    let defaults = Defaults {
        client_urls: !given.is_set("advertise-client-urls"),
        peer_urls: !given.is_set("initial-advertise-peer-urls"),
        initial_cluster: given.text("initial-cluster").is_empty(),
    };
    let proxy = proxy::read(&given)?;
    if given.is_set("listen-client-urls") && defaults.client_urls {
        advertises_nothing(&mut given, &proxy)?;
    }
    let listen_clients = listen(&given, "listen-client-urls")?;
    let listen_http = listen(&given, "listen-client-http-urls")?;
    let listen_metrics = listen(&given, "listen-metrics-urls")?;
    let listen_peers = listen(&given, "listen-peer-urls")?;
    // A proxy opens no port for peers.
    let opened_peers = if proxy.mode == Mode::Off { listen_peers.as_slice() } else { &[] };
    let of_clients = [&*listen_clients, &*listen_http, &*listen_metrics].concat();
    distinct(&of_clients, opened_peers)?;
    let security = security::read(&mut given)?;
    security::fits(&mut given, &security, &of_clients, opened_peers)?;
    let auth = auth::read(&mut given, security.clients.settings.client_cert_auth)?;
    let bootstrap = bootstrap::read(&mut given)?;
    limits::warn(&mut given);
    gates::read(&mut given)?;
    let mut member = member(&given)?;
    // As in etcd: members that came by different tokens are strangers.
    match &bootstrap {
        Some(Bootstrap::Token(url, _)) => member.initial_cluster_token.clone_from(&url.text),
        Some(Bootstrap::Registry(registry)) => {
            member.initial_cluster_token.clone_from(&registry.token);
        }
        Some(Bootstrap::Records(_)) | None => {}
    }
    let logging = logging::settings(&mut given).map_err(conflict)?;
    Ok(Config {
        is_default_data_dir: !given.is_set("data-dir"),
        member,
        // Checked when it was given.
        cors: value::origins(given.text("cors")).unwrap_or_default(),
        gateway: given.switch("enable-grpc-gateway"),
        grpc: limits::grpc(&given),
        auth,
        traces: traces(&given)?,
        audit_log: file(&given, "audit-log"),
        profiling: given.switch("enable-pprof"),
        extensive_metrics: given.text("metrics") == "extensive",
        hosts: hosts(&given),
        listen_clients,
        listen_http,
        listen_metrics,
        listen_peers,
        security,
        bootstrap,
        first_start: bootstrap::first_start(&given),
        proxy,
        reuse_port: given.switch("socket-reuse-port"),
        no_fsync: given.switch("unsafe-no-fsync"),
        logging,
        warnings: given.take_warnings(),
        defaults,
    })
}

/// Where spans go; the error is in etcd's words.
fn traces(given: &Given) -> Result<Option<traces::Settings>, Refusal> {
    let sampling_rate = given.count("distributed-tracing-sampling-rate");
    if sampling_rate > traces::SAMPLED_OF {
        let shown = given.show("distributed-tracing-sampling-rate");
        let most = traces::SAMPLED_OF;
        return Err(conflict(format!("{shown}: tracing sampling rate must be less than {most}")));
    }
    let is_on = given.switch("enable-distributed-tracing");
    let address = given.text("distributed-tracing-address");
    if is_on && !traces::is_address(address) {
        let shown = given.show("distributed-tracing-address");
        return Err(conflict(format!("{shown}: expected host:port ({address})")));
    }
    let text = |name: &str| given.text(name).to_owned();
    Ok(is_on.then(|| traces::Settings {
        address: text("distributed-tracing-address"),
        service_name: text("distributed-tracing-service-name"),
        instance_id: text("distributed-tracing-instance-id"),
        sampling_rate,
    }))
}

/// `None`: there is none.
fn file(given: &Given, name: &str) -> Option<PathBuf> {
    Some(given.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// `*` stands for all.
fn hosts(given: &Given) -> Vec<String> {
    let names = given.text("host-whitelist").split(',').map(str::trim);
    let names: Vec<_> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.iter().any(|name| name == "*") { Vec::new() } else { names }
}

/// A member must say where clients reach it. A proxy need not, and as in the original, whoever may
/// become one need not either.
fn advertises_nothing(given: &mut Given, proxy: &Proxy) -> Result<(), Refusal> {
    let may_be_proxy = proxy.mode != Mode::Off || given.is_set("discovery") && proxy.falls_back;
    if !may_be_proxy {
        return Err(conflict(format!(
            "--advertise-client-urls is required when {} is set: give the URLs under which clients \
             reach this member",
            given.show("listen-client-urls")
        )));
    }
    if proxy.mode == Mode::Off {
        given.warn(format!(
            "--advertise-client-urls is not given: should this become a member, it tells clients to \
             come to {}",
            given.text("advertise-client-urls")
        ));
    }
    Ok(())
}

fn member(given: &Given) -> Result<server::Config, Refusal> {
    let name = name(given)?;
    let peer_urls = parsed(given, "initial-advertise-peer-urls")?;
    let (heartbeat, election) = pace(given)?;
    let initial_cluster = match given.text("initial-cluster") {
        "" => cluster::alone(&name, &peer_urls),
        text => url::parse_members(text).map_err(|reason| {
            let (shown, text) = (given.show("initial-cluster"), url::shown(text));
            conflict(format!("{shown} \"{text}\": {reason}"))
        })?,
    };
    let snapshot_count = given.count("snapshot-count");
    Ok(server::Config {
        data_dir: data_dir(given, &name),
        wal_dir: Some(given.text("wal-dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from),
        initial_cluster,
        initial_cluster_token: given.text("initial-cluster-token").to_owned(),
        new_cluster: given.text("initial-cluster-state") == "new",
        force_new_cluster: given.switch("force-new-cluster"),
        forcing: tokio::sync::watch::Sender::default(),
        strict_reconfig_check: given.switch("strict-reconfig-check"),
        peer_urls: url::texts(&peer_urls),
        client_urls: url::texts(&parsed(given, "advertise-client-urls")?),
        heartbeat,
        election,
        snapshot_count: if snapshot_count == 0 { 10_000 } else { snapshot_count },
        quota_bytes: quota(given.number("quota-backend-bytes")),
        request_bytes_max: limits::request_bytes_max(given),
        auto_compaction: limits::auto_compaction(given).map_err(conflict)?,
        apply_expected: given.duration("warning-apply-duration"),
        corruption: corruption(given),
        learners_max: u32::try_from(given.count("max-learners")).unwrap_or(u32::MAX),
        catch_up_entries: given.count("snapshot-catchup-entries"),
        // Comes once the certificates have been read.
        dialer: server::Dialer::default(),
        timeouts: limits::raft_timeouts(given),
        name,
    })
}

/// When members are compared. Each switch of etcd 3.5 has become a gate in 3.6.
fn corruption(given: &Given) -> CorruptionChecks {
    let asks = |flag, gate| given.switch(flag) || gates::is_asked_for(given, gate);
    let at_start = asks("experimental-initial-corrupt-check", flags::gates::INITIAL_CORRUPT_CHECK);
    let compactions =
        asks("experimental-compact-hash-check-enabled", flags::gates::COMPACT_HASH_CHECK);
    CorruptionChecks {
        hash_every: given.duration("corrupt-check-time"),
        hash_at_start: at_start,
        hash_compactions: compactions.then(|| given.duration("compact-hash-check-time")),
        rebuild: given.switch("rebuild-corrupt"),
        ..CorruptionChecks::default()
    }
}

fn name(given: &Given) -> Result<String, Refusal> {
    let name = given.text("name");
    if name.is_empty() || name.contains(['=', ',', '/', '\0']) || name.contains(char::is_control) {
        return Err(conflict(format!(
            "{} \"{name}\": give a name without '=', ',' and '/', since --initial-cluster and the \
             data directory's name contain it",
            given.show("name")
        )));
    }
    Ok(name.to_owned())
}

fn data_dir(given: &Given, name: &str) -> PathBuf {
    match given.text("data-dir") {
        "" => PathBuf::from(format!("{name}.etcd")),
        dir => PathBuf::from(dir),
    }
}

/// Heartbeat and election timeout.
fn pace(given: &Given) -> Result<(Duration, Duration), Refusal> {
    let heartbeat = given.count("heartbeat-interval");
    let election = given.count("election-timeout");
    if heartbeat == 0 {
        return Err(conflict(format!("{} must be above 0", given.show("heartbeat-interval"))));
    }
    let shown = format!("{} [{election}ms]", given.show("election-timeout"));
    if heartbeat.saturating_mul(5) > election {
        return Err(conflict(format!(
            "{shown} should be at least 5 times --heartbeat-interval [{heartbeat}ms]: give {} or \
             more",
            heartbeat.saturating_mul(5)
        )));
    }
    if election > ELECTION_MILLIS_MAX {
        return Err(conflict(format!("{shown} is too long: give {ELECTION_MILLIS_MAX} or less")));
    }
    Ok((Duration::from_millis(heartbeat), Duration::from_millis(election)))
}

fn quota(bytes: i64) -> u64 {
    match bytes {
        0 => base::limits::QUOTA_BYTES_DEFAULT,
        // Negative: no bound, as in etcd.
        bytes => u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}

fn listen(given: &Given, flag: &'static str) -> Result<Vec<Listen>, Refusal> {
    let is_default = !given.is_set(flag);
    let mut listens = Vec::new();
    if given.text(flag).is_empty() {
        return Ok(listens);
    }
    for url in parsed(given, flag)? {
        let shown = given.show(flag);
        if url.bind().is_none() {
            return Err(conflict(format!(
                "{shown}: expected IP in URL for binding ({url}): give an IP of this machine, \
                 0.0.0.0 or localhost"
            )));
        }
        let is_legacy_default =
            is_default && url.port().is_some_and(|port| LEGACY_PORTS.contains(&port));
        listens.push(Listen { url, flag, is_legacy_default });
    }
    Ok(listens)
}

/// Nobody can listen twice on one address.
fn distinct(clients: &[Listen], peers: &[Listen]) -> Result<(), Refusal> {
    let all: Vec<&Listen> = clients.iter().chain(peers).collect();
    for (at, one) in all.iter().enumerate() {
        let same = |other: &&&Listen| other.url.bind() == one.url.bind();
        if let Some(other) = all.iter().skip(at + 1).find(same)
            && one.url.port() != Some(0)
        {
            let own = if let Some(Bind::Unix(_)) = one.url.bind() { "file" } else { "port" };
            return Err(conflict(format!(
                "--{} {} and --{} {} are the same address: give each its own {own}",
                one.flag, one.url, other.flag, other.url
            )));
        }
    }
    Ok(())
}

fn parsed(given: &Given, flag: &'static str) -> Result<Vec<Url>, Refusal> {
    let for_clients = flags::find(flag).is_some_and(|flag| flag.kind == Kind::ClientUrls);
    let parse = if for_clients { url::parse_list_for_clients } else { url::parse_list };
    parse(given.text(flag)).map_err(|reason| conflict(format!("{}: {reason}", given.show(flag))))
}

fn conflict(text: String) -> Refusal {
    Refusal::Conflict(text)
}
