//! Flags that count at a member's first start only, and what counts as one.

use std::{fs, time::Duration};

use e2e::{Member, Request, Start, eventually, ports};

const PATIENCE: Duration = Duration::from_secs(30);

/// Who the member is and of which cluster, as it says itself.
fn identity(member: &Member) -> (String, String) {
    let answer = member.get("/v2/members").expect(&[200]);
    let cluster = answer.header("X-Etcd-Cluster-Id").expect("it is always there").to_owned();
    (cluster, answer.text())
}

#[test]
fn a_member_goes_by_its_data_whatever_the_flags_of_a_first_start_say_and_says_so() {
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let (client_port, peer) = (ports::free(), format!("http://127.0.0.1:{}", ports::free()));
    let client = format!("http://127.0.0.1:{client_port}");
    let start = |flags: &[&str]| {
        let start = Start::new().bare().client_port(client_port).peer_url(&peer);
        let start = start.data_dir(&dir.path().join("data"));
        let start = start.flag(&format!("--listen-client-urls={client}"));
        let start = start.flag(&format!("--advertise-client-urls={client}"));
        let start = start.flag(&format!("--listen-peer-urls={peer}"));
        flags.iter().fold(start, |start, flag| start.flag(flag))
    };
    let founding = format!("--initial-advertise-peer-urls={peer}");
    let mut first = start(&[&founding, "--initial-cluster-token=mine"]).start();
    first.put("/kept", "1");
    let known = identity(&first);
    first.stop();
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    let discovery = format!("--discovery={nobody}/v2/keys/token");
    let elsewhere = format!("--initial-advertise-peer-urls={nobody}");
    let others = format!("--initial-cluster=other={nobody},another=http://127.0.0.1:1");
    let cases: [(&[&str], &str); 8] = [
        (&["--initial-cluster-token=other"], "first start only: --initial-cluster-token"),
        (&[&others], "first start only: --initial-cluster"),
        (
            &[&others, "--initial-cluster-state=existing"],
            "first start only: --initial-cluster, --initial-cluster-state",
        ),
        (&[&elsewhere], "first start only: --initial-advertise-peer-urls"),
        (&[&discovery], "first start only: --discovery"),
        (&[&discovery, "--initial-cluster-state=existing"], "--discovery"),
        (&["--discovery-srv=no-such-domain.invalid"], "first start only: --discovery-srv"),
        (
            &["--discovery-srv=no-such-domain.invalid", "--initial-cluster-state=existing"],
            "first start only: --initial-cluster-state, --discovery-srv",
        ),
    ];
    for (flags, said) in cases {
        let mut again = start(flags).start();
        assert_eq!(identity(&again), known, "{flags:?}");
        assert_eq!(again.get("/v2/keys/kept").json()["node"]["value"], "1", "{flags:?}");
        let lines = again.log().lines();
        let says = |line: &&String| line.contains("count at a member's first start only");
        let line = lines.iter().find(says).unwrap_or_else(|| panic!("{flags:?}: {lines:#?}"));
        assert!(line.ends_with(said), "{line}");
        again.stop();
    }
    // Without such flags there is nothing to say.
    let mut silent = start(&[]).start();
    assert!(!silent.log().contains("first start"), "{}", silent.log().text());
    silent.stop();
}

/// A token for two, and what starts a member there.
fn for_two(service: &Member) -> impl Fn(&str) -> Start {
    let size = Request::put("/v2/keys/discovery/t/_config/size", "2");
    assert_eq!(service.ask(&size).status, 201);
    let token = format!("--discovery={}/v2/keys/discovery/t", service.url());
    move |name: &str| {
        let (port, peer) = (ports::free(), format!("http://127.0.0.1:{}", ports::free()));
        let client = format!("http://127.0.0.1:{port}");
        let start = Start::new().bare().client_port(port).peer_url(&peer).flag(&token);
        let start = start.flag(&format!("--name={name}"));
        let start = start.flag(&format!("--listen-client-urls={client}"));
        let start = start.flag(&format!("--advertise-client-urls={client}"));
        let start = start.flag(&format!("--listen-peer-urls={peer}"));
        start.flag(&format!("--initial-advertise-peer-urls={peer}"))
    }
}

fn spawn(start: Start) -> Member {
    let mut member = start.spawn();
    for complaint in ["cannot talk to a peer", "peer became inactive", "no leader"] {
        member.allow(complaint);
    }
    member
}

#[test]
fn a_founding_that_was_cut_short_goes_on_where_the_flags_say() {
    let service = Member::start();
    let start = for_two(&service);
    let mut first = spawn(start("a"));
    let waiting = "found 1 peer(s), waiting for 1 more";
    eventually(PATIENCE, waiting, || first.log().contains(waiting).then_some(()));
    // As if it had been killed when it had just begun its log.
    first.kill();
    let log = first.data_dir().join("member/wal");
    fs::create_dir_all(&log).expect("/tmp can be written");
    fs::write(log.join("0000000000000001.log.tmp"), b"").expect("/tmp can be written");
    let mut second = spawn(start("b"));
    first.launch();
    first.wait_until_ready();
    second.wait_until_ready();
    assert_eq!(identity(&first), identity(&second));
    assert_eq!(first.get("/v2/members").json()["members"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_a_file_system_keeps_in_the_directory_of_the_log_is_no_member() {
    let service = Member::start();
    let start = for_two(&service);
    let mut members = ["a", "b"].map(|name| {
        let dir = tempfile::tempdir().expect("/tmp can be written");
        fs::create_dir(dir.path().join("lost+found")).expect("/tmp can be written");
        (spawn(start(name).flag(&format!("--wal-dir={}", dir.path().display()))), dir)
    });
    for (member, _) in &mut members {
        member.wait_until_ready();
    }
    let [(a, _), (b, _)] = &members;
    assert_eq!(identity(a), identity(b));
}
