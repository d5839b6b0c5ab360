//! Ports of their own for HTTP and for metrics, and the names by which a member may be called.

use std::{process::Command, time::Duration};

use e2e::{Connection, Member, Request, Start, binaries, eventually, ports, run};

const PATIENCE: Duration = Duration::from_secs(30);

fn ask(port: u16, request: &Request) -> u16 {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut connection = Connection::open(address).expect("it listens");
    connection.ask(request).expect("it answers").status
}

#[test]
fn with_ports_of_its_own_for_http_a_member_serves_grpc_alone_on_the_others() {
    let (http, metrics) = (ports::free(), ports::free());
    let mut member = Start::new()
        .flag(&format!("--listen-client-http-urls=http://127.0.0.1:{http}"))
        .flag(&format!("--listen-metrics-urls=http://127.0.0.1:{metrics}"))
        .spawn();
    let ready = || member.log().text().contains("ready to serve client requests").then_some(());
    eventually(PATIENCE, "it serves", ready);
    let grpc = member.address().port();
    for (port, path, status) in [
        (grpc, "/version", 404),
        (grpc, "/v2/keys/", 404),
        (http, "/version", 200),
        (http, "/v2/keys/", 200),
        (http, "/metrics", 200),
        (metrics, "/metrics", 200),
        (metrics, "/health", 200),
        (metrics, "/v2/keys/", 404),
    ] {
        assert_eq!(ask(port, &Request::get(path)), status, "{port} {path}");
    }
    let etcdctl = |port: u16| {
        let mut command = Command::new(binaries::etcdctl());
        let endpoint = format!("127.0.0.1:{port}");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint, "put", "a", "1"]);
        run::start(&mut command, "").wait(PATIENCE)
    };
    assert_eq!(etcdctl(grpc).exit, Some(0));
    assert_ne!(etcdctl(http).exit, Some(0));
    assert_ne!(etcdctl(metrics).exit, Some(0));
    member.stop();
}

#[test]
fn metrics_are_served_while_a_member_waits_for_the_others() {
    let (metrics, other) = (ports::free(), ports::free());
    let start = Start::new();
    let peer = format!("http://127.0.0.1:{}", ports::free());
    let mut member = start
        .bare()
        .peer_url(&peer)
        .flag(&format!("--listen-peer-urls={peer}"))
        .flag(&format!("--initial-advertise-peer-urls={peer}"))
        .flag(&format!("--initial-cluster=default={peer},b=http://127.0.0.1:{other}"))
        .flag(&format!("--listen-metrics-urls=http://127.0.0.1:{metrics}"))
        .spawn();
    for complaint in ["cannot talk to a peer", "peer became inactive", "no leader", "is in use"] {
        member.allow(complaint);
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], metrics));
    let health = eventually(PATIENCE, "it tells its health", || {
        let mut connection = Connection::open(address).ok()?;
        connection.ask(&Request::get("/health")).ok()
    });
    assert_eq!(health.status, 503);
}

#[test]
fn a_member_is_called_by_the_names_on_its_list_alone() {
    let member: Member = Start::new().flag("--host-whitelist=a.test,127.0.0.1").start();
    let ask = |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut connection = Connection::open(member.address()).expect("it listens");
        connection.send_bytes(request.as_bytes()).expect("it takes it");
        connection.receive().expect("it answers").status
    };
    for path in ["/version", "/v2/keys/", "/v2/keys/none/"] {
        assert_eq!(ask("evil.test", path), 421, "{path}");
        assert_ne!(ask("a.test", path), 421, "{path}");
        assert_ne!(ask("a.test:2379", path), 421, "{path}");
    }
}
