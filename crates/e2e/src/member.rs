//! One server process, with a data directory, ports and a log of its own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    Answer, Connection, Request, binaries,
    cluster::others::Others,
    dns::{self, Dns},
    logs::Log,
    ports,
};

/// From the start of the process to its first answer; generous, since tests share the machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// From SIGTERM to the end of the process.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// How to start a member.
#[derive(Clone, Debug)]
pub struct Start {
    binary: PathBuf,
    original: bool,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    client_address: SocketAddr,
    peer_url: String,
    /// The network namespace to live in, if not that of the test.
    namespace: Option<String>,
    /// What stands there for `/etc/hosts`.
    hosts: Option<PathBuf>,
    /// Files in the place of the system's: see `dns`.
    world: Option<PathBuf>,
    /// Whether it is to be a follower, of two others that are started before it.
    follows: bool,
    /// What the test gives itself, as flags.
    given: Given,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    /// Name, URLs and cluster.
    Cluster,
    /// The data directory as well.
    Everything,
}

impl Start {
    /// The server under test, on free ports.
    pub fn new() -> Self {
        Self::of(binaries::etcd(), binaries::is_original())
    }

    /// Debian's etcd 3.4 with its v2 API on.
    pub fn original(binary: PathBuf) -> Self {
        Self::of(binary, true)
    }

    fn of(binary: PathBuf, original: bool) -> Self {
        let (client_port, peer_port) = (ports::free(), ports::free());
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        Self {
            binary,
            original,
            flags: Vec::new(),
            environment: Vec::new(),
            data_dir: None,
            client_address: SocketAddr::from((Ipv4Addr::LOCALHOST, client_port)),
            peer_url,
            namespace: None,
            hosts: None,
            world: None,
            follows: false,
            given: Given::Nothing,
        }
    }

    /// Another build of the server.
    #[must_use]
    pub fn build(mut self, binary: &Path) -> Self {
        binary.clone_into(&mut self.binary);
        self
    }

    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Gives a flag another value, or none (`--name` alone), whether it was given or not.
    #[must_use]
    pub fn with(self, name: &str, value: Option<&str>) -> Self {
        let given = value.map_or_else(String::new, |value| format!("={value}"));
        self.without(name).flag(&format!("--{name}{given}"))
    }

    /// Leaves a flag out that was given as one word.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        let flag = format!("--{name}");
        let is_it = |given: &String| given.split('=').next() == Some(&flag);
        self.flags.retain(|given| !is_it(given));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A data directory that outlives the member, instead of one that goes with it.
    #[must_use]
    pub fn data_dir(mut self, path: &Path) -> Self {
        self.data_dir = Some(path.to_owned());
        self
    }

    #[must_use]
    pub fn client_port(mut self, port: u16) -> Self {
        self.client_address.set_port(port);
        self
    }

    /// Lives in a network namespace, where clients reach it at this address.
    #[must_use]
    pub fn namespace(mut self, namespace: &str, address: IpAddr) -> Self {
        self.namespace = Some(namespace.to_owned());
        self.client_address.set_ip(address);
        self
    }

    /// Knows hosts by this file instead of `/etc/hosts`, if it lives in a network namespace.
    #[must_use]
    pub fn hosts(mut self, file: &Path) -> Self {
        self.hosts = Some(file.to_owned());
        self
    }

    /// Asks this DNS server and no other.
    #[must_use]
    pub fn dns(mut self, dns: &Dns) -> Self {
        self.world = Some(dns.world().to_owned());
        self
    }

    #[must_use]
    pub fn peer_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.peer_url);
        self
    }

    /// Is a follower in a cluster of three.
    #[must_use]
    pub fn follower(mut self) -> Self {
        self.follows = true;
        self
    }

    /// Leaves name, URLs and cluster to the flags that the test gives.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.given = Given::Cluster;
        self
    }

    /// Leaves everything, the data directory too, to the flags that the test gives.
    #[must_use]
    pub fn only_flags(mut self) -> Self {
        self.given = Given::Everything;
        self
    }

    /// The command line, without anything being started.
    pub fn command(&self, data_dir: &Path) -> Command {
        let alone = format!("default={}", self.peer_url);
        self.command_in(data_dir, &alone)
    }

    fn command_in(&self, data_dir: &Path, initial_cluster: &str) -> Command {
        let client = format!("http://{}", self.client_address);
        let peer = &self.peer_url;
        let mut command = self.program();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        if self.given != Given::Everything {
            command.arg("--data-dir").arg(data_dir);
        }
        if self.given == Given::Nothing {
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
            command.args(["--initial-cluster", initial_cluster]);
        }
        if self.original && self.given != Given::Everything {
            command.arg("--enable-v2=true");
        }
        command.args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn program(&self) -> Command {
        if let Some(world) = &self.world {
            return dns::within(world, &self.binary);
        }
        self.within(&self.binary)
    }

    fn within(&self, program: &Path) -> Command {
        let Some(namespace) = &self.namespace else { return Command::new(program) };
        // It becomes the program: the process id is that of the member.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}")).arg("--");
        if let Some(hosts) = &self.hosts {
            let knows = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
            command.args(["unshare", "--mount", "sh", "-c", knows]).arg(hosts);
        }
        command.arg(program);
        command
    }

    /// Starts the process, and waits until it serves and its cluster has a version.
    pub fn start(self) -> Member {
        let mut member = self.spawn();
        member.wait_until_ready();
        member
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(self) -> Member {
        let own =
            self.data_dir.is_none().then(|| tempfile::tempdir().expect("/tmp can be written"));
        let given = self.data_dir.clone();
        let data_dir = given.or_else(|| own.as_ref().map(|dir| dir.path().join("data")));
        let data_dir = data_dir.expect("one of the two is there");
        let (log, mut allowed) = (Log::default(), Vec::new());
        let checks_log = !self.original;
        let mut others = None;
        if self.follows {
            others = Some(Others::start("default", &self.peer_url, "etcd-cluster"));
            allowed.extend(Others::complaints().map(str::to_owned));
        }
        let mut member = Member {
            start: self,
            data_dir,
            _own: own,
            others,
            child: None,
            gatherers: Vec::new(),
            log,
            allowed,
            checks_log,
        };
        member.launch();
        member
    }
}

impl Default for Start {
    fn default() -> Self {
        Self::new()
    }
}

/// A server process. It ends with this value, and then no complaint may stand in its log that the
/// test did not allow.
pub struct Member {
    start: Start,
    data_dir: PathBuf,
    _own: Option<TempDir>,
    /// Those that it follows.
    others: Option<Others>,
    child: Option<Child>,
    gatherers: Vec<JoinHandle<()>>,
    log: Log,
    allowed: Vec<String>,
    checks_log: bool,
}

impl Member {
    /// A member that serves, with the default settings.
    pub fn start() -> Self {
        Start::new().start()
    }

    pub fn address(&self) -> SocketAddr {
        self.start.client_address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn peer_url(&self) -> &str {
        &self.start.peer_url
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Those that it follows, if it was started as a follower.
    pub fn others(&self) -> Option<&Others> {
        self.others.as_ref()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// A program that runs beside it, in its network namespace if it has one.
    pub fn beside(&self, program: &Path) -> Command {
        self.start.within(program)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the process runs").id()
    }

    /// From its next launch on it is started otherwise.
    pub fn change(&mut self, change: impl FnOnce(Start) -> Start) {
        self.start = change(self.start.clone());
        if let Some(given) = &self.start.data_dir {
            self.data_dir.clone_from(given);
        }
    }

    /// Whether it has files with what others lack.
    pub fn keeps_entries(&self) -> bool {
        let names = std::fs::read_dir(self.data_dir().join("member")).expect("it has data");
        names.flatten().any(|name| name.file_name().to_string_lossy().starts_with("catch-up"))
    }

    /// Whether it took in a snapshot since it was started first.
    pub fn took_a_snapshot(&self) -> bool {
        self.log().contains("the keyspace is that of the snapshot now")
    }

    /// Expects complaints with this text in the log.
    pub fn allow(&mut self, complaint: &str) {
        self.allowed.push(complaint.to_owned());
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address()).expect("the member accepts connections")
    }

    /// Asks on a connection of its own.
    pub fn ask(&self, request: &Request) -> Answer {
        self.connect().ask(request).unwrap_or_else(|problem| panic!("{request:?}: {problem}"))
    }

    pub fn get(&self, target: &str) -> Answer {
        self.ask(&Request::get(target))
    }

    /// Writes a key and gives the index of the write.
    pub fn put(&self, key: &str, value: &str) -> u64 {
        let answer = self.ask(&Request::put(&format!("/v2/keys{key}"), value));
        answer.expect(&[200, 201]).index()
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.reap(STOP_LIMIT);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("the process runs");
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.reap(STOP_LIMIT)
    }

    /// Starts the process again on the same directory and ports; it must have ended.
    pub fn restart(&mut self) {
        self.launch();
        self.wait_until_ready();
    }

    /// From its next start on, another build is this member.
    pub fn change_build(&mut self, binary: &Path) {
        binary.clone_into(&mut self.start.binary);
    }

    /// Starts the process again and waits for nothing.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "the process still runs");
        let mut command = match &self.others {
            Some(others) => self.start.command_in(&self.data_dir, others.initial_cluster()),
            None => self.start.command(&self.data_dir),
        };
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|problem| panic!("{command:?}: {problem}"));
        self.gatherers = vec![
            self.log.gather(child.stdout.take().expect("stdout is piped")),
            self.log.gather(child.stderr.take().expect("stderr is piped")),
        ];
        self.child = Some(child);
    }

    /// Waits until it serves and its cluster has a version: from then on nobody but the test
    /// moves the index.
    pub fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_LIMIT;
        while !self.is_ready() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.reap(STOP_LIMIT);
                panic!("etcd ended ({status}) before it served:\n{}", self.log.text());
            }
            assert!(Instant::now() < deadline, "not up in time:\n{}", self.log.text());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn is_ready(&self) -> bool {
        let ask = |target| Connection::open(self.address())?.ask(&Request::get(target));
        let has_version = ask("/version")
            .is_ok_and(|version| version.status == 200 && !version.text().contains("not_decided"));
        // It may ask who asks.
        has_version && ask("/v2/keys/").is_ok_and(|answer| [200, 401].contains(&answer.status))
    }

    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("the process was not reaped");
        child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for the end of the process, which must come by itself within `limit`.
    pub fn reap(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("the process runs");
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if deadline < Instant::now() {
                end(&mut child);
                panic!("the process did not end within {limit:?}:\n{}", self.log.text());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        for gatherer in self.gatherers.drain(..) {
            gatherer.join().expect("gathering does not panic");
        }
        status
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
        for gatherer in self.gatherers.drain(..) {
            gatherer.join().expect("gathering does not panic");
        }
        if std::thread::panicking() {
            // Shown by libtest with the failure.
            eprintln!("--- log of etcd on {} ---\n{}", self.address(), self.log.text());
        } else if self.checks_log {
            let complaints = self.log.unlisted_complaints(&self.allowed);
            assert!(complaints.is_empty(), "etcd complained in its log: {complaints:#?}");
        }
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself meanwhile: both calls then say so, and that is fine.
    drop((child.kill(), child.wait()));
}
