//! A DNS server of a test's own, and programs that ask it and nobody else.
//!
//! The product has no flag for a name server: it reads `/etc/resolv.conf`, as all programs do. So a
//! program that a test starts lives in a mount namespace in which that file is another one.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{eventually, rings};

const PATIENCE: Duration = Duration::from_secs(10);
/// Puts the test's files in the place of the system's, and becomes the program.
const IN_ITS_WORLD: &str = "mount --bind \"$0/resolv.conf\" /etc/resolv.conf && \
    { ! test -e /etc/nsswitch.conf || mount --bind \"$0/nsswitch.conf\" /etc/nsswitch.conf; } && \
    exec \"$@\"";

/// `dnsmasq` on an address of its own.
pub struct Dns {
    dir: TempDir,
    address: Ipv4Addr,
    server: Option<Child>,
}

impl Dns {
    /// A server with these records, in the form of dnsmasq's options (`srv-host=…`,
    /// `host-record=…`), which knows all of `.test`; none where the machine has no dnsmasq.
    pub fn start(records: &[String]) -> Option<Self> {
        let why_not = why_not().err().unwrap_or_default();
        rings::can_run("dnsmasq", why_not.is_empty(), &why_not).then_some(())?;
        let dir = tempfile::tempdir().expect("/tmp can be written");
        let address = free_address();
        let written = fs::write(dir.path().join("nsswitch.conf"), "hosts: files dns\n");
        written.expect("/tmp can be written");
        let mut dns = Self { dir, address, server: None };
        dns.resolve_with("");
        dns.set(records);
        Some(dns)
    }

    /// Its address, as errors name it.
    pub fn address(&self) -> String {
        format!("{}:53", self.address)
    }

    /// Has these records from now on, and no others.
    pub fn set(&mut self, records: &[String]) {
        self.stop();
        let address = self.address;
        let settings = [
            "keep-in-foreground".to_owned(),
            "no-resolv".to_owned(),
            "no-hosts".to_owned(),
            "bind-interfaces".to_owned(),
            format!("listen-address={address}"),
            "user=root".to_owned(),
            "pid-file=".to_owned(),
            "local=/test/".to_owned(),
        ];
        let path = self.dir.path().join("dnsmasq.conf");
        let text = [&settings[..], records].concat().join("\n") + "\n";
        fs::write(&path, text).expect("/tmp can be written");
        let said = self.dir.path().join("said");
        let log = fs::File::create(&said).expect("/tmp can be written");
        let mut command = Command::new("dnsmasq");
        command.arg(format!("--conf-file={}", path.display()));
        command.arg("--log-facility=-").stdin(Stdio::null()).stderr(log);
        let mut server = command.spawn().expect("dnsmasq is installed");
        eventually(PATIENCE, "dnsmasq answers", || {
            let ended = server.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "dnsmasq: {}", fs::read_to_string(&said).unwrap_or_default());
            answers(address).then_some(())
        });
        self.server = Some(server);
    }

    /// Nobody answers from now on.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = Pid::from_raw(server.id().cast_signed());
            kill(pid, Signal::SIGKILL).expect("it was not reaped");
            server.wait().expect("a child can be waited for");
        }
    }

    /// Adds lines to the `resolv.conf` of those that are started from now on.
    pub fn resolve_with(&self, lines: &str) {
        let text = format!("nameserver {}\noptions timeout:1 attempts:2\n{lines}", self.address);
        fs::write(self.dir.path().join("resolv.conf"), text).expect("/tmp can be written");
    }

    /// Where the files are that stand in the place of the system's.
    pub fn world(&self) -> &Path {
        self.dir.path()
    }

    /// A program that asks this server only.
    pub fn command(&self, program: &Path) -> Command {
        within(self.world(), program)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program for which the files in `world` stand in the place of the system's; its process id is
/// that of the command.
pub fn within(world: &Path, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", IN_ITS_WORLD]).arg(world).arg(program);
    command
}

fn why_not() -> Result<(), String> {
    let me = fs::metadata("/proc/self").map_err(|problem| problem.to_string())?;
    if me.uid() != 0 {
        return Err("port 53 and mount namespaces need root".to_owned());
    }
    let version = Command::new("dnsmasq").arg("--version").output();
    version.map_err(|problem| format!("dnsmasq: {problem}: apt-get install dnsmasq-base"))?;
    let probe = tempfile::tempdir().map_err(|problem| problem.to_string())?;
    for name in ["resolv.conf", "nsswitch.conf"] {
        fs::write(probe.path().join(name), "").map_err(|problem| problem.to_string())?;
    }
    let ran = within(probe.path(), &PathBuf::from("true")).output();
    let ran = ran.map_err(|problem| format!("unshare: {problem}"))?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("no mount namespaces: {}", String::from_utf8_lossy(&ran.stderr).trim()))
}

/// An address of loopback on whose port 53 nobody is.
fn free_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes run side by side: each begins at a place of its own.
    let start = std::process::id().wrapping_mul(251);
    loop {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        // Neither a network's own address nor its broadcast address.
        let [high, low] = [number / 254 % 256, number % 254 + 1];
        let byte = |number: u32| u8::try_from(number).expect("it is below 256");
        let address = Ipv4Addr::new(127, 53, byte(high), byte(low));
        if UdpSocket::bind((address, 53)).is_ok() {
            return address;
        }
    }
}

/// Whether a server is there: it says anything at all to a question.
fn answers(address: Ipv4Addr) -> bool {
    // An A record of "x.test".
    let question =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x04test\x00\x00\x01\x00\x01";
    let ask = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.connect((address, 53))?;
        socket.send(question)?;
        socket.recv(&mut [0; 512])
    };
    ask().is_ok()
}
