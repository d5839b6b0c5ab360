//! A network of their own for the members of a cluster, which tests can cut.
//!
//! Each member lives in a network namespace, joined to the others and to the test by a bridge. That
//! has a namespace too, out of reach of the machine's own rules (Docker's drop what crosses a
//! bridge). What is cut is dropped by `nft` inside the namespace of whoever receives it; so
//! whatever happens, it ends with the namespace.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// Where the subnets of tests lie: 10.N.0.0 for these N.
const NETWORKS: std::ops::Range<u8> = 200..250;
const PREFIX: &str = "retcd-";
/// No two networks of one process have the same number soon after each other.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Bridge, namespaces and cuts. All of it goes with this value.
pub struct Network {
    /// The name of the bridge's namespace, and of the test's link into it. It tells the subnet, so
    /// that no two tests can have the same.
    name: String,
    subnet: (u8, u8),
    namespaces: BTreeMap<IpAddr, String>,
    /// Of what goes from the one to the other, so many packets of a hundred are dropped.
    losses: BTreeMap<(IpAddr, IpAddr), u8>,
}

impl Network {
    /// A network without members; or why this machine has none.
    pub fn new() -> Result<Self, String> {
        let me = std::fs::metadata("/proc/self").map_err(|problem| problem.to_string())?;
        if me.uid() != 0 {
            return Err("network namespaces need root".to_owned());
        }
        run("nft", &["list", "tables"], "")?;
        sweep();
        let mut last = String::new();
        for _ in 0..200 {
            // Test processes run side by side: each begins at a place of its own.
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let subnet = subnet(std::process::id().wrapping_mul(7).wrapping_add(step));
            let name = format!("{PREFIX}{}-{}", subnet.0, subnet.1);
            // The kernel takes a name once: whoever has it has the subnet.
            match ip(&["netns", "add", &name]) {
                Ok(()) => return Self::on(name, subnet),
                Err(problem) => last = problem,
            }
        }
        Err(last)
    }

    fn on(name: String, subnet: (u8, u8)) -> Result<Self, String> {
        let (namespaces, losses) = (BTreeMap::new(), BTreeMap::new());
        let network = Self { name, subnet, namespaces, losses };
        let name = network.name.as_str();
        ip(&["link", "add", "name", name, "type", "veth", "peer", "name", "test", "netns", name])?;
        // For `sweep`.
        let pid = std::process::id().to_string();
        ip(&["link", "set", "dev", name, "alias", &pid])?;
        ip(&["-n", name, "link", "add", "name", "switch", "type", "bridge"])?;
        ip(&["-n", name, "link", "set", "dev", "switch", "up"])?;
        ip(&["-n", name, "link", "set", "dev", "test", "master", "switch", "up"])?;
        let own = format!("{}/24", network.outside());
        ip(&["addr", "add", &own, "dev", name])?;
        ip(&["link", "set", "dev", name, "up"])?;
        Ok(network)
    }

    /// The address of the test, and so of all clients.
    pub fn outside(&self) -> IpAddr {
        self.address(1)
    }

    /// The address of the member that joins as this one, counted from 0.
    pub fn address_of(&self, number: u8) -> IpAddr {
        self.address(10 + number)
    }

    fn address(&self, host: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, self.subnet.0, self.subnet.1, host))
    }

    /// Makes a place for one more member: its namespace and its address.
    pub fn join(&mut self) -> (String, IpAddr) {
        let number = u8::try_from(self.namespaces.len()).expect("tests have a few members");
        let (namespace, address) = (format!("{}-{number}", self.name), self.address_of(number));
        let (name, port) = (&self.name, format!("port{number}"));
        self.namespaces.insert(address, namespace.clone());
        let plan = || -> Result<(), String> {
            ip(&["netns", "add", &namespace])?;
            let end = ["peer", "name", "eth0", "netns", &namespace];
            let line = ["-n", name, "link", "add", "name", &port, "type", "veth"];
            ip(&[&line[..], &end].concat())?;
            ip(&["-n", name, "link", "set", "dev", &port, "master", "switch", "up"])?;
            ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "dev", "eth0", "up"])?;
            ip(&["-n", &namespace, "link", "set", "dev", "lo", "up"])
        };
        plan().expect("a machine with one namespace has another");
        (namespace, address)
    }

    /// Drops all that goes from `from` to `to`; what goes back still arrives.
    pub fn cut_one_way(&mut self, from: IpAddr, to: IpAddr) {
        self.lose(from, to, 100);
    }

    pub fn cut(&mut self, one: IpAddr, other: IpAddr) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Drops so many packets of a hundred.
    pub fn lose(&mut self, from: IpAddr, to: IpAddr, percent: u8) {
        self.losses.insert((from, to), percent);
        self.enforce();
    }

    /// Everything arrives again.
    pub fn heal(&mut self) {
        self.losses.clear();
        self.enforce();
    }

    fn enforce(&self) {
        for (address, namespace) in &self.namespaces {
            let rules = self.rules(*address);
            let enforced = run("ip", &["netns", "exec", namespace, "nft", "-f", "-"], &rules);
            enforced.expect("a namespace takes rules");
        }
    }

    /// What is dropped at a member: what comes to it, and what it sends to the clients, whose own
    /// end is not ours to filter.
    fn rules(&self, at: IpAddr) -> String {
        let (mut input, mut output) = (String::new(), String::new());
        for ((from, to), percent) in &self.losses {
            let dice = match percent {
                100.. => "drop".to_owned(),
                _ => format!("numgen random mod 100 < {percent} drop"),
            };
            if *to == at {
                input += &format!("    ip saddr {from} {dice}\n");
            } else if *from == at && *to == self.outside() {
                output += &format!("    ip daddr {to} {dice}\n");
            }
        }
        format!(
            "table inet faults\ndelete table inet faults\ntable inet faults {{\n  \
             chain input {{\n    type filter hook input priority 0\n{input}  }}\n  \
             chain output {{\n    type filter hook output priority 0\n{output}  }}\n}}\n"
        )
    }

    /// Lets no more than so many kilobits a second come to a member: what waits comes late, and what
    /// waits for longer than half a second is lost.
    pub fn throttle(&self, at: IpAddr, kilobits: u32) {
        let (port, rate) = (self.port(at), format!("{kilobits}kbit"));
        let limit = ["rate", &rate, "burst", "16kb", "latency", "500ms"];
        let line = ["-n", &self.name, "qdisc", "replace", "dev", &port, "root", "tbf"];
        run("tc", &[&line[..], &limit[..]].concat(), "").expect("a switch's port has a qdisc");
    }

    /// Ends a throttle.
    pub fn hasten(&self, at: IpAddr) {
        let port = self.port(at);
        let ended = run("tc", &["-n", &self.name, "qdisc", "del", "dev", &port, "root"], "");
        ended.expect("it was throttled");
    }

    /// The switch's end of the line to a member.
    fn port(&self, at: IpAddr) -> String {
        let number = self.namespaces.keys().position(|address| *address == at);
        format!("port{}", number.expect("it has joined"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let namespaces: Vec<_> = self.namespaces.values().cloned().collect();
        remove(&self.name, &namespaces);
    }
}

/// Removes what tests left behind that were themselves killed: their members too.
fn sweep() {
    let Ok(links) = run("ip", &["-o", "link", "show", "type", "veth"], "") else { return };
    let namespaces = run("ip", &["netns", "list"], "").unwrap_or_default();
    // `7: retcd-200-1@if2: <BROADCAST…`
    let links = links.lines().filter_map(|line| line.split([':', '@']).nth(1)).map(str::trim);
    for name in links {
        if !name.starts_with(PREFIX) || owner(name).is_none_or(|pid| is_alive(&pid)) {
            continue;
        }
        let all = namespaces.lines().filter_map(|line| line.split(' ').next());
        let mine = all.filter(|namespace| namespace.starts_with(&format!("{name}-")));
        remove(name, &mine.map(str::to_owned).collect::<Vec<_>>());
    }
}

/// The test that made a network; none in the moment before it has put its name there.
fn owner(name: &str) -> Option<String> {
    let alias = std::fs::read_to_string(format!("/sys/class/net/{name}/ifalias")).ok()?;
    Some(alias.trim().to_owned()).filter(|alias| !alias.is_empty())
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

fn remove(name: &str, namespaces: &[String]) {
    for namespace in namespaces {
        // A namespace lives as long as somebody is in it.
        let pids = run("ip", &["netns", "pids", namespace], "").unwrap_or_default();
        for pid in pids.split_whitespace() {
            drop(run("kill", &["-9", pid], ""));
        }
        drop(run("ip", &["netns", "del", namespace], ""));
    }
    // The namespace goes in its own time, and its links with it; the name would stay taken.
    drop(run("ip", &["link", "del", name], ""));
    drop(run("ip", &["netns", "del", name], ""));
}

fn subnet(number: u32) -> (u8, u8) {
    let count = u32::from(NETWORKS.end - NETWORKS.start);
    let second = NETWORKS.start + u8::try_from(number / 256 % count).expect("they are few");
    (second, u8::try_from(number % 256).expect("a remainder of 256 is a byte"))
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run("ip", arguments, "").map(drop)
}

/// Runs a tool of the system to its end; what it printed, or what is wrong.
pub(super) fn run(program: &str, arguments: &[&str], stdin: &str) -> Result<String, String> {
    let told = |problem: String| format!("{program} {}: {problem}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|problem| told(problem.to_string()))?;
    let mut input = child.stdin.take().expect("stdin is piped");
    // A tool that reads nothing may be gone by now.
    drop((input.write_all(stdin.as_bytes()), input));
    let output = child.wait_with_output().map_err(|problem| told(problem.to_string()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(told(text(&output.stderr))) }
}
