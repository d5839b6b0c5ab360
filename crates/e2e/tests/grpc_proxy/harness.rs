//! A proxy under test, and whom it stands before.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use client::v3::{Client, Config};
use e2e::{
    Answer, Connection, Member, Request, Start, binaries, eventually,
    logs::Log,
    ports, rings,
    run::{self, Running},
};
use proto::{
    Message as _,
    etcdserverpb::{WatchCreateRequest, WatchRequest, watch_request::RequestUnion},
};
use serde_json::Value;
use tokio::runtime::Runtime;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) running: Running,
}

impl Proxy {
    /// Before one member.
    pub(crate) fn before(member: &Member, flags: &[&str]) -> Self {
        Self::start(&member.address().to_string(), flags)
    }

    /// Before these endpoints, serving.
    pub(crate) fn start(endpoints: &str, flags: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let running = Self::command(&binaries::etcd(), address, endpoints, flags);
        let proxy = Self { address, running };
        proxy.says(|message| message == "started gRPC proxy");
        proxy
    }

    /// The original's, which has no advertised address but the one that it is given.
    pub(crate) fn original(etcd: &Path, member: &Member, flags: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let endpoint = member.address().to_string();
        let proxy = Self { address, running: Self::command(etcd, address, &endpoint, flags) };
        eventually(PATIENCE, "the original's proxy serves", || Connection::open(address).ok());
        proxy
    }

    /// Waits for nothing.
    pub(crate) fn run(endpoints: &str, flags: &[&str]) -> Running {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        Self::command(&binaries::etcd(), address, endpoints, flags)
    }

    fn command(etcd: &Path, address: SocketAddr, endpoints: &str, flags: &[&str]) -> Running {
        let address = address.to_string();
        let mut command = Command::new(etcd);
        command.args(["grpc-proxy", "start", "--listen-addr", &address]);
        command.args(["--advertise-client-url", &address, "--endpoints", endpoints]);
        run::start(command.args(flags), "")
    }

    /// Waits for a line whose message is such a one.
    pub(crate) fn says(&self, is_it: impl Fn(&str) -> bool) -> Value {
        let message = |line: &Value| line["msg"].as_str().is_some_and(&is_it);
        eventually(PATIENCE, "the proxy says so", || {
            let lines = self.running.stderr();
            let mut lines = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
            lines.find(message)
        })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&[self.endpoint()], Config::default()).expect("a client")
    }

    /// A number of its own metrics.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        number(&get(self.address, "/proxy/metrics").text(), name)
    }
}

/// A command that somebody types into.
pub(crate) struct Typed {
    child: Child,
    stdin: ChildStdin,
    stdout: Log,
}

impl Typed {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = Log::default();
        drop(stdout.gather(child.stdout.take().expect("stdout is piped")));
        Self { child, stdin, stdout }
    }

    pub(crate) fn type_in(&self, text: &str) {
        (&self.stdin).write_all(text.as_bytes()).expect("it reads");
    }

    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lines()
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().expect("a child can be waited for");
    }
}

pub(crate) fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime")
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    let mut connection = Connection::open(address).expect("it accepts");
    connection.ask(&Request::get(path)).expect("an answer")
}

pub(crate) fn client_of(member: &Member) -> Client {
    Client::new(&[member.address().to_string()], Config::default()).expect("a client")
}

/// A member of ours, and one of real etcd.
pub(crate) fn upstreams() -> Vec<(&'static str, Member)> {
    let mut all = vec![("ours", Member::start())];
    let real = binaries::real_etcd();
    if rings::can_run("a grpc-proxy of real etcd", real.is_some(), "no /usr/bin/etcd 3.4") {
        all.extend(real.map(|etcd| ("real etcd", Start::original(etcd).start())));
    }
    all
}

/// A number of a member's metrics.
pub(crate) fn figure(member: &Member, name: &str) -> u64 {
    number(&member.get("/metrics").text(), name)
}

fn number(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let number: f64 = line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
    let count = number as u64;
    count
}

/// Waits until a member's number is this one.
pub(crate) async fn settles(member: &Member, name: &str, expected: u64, who: &str) {
    let since = Instant::now();
    loop {
        let found = figure(member, name);
        if found == expected {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{who}: {name} is {found}, and not {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What stands between two texts.
pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(between, _)| between)
}

pub(crate) fn has_curl() -> bool {
    let curl = Command::new("curl").arg("--version").output();
    rings::can_run("curl", curl.is_ok(), "curl is not installed: apt-get install curl")
}

/// A watch that nobody resumes.
pub(crate) fn watch_by_curl(proxy: &Proxy, what: WatchCreateRequest) -> Option<Running> {
    has_curl().then_some(())?;
    let request_union = Some(RequestUnion::CreateRequest(what));
    let message = WatchRequest { request_union }.encode_to_vec();
    let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
    let body = [&[0], &length[..], &message].concat();
    // What comes in text goes out as bytes.
    let body = String::from_utf8(body).expect("a short message of short texts");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--verbose", "--http2-prior-knowledge", "--output", "/dev/null"]);
    curl.args(["--header", "content-type: application/grpc", "--header", "te: trailers"]);
    curl.args(["--data-binary", "@-"]);
    let url = format!("http://{}/etcdserverpb.Watch/Watch", proxy.address);
    Some(run::start(curl.arg(url), &body))
}
