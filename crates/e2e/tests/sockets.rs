//! Clients that come by a socket in the file system: `unix://` and `unixs://`.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{
    Member, Request, Start,
    authority::{Authority, put},
    binaries, eventually, ports, rings,
    run::{self, Output, run},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A member that clients reach at these URLs alone.
fn at(urls: &str) -> Start {
    let peer = format!("http://127.0.0.1:{}", ports::free());
    Start::new()
        .bare()
        .flag(&format!("--listen-client-urls={urls}"))
        .flag(&format!("--advertise-client-urls={urls}"))
        .flag(&format!("--listen-peer-urls={peer}"))
        .flag(&format!("--initial-advertise-peer-urls={peer}"))
        .flag(&format!("--initial-cluster=default={peer}"))
}

fn serves(member: &Member) {
    let line = "ready to serve client requests";
    eventually(PATIENCE, line, || member.log().text().contains(line).then_some(()));
}

/// One that serves there.
fn start(urls: &str) -> Member {
    let member = at(urls).spawn();
    serves(&member);
    member
}

fn etcdctl(binary: &Path, endpoint: &str, arguments: &[&str]) -> Output {
    run(run::etcdctl_v3(binary, endpoint).args(arguments), "")
}

/// What a run prints that goes well.
#[track_caller]
fn printed(endpoint: &str, arguments: &[&str]) -> String {
    let output = etcdctl(&binaries::etcdctl(), endpoint, arguments);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{arguments:?}: {output:?}");
    output.stdout
}

/// A request of HTTP/1.1, and all that is answered.
fn ask(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_member_may_be_reached_by_a_socket_alone() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("etcd.sock");
    let url = format!("unix://{}", socket.display());
    let mut member = start(&url);
    assert_eq!(printed(&url, &["put", "foo", "bar"]), "OK\n");
    assert_eq!(printed(&url, &["get", "foo"]), "foo\nbar\n");
    assert!(printed(&url, &["endpoint", "health"]).starts_with(&format!("{url} is healthy")));
    // That is also where members tell clients to go.
    assert!(printed(&url, &["member", "list"]).contains(&format!(", {url}, false\n")));
    assert!(printed(&url, &["endpoint", "status", "--cluster"]).starts_with(&format!("{url}, ")));
    let saved = dir.path().join("saved").display().to_string();
    printed(&url, &["snapshot", "save", &saved]);
    // Both APIs, and all else that a port for clients has.
    let written = "PUT /v2/keys/a?value=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                   Content-Length: 0\r\n\r\n";
    assert!(ask(&socket, written).contains("\"action\":\"set\""));
    for (path, word) in [
        ("/v2/keys/a", "\"value\":\"1\""),
        ("/version", "etcdserver"),
        ("/health", "\"true\""),
        ("/metrics", "etcd_server_has_leader 1"),
        ("/nothing", "404"),
    ] {
        let answer = ask(&socket, &get(path));
        assert!(answer.contains(word), "{path}: {answer}");
    }
    member.stop();
    assert!(!socket.exists(), "the socket outlives its member");
    let gone = etcdctl(&binaries::etcdctl(), &url, &["get", "foo", "--command-timeout=1s"]);
    assert_eq!(gone.exit, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("context deadline exceeded"), "{gone:?}");
}

#[test]
fn watches_and_leases_live_on_a_socket_as_elsewhere() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("etcd.sock");
    let url = format!("unix://{}", socket.display());
    let member = start(&url);
    let watch =
        run::start(run::etcdctl_v3(&binaries::etcdctl(), &url).args(["watch", "--rev=1", "k"]), "");
    let granted = printed(&url, &["lease", "grant", "60"]);
    let lease = granted.split(' ').nth(1).expect("it has an id").to_owned();
    printed(&url, &["put", "k", "v", "--lease", &lease]);
    printed(&url, &["lease", "revoke", &lease]);
    eventually(PATIENCE, "both events", || (watch.stdout().len() >= 5).then_some(()));
    assert_eq!(watch.stdout(), ["PUT", "k", "v", "DELETE", "k"]);
    watch.interrupt();
    // A watcher of v2 whose client goes away leaves nothing behind.
    let watchers = || {
        let answer = ask(&socket, &get("/v2/stats/store"));
        answer.split("\"watchers\":").nth(1).map(|rest| rest.trim_end_matches('}').to_owned())
    };
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(get("/v2/keys/w?wait=true").as_bytes()).unwrap();
    eventually(PATIENCE, "it watches", || (watchers().as_deref() == Some("1")).then_some(()));
    stream.shutdown(Shutdown::Both).unwrap();
    eventually(PATIENCE, "it is gone", || (watchers().as_deref() == Some("0")).then_some(()));
    drop(member);
}

#[test]
fn a_socket_is_taken_over_from_a_member_that_was_killed_and_from_no_other() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("etcd.sock");
    let url = format!("unix://{}", socket.display());
    let mut member = start(&url);
    printed(&url, &["put", "foo", "bar"]);
    let refused = |why: &str| {
        let mut second = at(&url).spawn();
        second.allow("cannot listen on");
        assert_eq!(second.reap(PATIENCE).code(), Some(1));
        assert!(second.log().text().contains(why), "{}", second.log().text());
        assert!(!second.data_dir().exists(), "a start that is refused leaves nothing");
    };
    refused("another process listens there");
    assert_eq!(printed(&url, &["get", "foo"]), "foo\nbar\n");
    member.kill();
    assert!(socket.exists(), "nobody was there to remove it");
    member.launch();
    eventually(PATIENCE, "it serves again", || {
        let got = etcdctl(&binaries::etcdctl(), &url, &["get", "foo"]);
        (got.stdout == "foo\nbar\n").then_some(())
    });
    member.stop();
    put(dir.path(), "etcd.sock", "not ours");
    refused("no socket");
    assert_eq!(std::fs::read(&socket).unwrap(), b"not ours");
}

#[test]
fn debians_etcdctl_comes_by_a_socket_too() {
    let Some(original) = real_etcdctl() else { return };
    let dir = TempDir::new().unwrap();
    let url = format!("unix://{}", dir.path().join("etcd.sock").display());
    let member = start(&url);
    for (arguments, expected) in [
        (&["put", "foo", "bar"][..], "OK\n"),
        (&["get", "foo"], "foo\nbar\n"),
        (&["del", "foo"], "1\n"),
    ] {
        let output = etcdctl(&original, &url, arguments);
        assert_eq!((output.exit, output.stdout.as_str()), (Some(0), expected), "{output:?}");
    }
    let status = etcdctl(&original, &url, &["endpoint", "status"]);
    assert!(status.stdout.starts_with(&format!("{url}, ")), "{status:?}");
    drop(member);
}

fn real_etcdctl() -> Option<PathBuf> {
    let found = binaries::real_etcdctl();
    rings::can_run("real etcdctl 3.4", found.is_some(), "no /usr/bin/etcdctl of 3.4")
        .then_some(found)
        .flatten()
}

/// Runs `etcdctl` with a CA, and with a certificate if `who` has one.
fn secure(dir: &Path, url: &str, who: Option<&str>, arguments: &[&str]) -> Output {
    let file = |name: String| dir.join(name).display().to_string();
    let mut command: Command = run::etcdctl_v3(&binaries::etcdctl(), url);
    command.args(["--cacert", &file("ca.pem".to_owned()), "--command-timeout=3s"]);
    if let Some(who) = who {
        command.args(["--cert", &file(format!("{who}.pem")), "--key", &file(format!("{who}.key"))]);
    }
    run(command.args(arguments), "")
}

#[test]
fn a_socket_may_have_tls() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new("ca"));
    let path = dir.path();
    put(path, "ca.pem", &authority.pem);
    // Its name is that of the file.
    authority.issue_for(&["etcd.sock"], path, "member", 1);
    authority.issue(path, "client", 2);
    let socket = path.join("etcd.sock");
    let (url, other) = (format!("unixs://{}", socket.display()), path.join("other.sock"));
    let mut member = at(&format!("{url},unixs://{}", other.display()))
        .flag(&format!("--cert-file={}", path.join("member.pem").display()))
        .flag(&format!("--key-file={}", path.join("member.key").display()))
        .flag(&format!("--trusted-ca-file={}", path.join("ca.pem").display()))
        .flag("--client-cert-auth")
        .spawn();
    member.allow("rejected connection from \"@\"");
    serves(&member);
    let put = secure(path, &url, Some("client"), &["put", "foo", "bar"]);
    assert_eq!((put.exit, put.stdout.as_str()), (Some(0), "OK\n"), "{put:?}");
    // What there is for TLS is used at `unix` as well.
    let plain_scheme = url.replace("unixs", "unix");
    let got = secure(path, &plain_scheme, Some("client"), &["get", "foo"]);
    assert_eq!((got.exit, got.stdout.as_str()), (Some(0), "foo\nbar\n"), "{got:?}");
    for (endpoint, who) in [
        // No certificate.
        (url.as_str(), None),
        // The member's is not good for this file.
        (&format!("unixs://{}", other.display()), Some("client")),
    ] {
        let refused = secure(path, endpoint, who, &["get", "foo"]);
        assert_eq!(refused.exit, Some(1), "{endpoint}: {refused:?}");
    }
    let insecure =
        etcdctl(&binaries::etcdctl(), &plain_scheme, &["get", "foo", "--command-timeout=1s"]);
    assert_eq!(insecure.exit, Some(1), "{insecure:?}");
    let answer = ask(&socket, &get("/version"));
    assert!(answer.contains("Client sent an HTTP request to an HTTPS server"), "{answer}");
}

#[test]
fn flags_that_name_no_socket_are_refused_with_a_reason() {
    for (flag, value, why) in [
        ("listen-client-urls", "unix://", "URL must name a file"),
        ("listen-client-urls", "unixs:///run/e.sock", "must be provided for client url"),
        ("listen-client-urls", "unix:///absent/e.sock", "its directory does not exist"),
        ("listen-peer-urls", "unix:///run/e.sock", "sockets are for clients"),
        ("initial-advertise-peer-urls", "unix:///run/e.sock", "sockets are for clients"),
        ("listen-metrics-urls", "ftp://a:1", "URL scheme must be http, https, unix, or unixs"),
    ] {
        let start = at(&format!("http://127.0.0.1:{}", ports::free())).with(flag, Some(value));
        let mut member = start.spawn();
        member.allow("");
        let status = member.reap(PATIENCE);
        assert!(matches!(status.code(), Some(1 | 2)), "--{flag}={value}: {status}");
        assert!(member.log().text().contains(why), "{why}: {}", member.log().text());
        assert!(!member.data_dir().exists(), "--{flag}={value}");
    }
}

#[test]
fn a_proxy_passes_on_what_comes_by_a_socket() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("proxy.sock");
    let member = Member::start();
    let proxy = Start::new()
        .bare()
        .flag("--proxy=on")
        .flag(&format!("--listen-client-urls=unix://{}", socket.display()))
        .flag(&format!("--initial-cluster=default={}", member.peer_url()))
        .spawn();
    member.put("/a", "through");
    eventually(PATIENCE, "the proxy serves", || {
        let up = UnixStream::connect(&socket).is_ok();
        (up && ask(&socket, &get("/v2/keys/a")).contains("through")).then_some(())
    });
    assert_eq!(member.ask(&Request::get("/v2/keys/a")).status, 200);
    drop(proxy);
}
