//! What a server says and does once it serves.

use std::{fs, os::unix::net::UnixDatagram, time::Duration};

use nix::sys::signal::Signal;

use super::process::{ANY_PORTS, PATIENCE, Server, etcd, run};

#[test]
fn the_log_has_the_wordings_that_supervisors_wait_for() {
    let server = Server::start(&["--name=infra0", "--initial-cluster=infra0=http://127.0.0.1:0"]);
    for wording in [
        // 2.3
        "etcdserver: set the initial cluster version to 3.6",
        // 3.4
        "enabled capabilities for version 3.6",
        "etcdserver: published {Name:infra0 ClientURLs:[http://127.0.0.1:0]} to cluster ",
        // 3.5 on
        "ready to serve client requests",
    ] {
        let found = server.log.iter().filter(|line| line.contains(wording)).count();
        assert_eq!(found, 1, "{wording}: {:#?}", server.log);
    }
}

#[test]
fn a_quiet_start_complains_of_nothing() {
    let server = Server::start(&[]);
    let complains = |line: &&String| line.contains(" W | ") || line.contains(" E | ");
    assert_eq!(server.log.iter().find(complains), None);
}

#[test]
fn it_serves_what_the_flags_say() {
    let server = Server::start(&["--cors=http://example.com"]);
    let answer = server.ask("PUT", "/v2/keys/message", "value=Hello");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains("\"action\":\"set\""), "{answer}");
}

#[test]
fn environment_and_file_configure_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = etcd(dir.path());
    command.env("ETCD_NAME", "of-environment").env("ETCD_DATA_DIR", "data");
    let server = Server::spawn(command.args(ANY_PORTS));
    assert!(server.log.iter().any(|line| line.contains("published {Name:of-environment ")));
    drop(server);

    let file = "name: of-file\ndata-dir: other\nlisten-client-urls: http://127.0.0.1:0\n\
                advertise-client-urls: http://127.0.0.1:0\nlisten-peer-urls: http://127.0.0.1:0\n\
                initial-advertise-peer-urls: http://127.0.0.1:0\nlog-level: info\n\
                client-transport-security:\n  client-cert-auth: false\n";
    fs::write(dir.path().join("etcd.yml"), file).unwrap();
    let server = Server::spawn(etcd(dir.path()).arg("--config-file=etcd.yml"));
    assert!(server.log.iter().any(|line| line.contains("published {Name:of-file ")));
    assert!(dir.path().join("other/member").is_dir());
}

#[test]
fn warnings_on_flags_reach_the_log() {
    let server = Server::start(&["--max-wals=9", "-cluster-active-size=3"]);
    for warning in ["--max-wals has no effect: ", "--cluster-active-size is no longer supported"] {
        let warns = |line: &String| line.contains(" W | etcdmain: ") && line.contains(warning);
        assert!(server.log.iter().any(warns), "{warning}: {:#?}", server.log);
    }
}

#[test]
fn the_log_level_changes_while_it_runs() {
    let mut server = Server::start(&["--log-level=error", "--log-package-levels=embed=INFO"]);
    let answer = server.ask("PUT", "/config/local/log", "{\"Level\":\"loud\"}");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = server.ask("PUT", "/config/local/log", "{\"Level\":\"DEBUG\"}");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    server.signal(Signal::SIGTERM);
    // An INFO line that was not to be seen before.
    server.wait_for("received SIGTERM, shutting down...");
}

#[test]
fn the_log_goes_where_the_flags_say_in_zaps_form() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = etcd(dir.path());
    command.args(ANY_PORTS).args(["--data-dir=data", "--logger=zap"]);
    drop(Server::spawn(command.arg("--log-outputs=stderr,log")));
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let ready = log.lines().find(|line| line.contains("ready to serve client requests")).unwrap();
    assert!(ready.starts_with("{\"level\":\"info\",\"ts\":\"20"), "{ready}");
    assert!(ready.ends_with("\"msg\":\"ready to serve client requests\"}"), "{ready}");
}

#[test]
fn systemd_hears_of_the_start_and_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    let mut command = etcd(dir.path());
    command.args(ANY_PORTS).arg("--data-dir=data").env("NOTIFY_SOCKET", &path);
    let mut server = Server::spawn(&mut command);
    assert_eq!(heard(), "READY=1");
    server.signal(Signal::SIGTERM);
    assert_eq!(heard(), "STOPPING=1");
    server.wait(Duration::from_secs(10));
}

#[test]
fn help_and_version_go_to_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    let help = run(etcd(dir.path()).arg("--help"));
    assert_eq!((help.status.code(), help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.contains("--data-dir") && help.stdout.contains("Clustering:"));
    let version = run(etcd(dir.path()).arg("-version"));
    assert_eq!((version.status.code(), version.stderr.as_str()), (Some(0), ""));
    let names: Vec<_> =
        version.stdout.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let expected = ["etcd Version", "Git SHA", "Rust Version", "Rust OS/Arch", "retcd Version"];
    assert_eq!(names, expected);
    assert!(version.stdout.starts_with("etcd Version: 3.6."), "{}", version.stdout);
}
