//! `etcdctl` with API 3 finds its cluster by the SRV records of a domain.

use std::{path::Path, process::Command, time::Duration};

use e2e::{
    Member, Start,
    authority::{Authority, put},
    binaries,
    dns::Dns,
    ports, rings,
    run::{self, Output},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A tool that asks this server and sees none of the caller's settings.
fn tool(dns: &Dns, binary: &Path, arguments: &[&str]) -> Command {
    let mut command = dns.command(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD") {
            command.env_remove(name);
        }
    }
    command.env("ETCDCTL_API", "3").args(arguments);
    command
}

fn etcdctl(dns: &Dns, arguments: &[&str]) -> Command {
    tool(dns, &binaries::etcdctl(), arguments)
}

fn by(dns: &Dns, arguments: &[&str]) -> Output {
    run::run(&mut etcdctl(dns, arguments), "")
}

/// The records of places `m0.etcd.test`, `m1.etcd.test`… in the order in which to ask them.
fn records(service: &str, ports: &[u16]) -> Vec<String> {
    let lines = ports.iter().enumerate().flat_map(|(number, port)| {
        let name = format!("m{number}.etcd.test");
        [
            format!("srv-host={service},{name},{port},{number}"),
            format!("host-record={name},127.0.0.1"),
        ]
    });
    lines.collect()
}

/// Where nobody is.
const NOWHERE: &str = "127.0.0.1:1";

#[test]
fn a_domain_stands_for_the_endpoints_that_its_records_name() {
    let (member, dead) = (Member::start(), ports::free());
    let port = member.address().port();
    let all = records("_etcd-client._tcp.etcd.test", &[port, dead]);
    let Some(dns) = Dns::start(&all) else { return };
    for arguments in [
        &["--discovery-srv", "etcd.test", "put", "a", "1"][..],
        &["-d", "etcd.test", "put", "a", "1"],
        &["put", "a", "1", "--discovery-srv=etcd.test"],
        // It goes before endpoints, as in the original.
        &["--endpoints", NOWHERE, "-d", "etcd.test", "put", "a", "1"],
    ] {
        let done = by(&dns, arguments);
        assert_eq!((done.exit, done.stdout.as_str()), (Some(0), "OK\n"), "{arguments:?}: {done:?}");
    }
    let got = run::run(etcdctl(&dns, &["get", "a"]).env("ETCDCTL_DISCOVERY_SRV", "etcd.test"), "");
    assert_eq!((got.exit, got.stdout.as_str()), (Some(0), "a\n1\n"), "{got:?}");
    // Not so the variable: who names endpoints does not want others.
    let mut command = etcdctl(&dns, &["--endpoints", &member.url(), "get", "a"]);
    let got = run::run(command.env("ETCDCTL_DISCOVERY_SRV", "none.test"), "");
    assert_eq!((got.exit, got.stdout.as_str()), (Some(0), "a\n1\n"), "{got:?}");
    // Each endpoint under its name, also that of the one that is dead.
    let health = by(&dns, &["-d", "etcd.test", "--command-timeout=2s", "endpoint", "health"]);
    let up = format!("http://m0.etcd.test:{port} is healthy");
    let down = format!("http://m1.etcd.test:{dead} is unhealthy");
    assert_eq!(health.exit, Some(1), "{health:?}");
    assert!(health.stdout.contains(&up) && health.stderr.contains(&down), "{health:?}");
}

/// Each of them, unlike the original, which asks at `--endpoints` then: `docs/differences.md`.
#[test]
fn commands_about_endpoints_are_about_those_of_the_domain() {
    let members = [Member::start(), Member::start()];
    let ports = members.each_ref().map(|member| member.address().port());
    let all = records("_etcd-client._tcp.etcd.test", &ports);
    let Some(dns) = Dns::start(&all) else { return };
    let places: Vec<_> =
        ports.iter().zip(0..).map(|(port, at)| format!("http://m{at}.etcd.test:{port}")).collect();
    let first = |line: &str| line.split(',').next().unwrap_or_default().to_owned();
    for command in ["status", "hashkv"] {
        let told = by(&dns, &["-d", "etcd.test", "endpoint", command]);
        assert_eq!(told.exit, Some(0), "{told:?}");
        assert_eq!(told.stdout.lines().map(first).collect::<Vec<_>>(), places, "{command}");
    }
    let done = by(&dns, &["-d", "etcd.test", "defrag"]);
    assert_eq!(done.stdout.lines().count(), 2, "{done:?}");
}

#[test]
fn the_original_finds_the_same_cluster_by_the_same_records() {
    let original = binaries::real_etcdctl();
    let why_not = "/usr/bin/etcdctl 3.4 is not installed: apt-get install etcd-client";
    if !rings::can_run("debian-etcdctl", original.is_some(), why_not) {
        return;
    }
    let original = original.expect("it is installed");
    let member = Member::start();
    let port = member.address().port();
    let all = records("_etcd-client._tcp.etcd.test", &[port]);
    let Some(dns) = Dns::start(&all) else { return };
    let put = run::run(&mut tool(&dns, &original, &["-d", "etcd.test", "put", "a", "1"]), "");
    assert_eq!((put.exit, put.stdout.as_str()), (Some(0), "OK\n"), "{put:?}");
    assert_eq!(by(&dns, &["-d", "etcd.test", "get", "a"]).stdout, "a\n1\n");
}

#[test]
fn the_service_may_have_a_name() {
    let member = Member::start();
    let all = records("_etcd-client-prod._tcp.etcd.test", &[member.address().port()]);
    let Some(dns) = Dns::start(&all) else { return };
    let named = ["-d", "etcd.test", "--discovery-srv-name", "prod", "put", "a", "1"];
    assert_eq!(by(&dns, &named).stdout, "OK\n");
    let by_variable = |name: &str| {
        let mut command = etcdctl(&dns, &["-d", "etcd.test", "get", "a"]);
        run::run(command.env("ETCDCTL_DISCOVERY_SRV_NAME", name), "")
    };
    assert_eq!(by_variable("prod").stdout, "a\n1\n");
    assert_eq!(by_variable("other").exit, Some(1));
    assert_eq!(by(&dns, &["-d", "etcd.test", "get", "a"]).exit, Some(1));
}

#[test]
fn records_that_nobody_can_trust_are_taken_unless_told_otherwise() {
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let authority = Authority::new("ca");
    let ca = put(dir.path(), "ca.pem", &authority.pem).display().to_string();
    // Good for the domain, and not for the names in the records: those come from anybody.
    let (cert, key) = authority.issue_for(&["etcd.test"], dir.path(), "member", 1);
    let (plain, secure) = (ports::free(), ports::free());
    let peer = format!("http://127.0.0.1:{}", ports::free());
    let clients = format!("http://127.0.0.1:{plain},https://127.0.0.1:{secure}");
    let mut member = Start::new()
        .bare()
        .client_port(plain)
        .flag(&format!("--listen-client-urls={clients}"))
        .flag(&format!("--advertise-client-urls={clients}"))
        .flag(&format!("--listen-peer-urls={peer}"))
        .flag(&format!("--initial-advertise-peer-urls={peer}"))
        .flag(&format!("--initial-cluster=default={peer}"))
        .flag(&format!("--cert-file={}", cert.display()))
        .flag(&format!("--key-file={}", key.display()))
        .spawn();
    member.allow("The scheme of client url");
    member.allow("rejected connection");
    member.wait_until_ready();
    let both = [
        records("_etcd-client-ssl._tcp.etcd.test", &[secure]),
        vec![
            format!("srv-host=_etcd-client._tcp.etcd.test,plain.etcd.test,{plain}"),
            format!("srv-host=_etcd-client._tcp.plain.test,plain.etcd.test,{plain}"),
            "host-record=plain.etcd.test,127.0.0.1".to_owned(),
        ],
    ];
    let Some(dns) = Dns::start(&both.concat()) else { return };
    let put = |more: &[&str]| {
        let flags = ["--command-timeout=3s", "put", "a", "1"];
        run::start(&mut etcdctl(&dns, &[more, &flags].concat()), "").wait(PATIENCE)
    };
    let ignored =
        format!("ignoring discovered insecure endpoint \"http://plain.etcd.test:{plain}\"");

    let insisting = ["-d", "etcd.test", "--cacert", &ca, "--insecure-discovery=false"];
    let done = put(&insisting);
    assert_eq!((done.exit, done.stdout.as_str()), (Some(0), "OK\n"), "{done:?}");
    assert_eq!(done.stderr, format!("{ignored}\n"));
    // Of a domain that has no place with TLS nothing is left.
    let none = put(&["-d", "plain.test", "--cacert", &ca, "--insecure-discovery=false"]);
    assert_eq!(none.exit, Some(1), "{none:?}");
    let words = "Error: plain.test names no endpoint with TLS";
    assert!(none.stderr.contains(&ignored) && none.stderr.contains(words), "{none:?}");
    // Otherwise a certificate must be good for the name in the record, which this one is not: what
    // is left is the place without TLS.
    let done = put(&["-d", "etcd.test", "--cacert", &ca, "--debug"]);
    assert_eq!((done.exit, done.stdout.as_str()), (Some(0), "OK\n"), "{done:?}");
    assert!(!done.stderr.contains("ignoring"), "{done:?}");
    let only_secure =
        put(&["--endpoints", &format!("https://127.0.0.1:{secure}"), "--cacert", &ca]);
    assert_eq!(only_secure.exit, Some(1), "{only_secure:?}");
}

#[test]
fn a_domain_without_records_is_told_in_the_originals_words() {
    let Some(dns) = Dns::start(&[]) else { return };
    let arguments = ["-d", "none.test", "get", "a"];
    let ours = by(&dns, &arguments);
    let lookup = |service: &str| {
        format!("lookup _{service}._tcp.none.test on {}: no such host", dns.address())
    };
    let (secure, plain) = (lookup("etcd-client-ssl"), lookup("etcd-client"));
    let expected = format!("Error: dns lookup errors: {secure} and {plain}\n");
    assert_eq!((ours.exit, ours.stderr.as_str()), (Some(1), expected.as_str()));
    if let Some(original) = binaries::real_etcdctl() {
        let theirs = run::run(&mut tool(&dns, &original, &arguments), "");
        assert_eq!((theirs.exit, theirs.stderr), (ours.exit, ours.stderr));
    }
}
