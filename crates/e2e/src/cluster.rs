//! Several members that make one cluster: on loopback, or each in a network namespace of its own.

pub mod account;
pub mod crowd;
pub mod disk;
mod faults;
pub mod forced;
mod leases;
pub mod load;
pub mod network;
pub mod others;
pub mod stubborn;
pub mod watchers;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use self::{disk::Disk, network::Network};
use crate::{Answer, Connection, Member, Request, Start, eventually, ports, rings, v3};

/// How long anything may take that a cluster does by itself; generous, since tests share the
/// machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What members say while others come and go.
pub const COMPLAINTS: [&str; 9] = [
    "could not send a snapshot",
    "cannot talk to a peer",
    "peer became inactive",
    "no leader",
    "refused a stream of a peer",
    "refused a question of a peer",
    "drop a peer's message",
    "stepped down to follower since quorum is not active",
    // Of one that times out just when it has committed a change of the members.
    "cannot campaign",
];

/// How long a member may take to answer that is perhaps not there.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Several members that make one cluster.
pub struct Cluster {
    pub members: Vec<Member>,
    /// Where each serves clients with TLS, if it does.
    pub https: Vec<String>,
    speaks_tls: bool,
    /// Of each member, if they have disks of their own. They outlive the members that write to them.
    pub disks: Vec<Disk>,
    network: Option<Network>,
    /// `name=URL` of each, for those that join.
    rows: Vec<String>,
    /// How many there ever were.
    named: usize,
    /// Their names begin so.
    prefix: &'static str,
    /// Whether each is at `localhost:2379` as well, in its own network namespace.
    at_localhost: bool,
    /// For members in namespaces, in the place of the system's.
    hosts: Option<NamedTempFile>,
    flags: Vec<String>,
    /// The server of its members, if it is not the one under test.
    original: Option<PathBuf>,
}

/// Where a member is.
struct Seat {
    name: String,
    namespace: Option<String>,
    client: SocketAddr,
    peer_url: String,
    /// Where that is.
    listens: String,
}

/// The host where suites of clients expect the fourth member, once they have added it.
const FOURTH: &str = "node4";

/// With these whoever lacks more than a few entries is sent a snapshot, once its leader keeps nothing for
/// it any more.
pub const SNAPSHOTS_SOON: [&str; 2] = ["--snapshot-catchup-entries=20", "--snapshot-count=50"];

impl Cluster {
    /// A cluster of so many on loopback, founded and serving.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, &[])
    }

    /// The same, each member with these flags.
    pub fn start_with(count: usize, flags: &[&str]) -> Self {
        Self::new(flags).found(count)
    }

    /// The same with TLS between members, who serve clients with TLS beside plain HTTP, and
    /// advertise the former.
    pub fn start_with_tls(count: usize, flags: &[&str]) -> Self {
        Self { speaks_tls: true, ..Self::new(flags) }.found(count)
    }

    /// A cluster of so many, each in a network namespace of its own; none where the machine has
    /// none.
    pub fn start_apart(count: usize) -> Option<Self> {
        Self::start_apart_with(count, &[])
    }

    /// The same, each member with these flags.
    pub fn start_apart_with(count: usize, flags: &[&str]) -> Option<Self> {
        Some(Self { network: Some(network()?), ..Self::new(flags) }.found(count))
    }

    /// The same, each with a disk of its own of so many MiB.
    pub fn start_apart_on_disks(count: usize, mebibytes: u64) -> Option<Self> {
        Self::start_apart_on_disks_with(count, mebibytes, &[])
    }

    /// The same, each member with these flags.
    pub fn start_apart_on_disks_with(count: usize, mebibytes: u64, flags: &[&str]) -> Option<Self> {
        let network = network()?;
        let disks: Result<Vec<_>, _> = (0..count).map(|_| Disk::new(mebibytes)).collect();
        let why_not = disks.as_ref().err().cloned().unwrap_or_default();
        rings::can_run("loop mounts", disks.is_ok(), &why_not).then_some(())?;
        let disks = disks.unwrap_or_default();
        Some(Self { network: Some(network), disks, ..Self::new(flags) }.found(count))
    }

    /// Three, each in a network namespace of its own, as the suites of clients want them: within its
    /// namespace each is at `localhost:2379` too, and they are called `pifpaf0` and so on, after the
    /// tool that starts a cluster for them elsewhere. They know where a fourth will be: at `node4`.
    pub fn start_for_clients(flags: &[&str]) -> Option<Self> {
        let network = network()?;
        let hosts = hosts_with(network.address_of(3));
        let cluster = Self {
            network: Some(network),
            prefix: "pifpaf",
            at_localhost: true,
            hosts: Some(hosts),
            ..Self::new(flags)
        };
        Some(cluster.found(3))
    }

    /// Whether somebody has added the member at `node4`.
    pub fn expects_fourth(&self) -> bool {
        let asked = try_ask(&self.members[0], &Request::get("/v2/members"));
        asked.is_some_and(|answer| answer.text().contains(&format!("http://{FOURTH}:2380")))
    }

    /// Starts it.
    pub fn start_fourth(&mut self) {
        let seat = self.seat();
        self.rows.pop();
        let seat = Seat { peer_url: format!("http://{FOURTH}:2380"), ..seat };
        self.rows.push(format!("{}={}", seat.name, seat.peer_url));
        self.launch(&seat, "existing");
    }

    /// A cluster of so many of real etcd, on loopback.
    pub fn start_original(binary: PathBuf, count: usize) -> Self {
        Self { original: Some(binary), ..Self::new(&[]) }.found(count)
    }

    fn new(flags: &[&str]) -> Self {
        Self {
            members: Vec::new(),
            https: Vec::new(),
            speaks_tls: false,
            disks: Vec::new(),
            network: None,
            rows: Vec::new(),
            named: 0,
            prefix: "m",
            at_localhost: false,
            hosts: None,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            original: None,
        }
    }

    fn found(mut self, count: usize) -> Self {
        let seats: Vec<_> = (0..count).map(|_| self.seat()).collect();
        for seat in &seats {
            self.launch(seat, "new");
        }
        self.members.iter_mut().for_each(Member::wait_until_ready);
        self
    }

    /// A place for one more member.
    fn seat(&mut self) -> Seat {
        let name = format!("{}{}", self.prefix, self.named);
        self.named += 1;
        let seat = if let Some(network) = &mut self.network {
            let (namespace, address) = network.join();
            let (client, peer) = ((address, 2379).into(), SocketAddr::from((address, 2380)));
            let peer_url = format!("http://{peer}");
            let listens = peer_url.clone();
            Seat { name, namespace: Some(namespace), client, peer_url, listens }
        } else {
            let client = ([127, 0, 0, 1], ports::free()).into();
            let scheme = if self.speaks_tls { "https" } else { "http" };
            let peer_url = format!("{scheme}://127.0.0.1:{}", ports::free());
            let listens = peer_url.clone();
            Seat { name, namespace: None, client, peer_url, listens }
        };
        self.rows.push(format!("{}={}", seat.name, seat.peer_url));
        seat
    }

    fn launch(&mut self, seat: &Seat, state: &str) {
        let client = format!("http://{}", seat.client);
        let (mut listens, mut advertised) = (client.clone(), client);
        if self.speaks_tls {
            advertised = format!("https://127.0.0.1:{}", ports::free());
            listens = format!("{listens},{advertised}");
            self.https.push(advertised.clone());
        }
        if self.at_localhost {
            listens += ",http://127.0.0.1:2379";
        }
        let start = self.original.clone().map_or_else(Start::new, Start::original);
        let mut start = self.flags.iter().fold(start, |start, flag| start.flag(flag));
        if let Some(namespace) = &seat.namespace {
            start = start.namespace(namespace, seat.client.ip());
        }
        if let Some(hosts) = &self.hosts {
            start = start.hosts(hosts.path());
        }
        if let Some(disk) = self.disks.get(self.members.len()) {
            start = start.data_dir(&disk.data_dir());
        }
        let flags = [
            ("name", seat.name.as_str()),
            ("listen-client-urls", &listens),
            ("advertise-client-urls", &advertised),
            ("listen-peer-urls", &seat.listens),
            ("initial-advertise-peer-urls", &seat.peer_url),
            ("initial-cluster", &self.rows.join(",")),
            ("initial-cluster-state", state),
            ("initial-cluster-token", "e2e"),
        ];
        let start = start.bare().client_port(seat.client.port()).peer_url(&seat.peer_url);
        let flags = flags.iter().map(|(name, value)| format!("--{name}={value}"));
        let mut member = flags.fold(start, |start, flag| start.flag(&flag)).spawn();
        for complaint in COMPLAINTS {
            member.allow(complaint);
        }
        self.members.push(member);
    }

    /// Adds a member through one that serves, and starts it.
    pub fn add(&mut self) -> &mut Member {
        self.add_by(|cluster, _, peer_url| {
            let body = format!("{{\"peerURLs\":[\"{peer_url}\"]}}");
            let added = cluster.members[0].ask(&Request::json("POST", "/v2/members", &body));
            assert_eq!(added.status, 201, "{}", added.text());
        })
    }

    /// Adds a member in this way, given its name and its peer URL, and starts it.
    pub fn add_by(&mut self, add: impl FnOnce(&Self, &str, &str)) -> &mut Member {
        let seat = self.seat();
        add(self, &seat.name, &seat.peer_url);
        self.launch(&seat, "existing");
        let joined = self.members.last_mut().expect("it was pushed just now");
        joined.wait_until_ready();
        joined
    }

    /// Forgets a member that is no longer one, for those that join later.
    pub fn forget(&mut self, at: usize) -> Member {
        if at < self.rows.len() {
            self.rows.remove(at);
        }
        self.members.remove(at)
    }

    /// Where in `members` the leader is; waits until there is just one.
    pub fn leader(&mut self) -> usize {
        let all: Vec<_> = (0..self.members.len()).collect();
        self.leader_among(&all)
    }

    /// The same for those at these places, whatever the others take themselves for.
    pub fn leader_among(&mut self, some: &[usize]) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leaders: Vec<_> = some.iter().copied().filter(|at| self.leads(*at)).collect();
            if let [leader] = leaders[..] {
                return leader;
            }
            assert!(Instant::now() < deadline, "leaders: {leaders:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn leads(&mut self, at: usize) -> bool {
        state(&self.members[at]).is_some_and(|state| state == "StateLeader")
    }

    /// Writes through whichever member takes it, until one does.
    pub fn put(&self, key: &str, value: &str) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        let request = Request::put(&format!("/v2/keys{key}"), value);
        loop {
            for member in &self.members {
                if let Some(answer) = try_ask(member, &request)
                    && [200, 201].contains(&answer.status)
                {
                    return answer.index();
                }
            }
            assert!(Instant::now() < deadline, "nobody takes a write to {key}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a member has what is written from now on: it hears the leader again, which may
    /// take a few seconds after a cut, as long as its connections wait before they send once more.
    pub fn hears_the_leader(&self, at: usize) {
        let written = self.put("/heard", "x");
        eventually(PATIENCE, "it hears the leader", || {
            let answer = try_ask(&self.members[at], &Request::get("/v2/keys/"))?;
            (written <= answer.index()).then_some(())
        });
    }

    /// Waits until all members hold the same keys and values, with the same indexes, and the same leases
    /// and alarms, list the same members, and take the cluster for one of the same version; returns that.
    pub fn agree(&self) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let trees: Vec<_> = self.members.iter().map(tree).collect();
            if let Some(first) = trees[0].clone()
                && trees.iter().all(|tree| tree.as_ref() == Some(&first))
            {
                return first;
            }
            assert!(Instant::now() < deadline, "they do not agree: {trees:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The system's hosts, and the fourth.
fn hosts_with(fourth: IpAddr) -> NamedTempFile {
    let known = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let file = NamedTempFile::new().expect("/tmp can be written");
    std::fs::write(file.path(), format!("{known}\n{fourth} {FOURTH}\n")).expect("it is ours");
    file
}

fn network() -> Option<Network> {
    let network = Network::new();
    let why_not = network.as_ref().err().cloned().unwrap_or_default();
    rings::can_run("network namespaces", network.is_ok(), &why_not).then_some(())?;
    network.ok()
}

fn try_ask(member: &Member, request: &Request) -> Option<Answer> {
    let mut connection = Connection::open_within(member.address(), ANSWER_LIMIT).ok()?;
    connection.set_patience(ANSWER_LIMIT);
    connection.ask(request).ok()
}

fn state(member: &Member) -> Option<String> {
    let answer = try_ask(member, &Request::get("/v2/stats/self"))?;
    Some(answer.json()["state"].as_str()?.to_owned())
}

/// All that is replicated, as this member has it: its index, all keys, the hash of all history that API 3
/// sees, who the members are in either API, leases, alarms, and the cluster's version.
fn tree(member: &Member) -> Option<Value> {
    let answer = try_ask(member, &Request::get("/v2/keys/?recursive=true&sorted=true"))?;
    let keys = (answer.status == 200).then(|| answer.json()["node"].clone())?;
    let members = try_ask(member, &Request::get("/v2/members"))?;
    let members = (members.status == 200).then(|| members.json())?;
    let version = try_ask(member, &Request::get("/version"))?.json()["etcdcluster"].clone();
    let local = |path, body| {
        let answer = try_ask(member, &Request::json("POST", &format!("/v3/{path}"), body))?;
        let mut told = (answer.status == 200).then(|| answer.json())?;
        // Who answers, and when.
        told.as_object_mut()?.remove("header");
        Some(told)
    };
    let hash = local("maintenance/hashkv", "{}")?;
    let members_3 = local("cluster/member/list", "{\"linearizable\": false}")?;
    let leases = local("lease/leases", "{}")?;
    // A leader lists them by their ends.
    let mut leases: Vec<_> = leases["leases"].as_array().cloned().unwrap_or_default();
    leases.sort_by_key(|lease| v3::number(&lease["ID"]));
    let alarms = local("maintenance/alarm", "{\"action\": \"GET\"}")?;
    let index = answer.index();
    Some(json!([index, keys, hash, members, members_3, leases, alarms, version]))
}
