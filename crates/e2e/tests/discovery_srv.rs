//! Members and clients that find their cluster by the SRV records of a domain.

use std::{
    net::{Shutdown, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use e2e::{
    Member, Request, Start, authority::Authority, binaries, dns::Dns, eventually, ports, rings, run,
};

const PATIENCE: Duration = Duration::from_secs(40);
/// What members say while others come and go.
const COMPLAINTS: [&str; 4] =
    ["cannot talk to a peer", "peer became inactive", "no leader", "refused a stream of a peer"];

/// Where a member is to be.
#[derive(Clone)]
struct Seat {
    name: String,
    client: u16,
    peer: u16,
}

impl Seat {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), client: ports::free(), peer: ports::free() }
    }

    /// `http://<name>.etcd.test:port`
    fn peer_url(&self, scheme: &str) -> String {
        format!("{scheme}://{}.etcd.test:{}", self.name, self.peer)
    }

    /// By name, unless told otherwise.
    fn start(&self, dns: &Dns, domain: &str, scheme: &str) -> Start {
        self.flags(Start::new().dns(dns), domain, scheme)
    }

    fn flags(&self, start: Start, domain: &str, scheme: &str) -> Start {
        let client = format!("http://127.0.0.1:{}", self.client);
        let listens = format!("{scheme}://127.0.0.1:{}", self.peer);
        start
            .bare()
            .client_port(self.client)
            .peer_url(&self.peer_url(scheme))
            .flag(&format!("--name={}", self.name))
            .flag(&format!("--listen-client-urls={client}"))
            .flag(&format!("--advertise-client-urls={client}"))
            .flag(&format!("--listen-peer-urls={listens}"))
            .flag(&format!("--initial-advertise-peer-urls={}", self.peer_url(scheme)))
            .flag(&format!("--discovery-srv={domain}"))
    }
}

fn spawn(start: Start) -> Member {
    let mut member = start.spawn();
    for complaint in COMPLAINTS {
        member.allow(complaint);
    }
    member
}

/// What does not start: its one complaint.
fn refused(start: Start) -> String {
    let mut member = start.spawn();
    member.allow("--discovery-srv");
    assert_eq!(member.reap(PATIENCE).code(), Some(1));
    assert!(!member.data_dir().exists());
    let complains = |line: &&String| line.contains(" E | ");
    member.log().lines().iter().find(complains).cloned().expect("it says why")
}

fn says(member: &Member, words: &str) {
    eventually(PATIENCE, words, || member.log().contains(words).then_some(()));
}

/// Records of all seats under this service, and where their names lead.
fn records(service: &str, seats: &[Seat]) -> Vec<String> {
    let lines = seats.iter().flat_map(|Seat { name, client, peer }| {
        let port = if service.contains("client") { client } else { peer };
        [
            format!("srv-host={service},{name}.etcd.test,{port}"),
            format!("host-record={name}.etcd.test,127.0.0.1"),
        ]
    });
    lines.collect()
}

fn seats(count: usize) -> Vec<Seat> {
    (0..count).map(|number| Seat::new(&format!("m{number}"))).collect()
}

fn members(member: &Member) -> String {
    member.get("/v2/members").expect(&[200]).text()
}

/// Waits until all tell the same members, under their own names.
fn agreed(all: &[Member], seats: &[Seat]) -> String {
    eventually(PATIENCE, "all tell the same members", || {
        let told = members(&all[0]);
        let named = |seat: &Seat| told.contains(&format!("\"name\":\"{}\"", seat.name));
        (seats.iter().all(named) && all.iter().all(|one| members(one) == told)).then_some(told)
    })
}

/// An `etcdctl` that asks this server and sees none of the caller's settings.
fn etcdctl(dns: &Dns, arguments: &[&str]) -> Command {
    let mut command = dns.command(&binaries::etcdctl());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD") {
            command.env_remove(name);
        }
    }
    command.env("ETCDCTL_API", "2").args(arguments);
    command
}

#[test]
fn three_members_find_each_other_and_their_clients_find_them() {
    let seats = seats(3);
    let services = ["_etcd-server._tcp.etcd.test", "_etcd-client._tcp.etcd.test"];
    let all: Vec<String> = services.iter().flat_map(|one| records(one, &seats)).collect();
    let Some(mut dns) = Dns::start(&all) else { return };
    let mut cluster: Vec<Member> = Vec::new();
    for (number, seat) in seats.iter().enumerate() {
        let start = seat.start(&dns, "etcd.test", "http");
        // One is advertised by address where the record has a name: it is the same place.
        let by_address = format!("--initial-advertise-peer-urls=http://127.0.0.1:{}", seat.peer);
        cluster.push(spawn(if number == 1 { start.flag(&by_address) } else { start }));
    }
    cluster.iter_mut().for_each(Member::wait_until_ready);
    let told = agreed(&cluster, &seats);
    for seat in &seats {
        assert!(told.contains(&format!("[\"{}\"]", seat.peer_url("http"))), "{told}");
    }

    let by = |dns: &Dns, arguments: &[&str]| run::run(&mut etcdctl(dns, arguments), "");
    let set = by(&dns, &["--discovery-srv", "etcd.test", "set", "/a", "1"]);
    assert_eq!((set.exit, set.stdout.as_str()), (Some(0), "1\n"), "{set:?}");
    let get = run::run(etcdctl(&dns, &["get", "/a"]).env("ETCDCTL_DISCOVERY_SRV", "etcd.test"), "");
    assert_eq!(get.stdout, "1\n", "{get:?}");
    let list = by(&dns, &["-D", "etcd.test", "member", "list"]);
    assert_eq!(list.stdout.lines().count(), 3, "{list:?}");
    let health = by(&dns, &["-D", "etcd.test", "cluster-health"]);
    assert!(health.stdout.ends_with("cluster is healthy\n"), "{health:?}");

    // A member that has its data does not need the records; what they name must still be found.
    dns.set(&all.into_iter().filter(|line| line.starts_with("host-record")).collect::<Vec<_>>());
    cluster[2].kill();
    cluster[2].launch();
    cluster[2].wait_until_ready();
    says(&cluster[2], "first start only: --initial-advertise-peer-urls, --discovery-srv");
    assert_eq!(agreed(&cluster, &seats), told);
}

#[test]
fn a_third_joins_by_the_records_and_again_when_it_has_heard_nothing_yet() {
    let mut seats = seats(2);
    let service = "_etcd-server._tcp.etcd.test";
    let Some(mut dns) = Dns::start(&records(service, &seats)) else { return };
    let start = |seat: &Seat, dns: &Dns| spawn(seat.start(dns, "etcd.test", "http"));
    let mut cluster: Vec<Member> = seats.iter().map(|seat| start(seat, &dns)).collect();
    cluster.iter_mut().for_each(Member::wait_until_ready);

    // Nobody gets through to it for now.
    let seat = Seat::new("m2");
    let door = Door::to(seat.peer);
    seats.push(Seat { peer: door.port, ..seat.clone() });
    dns.set(&records(service, &seats));
    // Added by its address; its record has its name.
    let body = format!("{{\"peerURLs\":[\"http://127.0.0.1:{}\"]}}", door.port);
    let added = cluster[0].ask(&Request::json("POST", "/v2/members", &body));
    assert_eq!(added.status, 201, "{}", added.text());
    let joins = seat.start(&dns, "etcd.test", "http").flag("--initial-cluster-state=existing");
    let advertised = format!("--initial-advertise-peer-urls={}", seats[2].peer_url("http"));
    let mut third = spawn(joins.flag(&advertised));
    says(&third, "peer became active");
    third.kill();
    third.launch();
    says(&third, "the data directory has a member");
    door.open.store(true, Ordering::Relaxed);
    third.wait_until_ready();
    cluster.push(third);
    agreed(&cluster, &seats);
    cluster[0].put("/a", "1");
    let read = cluster[2].get("/v2/keys/a?quorum=true").expect(&[200]).json();
    assert_eq!(read["node"]["value"], "1");
}

/// A port in front of another, through which nothing goes until it is open.
struct Door {
    port: u16,
    open: Arc<AtomicBool>,
}

impl Door {
    fn to(inner: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", ports::free())).expect("it is free");
        let port = listener.local_addr().expect("it listens").port();
        let open = Arc::new(AtomicBool::new(false));
        let is_open = Arc::clone(&open);
        std::thread::spawn(move || {
            for outside in listener.incoming().map_while(Result::ok) {
                if !is_open.load(Ordering::Relaxed) {
                    continue;
                }
                let Ok(inside) = TcpStream::connect(("127.0.0.1", inner)) else { continue };
                let ends = [(&outside, &inside), (&inside, &outside)];
                for (from, to) in ends.map(|(from, to)| (from.try_clone(), to.try_clone())) {
                    let (mut from, mut to) = (from.expect("it is open"), to.expect("it is open"));
                    std::thread::spawn(move || {
                        drop(std::io::copy(&mut from, &mut to));
                        drop(to.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        Self { port, open }
    }
}

#[test]
fn a_service_may_have_a_name_of_its_own() {
    let seat = Seat::new("m0");
    let all = [
        records("_etcd-server-prod._tcp.etcd.test", std::slice::from_ref(&seat)),
        records("_etcd-client-prod._tcp.etcd.test", std::slice::from_ref(&seat)),
    ];
    let Some(dns) = Dns::start(&all.concat()) else { return };
    let start = seat.start(&dns, "etcd.test", "http");
    let without = refused(start.clone());
    assert!(without.contains("add a record for each member, like _etcd-server._tcp."), "{without}");
    let mut member = spawn(start.flag("--discovery-srv-name=prod"));
    member.wait_until_ready();
    let arguments = ["-D", "etcd.test", "--discovery-srv-name", "prod", "set", "/a", "1"];
    let set = run::run(&mut etcdctl(&dns, &arguments), "");
    assert_eq!(set.stdout, "1\n", "{set:?}");
    let by_variable = |name: &str| {
        let mut command = etcdctl(&dns, &["-D", "etcd.test", "get", "/a"]);
        run::run(command.env("ETCDCTL_DISCOVERY_SRV_NAME", name), "")
    };
    assert_eq!(by_variable("prod").stdout, "1\n");
    assert_eq!(by_variable("other").exit, Some(1));
}

#[test]
fn records_that_do_not_help_end_the_start_with_advice() {
    let seats = seats(2);
    let Some(mut dns) = Dns::start(&[]) else { return };
    let error = refused(seats[0].start(&dns, "etcd.test", "http"));
    let lookup = |service: &str| {
        format!("lookup _{service}._tcp.etcd.test on {}: no such host", dns.address())
    };
    let expected = format!(
        "--discovery-srv etcd.test: error querying DNS SRV records: dns lookup errors: {} and {}: \
         add a record for each member, like _etcd-server._tcp.etcd.test. IN SRV 0 0 2380",
        lookup("etcd-server-ssl"),
        lookup("etcd-server")
    );
    assert!(error.contains(&expected), "{error}");

    let service = "_etcd-server._tcp.etcd.test";
    dns.set(&records(service, &seats[1..]));
    let by_address = format!("--initial-advertise-peer-urls=http://127.0.0.1:{}", seats[0].peer);
    let error = refused(seats[0].start(&dns, "etcd.test", "http").flag(&by_address));
    let expected = format!(
        "cannot find local etcd member \"m0\" in SRV records: none of {} leads to \
         --initial-advertise-peer-urls http://127.0.0.1:{}",
        seats[1].peer_url("http"),
        seats[0].peer
    );
    assert!(error.contains(&expected), "{error}");

    dns.set(&records("_etcd-server-ssl._tcp.etcd.test", &seats));
    let error = refused(seats[0].start(&dns, "etcd.test", "http"));
    assert!(error.contains("from DNS has scheme mismatch with expected peer http://m0"), "{error}");
}

#[test]
fn a_name_server_that_comes_up_late_is_waited_for() {
    let seat = Seat::new("m0");
    let all = records("_etcd-server._tcp.etcd.test", std::slice::from_ref(&seat));
    let Some(mut dns) = Dns::start(&all) else { return };
    dns.stop();
    let mut member = spawn(seat.start(&dns, "etcd.test", "http"));
    member.allow("error querying DNS SRV records");
    says(&member, "i/o timeout");
    says(&member, "asking again");
    dns.set(&all);
    member.wait_until_ready();
}

#[test]
fn with_tls_a_name_in_a_record_must_be_one_of_the_domain() {
    let seats = seats(2);
    let all = records("_etcd-server-ssl._tcp.etcd.test", &seats);
    let Some(dns) = Dns::start(&all) else { return };
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let authority = Authority::new("a public one");
    let ca = e2e::authority::put(dir.path(), "ca.pem", &authority.pem);
    // Good for the domain, and not for the names in the records: those come from anybody.
    let (cert, key) = authority.issue_for(&["etcd.test"], dir.path(), "member", 1);
    let start = |seat: &Seat| {
        let start = seat.start(&dns, "etcd.test", "https");
        let start = start.flag(&format!("--peer-cert-file={}", cert.display()));
        start.flag(&format!("--peer-key-file={}", key.display()))
    };
    let trusting = |seat: &Seat| start(seat).env("SSL_CERT_FILE", &ca.display().to_string());
    let mut cluster: Vec<Member> = seats.iter().map(|seat| spawn(trusting(seat))).collect();
    for member in &mut cluster {
        // Whoever asked just before this one was there has lost patience.
        member.allow("TLS handshake failed: tls handshake eof");
        member.wait_until_ready();
    }
    agreed(&cluster, &seats);
    cluster[0].put("/a", "1");
    assert_eq!(
        cluster[1].get("/v2/keys/a?quorum=true").expect(&[200]).json()["node"]["value"],
        "1"
    );
}

#[test]
fn clients_go_by_priority_take_long_answers_and_may_insist_on_tls() {
    let mut all: Vec<String> = (10..70)
        .map(|n| {
            format!("srv-host=_etcd-client._tcp.many.test,a-rather-long-name-{n}.many.test,{n},{n}")
        })
        .collect();
    all.push("srv-host=_etcd-client-ssl._tcp.both.test,secure.both.test,2379".to_owned());
    all.push("srv-host=_etcd-client._tcp.both.test,plain.both.test,2379".to_owned());
    all.push("srv-host=_etcd-client._tcp.plain.test,plain.test,2379".to_owned());
    let Some(dns) = Dns::start(&all) else { return };
    let asked = |arguments: &[&str]| {
        let quick = ["--debug", "--no-sync", "--total-timeout", "1ms"];
        run::run(&mut etcdctl(&dns, &[&quick[..], arguments, &["ls"]].concat()), "").stderr
    };
    // More than fits a datagram.
    let urls = (10..70).map(|n| format!("http://a-rather-long-name-{n}.many.test:{n}"));
    let line = format!("Cluster-Endpoints: {}\n", urls.collect::<Vec<_>>().join(", "));
    let said = asked(&["-D", "many.test"]);
    assert!(said.starts_with(&line), "{said}");

    let said = asked(&["-D", "both.test"]);
    let both = "https://secure.both.test:2379, http://plain.both.test:2379";
    assert!(said.contains(&format!("Cluster-Endpoints: {both}\n")), "{said}");
    let said = asked(&["-D", "both.test", "--insecure-discovery=false"]);
    let ignored = "ignoring discovered insecure endpoint \"http://plain.both.test:2379\"\n";
    let endpoints = "Cluster-Endpoints: https://secure.both.test:2379\n";
    assert!(said.starts_with(&format!("{ignored}{endpoints}")), "{said}");
    let said = asked(&["-D", "plain.test", "--insecure-discovery=false"]);
    assert!(said.contains("plain.test names no endpoint with TLS"), "{said}");

    // `search` of resolv.conf.
    dns.resolve_with("search test\n");
    let said = asked(&["-D", "plain"]);
    assert!(said.starts_with("Cluster-Endpoints: http://plain.test:2379\n"), "{said}");
}

#[test]
fn a_domain_without_records_is_told_in_the_originals_words() {
    let Some(dns) = Dns::start(&[]) else { return };
    let arguments = ["-D", "none.test", "ls"];
    let ours = run::run(&mut etcdctl(&dns, &arguments), "");
    let lookup = |service: &str| {
        format!("lookup _{service}._tcp.none.test on {}: no such host", dns.address())
    };
    let expected =
        format!("dns lookup errors: {} and {}\n", lookup("etcd-client-ssl"), lookup("etcd-client"));
    assert_eq!((ours.exit, ours.stderr.as_str()), (Some(1), expected.as_str()));
    if let Some(original) = binaries::real_etcdctl() {
        let mut command = dns.command(&original);
        let theirs = run::run(command.env("ETCDCTL_API", "2").args(arguments), "");
        assert_eq!((theirs.exit, theirs.stderr), (ours.exit, ours.stderr));
    }
}

/// etcd 3.4 looks for members with TLS only, whatever its documents say.
#[test]
fn the_cluster_is_the_one_that_the_original_founds_by_the_same_records() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) || binaries::is_original() {
        return;
    }
    let seat = Seat::new("m0");
    let all = records("_etcd-server-ssl._tcp.etcd.test", std::slice::from_ref(&seat));
    let Some(dns) = Dns::start(&all) else { return };
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let (cert, key) = Authority::new("any").issue(dir.path(), "member", 1);
    let founded = |start: Start| {
        let start = seat.flags(start.dns(&dns), "etcd.test", "https");
        let start = start.flag(&format!("--peer-cert-file={}", cert.display()));
        let mut member = spawn(start.flag(&format!("--peer-key-file={}", key.display())));
        member.wait_until_ready();
        let members = member.get("/v2/members").expect(&[200]);
        let cluster = members.header("X-Etcd-Cluster-Id").expect("it is always there").to_owned();
        member.stop();
        (cluster, members.text())
    };
    assert_eq!(founded(Start::new()), founded(Start::original(original.expect("it is installed"))));
}
