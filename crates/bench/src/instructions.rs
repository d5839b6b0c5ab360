//! How many instructions of the server a request takes, counted by callgrind: steady where times are not.
//! The flusher is left out: it goes by the clock, and under valgrind all else is fifty times as slow.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use proto::{
    Message as _,
    etcdserverpb::{PutRequest, RangeRequest},
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use crate::{connection::Connection, process, streams::Line};

#[derive(Args)]
pub(crate) struct Options {
    /// Our server, optimised.
    #[arg(long, default_value = "target/sim/etcd")]
    ours: PathBuf,
    /// What is known, and how much more than that is no matter.
    #[arg(long, default_value = "crates/bench/instructions.json")]
    known: PathBuf,
    /// Write down what is found as what is known from now on.
    #[arg(long)]
    accept: bool,
    /// Of each path, in each of the portions of which a lower one counts.
    #[arg(long, default_value_t = 500)]
    requests: u32,
    #[arg(long, default_value_t = 9)]
    portions: u32,
}

/// Instructions of a request, by path.
type Counts = BTreeMap<String, f64>;

const VALGRIND: &str = "valgrind";
/// Under valgrind all takes fifty times as long.
const START_PATIENCE: Duration = Duration::from_mins(2);
/// Percent. Three runs on one machine are within 0.5 of each other, however much else it has to do; with the C
/// library's routines for another processor it is 1.2 more.
const TOLERANCE: f64 = 5.0;
const PATHS: [&str; 3] = ["put", "get", "v2-get"];

/// Fails if a path takes more instructions than is known of it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if Command::new(VALGRIND).arg("--version").stdout(Stdio::null()).status().is_err() {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        ensure!(!in_ci, "valgrind is missing, and in CI nothing may be: apt-get install valgrind");
        println!("NOT RUN: valgrind is missing (apt-get install valgrind)");
        return Ok(());
    }
    let known = fs::read_to_string(&options.known).context("read what is known");
    let found = count(options)?;
    if options.accept {
        let tolerance =
            known.ok().and_then(|text| Known::read(&text).ok()).map(|one| one.tolerance);
        let text = Known { counts: found, tolerance: tolerance.unwrap_or(TOLERANCE) }.text()?;
        fs::write(&options.known, text).context("write what is known")?;
        println!("accepted: {}", options.known.display());
        return Ok(());
    }
    let Compared { told, risen } = Known::read(&known?)?.compare(&found);
    println!("{}", told.join("\n"));
    ensure!(
        risen.is_empty(),
        "{}. What a profile does not explain is a regression; what it does is accepted by `cargo xtask \
         instructions --accept`, and committed with its reason",
        risen.join("; ")
    );
    Ok(())
}

/// What was found before.
#[derive(Debug)]
struct Known {
    counts: Counts,
    /// Percent.
    tolerance: f64,
}

/// What has become of it.
struct Compared {
    told: Vec<String>,
    risen: Vec<String>,
}

impl Known {
    fn read(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(text).context("what is known is no JSON")?;
        let tolerance = value.get("tolerance_percent").and_then(Value::as_f64);
        let counts = value.get("instructions_of_a_request").and_then(Value::as_object);
        let (tolerance, counts) = tolerance.zip(counts).context("tolerance and counts")?;
        let count = |(path, count): (&String, &Value)| {
            Ok((path.clone(), count.as_f64().with_context(|| format!("count of {path}"))?))
        };
        Ok(Self { counts: counts.iter().map(count).collect::<anyhow::Result<_>>()?, tolerance })
    }

    fn text(&self) -> anyhow::Result<String> {
        #[allow(clippy::cast_possible_truncation, reason = "a count")]
        let counts =
            self.counts.iter().map(|(path, count)| (path.clone(), json!(count.round() as i64)));
        let value = json!({
            "tolerance_percent": self.tolerance,
            "instructions_of_a_request": counts.collect::<serde_json::Map<_, _>>(),
        });
        Ok(serde_json::to_string_pretty(&value)? + "\n")
    }

    fn compare(&self, found: &Counts) -> Compared {
        let tolerance = self.tolerance;
        let (mut told, mut risen) = (Vec::new(), Vec::new());
        for (path, count) in found {
            let Some(known) = self.counts.get(path) else {
                risen.push(format!("{path}: {count:.0} instructions, and nothing is known of it"));
                continue;
            };
            let more = (count / known - 1.0) * 100.0;
            let text = format!(
                "{path}: {count:.0} instructions a request, {known:.0} known ({more:+.1} %, {tolerance} % allowed)"
            );
            // What was not counted is no gain.
            if more.is_nan() || more > tolerance {
                risen.push(text.clone());
            }
            let gained = more < -tolerance;
            told.push(if gained { format!("{text}: a gain, kept by --accept") } else { text });
        }
        let lost = self.counts.keys().filter(|path| !found.contains_key(*path));
        risen.extend(lost.map(|path| format!("{path}: known, and not counted any more")));
        Compared { told, risen }
    }
}

fn count(options: &Options) -> anyhow::Result<Counts> {
    let dir = tempfile::TempDir::new().context("a temporary directory")?;
    let mut server = Counted::start(&options.ours, dir.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut client = runtime.block_on(Client::open(server.endpoint))?;
    let mut counts = Counts::new();
    for path in PATHS {
        // Whatever is made once is made by now.
        runtime.block_on(client.ask(path, options.requests))?;
        server.tell(&["instrumentation", "on"])?;
        // Valgrind has seen all code before it counts.
        runtime.block_on(client.ask(path, options.requests / 4))?;
        let mut found = Vec::new();
        for _ in 0..options.portions.max(1) {
            server.tell(&["zero"])?;
            runtime.block_on(client.ask(path, options.requests))?;
            found.push(server.counted()? / f64::from(options.requests.max(1)));
        }
        server.tell(&["instrumentation", "off"])?;
        found.sort_by(f64::total_cmp);
        let shown: Vec<String> = found.iter().map(|one| format!("{one:.0}")).collect();
        println!("{path}, {} portions in order: {}", found.len(), shown.join(" "));
        // What is done by the clock (ticks of raft) is more where the machine is slow, never less.
        let quiet = found.get(found.len() / 4).context("a portion")?;
        counts.insert(path.to_owned(), *quiet);
    }
    Ok(counts)
}

/// One client with a connection for each protocol.
struct Client {
    v2: Connection,
    v2_get: Vec<u8>,
    v3: Line,
    put: Vec<u8>,
    get: Vec<u8>,
}

impl Client {
    async fn open(endpoint: std::net::SocketAddr) -> anyhow::Result<Self> {
        let mut v2 = Connection::open(endpoint).await?;
        let value = "x".repeat(256);
        let form = format!("value={value}");
        let put = format!(
            "PUT /v2/keys/bench/counted HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let status = v2.ask(put.as_bytes()).await?;
        ensure!(status == 201, "the first write of v2 was answered with {status}");
        let get = format!("GET /v2/keys/bench/counted HTTP/1.1\r\nHost: {endpoint}\r\n\r\n");
        let key = proto_bytes("/bench/counted/by/gRPC");
        let put =
            PutRequest { key: key.clone(), value: proto_bytes(&value), ..PutRequest::default() };
        let range = RangeRequest { key, ..RangeRequest::default() };
        Ok(Self {
            v2,
            v2_get: get.into_bytes(),
            v3: Line::open(endpoint).await?,
            put: put.encode_to_vec(),
            get: range.encode_to_vec(),
        })
    }

    /// One after the other.
    async fn ask(&mut self, path: &str, requests: u32) -> anyhow::Result<()> {
        for _ in 0..requests {
            match path {
                "put" => self.v3.call("/etcdserverpb.KV/Put", &self.put).await?,
                "get" => self.v3.call("/etcdserverpb.KV/Range", &self.get).await?,
                "v2-get" => {
                    let status = self.v2.ask(&self.v2_get).await?;
                    ensure!(status == 200, "a GET was answered with {status}");
                }
                _ => bail!("there is no path {path}"),
            }
        }
        Ok(())
    }
}

fn proto_bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

/// Our server under callgrind.
struct Counted {
    endpoint: std::net::SocketAddr,
    child: Child,
    dir: PathBuf,
    /// Callgrind's number of it, once it has been seen.
    flusher: Option<String>,
}

impl Counted {
    /// It sees one core, whatever the machine has: the network's threads are as many as cores.
    fn start(binary: &Path, dir: &Path) -> anyhow::Result<Self> {
        let (client, peer) = (process::free_port()?, process::free_port()?);
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let log = fs::File::create(dir.join("log"))?;
        let mut command = Command::new(VALGRIND);
        command
            .args(["--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", "--quiet"])
            .arg(format!("--callgrind-out-file={}", dir.join("out").display()))
            .arg(format!("--vgdb-prefix={}", dir.join("vgdb").display()))
            .arg(binary)
            .args(["--name=counted", "--data-dir"])
            .arg(dir.join("data"))
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .arg(format!("--initial-cluster=counted={peer_url}"))
            .stdout(log.try_clone()?)
            .stderr(log);
        let all = sched_getaffinity(None).context("which cores there are")?;
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).context("a core")?);
        sched_setaffinity(None, &one).context("be held to a core")?;
        let child = command.spawn();
        sched_setaffinity(None, &all).context("have all cores again")?;
        let child = child.context("start valgrind")?;
        let server = Self { endpoint: client, child, dir: dir.to_owned(), flusher: None };
        process::wait_until_up(client, START_PATIENCE).with_context(|| {
            format!("under valgrind: {}", fs::read_to_string(dir.join("log")).unwrap_or_default())
        })?;
        Ok(server)
    }

    /// A command for callgrind.
    fn tell(&self, command: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("vgdb")
            .arg(format!("--pid={}", self.child.id()))
            .arg(format!("--vgdb-prefix={}", self.dir.join("vgdb").display()))
            .args(command)
            .output()
            .context("start vgdb, which is a part of valgrind")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "vgdb {}: {said}", command.join(" "));
        Ok(())
    }

    /// Since `zero`, by all threads but the flusher.
    fn counted(&mut self) -> anyhow::Result<f64> {
        self.tell(&["dump"])?;
        let mut threads = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("out.") {
                threads.push(Thread::read(&fs::read_to_string(&path)?)?);
                fs::remove_file(&path)?;
            }
        }
        ensure!(threads.len() > 1, "callgrind has not told of each thread by itself");
        for thread in threads.iter().filter(|thread| thread.commits) {
            let flusher = self.flusher.get_or_insert_with(|| thread.number.clone());
            ensure!(*flusher == thread.number, "a request commits to the storage engine by itself");
        }
        let counts = threads.iter().filter(|thread| self.flusher.as_ref() != Some(&thread.number));
        Ok(counts.map(|thread| thread.total).sum())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What only the flusher does. How often it does goes by the clock, and what that comes to for a request by how
/// slow the machine is.
const COMMIT: &str = "redb::transactions::WriteTransaction";

/// What a dump says of a thread.
#[derive(Debug, PartialEq)]
struct Thread {
    number: String,
    /// All its events, which are instructions only.
    total: f64,
    /// Whether it writes to the storage engine.
    commits: bool,
}

impl Thread {
    fn read(dump: &str) -> anyhow::Result<Self> {
        let field = |name: &str| {
            let found = dump.lines().find_map(|line| line.strip_prefix(name));
            found.map(str::trim).with_context(|| format!("a dump without {name}"))
        };
        Ok(Self {
            number: field("thread: ")?.to_owned(),
            total: field("summary: ")?.parse().context("a summary")?,
            commits: dump.lines().any(|line| line.contains("fn=(") && line.contains(COMMIT)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let text = r#"{ "tolerance_percent": 5, "instructions_of_a_request": { "get": 1000, "put": 2000 } }"#;
        Known::read(text).unwrap()
    }

    fn found(get: f64, put: f64) -> Counts {
        Counts::from([("get".to_owned(), get), ("put".to_owned(), put)])
    }

    #[test]
    fn more_than_is_allowed_is_told_with_its_path() {
        assert!(known().compare(&found(1049.0, 1.0)).risen.is_empty());
        let Compared { told, risen } = known().compare(&found(1051.0, 1800.0));
        let text = "get: 1051 instructions a request, 1000 known (+5.1 %, 5 % allowed)";
        assert_eq!(risen, [text]);
        assert!(told[1].ends_with("5 % allowed): a gain, kept by --accept"), "{}", told[1]);
    }

    #[test]
    fn nothing_passes_for_want_of_a_figure() {
        let risen = known().compare(&found(f64::NAN, 2000.0)).risen;
        assert_eq!(risen.len(), 1);
        let one = Counts::from([("v2-get".to_owned(), 1.0)]);
        assert_eq!(known().compare(&one).risen.len(), 3);
        assert!(Known::read(r#"{ "instructions_of_a_request": {} }"#).is_err());
    }

    #[test]
    fn what_is_accepted_is_read_again() {
        let text = known().text().unwrap();
        assert_eq!(Known::read(&text).unwrap().counts, known().counts);
    }

    #[test]
    fn a_dump_has_its_thread_and_its_sum_and_says_who_commits() {
        let dump = |of: &str| format!("version: 1\nthread: 3\nsummary: 12345\n\ncfn=(7) {of}\n");
        let thread = |commits| Thread { number: "3".to_owned(), total: 12_345.0, commits };
        assert_eq!(Thread::read(&dump("server::threads::raft::run")).unwrap(), thread(false));
        let commit = "<redb::transactions::WriteTransaction as core::ops::drop::Drop>::drop";
        assert_eq!(Thread::read(&dump(commit)).unwrap(), thread(true));
        assert!(Thread::read("version: 1\nthread: 3\n").is_err());
    }
}
