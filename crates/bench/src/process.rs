//! A server under test, and what Linux says it costs.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;

/// Ticks of a second in `/proc`: fixed by Linux's ABI.
const TICKS: f64 = 100.0;
/// How long a server may take to start.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// A running server. Dropping it kills it and removes its data.
pub(crate) struct Server {
    pub(crate) endpoint: SocketAddr,
    child: Child,
    command: Command,
    _data: TempDir,
    data_dir: PathBuf,
    began: Instant,
    /// From its start to its first answer.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts an etcd, ours or the original, on an empty directory below `under`.
    pub(crate) fn start(binary: &Path, under: &Path) -> anyhow::Result<Self> {
        let peer_url = format!("http://{}", free_port()?);
        let mut server = Self::spawn(binary, under, "default", (&peer_url, &peer_url), &[])?;
        wait_until_up(server.endpoint, START_PATIENCE)?;
        server.started_in = server.began.elapsed();
        Ok(server)
    }

    /// Starts so many members that make one cluster.
    pub(crate) fn start_cluster(
        binary: &Path,
        under: &Path,
        count: usize,
    ) -> anyhow::Result<Vec<Self>> {
        Self::start_with(binary, under, count, &[])
    }

    /// The same, with flags for each of them.
    pub(crate) fn start_with(
        binary: &Path,
        under: &Path,
        count: usize,
        flags: &[&str],
    ) -> anyhow::Result<Vec<Self>> {
        let urls = (0..count).map(|_| Ok(format!("http://{}", free_port()?)));
        let urls: Vec<String> = urls.collect::<anyhow::Result<_>>()?;
        let rows: Vec<String> =
            urls.iter().enumerate().map(|(at, url)| format!("m{at}={url}")).collect();
        let rows = rows.join(",");
        let spawn = |(at, url): (usize, &String)| {
            Self::spawn(binary, under, &format!("m{at}"), (url, &rows), flags)
        };
        let servers: Vec<Self> =
            urls.iter().enumerate().map(spawn).collect::<anyhow::Result<_>>()?;
        for server in &servers {
            wait_until_up(server.endpoint, START_PATIENCE)?;
        }
        Ok(servers)
    }

    /// Starts the process and waits for nothing. `peers`: its own peer URL, and the cluster.
    fn spawn(
        binary: &Path,
        under: &Path,
        name: &str,
        (peer_url, cluster): (&str, &str),
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let data = TempDir::new_in(under)?;
        let data_dir = data.path().join("data");
        let client = free_port()?;
        let client_url = format!("http://{client}");
        let cluster =
            if cluster.contains('=') { cluster.to_owned() } else { format!("{name}={cluster}") };
        let log = fs::File::create(data.path().join("log"))?;
        let version = version(binary)?;
        // Those that have the v2 API, and not by default.
        let asks_for_v2 = ["3.4.", "3.5."].iter().any(|one| version.starts_with(one));
        let mut command = Command::new(binary);
        command
            .args(["--name", name, "--data-dir"])
            .arg(&data_dir)
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url])
            .args(["--initial-cluster", &cluster])
            .args(flags)
            .stdout(log.try_clone()?)
            .stderr(log);
        if asks_for_v2 {
            command.arg("--enable-v2=true");
        }
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("start {}", binary.display()))?;
        let started_in = Duration::ZERO;
        Ok(Self { endpoint: client, child, command, _data: data, data_dir, began, started_in })
    }

    /// Ends the process at once; its data stays.
    pub(crate) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        self.child.wait().context("wait for its end")?;
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            rustix::process::kill_process(pid, signal).ok();
        }
    }

    /// Starts it again on its data.
    pub(crate) fn launch(&mut self) -> anyhow::Result<()> {
        self.child = self.command.spawn().context("start it again")?;
        Ok(())
    }

    /// Starts it again on its data, and waits until it serves.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        wait_until_up(self.endpoint, START_PATIENCE)
    }

    /// Starts it again on its data; the time until it says to be in health.
    pub(crate) fn restart_to_health(&mut self, patience: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.launch()?;
        while !says_healthy(self.endpoint) {
            anyhow::ensure!(began.elapsed() < patience, "it is not back within {patience:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(began.elapsed())
    }

    /// Starts the no-op service, this program again, with answers as for values of this length.
    pub(crate) fn start_noop(value_bytes: usize) -> anyhow::Result<Self> {
        Self::start_noop_service("noop", value_bytes)
    }

    /// The same of the service that this command of ours serves.
    pub(crate) fn start_noop_service(service: &str, value_bytes: usize) -> anyhow::Result<Self> {
        let data = TempDir::new()?;
        let began = Instant::now();
        let mut command = Command::new(std::env::current_exe()?);
        command.args([service, "--value-bytes", &value_bytes.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().context("start the no-op service")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("stdout of the no-op service")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let endpoint = line.trim().parse().context("address of the no-op service")?;
        let data_dir = data.path().to_path_buf();
        let started_in = began.elapsed();
        Ok(Self { endpoint, child, command, _data: data, data_dir, began, started_in })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.pid())
    }

    pub(crate) fn resident_megabytes(&self) -> anyhow::Result<f64> {
        resident_megabytes(self.pid())
    }

    /// The most that it had resident since `forget_peak`.
    pub(crate) fn peak_megabytes(&self) -> anyhow::Result<f64> {
        status_megabytes(self.pid(), "VmHWM:")
    }

    /// What is resident and of no file: etcd maps its database.
    pub(crate) fn anonymous_megabytes(&self) -> anyhow::Result<f64> {
        status_megabytes(self.pid(), "RssAnon:")
    }

    /// From here on the peak counts.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").context("forget the peak")
    }

    /// What the data takes on disk.
    pub(crate) fn disk_megabytes(&self) -> f64 {
        disk_megabytes(&self.data_dir)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().ok();
    }
}

/// As `--version` says it: `3.4.23`.
pub(crate) fn version(binary: &Path) -> anyhow::Result<String> {
    let text = version_text(binary)?;
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version.unwrap_or_default().trim().to_owned())
}

/// All that `--version` says.
pub(crate) fn version_text(binary: &Path) -> anyhow::Result<String> {
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .with_context(|| format!("run {} --version", binary.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Until the root of the v2 keys can be listed, or, where there is no v2 API, until it says to be in health.
pub(crate) fn wait_until_up(endpoint: SocketAddr, patience: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < patience {
        let answer = asked(endpoint, "/v2/keys/");
        if answer.contains(" 200 ") || answer.contains(" 404 ") && says_healthy(endpoint) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("{endpoint} did not come up within {patience:?}")
}

/// Whether it says to be in health, which takes a leader and, of the original, a read.
fn says_healthy(endpoint: SocketAddr) -> bool {
    // 2.3 has a space in it.
    asked(endpoint, "/health").replace(' ', "").contains(r#"{"health":"true""#)
}

/// The whole answer, empty if there is none.
fn asked(endpoint: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(endpoint) {
        let request = format!("GET {path} HTTP/1.0\r\nHost: {endpoint}\r\n\r\n");
        let asked = stream.write_all(request.as_bytes());
        if asked.and_then(|()| stream.read_to_string(&mut answer)).is_err() {
            return String::new();
        }
    }
    answer
}

/// User and system time of a process so far.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("/proc/PID/stat")?.1;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<u32>);
    let (Some(user), Some(system)) = (ticks.next(), ticks.next()) else {
        bail!("/proc/{pid}/stat is too short")
    };
    Ok((f64::from(user?) + f64::from(system?)) / TICKS)
}

pub(crate) fn resident_megabytes(pid: u32) -> anyhow::Result<f64> {
    status_megabytes(pid, "VmRSS:")
}

fn status_megabytes(pid: u32, name: &'static str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes / 1024.0)
}

fn disk_megabytes(dir: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(dir) else { return 0.0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => disk_megabytes(&entry.path()),
            #[allow(clippy::cast_precision_loss, reason = "a size")]
            Ok(found) => found.blocks() as f64 * 512.0 / 1e6,
            Err(_) => 0.0,
        })
        .sum()
}

/// Ten thousand connections need as many descriptors.
pub(crate) fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, most).ok();
}
