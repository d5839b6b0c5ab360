//! TLS between members and for clients, and what changes in its files while they run.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    Connection, Member, Request, Start,
    authority::{Authority, put},
    binaries,
    cluster::Cluster,
    eventually, ports,
    run::{self, Output},
};
use tempfile::TempDir;

/// Files are looked at once a second; generous, since tests share the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What members say of who is turned away, or cut off, and of the plain port of the harness.
const COMPLAINTS: [&str; 3] =
    ["rejected connection", "closed the connection", "The scheme of client url"];

fn allow(member: &mut Member) {
    for complaint in COMPLAINTS {
        member.allow(complaint);
    }
}

/// Members that ask clients and each other for certificates.
struct Secure {
    dir: TempDir,
    authority: Authority,
    cluster: Cluster,
}

impl Secure {
    fn start(count: usize) -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new("the old one"));
        put(dir.path(), "ca.pem", &authority.pem);
        put(dir.path(), "crl", authority.revoke(&[]));
        authority.issue(dir.path(), "member", 1);
        authority.issue(dir.path(), "client", 2);
        let file = |name: &str| dir.path().join(name).display().to_string();
        let side = |prefix: &str, crl: &str| {
            [
                format!("--{prefix}cert-file={}", file("member.pem")),
                format!("--{prefix}key-file={}", file("member.key")),
                format!("--{prefix}trusted-ca-file={}", file("ca.pem")),
                format!("--{prefix}client-cert-auth"),
                format!("--{crl}={}", file("crl")),
            ]
        };
        let flags = [side("", "client-crl-file"), side("peer-", "peer-crl-file")].concat();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut cluster = Cluster::start_with_tls(count, &flags);
        for member in &mut cluster.members {
            allow(member);
        }
        Self { dir, authority, cluster }
    }

    fn etcdctl(&self, who: &str, arguments: &[&str]) -> Output {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let (cert, key) = (file(&format!("{who}.pem")), file(&format!("{who}.key")));
        let mut command = run::etcdctl(&binaries::etcdctl(), &self.cluster.https.join(","));
        let files = ["--cert-file", &cert, "--key-file", &key, "--ca-file", &file("ca.pem")];
        run::run(command.args(files).args(arguments), "")
    }

    /// Whether this client, which trusts these authorities, is served at each of these.
    fn is_served(&self, who: &str, trusted: &Path) -> Vec<bool> {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let (cert, key) = (file(&format!("{who}.pem")), file(&format!("{who}.key")));
        let is_served = |url: &String| {
            let mut command = run::etcdctl(&binaries::etcdctl(), url);
            command.args(["--no-sync", "--cert-file", &cert, "--key-file", &key, "--ca-file"]);
            run::run(command.arg(trusted).args(["get", "/a"]), "").exit == Some(0)
        };
        self.cluster.https.iter().map(is_served).collect()
    }

    /// Waits until this client's wish is granted, or no longer is.
    fn until(&self, granted: bool, who: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.etcdctl(who, &["set", "/a", who]);
            if (output.exit == Some(0)) == granted {
                return;
            }
            assert!(Instant::now() < deadline, "{who}: {output:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn clients_and_members_show_certificates_and_who_has_none_is_turned_away() {
    let secure = Secure::start(3);
    let set = secure.etcdctl("client", &["set", "/a", "1"]);
    assert_eq!((set.exit, set.stdout.as_str()), (Some(0), "1\n"), "{set:?}");
    let health = secure.etcdctl("client", &["cluster-health"]);
    assert!(health.stdout.ends_with("cluster is healthy\n"), "{health:?}");
    assert_eq!(health.stdout.matches("got healthy result from https://").count(), 3, "{health:?}");
    let mut bare = run::etcdctl(&binaries::etcdctl(), &secure.cluster.https[0]);
    let ca = secure.dir.path().join("ca.pem");
    let refused = run::run(bare.arg("--ca-file").arg(&ca).args(["get", "/a"]), "");
    assert_ne!(refused.exit, Some(0), "{refused:?}");
    let mut distrusting = run::etcdctl(&binaries::etcdctl(), &secure.cluster.https[0]);
    let refused = run::run(distrusting.args(["get", "/a"]), "");
    assert_ne!(refused.exit, Some(0), "{refused:?}");
    // Plain HTTP gets Go's answer, for clients and between members alike.
    for url in [&secure.cluster.https[0], secure.cluster.members[0].peer_url()] {
        let address = url.trim_start_matches("https://").parse().unwrap();
        let mut plain = Connection::open(address).unwrap();
        plain.send(&Request::get("/version")).unwrap();
        assert_eq!(plain.receive_head().unwrap().status, 400, "{url}");
    }
}

#[test]
fn a_new_authority_and_new_certificates_are_taken_without_a_restart() {
    let mut secure = Secure::start(3);
    secure.until(true, "client");
    let (dir, next) = (secure.dir.path().to_owned(), Authority::new("the new one"));
    next.issue(&dir, "newcomer", 10);
    secure.until(false, "newcomer");
    // First all trust both, then all get new certificates, then nobody trusts the old one.
    let both = format!("{}{}", secure.authority.pem, next.pem);
    put(&dir, "ca.pem", &both);
    let (both, new) = (put(&dir, "both.pem", &both), put(&dir, "new.pem", &next.pem));
    secure.until(true, "newcomer");
    next.issue(&dir, "member", 11);
    eventually(PATIENCE, "all show new certificates", || {
        (secure.is_served("newcomer", &new) == [true; 3]).then_some(())
    });
    // Who trusts both is turned away by nobody, until they trust his authority no longer.
    assert_eq!(secure.is_served("client", &both), [true; 3]);
    put(&dir, "ca.pem", &next.pem);
    put(&dir, "crl", next.revoke(&[]));
    eventually(PATIENCE, "nobody trusts the old one", || {
        (secure.is_served("client", &both) == [false; 3]).then_some(())
    });
    for member in &secure.cluster.members {
        let said = member.log().text();
        let mut rejected = said.lines().filter(|line| line.contains("rejected connection"));
        assert!(rejected.any(|line| line.contains("UnknownIssuer")), "{said}");
    }
    assert_eq!(secure.is_served("newcomer", &both), [true; 3]);
    secure.until(true, "newcomer");
    // Connections between members are made anew, by the new certificates.
    let follower = (secure.cluster.leader() + 1) % 3;
    secure.cluster.members[follower].kill();
    secure.cluster.members[follower].launch();
    secure.cluster.members[follower].wait_until_ready();
    secure.cluster.put("/b", "2");
    secure.cluster.agree();
}

#[test]
fn a_certificate_that_is_revoked_is_refused_without_a_restart() {
    let secure = Secure::start(1);
    secure.authority.issue(secure.dir.path(), "other", 3);
    secure.until(true, "client");
    put(secure.dir.path(), "crl", secure.authority.revoke(&[2]));
    secure.until(false, "client");
    let said = secure.cluster.members[0].log().text();
    assert!(said.contains("certificate serial 02 revoked (CN=client)"), "{said}");
    secure.until(true, "other");
}

/// What else clients are served at: without gRPC, and metrics and health alone.
#[test]
fn a_certificate_that_is_revoked_is_refused_at_every_port_of_clients() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new("ca"));
    put(dir.path(), "ca.pem", &authority.pem);
    put(dir.path(), "crl", authority.revoke(&[]));
    for (name, serial) in [("member", 1), ("client", 2), ("other", 3)] {
        authority.issue(dir.path(), name, serial);
    }
    let file = |name: &str| dir.path().join(name).display().to_string();
    let [http, metrics] = ["http", "metrics"].map(|kind| (kind, ports::free()));
    let urls = |port: u16| format!("https://127.0.0.1:{port}");
    let mut member = Start::new()
        .flag(&format!("--listen-client-http-urls={}", urls(http.1)))
        .flag(&format!("--listen-metrics-urls={}", urls(metrics.1)))
        .flag(&format!("--cert-file={}", file("member.pem")))
        .flag(&format!("--key-file={}", file("member.key")))
        .flag(&format!("--trusted-ca-file={}", file("ca.pem")))
        .flag("--client-cert-auth")
        .flag(&format!("--client-crl-file={}", file("crl")))
        .spawn();
    allow(&mut member);
    eventually(PATIENCE, "it serves", || {
        member.log().contains("ready to serve client requests").then_some(())
    });
    let is_served = |who: &str, port: u16| {
        let mut curl = Command::new("curl");
        curl.args(["-sf", "--max-time", "20", "--cacert", &file("ca.pem")]);
        if !who.is_empty() {
            curl.args([
                "--cert",
                &file(&format!("{who}.pem")),
                "--key",
                &file(&format!("{who}.key")),
            ]);
        }
        let output = run::run(curl.arg(format!("{}/health", urls(port))), "");
        assert!(output.exit != Some(0) || output.stdout.contains("true"), "{output:?}");
        output.exit == Some(0)
    };
    for (kind, port) in [http, metrics] {
        assert!(is_served("client", port) && is_served("other", port), "{kind}");
        assert!(!is_served("", port), "{kind}: without a certificate");
    }
    put(dir.path(), "crl", authority.revoke(&[2]));
    for (kind, port) in [http, metrics] {
        let refused = format!("{kind}: the revoked one is refused");
        eventually(PATIENCE, &refused, || (!is_served("client", port)).then_some(()));
        assert!(is_served("other", port), "{kind}");
    }
    let said = member.log().text();
    assert!(said.contains("certificate serial 02 revoked (CN=client)"), "{said}");
    put(dir.path(), "crl", authority.revoke(&[]));
    for (kind, port) in [http, metrics] {
        let taken = format!("{kind}: it is taken again");
        eventually(PATIENCE, &taken, || is_served("client", port).then_some(()));
    }
}

/// Whether a write is carried out soon: by a quorum.
fn writes(member: &Member) -> bool {
    let mut connection = member.connect();
    connection.set_patience(Duration::from_secs(2));
    let answered = connection.ask(&Request::put("/v2/keys/a", "1"));
    answered.is_ok_and(|answer| [200, 201].contains(&answer.status))
}

#[test]
fn members_part_when_their_certificate_is_revoked_and_meet_again_when_it_is_not() {
    let secure = Secure::start(3);
    secure.cluster.put("/a", "0");
    let log = |at: usize| secure.cluster.members[at].log().text();
    let parted = |at: usize| log(at).matches("is not accepted any more").count();
    // Another one is revoked: nobody minds.
    put(secure.dir.path(), "crl", secure.authority.revoke(&[77]));
    eventually(PATIENCE, "all have seen it", || {
        (0..3).all(|at| log(at).contains("took the files of TLS anew")).then_some(())
    });
    assert!((0..3).all(|at| writes(&secure.cluster.members[at]) && parted(at) == 0));
    // All members show the same one.
    put(secure.dir.path(), "crl", secure.authority.revoke(&[1]));
    eventually(PATIENCE, "they part", || {
        (0..3).all(|at| !writes(&secure.cluster.members[at])).then_some(())
    });
    assert!((0..3).all(|at| parted(at) > 0 && log(at).contains("serial 01 revoked")));
    put(secure.dir.path(), "crl", secure.authority.revoke(&[]));
    eventually(PATIENCE, "they meet again", || {
        (0..3).all(|at| writes(&secure.cluster.members[at])).then_some(())
    });
    secure.cluster.agree();
}

#[test]
fn a_client_that_is_connected_is_cut_off_when_its_certificate_is_revoked() {
    let secure = Secure::start(1);
    secure.authority.issue(secure.dir.path(), "other", 3);
    let etcdctl = |who: &str, arguments: &[&str]| {
        let file = |name: &str| secure.dir.path().join(name).display().to_string();
        let (cert, key) = (file(&format!("{who}.pem")), file(&format!("{who}.key")));
        let mut command = run::etcdctl_v3(&binaries::etcdctl(), &secure.cluster.https[0]);
        let files = ["--cacert", &file("ca.pem"), "--cert", &cert, "--key", &key];
        command.args(files).args(arguments);
        command
    };
    let watch = run::start(&mut etcdctl("other", &["watch", "/w"]), "");
    let puts = |value: &str| {
        let output = run::run(&mut etcdctl("client", &["put", "/w", value]), "");
        assert_eq!(output.stdout, "OK\n", "{output:?}");
    };
    let hears = |value: &str| watch.stdout().iter().any(|line| line == value);
    eventually(PATIENCE, "it watches", || {
        puts("before");
        hears("before").then_some(())
    });
    put(secure.dir.path(), "crl", secure.authority.revoke(&[3]));
    let said = || secure.cluster.members[0].log().text();
    eventually(PATIENCE, "it is cut off", || {
        puts("meanwhile");
        said().contains("closed the connection").then_some(())
    });
    assert!(said().contains("serial 03 revoked (CN=other)"), "{}", said());
    puts("after");
    std::thread::sleep(Duration::from_secs(3));
    assert!(!hears("after"), "{:?}", watch.stdout());
    watch.interrupt();
}

/// Who says half of a word and no more, at both ports, takes nothing from others, and is cut off.
#[test]
fn slow_handshakes_hold_up_nobody_and_end() {
    let secure = Secure::start(1);
    let member = &secure.cluster.members[0];
    let address =
        |url: &str| url.strip_prefix("https://").expect("TLS").parse().expect("an address");
    let (clients, peers) = (address(&secure.cluster.https[0]), address(member.peer_url()));
    let silent = |to: SocketAddr| {
        let mut stream = TcpStream::connect(to).expect("it is accepted");
        stream.write_all(&[22, 3]).expect("it is taken");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream
    };
    let mut waiting: Vec<_> = (0..100).flat_map(|_| [silent(clients), silent(peers)]).collect();
    // One after the other they would have a quarter of an hour.
    secure.until(true, "client");
    for stream in &mut waiting {
        let ended = stream.read(&mut [0; 64]);
        assert!(matches!(ended, Ok(0)), "it is not cut off: {ended:?}");
    }
}

#[test]
fn members_make_certificates_of_their_own() {
    let mut cluster = Cluster::start_with_tls(3, &["--auto-tls", "--peer-auto-tls"]);
    for member in &mut cluster.members {
        allow(member);
    }
    cluster.put("/a", "1");
    let trusted = |at: usize| cluster.members[at].data_dir().join("fixtures/client/cert.pem");
    for at in 0..3 {
        let output = get(&cluster.https[at], &trusted(at));
        assert_eq!((output.exit, output.stdout.as_str()), (Some(0), "1\n"), "{output:?}");
    }
    let other = get(&cluster.https[0], &trusted(1));
    assert_ne!(other.exit, Some(0), "{other:?}");
    let before = std::fs::read(trusted(0)).unwrap();
    cluster.members[0].kill();
    cluster.members[0].launch();
    cluster.members[0].wait_until_ready();
    let path = cluster.members[0].data_dir().join("fixtures/client/cert.pem");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(get(&cluster.https[0], &path).exit, Some(0));
}

fn get(url: &str, ca: &Path) -> Output {
    let mut command: Command = run::etcdctl(&binaries::etcdctl(), url);
    run::run(command.args(["--no-sync", "--cacert"]).arg(ca).args(["get", "/a"]), "")
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_their_name() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new("one");
    authority.issue(dir.path(), "a", 1);
    authority.issue(dir.path(), "b", 2);
    let file = |name: &str| dir.path().join(name).display().to_string();
    for (cert, key, why) in [
        ("none.pem", "a.key", "none.pem: No such file"),
        ("a.pem", "b.key", "b.key: is not the key of the certificate in"),
        ("a.key", "a.key", "a.key: has no certificate in it"),
    ] {
        let https = format!("https://127.0.0.1:{}", ports::free());
        let mut member = Start::new()
            .bare()
            .flag(&format!("--listen-client-urls={https}"))
            .flag(&format!("--advertise-client-urls={https}"))
            .flag(&format!("--listen-peer-urls=http://127.0.0.1:{}", ports::free()))
            .flag(&format!("--cert-file={}", file(cert)))
            .flag(&format!("--key-file={}", file(key)))
            .spawn();
        member.allow("TLS for clients");
        assert_eq!(member.reap(PATIENCE).code(), Some(1));
        let said = member.log().text();
        assert!(said.contains("TLS for clients: ") && said.contains(why), "{said}");
        assert!(!member.data_dir().exists());
    }
}

#[test]
fn etcdctl_with_api_3_speaks_tls_and_shows_its_certificate() {
    let secure = Secure::start(1);
    let file = |name: &str| secure.dir.path().join(name).display().to_string();
    let url = &secure.cluster.https[0];
    let with = |endpoint: &str, flags: &[&str]| {
        let mut command = run::etcdctl_v3(&binaries::etcdctl(), endpoint);
        run::run(command.args(["--command-timeout", "2s"]).args(flags).args(["put", "k", "v"]), "")
    };
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let all = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    assert_eq!(with(url, &all).stdout, "OK\n");
    // Without a scheme the files say that it is https.
    assert_eq!(with(url.trim_start_matches("https://"), &all).stdout, "OK\n");
    let unsure = with(url, &["--insecure-skip-tls-verify", "--cert", &cert, "--key", &key]);
    assert_eq!(unsure.stdout, "OK\n", "{unsure:?}");
    for flags in [&["--cacert", &ca][..], &["--cert", &cert, "--key", &key]] {
        let refused = with(url, flags);
        assert_eq!((refused.exit, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    }
    let missing = with(url, &["--cacert", "/none"]);
    assert!(missing.exit == Some(128) && missing.stderr.contains("/none"), "{missing:?}");
}
