//! `etcd gateway start`, through the real binary: connections to a port of its own are members'.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use e2e::{
    Answer, Connection, Member, Request,
    authority::{Authority, put},
    binaries,
    cluster::Cluster,
    dns::Dns,
    eventually, memory, ports, rings,
    run::{self, Running},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

struct Gateway {
    address: SocketAddr,
    running: Running,
}

impl Gateway {
    /// In front of these endpoints, listening.
    fn start(endpoints: &[String], flags: &[&str]) -> Self {
        Self::of(&mut Command::new(binaries::etcd()), endpoints, flags)
    }

    /// The same of another binary, or one that is started in another way.
    fn of(command: &mut Command, endpoints: &[String], flags: &[&str]) -> Self {
        let endpoints = endpoints.join(",");
        let gateway = Self::run(command, &[&["--endpoints", &endpoints], flags].concat());
        gateway.says("ready to proxy client requests");
        gateway
    }

    /// Waits for nothing, and finds its endpoints as these flags say.
    fn run(command: &mut Command, flags: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        command.args(["gateway", "start", "--listen-addr", &address.to_string()]);
        Self { address, running: run::start(command.args(flags), "") }
    }

    /// Waits for a line with this message; its fields.
    fn says(&self, message: &str) -> Value {
        eventually(PATIENCE, message, || {
            let lines = self.running.stderr();
            let mut lines = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
            lines.find(|line: &Value| line["msg"] == message)
        })
    }

    /// Asks on a connection of its own.
    fn ask(&self, request: &Request) -> Option<Answer> {
        Connection::open(self.address).ok()?.ask(request).ok()
    }

    /// Whom it leads to now.
    fn member(&self) -> Option<String> {
        let answer = self.ask(&Request::get("/v2/stats/self"))?;
        Some(answer.json()["name"].as_str()?.to_owned())
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn endpoints(cluster: &Cluster) -> Vec<String> {
    cluster.members.iter().map(|member| member.address().to_string()).collect()
}

#[test]
fn connections_go_to_the_members_in_turn() {
    let cluster = Cluster::start(3);
    let gateway = Gateway::start(&endpoints(&cluster), &[]);
    let names: Vec<_> = (0..9).map(|_| gateway.member().expect("a member answers")).collect();
    for round in names.chunks(3) {
        assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 3, "{names:?}");
    }
    // A connection stays where it is.
    let mut kept = Connection::open(gateway.address).expect("it accepts");
    let mut name = || kept.ask(&Request::get("/v2/stats/self")).expect("an answer").json();
    assert_eq!(name()["name"], name()["name"]);
}

#[test]
fn etcdctl_works_through_a_gateway() {
    let cluster = Cluster::start(3);
    let gateway = Gateway::start(&endpoints(&cluster), &[]);
    let etcdctl = |arguments: &[&str]| {
        let mut command = run::etcdctl(&binaries::etcdctl(), &gateway.url());
        run::run(command.arg("--no-sync").args(arguments), "")
    };
    let check = |arguments: &[&str], expected: &str| {
        let output = etcdctl(arguments);
        assert_eq!((output.exit, output.stdout.as_str()), (Some(0), expected), "{output:?}");
    };
    check(&["set", "/message", "Hello"], "Hello\n");
    cluster.agree();
    check(&["get", "/message"], "Hello\n");
    let health = etcdctl(&["cluster-health"]);
    assert!(health.stdout.ends_with("cluster is healthy\n"), "{health:?}");
    let mut poll = Connection::open(gateway.address).expect("it accepts");
    poll.send(&Request::get("/v2/keys/w?wait=true")).expect("it is sent");
    let head = poll.receive_head().expect("the head comes at once");
    cluster.put("/w", "seen");
    assert_eq!(poll.receive_rest(head).expect("an event").json()["node"]["value"], "seen");
}

#[test]
fn a_member_that_dies_is_left_out_until_it_is_back() {
    let mut cluster = Cluster::start(3);
    let gateway = Gateway::start(&endpoints(&cluster), &["--retry-delay", "200ms"]);
    let mut kept = Connection::open(gateway.address).expect("it accepts");
    let name = kept.ask(&Request::get("/v2/stats/self")).expect("an answer").json();
    let at = ["m0", "m1", "m2"].iter().position(|known| name["name"] == *known).expect("known");
    cluster.members[at].kill();
    // What went there ends; whoever comes again is led to another.
    assert!(kept.is_closed());
    for _ in 0..9 {
        assert!(gateway.member().is_some_and(|other| name["name"] != other.as_str()));
    }
    let line = gateway.says("deactivated endpoint");
    let address = cluster.members[at].address().to_string();
    assert_eq!((&line["level"], &line["address"]), (&"warn".into(), &address.clone().into()));
    assert_eq!(line["interval"], 0.2);
    gateway.says("failed to activate endpoint (stay inactive for another interval)");
    cluster.members[at].restart();
    let line = gateway.says("activated");
    assert_eq!((&line["level"], &line["address"]), (&"info".into(), &address.into()));
    let names: BTreeSet<_> = (0..3).filter_map(|_| gateway.member()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn without_members_clients_are_turned_away_and_led_on_as_soon_as_there_is_one() {
    let mut cluster = Cluster::start(1);
    let gateway = Gateway::start(&endpoints(&cluster), &["--retry-delay=1h"]);
    assert_eq!(gateway.member().as_deref(), Some("m0"));
    cluster.members[0].kill();
    let mut turned_away = Connection::open(gateway.address).expect("it accepts");
    assert!(turned_away.is_closed());
    gateway.says("no endpoint takes a connection");
    // Nobody waits for an hour.
    cluster.members[0].restart();
    assert_eq!(gateway.member().as_deref(), Some("m0"));
    gateway.says("activated");
}

#[test]
fn tls_passes_as_it_is() {
    let mut cluster = Cluster::start_with_tls(1, &["--auto-tls", "--peer-auto-tls"]);
    cluster.members[0].allow("The scheme of client url");
    let gateway = Gateway::start(&cluster.https, &[]);
    let ca = cluster.members[0].data_dir().join("fixtures/client/cert.pem");
    let mut command = run::etcdctl(&binaries::etcdctl(), &format!("https://{}", gateway.address));
    let set = command.args(["--no-sync", "--cacert"]).arg(ca).args(["set", "/a", "1"]);
    let set = run::run(set, "");
    assert_eq!((set.exit, set.stdout.as_str()), (Some(0), "1\n"), "{set:?}");
}

/// A server that gives every connection to `serve`.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address.to_string()
}

#[test]
fn whoever_has_said_all_may_go_on_listening() {
    let server = server(|mut stream| {
        // Says something, says that this was all, and then counts what comes.
        stream.write_all(b"hello").expect("the client listens");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("it ends");
        stream.write_all(format!(" {}", all.len()).as_bytes()).expect("the client still listens");
    });
    let gateway = Gateway::start(&[server], &[]);
    let mut client = TcpStream::connect(gateway.address).expect("it accepts");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    client.write_all(&vec![b'x'; 100_000]).expect("it is sent");
    client.shutdown(Shutdown::Write).expect("it is open");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("it ends");
    assert_eq!(said, "hello 100000");
}

#[test]
fn a_slow_client_makes_no_gateway_hold_what_it_does_not_read() {
    let server = server(|mut stream| {
        let piece = vec![b'x'; 1 << 20];
        while stream.write_all(&piece).is_ok() {}
    });
    let gateway = Gateway::start(&[server], &[]);
    let resident = || memory::resident(gateway.running.pid());
    let before = resident();
    let clients: Vec<_> =
        (0..8).map(|_| TcpStream::connect(gateway.address).expect("it accepts")).collect();
    std::thread::sleep(Duration::from_secs(1));
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
    drop(clients);
}

#[test]
fn only_so_many_connections_are_taken_at_once() {
    let server = server(|mut stream| {
        drop(stream.write_all(b"hello"));
        drop(stream.read(&mut [0]));
    });
    // 150 are kept for other things, and a client takes two.
    let limited = "ulimit -n 170; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(binaries::etcd());
    let gateway = Gateway::of(&mut command, &[server], &[]);
    let greeted = |client: &mut TcpStream, patience: Duration| {
        client.set_read_timeout(Some(patience)).expect("a timeout can be set");
        client.read_exact(&mut [0; 5]).is_ok()
    };
    let connect = || TcpStream::connect(gateway.address).expect("the system accepts");
    let mut clients: Vec<_> = (0..10).map(|_| connect()).collect();
    assert!(clients.iter_mut().all(|client| greeted(client, PATIENCE)));
    let mut waiting = connect();
    assert!(!greeted(&mut waiting, Duration::from_millis(300)));
    drop(clients.pop());
    assert!(greeted(&mut waiting, PATIENCE));
}

#[test]
fn a_signal_ends_it_and_those_that_it_served() {
    let cluster = Cluster::start(1);
    let gateway = Gateway::start(&endpoints(&cluster), &[]);
    let mut kept = Connection::open(gateway.address).expect("it accepts");
    assert_eq!(kept.ask(&Request::get("/v2/keys/")).expect("an answer").status, 200);
    let pid = Pid::from_raw(gateway.running.pid().cast_signed());
    kill(pid, Signal::SIGTERM).expect("it runs");
    let ended = gateway.running.wait(PATIENCE);
    // By the signal, as the original.
    assert_eq!((ended.exit, ended.stdout.as_str()), (None, ""), "{ended:?}");
    assert!(kept.is_closed());
}

/// Records of a service that lead to these ports, the first before all others, and to nobody else.
fn records(service: &str, ports: &[u16]) -> Vec<String> {
    let lines = ports.iter().enumerate().flat_map(|(at, port)| {
        let priority = if at == 0 { 1 } else { 2 };
        [
            format!("srv-host=_{service}._tcp.etcd.test,m{at}.etcd.test,{port},{priority},0"),
            format!("host-record=m{at}.etcd.test,127.0.0.1"),
        ]
    });
    lines.collect()
}

#[test]
fn records_of_a_domain_say_where_the_members_are_and_who_is_asked_first() {
    let mut cluster = Cluster::start(3);
    let ports: Vec<_> = cluster.members.iter().map(|member| member.address().port()).collect();
    let Some(dns) = Dns::start(&records("etcd-client", &ports)) else { return };
    let flags = ["--discovery-srv=etcd.test", "--insecure-discovery"];
    let gateway = Gateway::run(&mut dns.command(&binaries::etcd()), &flags);
    let ready = gateway.says("ready to proxy client requests");
    assert_eq!(ready["endpoints"][0], format!("m0.etcd.test:{}", ports[0]));
    assert_eq!(gateway.says("discovered cluster from SRV")["srv-server"], "etcd.test");
    for _ in 0..6 {
        assert_eq!(gateway.member().as_deref(), Some("m0"));
    }
    cluster.members[0].kill();
    let names: BTreeSet<_> = (0..4).filter_map(|_| gateway.member()).collect();
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["m1", "m2"]);
}

#[test]
fn what_records_lead_to_must_have_a_certificate_of_the_domain() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("one"));
    put(dir.path(), "ca.pem", &authority.pem);
    authority.issue_for(&["127.0.0.1", "etcd.test"], dir.path(), "member", 1);
    authority.issue_for(&["127.0.0.1", "m1.etcd.test"], dir.path(), "other", 2);
    let file = |name: &str| dir.path().join(name).display().to_string();
    let member = |who: &str| {
        let (cert, key) = (file(&format!("{who}.pem")), file(&format!("{who}.key")));
        let own = [format!("--cert-file={cert}"), format!("--key-file={key}")];
        let flags = [own[0].as_str(), own[1].as_str(), "--peer-auto-tls"];
        let mut cluster = Cluster::start_with_tls(1, &flags);
        cluster.members[0].allow("The scheme of client url");
        cluster.members[0].allow("rejected connection");
        cluster
    };
    let (good, other) = (member("member"), member("other"));
    let port = |cluster: &Cluster| {
        cluster.https[0].rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    };
    let ports: [u16; 2] = [port(&good), port(&other)];
    let Some(mut dns) = Dns::start(&records("etcd-client-ssl", &ports)) else { return };
    let ca = format!("--trusted-ca-file={}", file("ca.pem"));
    let start = |dns: &Dns, flags: &[&str]| {
        let flags = [&["--discovery-srv=etcd.test"], flags].concat();
        Gateway::run(&mut dns.command(&binaries::etcd()), &flags)
    };
    let gateway = start(&dns, &[&ca]);
    let ready = gateway.says("ready to proxy client requests");
    assert_eq!(ready["endpoints"], serde_json::json!([format!("m0.etcd.test:{}", ports[0])]));
    let why = gateway.says("failed to validate discovered endpoints")["error"].to_string();
    assert!(why.contains("m1.etcd.test") && why.contains("not valid for name"), "{why}");
    // Of those that speak no TLS nobody knows who they are.
    dns.set(&records("etcd-client", &ports));
    let ended = start(&dns, &[&ca]).running.wait(PATIENCE);
    assert_eq!(ended.exit, Some(1));
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("no endpoints found: --discovery-srv etcd.test leads to none"), "{last}");
    assert!(ended.stderr.contains("is insecure"), "{}", ended.stderr);
    // A domain without records is told in one line.
    let nowhere = Gateway::run(
        &mut dns.command(&binaries::etcd()),
        &["--discovery-srv=nowhere.test", "--insecure-discovery"],
    );
    let ended = nowhere.running.wait(PATIENCE);
    assert_eq!(ended.exit, Some(1));
    assert!(ended.stderr.contains("add a record for each member, like _etcd-client._tcp.nowhere"));
}

#[test]
fn its_lines_are_those_of_the_original() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) || binaries::is_original() {
        return;
    }
    let original = original.expect("it is installed");
    let nobody = format!("http://127.0.0.1:{}/x", ports::free());
    let lines = |binary: &Path| {
        let flags = ["--retry-delay=300ms"];
        let gateway = Gateway::of(&mut Command::new(binary), std::slice::from_ref(&nobody), &flags);
        let mut turned_away = Connection::open(gateway.address).expect("it accepts");
        assert!(turned_away.is_closed());
        let messages = [
            "ready to proxy client requests",
            "deactivated endpoint",
            "failed to activate endpoint (stay inactive for another interval)",
        ];
        messages.map(|message| {
            let line = gateway.says(message);
            let field = |name: &str| line[name].clone();
            ["level", "msg", "endpoints", "address", "interval"].map(field)
        })
    };
    assert_eq!(lines(&binaries::etcd()), lines(&original));
}

#[test]
fn one_member_is_enough_for_a_gateway_without_flags_for_endpoints() {
    // The help says so; the ports of the default are not ours to take.
    let help = run::run(Command::new(binaries::etcd()).args(["gateway", "--help"]), "");
    assert_eq!(help.exit, Some(0));
    for flag in ["listen-addr '127.0.0.1:23790'", "endpoints '127.0.0.1:2379'", "retry-delay '1m'"]
    {
        assert!(help.stdout.contains(&format!("--{flag}")), "{flag}: {}", help.stdout);
    }
    let member = Member::start();
    let gateway = Gateway::start(&[member.url()], &[]);
    let shown = gateway.says("ready to proxy client requests");
    assert_eq!(shown["endpoints"], serde_json::json!([member.address().to_string()]));
}
