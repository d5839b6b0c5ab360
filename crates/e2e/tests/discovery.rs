//! Members that find each other at a token of another cluster.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use e2e::{
    Member, Request, Start,
    authority::{Authority, put},
    binaries,
    cluster::Cluster,
    eventually, ports, proxies, rings, run,
};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

/// A token for so many, at this service.
fn token(service: &Member, name: &str, size: &str) -> String {
    let size = Request::put(&format!("/v2/keys/discovery/{name}/_config/size"), size);
    assert_eq!(service.ask(&size).status, 201);
    format!("{}/v2/keys/discovery/{name}", service.url())
}

/// A member that looks for its cluster there.
fn member(name: &str, token: &str) -> Member {
    spawn(start(name, token))
}

fn start(name: &str, token: &str) -> Start {
    let peer = format!("http://127.0.0.1:{}", ports::free());
    start_at(name, token, &peer).flag(&format!("--listen-peer-urls={peer}"))
}

/// Advertised there, wherever it listens.
fn start_at(name: &str, token: &str, peer: &str) -> Start {
    let port = ports::free();
    let client = format!("http://127.0.0.1:{port}");
    Start::new()
        .bare()
        .client_port(port)
        .peer_url(peer)
        .flag(&format!("--name={name}"))
        .flag(&format!("--listen-client-urls={client}"))
        .flag(&format!("--advertise-client-urls={client}"))
        .flag(&format!("--initial-advertise-peer-urls={peer}"))
        .flag(&format!("--discovery={token}"))
}

fn spawn(start: Start) -> Member {
    let mut member = start.spawn();
    for complaint in
        ["cannot talk to a peer", "peer became inactive", "no leader", "--discovery", "retrying in"]
    {
        member.allow(complaint);
    }
    member
}

/// All serve, as members of one cluster.
fn are_one(members: &mut [Member]) {
    members.iter_mut().for_each(Member::wait_until_ready);
    let ids = |member: &Member| member.get("/v2/members").expect(&[200]).text();
    let expected = ids(&members[0]);
    assert_eq!(expected.matches("\"id\"").count(), members.len(), "{expected}");
    eventually(PATIENCE, "all tell the same members", || {
        members.iter().all(|one| ids(one) == ids(&members[0])).then_some(())
    });
}

fn says(member: &Member, words: &str) {
    eventually(PATIENCE, words, || member.log().text().contains(words).then_some(()));
}

#[test]
fn three_find_each_other_and_a_fourth_is_told_that_it_is_late() {
    let service = Member::start();
    let token = token(&service, "t", "3");
    let mut members = vec![member("a", &token), member("b", &token)];
    for one in &members {
        says(one, "found 2 peer(s), waiting for 1 more");
    }
    members.push(member("c", &token));
    are_one(&mut members);
    members[0].put("/a", "1");
    for one in &members {
        let read = one.get("/v2/keys/a?quorum=true").expect(&[200]).json();
        assert_eq!(read["node"]["value"], "1");
    }
    let mut late = spawn(start("d", &token).flag("--discovery-fallback=exit"));
    assert_eq!(late.reap(PATIENCE).code(), Some(1));
    says(&late, "discovery: cluster is full: 3 members have registered before");
    assert!(!late.data_dir().exists());
    // A member that has its data asks nobody, though the service is gone.
    drop(service);
    members[1].kill();
    members[1].launch();
    members[1].wait_until_ready();
    says(&members[1], "the data directory has a member");
}

#[test]
fn who_comes_late_to_a_full_token_becomes_a_proxy() {
    let mut service = Member::start();
    let token = token(&service, "t", "1");
    let mut only = member("a", &token);
    only.wait_until_ready();
    let mut late = member("b", &token);
    late.allow("discovery cluster full, falling back to proxy");
    late.allow("discovery token ignored since the proxy has already been initialized");
    late.wait_until_ready();
    late.put("/a", "1");
    assert_eq!(only.get("/v2/keys/a").expect(&[200]).json()["node"]["value"], "1");
    let members = only.get("/v2/members").expect(&[200]).text();
    assert_eq!(late.get("/v2/members").text(), members);
    assert!(!members.contains(late.peer_url()), "{members}");
    assert!(late.data_dir().join("proxy/cluster").exists());
    assert!(!late.data_dir().join("member").exists());
    // Its port for peers is free again, and what it is it stays without the service.
    let peer_port = late.peer_url().trim_start_matches("http://");
    assert!(TcpListener::bind(peer_port).is_ok());
    service.stop();
    late.stop();
    late.allow("the server is already initialized as proxy before, starting as etcd proxy...");
    late.restart();
    assert_eq!(late.get("/v2/keys/a").expect(&[200]).json()["node"]["value"], "1");
}

#[test]
fn a_proxy_finds_the_members_at_their_token_and_does_not_register() {
    let service = Member::start();
    let token = token(&service, "t", "2");
    let mut first = member("a", &token);
    says(&first, "found 1 peer(s), waiting for 1 more");
    let mut proxy = proxies::spawn_with(Start::new(), &[&format!("--discovery={token}")]);
    says(&proxy, "found 1 peer(s), waiting for 1 more");
    assert!(!proxy.data_dir().exists());
    let mut second = member("b", &token);
    [&mut first, &mut second].into_iter().for_each(Member::wait_until_ready);
    proxy.wait_until_ready();
    assert_eq!(proxy.get("/v2/members").text(), first.get("/v2/members").text());
    let registered = service.get("/v2/keys/discovery/t").expect(&[200]).json();
    assert_eq!(registered["node"]["nodes"].as_array().map(Vec::len), Some(2), "{registered}");
    // While it waits, a signal ends it, with nothing left behind.
    let lonely = format!("{}/v2/keys/discovery/u", service.url());
    let size = Request::put("/v2/keys/discovery/u/_config/size", "1");
    assert_eq!(service.ask(&size).status, 201);
    let mut waiting = spawn(start("c", &lonely).flag("--proxy=on"));
    says(&waiting, "found 0 peer(s), waiting for 1 more");
    waiting.stop();
    assert!(!waiting.data_dir().exists());
}

#[test]
fn a_token_that_is_none_ends_the_start_with_advice() {
    let service = Member::start();
    let mut without = member("a", &format!("{}/v2/keys/none", service.url()));
    assert_eq!(without.reap(PATIENCE).code(), Some(1));
    says(&without, "discovery: size key not found");
    let mut bad = member("a", &token(&service, "b", "many"));
    assert_eq!(bad.reap(PATIENCE).code(), Some(1));
    says(&bad, "discovery: size key is bad: \"many\" is no number of members");
    let mut wrong = member("a", &format!("{}/version", service.url()));
    assert_eq!(wrong.reap(PATIENCE).code(), Some(1));
    says(&wrong, "discovery: bad discovery endpoint");
}

#[test]
fn who_registered_and_has_no_data_must_not_found_the_cluster_again() {
    let service = Member::start();
    let token = token(&service, "t", "1");
    let mut only = member("a", &token);
    only.wait_until_ready();
    only.kill();
    std::fs::remove_dir_all(only.data_dir()).expect("its data is lost");
    only.launch();
    assert_eq!(only.reap(PATIENCE).code(), Some(1));
    says(&only, "discovery: found duplicate id");
}

#[test]
fn a_service_that_is_away_is_waited_for_and_a_signal_ends_the_wait() {
    let mut service = Member::start();
    let token = token(&service, "t", "1");
    service.kill();
    let mut waiting = member("a", &token);
    says(&waiting, "retrying in 2s");
    service.launch();
    service.wait_until_ready();
    waiting.wait_until_ready();
    let mut alone = member("b", &format!("http://127.0.0.1:{}/v2/keys/x", ports::free()));
    says(&alone, "retrying in 2s");
    alone.signal(Signal::SIGTERM);
    alone.reap(PATIENCE);
    assert!(!alone.data_dir().exists());
}

#[test]
fn a_member_that_is_stopped_while_it_waits_goes_on_when_it_is_started_again() {
    let service = Member::start();
    let token = token(&service, "t", "2");
    let mut members = vec![member("a", &token)];
    says(&members[0], "found 1 peer(s), waiting for 1 more");
    members[0].stop();
    members[0].launch();
    members.push(member("b", &token));
    are_one(&mut members);
    assert!(members.iter().all(|one| !one.data_dir().join("discovery").exists()));
}

#[test]
fn two_with_one_name_or_one_address_are_told() {
    let service = Member::start();
    let name = token(&service, "name", "2");
    let mut twins = [member("a", &name), member("a", &name)];
    for twin in &mut twins {
        assert_eq!(twin.reap(PATIENCE).code(), Some(1));
        says(twin, "discovery: found duplicate name: a=http://127.0.0.1:");
    }
    let address = token(&service, "address", "2");
    let first = member("a", &address);
    says(&first, "found 1 peer(s), waiting for 1 more");
    let elsewhere = format!("--listen-peer-urls=http://127.0.0.1:{}", ports::free());
    let mut second = spawn(start_at("a", &address, first.peer_url()).flag(&elsewhere));
    assert_eq!(second.reap(PATIENCE).code(), Some(1));
    says(&second, "has registered before, from another data directory");
}

#[test]
fn a_cluster_serves_as_the_service_and_may_lose_a_member_meanwhile() {
    let mut service = Cluster::start(3);
    let leader = service.leader();
    let asked = service.members[(leader + 1) % 3].url();
    let mut command = run::etcdctl(&binaries::etcdctl(), &asked);
    let made = run::run(command.args(["set", "/discovery/t/_config/size", "3"]), "");
    assert_eq!(made.stdout, "3\n", "{made:?}");
    let token = format!("{asked}/v2/keys/discovery/t");
    let mut members = vec![member("a", &token), member("b", &token)];
    for one in &members {
        says(one, "found 2 peer(s), waiting for 1 more");
    }
    service.members[leader].kill();
    members.push(member("c", &token));
    are_one(&mut members);
    let shown = service.members[(leader + 1) % 3].get("/v2/keys/discovery/t").expect(&[200]);
    let rows = shown.json()["node"]["nodes"].as_array().map(Vec::len);
    assert_eq!(rows, Some(3), "all have registered: {}", shown.text());
}

#[test]
fn a_service_behind_a_proxy_is_reached_through_it() {
    let service = Member::start();
    token(&service, "t", "2");
    let proxy = Proxy::to(&service);
    // A name that only the proxy understands.
    let token = "http://discovery.invalid/v2/keys/discovery/t";
    let through = format!("--discovery-proxy=http://127.0.0.1:{}", proxy.port);
    let mut members = ["a", "b"].map(|name| spawn(start(name, token).flag(&through)));
    are_one(&mut members);
    says(&members[0], &format!("using proxy 127.0.0.1:{}", proxy.port));
    let asked = proxy.asked.lock().expect("nobody panics in here");
    assert!(asked.iter().any(|line| line.starts_with(&format!("PUT {token}/"))), "{asked:?}");

    let down = format!("--discovery-proxy=127.0.0.1:{}", ports::free());
    let mut waiting = spawn(start("c", token).flag(&down));
    let address = down.trim_start_matches("--discovery-proxy=");
    says(&waiting, &format!("dial tcp discovery.invalid:80: proxy {address}: "));
    waiting.signal(Signal::SIGTERM);
    waiting.reap(PATIENCE);
}

/// An HTTP proxy that takes everybody to one server.
struct Proxy {
    port: u16,
    /// The first lines of the requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn to(server: &Member) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("it listens").port();
        let (asked, server) = (Arc::<Mutex<Vec<String>>>::default(), server.address());
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || drop(pass_on(client, server, &seen)));
            }
        });
        Self { port, asked }
    }
}

/// Passes one request on, and then what comes back.
fn pass_on(client: TcpStream, server: SocketAddr, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    seen.lock().expect("nobody panics in here").push(first.clone());
    let mut upstream = TcpStream::connect(server)?;
    let path = first.replacen("http://discovery.invalid", "", 1);
    upstream.write_all(format!("{path}Connection: close\r\n").as_bytes())?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        upstream.write_all(line.as_bytes())?;
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.trim().parse().map_err(io::Error::other)?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    upstream.write_all(&body)?;
    let mut client = client;
    io::copy(&mut upstream, &mut client)?;
    client.shutdown(Shutdown::Both)
}

#[test]
fn a_service_with_tls_is_believed_if_the_system_trusts_its_authority() {
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let authority = Authority::new("one of the system's");
    let ca = put(dir.path(), "ca.pem", &authority.pem).display().to_string();
    let (cert, key) = authority.issue(dir.path(), "service", 1);
    let (plain, secure) = (ports::free(), ports::free());
    let urls = format!("http://127.0.0.1:{plain},https://127.0.0.1:{secure}");
    let peer = format!("http://127.0.0.1:{}", ports::free());
    let service = Start::new().bare().client_port(plain).peer_url(&peer);
    let mut service = [
        ("cert-file", cert.display().to_string()),
        ("key-file", key.display().to_string()),
        ("listen-client-urls", urls.clone()),
        ("advertise-client-urls", urls),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer),
    ]
    .iter()
    .fold(service, |start, (name, value)| start.flag(&format!("--{name}={value}")))
    .start();
    for complaint in ["The scheme of client url", "TLS handshake failed"] {
        service.allow(complaint);
    }
    token(&service, "t", "1");
    let token = format!("https://127.0.0.1:{secure}/v2/keys/discovery/t");
    let mut trusting = spawn(start("a", &token).env("SSL_CERT_FILE", &ca));
    trusting.wait_until_ready();
    let mut wary = member("b", &token);
    says(&wary, "retrying in 2s");
    wary.signal(Signal::SIGTERM);
    wary.reap(PATIENCE);
}

/// Members of the original find each other at a token of ours, and ours at one of the original's.
#[test]
fn the_original_and_ours_serve_each_other() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) || binaries::is_original() {
        return;
    }
    let original = original.expect("it is installed");
    let (ours, theirs) = (Member::start(), Start::original(original.clone()).start());
    let ours = token(&ours, "theirs", "2");
    let mut members = ["a", "b"].map(|name| {
        let peer = format!("http://127.0.0.1:{}", ports::free());
        let port = ports::free();
        let client = format!("http://127.0.0.1:{port}");
        let start = Start::original(original.clone()).bare().client_port(port).peer_url(&peer);
        let flags = [
            ("name", name),
            ("listen-client-urls", &client),
            ("advertise-client-urls", &client),
            ("listen-peer-urls", &peer),
            ("initial-advertise-peer-urls", &peer),
            ("discovery", &ours),
        ];
        let flags = flags.iter().map(|(name, value)| format!("--{name}={value}"));
        flags.fold(start, |start, flag| start.flag(&flag)).spawn()
    });
    are_one(&mut members);
    let theirs = token(&theirs, "ours", "2");
    are_one(&mut ["a", "b"].map(|name| member(name, &theirs)));
}
