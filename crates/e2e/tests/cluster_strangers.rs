//! Strangers at the peer port: what is refused is said in both logs, and nobody parts the members.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use e2e::{
    Connection, Member, Start, binaries,
    cluster::{Cluster, forced::id, others::Others},
    eventually, ports, rings,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// More connections than the peer port takes.
const CROWD: usize = 300;

/// Waits until a member has said in one line that it refuses this.
fn refuses(member: &Member, why: &str) {
    says(member, &["refused a stream of a peer", why]);
}

/// Waits until a member has said in one line that another refuses it for this.
fn is_refused(member: &Member, why: &str) {
    says(member, &["cannot talk to a peer", "it refuses: ", why]);
}

fn says(member: &Member, parts: &[&str]) {
    eventually(PATIENCE, &format!("{} says {parts:?}", member.peer_url()), || {
        let lines = member.log().lines();
        lines.iter().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    });
}

/// A member of a cluster of two, which listens here.
fn one_of_two(at: usize, listens: SocketAddr, initial_cluster: &str, token: &str) -> Member {
    start_one_of_two(Start::new(), at, listens, initial_cluster, token)
}

/// The same, of a server of choice.
fn start_one_of_two(
    start: Start,
    at: usize,
    listens: SocketAddr,
    initial_cluster: &str,
    token: &str,
) -> Member {
    let client = format!("http://127.0.0.1:{}", ports::free());
    let own = initial_cluster.split(',').nth(at).and_then(|row| row.split_once('='));
    let (name, advertised) = own.expect("it has a row");
    let flags = [
        ("name", name),
        ("listen-client-urls", &client),
        ("advertise-client-urls", &client),
        ("listen-peer-urls", &format!("http://{listens}")),
        ("initial-advertise-peer-urls", advertised),
        ("initial-cluster", initial_cluster),
        ("initial-cluster-token", token),
    ];
    let flags = flags.iter().map(|(name, value)| format!("--{name}={value}"));
    let start = start.bare().peer_url(advertised);
    let mut member = flags.fold(start, |start, flag| start.flag(&flag)).spawn();
    for complaint in Others::complaints() {
        member.allow(complaint);
    }
    member
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], ports::free()))
}

#[test]
fn members_of_two_clusters_refuse_each_other_and_both_say_so() {
    let listens = [loopback(), loopback()];
    let initial_cluster = format!("m0=http://{},m1=http://{}", listens[0], listens[1]);
    let start = |at: usize, token| one_of_two(at, listens[at], &initial_cluster, token);
    let members = [start(0, "one"), start(1, "another")];
    for member in &members {
        refuses(member, "cluster ID mismatch: member ");
        is_refused(member, "cluster ID mismatch: member ");
    }
}

#[test]
fn a_member_at_the_place_of_another_is_refused_and_both_say_so() {
    let mut cluster = Cluster::start(3);
    cluster.put("/a", "1");
    cluster.agree();
    let [id0, id1, id2] = [0, 1, 2].map(|at| id(&cluster.members[at]));
    let place = cluster.members[2].peer_url().to_owned();
    let own = cluster.members[1].peer_url().to_owned();
    cluster.members[1].kill();
    cluster.members[2].kill();
    cluster.members[1].change(|start| start.with("listen-peer-urls", Some(&place)));
    cluster.members[1].launch();
    let why =
        format!("member ID mismatch: member {id0} looks for member {id2} here, this one is {id1}");
    refuses(&cluster.members[1], &why);
    is_refused(&cluster.members[0], &why);
    cluster.members[1].kill();
    cluster.members[1].change(|start| start.with("listen-peer-urls", Some(&own)));
    for at in [1, 2] {
        cluster.members[at].launch();
    }
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    cluster.put("/a", "2");
    cluster.agree();
}

/// Passes connections on to a member. Who comes says something else of itself: the header `name` has
/// another value.
fn disguise(to: SocketAddr, name: &'static str, value: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("somebody comes");
            // Whoever is gone again, or not there yet, is of no matter.
            thread::spawn(move || pass(client, to, name, value).ok());
        }
    });
    address
}

fn pass(mut client: TcpStream, to: SocketAddr, name: &str, value: &str) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let changed = head.split("\r\n").map(|line| match line.split_once(": ") {
        Some((header, _)) if header.eq_ignore_ascii_case(name) => format!("{name}: {value}"),
        _ => line.to_owned(),
    });
    let mut member = TcpStream::connect(to)?;
    member.write_all(changed.collect::<Vec<_>>().join("\r\n").as_bytes())?;
    let (mut from, mut into) = (client.try_clone()?, member.try_clone()?);
    thread::spawn(move || {
        io::copy(&mut from, &mut into).ok();
        into.shutdown(Shutdown::Write).ok();
    });
    io::copy(&mut member, &mut client)?;
    client.shutdown(Shutdown::Write)
}

#[test]
fn builds_that_do_not_fit_one_another_part_and_both_say_so() {
    for (name, value, told) in [
        ("x-server-version", "3.5.21", "has 3.5.21 and talks to 3.6.0 and later"),
        ("x-min-cluster-version", "9.1.0", "has 3.6.14 and talks to 9.1.0 and later"),
    ] {
        let listens = [loopback(), loopback()];
        let disguised = disguise(listens[1], name, value);
        let initial_cluster = format!("m0=http://{},m1=http://{disguised}", listens[0]);
        let start = |at: usize| one_of_two(at, listens[at], &initial_cluster, "versions");
        let members = [start(0), start(1)];
        for part in ["server version is incompatible: member ", told, "upgrade the older"] {
            refuses(&members[1], part);
            is_refused(&members[0], part);
        }
    }
}

#[test]
fn a_member_of_real_etcd_is_refused_and_both_say_why() {
    let original = binaries::real_etcd();
    let why_not = "etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) {
        return;
    }
    let listens = [loopback(), loopback()];
    let initial_cluster = format!("m0=http://{},m1=http://{}", listens[0], listens[1]);
    let theirs = Start::original(original.expect("it is there"));
    let ours = start_one_of_two(Start::new(), 0, listens[0], &initial_cluster, "both");
    let theirs = start_one_of_two(theirs, 1, listens[1], &initial_cluster, "both");
    let why = "do not mix in one cluster";
    refuses(&ours, why);
    is_refused(&ours, why);
    says(&theirs, &["request sent was ignored by peer", "server version incompatible"]);
}

#[test]
fn idle_connections_to_the_peer_port_do_not_part_the_members() {
    let mut cluster = Cluster::start(3);
    cluster.put("/before", "1");
    cluster.agree();
    let leader = cluster.leader();
    cluster.members[leader].allow("closed the connection from");
    let address = cluster.members[leader].peer_url().trim_start_matches("http://");
    let address: SocketAddr = address.parse().expect("an address");
    let idle: Vec<_> = (0..CROWD).map(|_| Connection::open(address).expect("it accepts")).collect();
    eventually(PATIENCE, "not all of them stay", || {
        let stay = idle.iter().filter(|one| one.has_nothing()).count();
        (stay < CROWD).then_some(())
    });
    says(&cluster.members[leader], &["closed the connection from", "nothing is asked on it"]);
    // The others come anew.
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    for at in &others {
        cluster.members[*at].kill();
    }
    for at in &others {
        cluster.members[*at].launch();
    }
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    cluster.put("/after", "1");
    cluster.agree();
    let stay = idle.iter().filter(|one| one.has_nothing()).count();
    assert!(stay > 0, "who is in nobody's way stays");
}
