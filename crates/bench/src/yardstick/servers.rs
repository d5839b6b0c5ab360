//! Who is measured, and one measurement: a server on an empty directory, alone, from its start to its end.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::{
    ceilings,
    figures::{Figures, Quantity},
    judge::{Kind, Measured},
    load::{Driven, Driver, Sizes},
    requests::VALUE_BYTES,
    work::{Against, Shape, Work},
};
use crate::{connection::Connection, process, process::Server};

/// A server that may be measured.
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) binary: Option<PathBuf>,
    pub(super) version: String,
}

/// More than is written here; etcd's own is 2 GB.
const FLAGS: &[&str] = &["--quota-backend-bytes=16000000000"];
/// A cluster that has just started has a leader within this.
const LEADER_PATIENCE: Duration = Duration::from_secs(30);
const START_PATIENCE: Duration = Duration::from_mins(10);
/// What was written by and by is on disk, and memory given back.
const SETTLING: Duration = Duration::from_secs(2);

/// Ours first, then the originals, then the ceilings.
pub(super) fn contenders(ours: &Path, against: &[PathBuf]) -> anyhow::Result<Vec<Contender>> {
    let mut all = Vec::new();
    for (kind, path) in [(Kind::Ours, ours)]
        .into_iter()
        .chain(against.iter().map(|path| (Kind::Original, path.as_path())))
    {
        let binary = if path.is_dir() { path.join("etcd") } else { path.to_path_buf() };
        let version = process::version(&binary)?;
        ensure!(!version.is_empty(), "{} says no version of etcd", binary.display());
        let name = match kind {
            Kind::Original => format!("etcd {version}"),
            Kind::Ours | Kind::NoopGrpc | Kind::NoopHttp | Kind::Sync => "ours".to_owned(),
        };
        ensure!(
            all.iter().all(|one: &Contender| one.name != name),
            "two of the originals are {name}: they could not be told apart"
        );
        all.push(Contender { name, kind, binary: Some(binary), version });
    }
    for (kind, name) in [
        (Kind::NoopGrpc, "no-op tonic"),
        (Kind::NoopHttp, "no-op hyper"),
        (Kind::Sync, "bare append and fdatasync"),
    ] {
        all.push(Contender { name: name.to_owned(), kind, binary: None, version: String::new() });
    }
    Ok(all)
}

/// Those of a line, of whom nothing is measured yet.
pub(super) fn of_line(work: &Work, contenders: &[Contender]) -> Vec<Measured> {
    let ceilings = work.ceilings();
    let is_v2 = matches!(work.shape, Shape::V2 { .. });
    let takes_part = |one: &&Contender| match one.kind {
        Kind::Ours => true,
        // From 3.6 on the original has no v2 API.
        Kind::Original => {
            !is_v2 || ["2.", "3.4.", "3.5."].iter().any(|v| one.version.starts_with(v))
        }
        Kind::NoopGrpc => ceilings.contains(&Against::NoopGrpc),
        Kind::NoopHttp => ceilings.contains(&Against::NoopHttp),
        Kind::Sync => ceilings.contains(&Against::SyncAndCall),
    };
    let measured =
        |one: &Contender| Measured { name: one.name.clone(), kind: one.kind, rounds: Vec::new() };
    contenders.iter().filter(takes_part).map(measured).collect()
}

/// One round of one server.
pub(super) fn measure(
    work: &Work,
    of: &Measured,
    contenders: &[Contender],
    (under, sizes): (&Path, &Sizes),
) -> anyhow::Result<Figures> {
    let noop = |service| anyhow::Ok(vec![Server::start_noop_service(service, VALUE_BYTES)?]);
    let mut servers = match of.kind {
        Kind::Ours | Kind::Original => {
            let contender = contenders.iter().find(|one| one.name == of.name);
            let binary = contender.and_then(|one| one.binary.as_ref()).context("a binary")?;
            Server::start_with(binary, under, work.members, FLAGS)?
        }
        Kind::NoopGrpc => noop("noop-grpc")?,
        Kind::NoopHttp => noop("noop")?,
        Kind::Sync => return ceilings::sync(under, Duration::from_secs_f64(sizes.seconds)),
    };
    let is_etcd = matches!(of.kind, Kind::Ours | Kind::Original);
    let endpoint = if is_etcd { leader(&servers)? } else { first(&servers)?.endpoint };
    let driver = Driver { endpoint, shape: work.shape, sizes };
    if is_etcd {
        driver.prepare()?;
    }
    let mut before = Before::default();
    let driven = driver.run(&mut || {
        before = Before::of(&servers)?;
        Ok(())
    })?;
    let mut figures = look(&servers, &before, &driven)?;
    match work.shape {
        Shape::Memory => settled(&servers, &mut figures)?,
        Shape::Start => {
            let Some(server) = servers.first_mut() else { bail!("no server") };
            server.stop()?;
            let took = server.restart_to_health(START_PATIENCE)?;
            figures = Figures::from([(Quantity::Start, took.as_secs_f64() * 1e3)]);
            settled(&servers, &mut figures)?;
        }
        Shape::Calls { .. } | Shape::V2 { .. } | Shape::Watch | Shape::KeepAlive => {}
    }
    if !is_etcd {
        figures.remove(&Quantity::Disk);
    }
    Ok(figures)
}

fn first(servers: &[Server]) -> anyhow::Result<&Server> {
    servers.first().context("a server")
}

/// What the servers had taken when the load began.
#[derive(Default)]
struct Before {
    cpu_seconds: f64,
    resident: f64,
}

impl Before {
    /// The peak is forgotten: it is to be that of the load.
    fn of(servers: &[Server]) -> anyhow::Result<Self> {
        for server in servers {
            server.forget_peak()?;
        }
        Ok(Self {
            cpu_seconds: sum(servers, Server::cpu_seconds)?,
            resident: sum(servers, Server::resident_megabytes)?,
        })
    }
}

fn sum(servers: &[Server], of_one: fn(&Server) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    servers.iter().map(of_one).sum()
}

/// What it took, all members together.
fn look(servers: &[Server], before: &Before, driven: &Driven) -> anyhow::Result<Figures> {
    ensure!(driven.units > 0.0, "nothing was answered");
    let cpu_seconds = sum(servers, Server::cpu_seconds)? - before.cpu_seconds;
    let peak = sum(servers, Server::peak_megabytes)?;
    let mut figures = ceilings::quantiles(&driven.latencies);
    figures.extend([
        (Quantity::Rate, driven.units / driven.elapsed.as_secs_f64()),
        (Quantity::Cpu, cpu_seconds * 1e6 / driven.units),
        (Quantity::ResidentPeak, peak),
        (Quantity::Resident, sum(servers, Server::resident_megabytes)?),
        (Quantity::Anonymous, sum(servers, Server::anonymous_megabytes)?),
        (Quantity::Growth, (peak - before.resident).max(0.0)),
        (Quantity::Disk, servers.iter().map(Server::disk_megabytes).sum()),
    ]);
    if driven.unsent > 0 {
        #[allow(clippy::cast_precision_loss, reason = "a count")]
        figures.insert(Quantity::Unsent, driven.unsent as f64);
    }
    Ok(figures)
}

/// Memory and disk again, once it is quiet.
fn settled(servers: &[Server], figures: &mut Figures) -> anyhow::Result<()> {
    std::thread::sleep(SETTLING);
    figures.extend([
        (Quantity::ResidentPeak, sum(servers, Server::peak_megabytes)?),
        (Quantity::Resident, sum(servers, Server::resident_megabytes)?),
        (Quantity::Anonymous, sum(servers, Server::anonymous_megabytes)?),
        (Quantity::Disk, servers.iter().map(Server::disk_megabytes).sum()),
    ]);
    Ok(())
}

/// The endpoint of the member that leads, as the gateway says it, which every 3.4 and later has.
fn leader(servers: &[Server]) -> anyhow::Result<std::net::SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = Instant::now();
    while began.elapsed() < LEADER_PATIENCE {
        for server in servers {
            let asked = runtime.block_on(status(server.endpoint));
            if asked.is_ok_and(|status| leads(&status)) {
                return Ok(server.endpoint);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("nobody leads")
}

fn leads(status: &Value) -> bool {
    let member = status.pointer("/header/member_id").filter(|member| member.is_string());
    member.is_some() && member == status.get("leader")
}

async fn status(endpoint: std::net::SocketAddr) -> anyhow::Result<Value> {
    let mut connection = Connection::open(endpoint).await?;
    let request = format!(
        "POST /v3/maintenance/status HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: \
         application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    connection.send(request.as_bytes()).await?;
    let (_, body) = connection.answer().await?;
    serde_json::from_slice(&body).context("a status")
}
