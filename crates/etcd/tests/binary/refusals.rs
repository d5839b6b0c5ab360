//! What does not start: one line that says what to do, the exit code, and nothing touched.

use std::{fs, net::TcpListener, path::Path};

use super::process::{ANY_PORTS, Ran, Server, etcd, run, tree};

/// Runs with these flags, where `prepare` has been; the directory must stay as it was.
fn refused(arguments: &[&str], prepare: impl Fn(&Path)) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let before = tree(dir.path());
    let ran = run(etcd(dir.path()).args(arguments));
    assert_eq!(tree(dir.path()), before, "{arguments:?} left traces");
    assert_eq!(ran.stdout, "", "{arguments:?}");
    ran
}

/// Refused before there is a log: its one line is all there is to see.
#[track_caller]
fn check(arguments: &[&str], exit: i32, part: &str) {
    let Ran { status, stderr, .. } = refused(arguments, |_| {});
    assert_eq!(status.code(), Some(exit), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(stderr.contains(part), "{arguments:?}: {stderr}");
}

/// Refused when the log runs: one line of it complains, and it is the last.
#[track_caller]
fn check_logged(arguments: &[&str], prepare: impl Fn(&Path), part: &str) {
    let arguments: Vec<_> = ANY_PORTS.iter().chain(arguments).copied().collect();
    let Ran { status, stderr, .. } = refused(&arguments, prepare);
    assert_eq!(status.code(), Some(1), "{stderr}");
    let complains = |line: &&str| line.contains(" E | ") || line.contains(" W | ");
    let complaints: Vec<&str> = stderr.lines().filter(complains).collect();
    assert_eq!(complaints.len(), 1, "{stderr}");
    assert_eq!(stderr.lines().last(), complaints.first().copied(), "{stderr}");
    assert!(complaints[0].contains(part), "{stderr}");
}

#[test]
fn a_wrong_command_line() {
    check(&["--nam=x"], 2, "unknown flag --nam: did you mean --name?");
    check(&["-frobnicate", "1"], 2, "unknown flag --frobnicate");
    check(&["--name"], 2, "--name needs a value");
    check(&["--debug=perhaps"], 2, "give true or false");
    check(&["--listen-client-urls=127.0.0.1:2379"], 2, "write http://127.0.0.1:2379");
    check(&["--listen-client-urls=http://127.0.0.1"], 2, "host:port");
    check(&["stray"], 1, "\"stray\" is not a valid flag");
    check(&["--peers=10.0.0.1:7001"], 1, "use --initial-cluster");
}

#[test]
fn flags_that_make_no_sense_together() {
    let clients = "--listen-client-urls=http://127.0.0.1:1";
    check(&[clients], 1, "--advertise-client-urls is required");
    check(&["--election-timeout=100"], 1, "at least 5 times --heartbeat-interval");
    check(&["--listen-peer-urls=http://infra0:2380"], 1, "expected IP in URL for binding");
    check(&["--initial-cluster=infra0"], 1, "is no name=URL");
    check(&["--config-file=missing.yml"], 1, "read --config-file missing.yml: ");
    check(&["--log-outputs=missing/log"], 1, "open --log-outputs missing/log: ");
}

#[test]
fn tokens_without_keys() {
    check(&["--auth-token=jwt,pub-key=x"], 1, "invalid auth options: sign-method is missing");
    let missing = "--auth-token=jwt,sign-method=RS256,priv-key=/nowhere/key.pem";
    check(&[missing], 1, "--auth-token: cannot read /nowhere/key.pem");
}

#[test]
fn what_does_not_exist_yet() {
    check(
        &["grpc-proxy", "start", "--experimental-leasing-prefix=l"],
        1,
        "--experimental-leasing-prefix: leasing of keys to proxies is not supported yet: leave it out",
    );
    check(&["grpc-proxy", "stop"], 1, "unknown command \"stop\" for \"etcd grpc-proxy\"");
}

#[test]
fn a_gateway_that_leads_nowhere() {
    let check = |flags: &[&str], part| {
        let Ran { status, stderr, .. } = refused(&[&["gateway", "start"], flags].concat(), |_| {});
        assert_eq!(status.code(), Some(1), "{flags:?}: {stderr}");
        assert!(stderr.lines().last().unwrap_or_default().contains(part), "{flags:?}: {stderr}");
    };
    check(&["--listen-addr=x"], "failed to validate listen address: x");
    check(&["--endpoints=127.0.0.1"], "error parsing endpoint \"127.0.0.1\"");
    check(&["--endpoints="], "no endpoints found");
    check(&["--endpoints=a.invalid:1"], "failed to resolve endpoint host: a.invalid");
    check(&["--listen-addr=a.invalid:1"], "failed to resolve listen host: a.invalid");
    let itself = "SRV or endpoint (127.0.0.1:23790->127.0.0.1:23790) should not resolve to the \
                  gateway listen addr";
    check(&["--endpoints=http://127.0.0.1:23790"], itself);
    check(&["--listen-addr=0.0.0.0:23790", "--endpoints=127.0.0.1:23790"], itself);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen-addr={}", taken.local_addr().unwrap());
    check(
        &[&listen],
        "is in use: stop the process that has it, or give another one with --listen-addr",
    );
}

#[test]
fn a_grpc_proxy_that_cannot_serve() {
    let check = |flags: &[&str], part| {
        let Ran { status, stderr, .. } =
            refused(&[&["grpc-proxy", "start"], flags].concat(), |_| {});
        assert_eq!(status.code(), Some(1), "{flags:?}: {stderr}");
        assert!(stderr.lines().last().unwrap_or_default().contains(part), "{flags:?}: {stderr}");
    };
    let any = "--listen-addr=127.0.0.1:0";
    check(&[any, "--endpoints=ftp://a:1"], "must begin with http:// or https://");
    check(&[any, "--cert-file=missing", "--key-file=missing"], "cannot read missing: ");
    check(&[any, "--cacert=missing", "--endpoints=a:1"], "cannot read missing: ");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen-addr={}", taken.local_addr().unwrap());
    check(
        &[&listen],
        "is in use: stop the process that has it, or give another one with --listen-addr",
    );
}

#[test]
fn a_data_directory_of_a_member_and_of_a_proxy() {
    let prepare = |dir: &Path| {
        fs::create_dir_all(dir.join("data/member")).unwrap();
        fs::create_dir_all(dir.join("data/proxy")).unwrap();
    };
    let part = "invalid datadir. Both member and proxy directories exist in data";
    check_logged(&["--data-dir=data"], prepare, part);
}

#[test]
fn a_proxy_that_does_not_know_where_the_members_are() {
    let prepare = |dir: &Path| {
        fs::create_dir_all(dir.join("data/proxy")).unwrap();
        fs::write(dir.join("data/proxy/cluster"), "bytes of another program").unwrap();
    };
    let part = "data/proxy/cluster does not say where the members are: remove it";
    check_logged(&["--data-dir=data", "--proxy=on"], prepare, part);
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for flag in ["listen-client-urls", "listen-peer-urls"] {
        let listen = format!("--{flag}=http://127.0.0.1:{port}");
        let part = format!(
            "cannot listen on http://127.0.0.1:{port}: port {port} is in use: stop the process \
             that has it, or give another one with --{flag}"
        );
        check_logged(&[&listen], |_| {}, &part);
    }
}

#[test]
fn an_address_of_another_machine_is_named() {
    // An address for documentation, which nobody has.
    let listen = "--listen-peer-urls=http://192.0.2.1:2380";
    check_logged(&[listen], |_| {}, "192.0.2.1 is no address of this machine");
}

#[test]
fn a_cluster_that_is_not_this_members() {
    let check = |flag, part| check_logged(&["--data-dir=data", flag], |_| {}, part);
    check("--initial-cluster=other=http://127.0.0.1:0", "couldn't find local name \"default\"");
    check("--initial-cluster=default=http://127.0.0.1:9", "give both the same URLs");
    check("--initial-cluster-state=existing", "cannot fetch cluster info from peer urls");
    let by_token = ["--data-dir=data", "--discovery=http://127.0.0.1:1/x"];
    let joins = [by_token[0], by_token[1], "--initial-cluster-state=existing"];
    check_logged(&joins, |_| {}, "discovery URL should not be set when joining existing");
}

#[test]
fn data_of_the_original() {
    let prepare = |dir: &Path| {
        fs::create_dir_all(dir.join("data/member/snap")).unwrap();
        fs::create_dir_all(dir.join("data/member/wal")).unwrap();
        let segment = "data/member/wal/0000000000000000-0000000000000000.wal";
        fs::write(dir.join(segment), "original").unwrap();
    };
    check_logged(&["--data-dir=data"], prepare, "was written by the original etcd");
}

#[test]
fn a_data_directory_that_is_a_file() {
    let prepare = |dir: &Path| fs::write(dir.join("data"), "not a directory").unwrap();
    check_logged(&["--data-dir=data"], prepare, "data");
}

#[test]
fn data_that_another_process_uses() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = || ANY_PORTS.iter().copied().chain(["--data-dir=data"]);
    let _server = Server::spawn(etcd(dir.path()).args(arguments()));
    let ran = run(etcd(dir.path()).args(arguments()));
    assert_eq!(ran.status.code(), Some(1), "{}", ran.stderr);
    let last = ran.stderr.lines().last().unwrap();
    assert!(last.contains("data directory data is in use by another process"), "{}", ran.stderr);
}
