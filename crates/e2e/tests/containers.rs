//! The image in containers: by the guide's command, by the compose file, as any user.

use std::{os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use e2e::{
    Answer, Connection, Request, binaries,
    docker::{Docker, IMAGE},
    eventually,
    run::{self, Output},
};

/// From the start of a container to its first answer.
const LIMIT: Duration = Duration::from_mins(1);

/// The guide's command, word for word (it lacks a backslash), but for the image's name.
const GUIDE: &str = r"docker run -d
           -v /usr/share/ca-certificates/:/etc/ssl/certs \
           -p 4001:4001 \
           -p 2380:2380 \
           -p 2379:2379 \
           --name etcd quay.io/coreos/etcd:v2.3.8 \
           -name etcd0 \
           -advertise-client-urls http://${HostIP}:2379,http://${HostIP}:4001 \
           -listen-client-urls http://0.0.0.0:2379,http://0.0.0.0:4001 \
           -initial-advertise-peer-urls http://${HostIP}:2380 \
           -listen-peer-urls http://0.0.0.0:2380 \
           -initial-cluster-token etcd-cluster-1 \
           -initial-cluster etcd0=http://${HostIP}:2380 \
           -initial-cluster-state new";

fn guide() -> String {
    let words = GUIDE.lines().map(|line| line.trim_end_matches('\\').trim());
    let line = words.collect::<Vec<_>>().join(" ");
    let ours = line.replace("quay.io/coreos/etcd:v2.3.8", IMAGE);
    assert_ne!(ours, line, "the image's name is ours");
    ours
}

fn etcdctl(docker: &Docker, port: u16, line: &str) -> Output {
    let mut command = Command::new(binaries::etcdctl());
    command.arg("-C").arg(format!("http://{}:{port}", docker.address()));
    run::run(command.args(line.split(' ')), "")
}

/// Asks the member behind a published port until it answers so.
fn ask(docker: &Docker, port: u16, request: &Request, statuses: &[u16]) -> Answer {
    let what = format!("{statuses:?} from port {port}");
    eventually(LIMIT, &what, || {
        let address = (docker.address(), port).into();
        let mut connection = Connection::open_within(address, Duration::from_secs(1)).ok()?;
        connection.set_patience(Duration::from_secs(5));
        connection.ask(request).ok().filter(|answer| statuses.contains(&answer.status))
    })
}

#[test]
fn the_guides_docker_run_starts_a_member_that_stops_and_comes_back_with_its_data() {
    let Some(docker) = Docker::start() else { return };
    let started = run::run(docker.command("sh").args(["-c", &guide()]), "");
    assert_eq!(started.exit, Some(0), "{started:?}");
    ask(&docker, 2379, &Request::get("/v2/keys/"), &[200]);

    let host = docker.address();
    let listed = etcdctl(&docker, 2379, "member list");
    let urls = format!("clientURLs=http://{host}:2379,http://{host}:4001 isLeader=true\n");
    assert!(listed.stdout.contains("name=etcd0") && listed.stdout.ends_with(&urls), "{listed:?}");
    assert_eq!(etcdctl(&docker, 4001, "member list"), listed);
    assert_eq!(etcdctl(&docker, 4001, "set /message Hello").stdout, "Hello\n");
    // From inside, with no more than a name.
    assert_eq!(docker.must(&["exec", "etcd", "etcdctl", "get", "/message"]), "Hello");

    docker.must(&["stop", "--time", "20", "etcd"]);
    let ended = docker.must(&["inspect", "--format", "{{.State.ExitCode}}", "etcd"]);
    assert_eq!(ended, "0", "{}", docker.logs("etcd"));
    assert!(docker.logs("etcd").contains("received SIGTERM, shutting down..."));
    docker.must(&["start", "etcd"]);
    let found = ask(&docker, 2379, &Request::get("/v2/keys/message"), &[200]);
    assert_eq!(found.json()["node"]["value"], "Hello");
    let said = docker.logs("etcd");
    assert!(!said.contains(" E | "), "{said}");
}

#[test]
fn the_compose_file_starts_three_members_that_survive_the_loss_of_one() {
    let Some(docker) = Docker::start() else { return };
    let Some(_) = docker.compose() else { return };
    let compose = |line: &str| {
        let mut command = docker.compose().expect("it was there before");
        command.args(["--project-name", "three"]).args(line.split(' '));
        let output = run::run(&mut command, "");
        assert_eq!(output.exit, Some(0), "docker-compose {line}: {output:?}");
        output.stdout
    };
    compose("up --detach");
    let put = |port, value| {
        ask(&docker, port, &Request::put("/v2/keys/a", value), &[200, 201]);
    };
    put(2379, "1");
    let read = Request::get("/v2/keys/a?quorum=true");
    for port in [2379, 22379, 32379] {
        assert_eq!(ask(&docker, port, &read, &[200]).json()["node"]["value"], "1");
    }
    // They know each other by names that docker's own server resolves.
    let health = compose("exec -T etcd2 etcdctl cluster-health");
    assert!(health.ends_with("cluster is healthy\n"), "{health}");
    let listed = compose("exec -T etcd3 etcdctl member list");
    assert!(listed.contains("peerURLs=http://etcd1:2380 clientURLs=http://etcd1:2379"), "{listed}");

    compose("kill etcd1");
    put(22379, "2");
    assert_eq!(ask(&docker, 32379, &read, &[200]).json()["node"]["value"], "2");
    compose("up --detach");
    assert_eq!(ask(&docker, 2379, &read, &[200]).json()["node"]["value"], "2");
    compose("down --volumes --timeout 20");
}

#[test]
fn the_image_runs_as_any_user_with_nothing_else_that_can_be_written() {
    let Some(docker) = Docker::start() else { return };
    // As the images of etcd 3 are run: with the program's name.
    let start = |user: &str, more: &[&str], flags: &[&str]| {
        let container = format!("as-{user}");
        let line = ["run", "--detach", "--user", user, "--read-only", "--name", &container];
        let urls =
            ["--listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls=http://a:2379"];
        let program = [IMAGE, "/usr/local/bin/etcd"];
        docker.must(&[&line[..], more, &program, &urls, flags].concat());
        container
    };
    let container = start("12345", &["--publish=2379:2379", "--volume=named:/var/lib/etcd"], &[]);
    ask(&docker, 2379, &Request::put("/v2/keys/a", "1"), &[201]);
    assert!(docker.logs(&container).contains("ready to serve client requests"));
    docker.must(&["stop", "--time", "20", &container]);

    let theirs = docker.dir().join("theirs");
    std::fs::create_dir(&theirs).expect("/tmp can be written");
    std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let volume = format!("--volume={}:/data", theirs.display());
    let container = start("54321", &[&volume], &["--data-dir=/data/etcd"]);
    let ended = docker.must(&["wait", &container]);
    let said = docker.logs(&container);
    assert_eq!(ended, "1", "{said}");
    assert!(said.contains("/data/etcd") && said.contains("check --data-dir"), "{said}");

    let said = docker.run(&["run", "--rm", IMAGE, "etcdctl", "--version"]);
    assert!(said.stdout.starts_with("etcdctl version"), "{said:?}");
    let said = docker.run(&["run", "--rm", IMAGE, "etcdutl", "version"]);
    assert!(said.stdout.starts_with("etcdutl version"), "{said:?}");
    let said = docker.run(&["run", "--rm", IMAGE, "--version"]);
    assert!(said.stdout.starts_with("etcd Version: 3."), "{said:?}");
}
