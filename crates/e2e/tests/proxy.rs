//! Proxy mode, through the real binaries: clients ask a proxy, and members answer.

use std::{
    fs,
    io::Read as _,
    time::{Duration, Instant},
};

use e2e::{
    Answer, Member, Request, Start,
    authority::{Authority, put},
    binaries,
    cluster::Cluster,
    dns::Dns,
    eventually, ports, proxies, rings, run,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
/// So that a test need not wait for what takes its time otherwise.
const QUICK: [&str; 2] = ["--proxy-refresh-interval=200", "--proxy-failure-wait=300"];

/// Whom a proxy would ask now.
fn endpoints(proxy: &Member) -> Vec<String> {
    let told = proxy.get("/v2/config/local/proxy").expect(&[200]).json();
    let endpoints = told["endpoints"].as_array().expect("a list").iter();
    let mut endpoints: Vec<_> =
        endpoints.map(|url| url.as_str().expect("a URL").to_owned()).collect();
    endpoints.sort_unstable();
    endpoints
}

fn client_urls(cluster: &Cluster) -> Vec<String> {
    let mut urls: Vec<_> = cluster.members.iter().map(Member::url).collect();
    urls.sort_unstable();
    urls
}

fn peer_urls(cluster: &Cluster) -> Vec<String> {
    let mut urls: Vec<_> =
        cluster.members.iter().map(|member| member.peer_url().to_owned()).collect();
    urls.sort_unstable();
    urls
}

/// What is written in its data directory.
fn cluster_file(proxy: &Member) -> Value {
    let text = fs::read_to_string(proxy.data_dir().join("proxy/cluster"));
    serde_json::from_str(&text.expect("the file is there")).expect("it is JSON")
}

fn metric(proxy: &Member, series: &str) -> f64 {
    let text = proxy.get("/metrics").expect(&[200]).text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {series} in {text}"))
}

#[test]
fn what_a_client_asks_a_proxy_is_answered_by_a_member() {
    let cluster = Cluster::start(3);
    let proxy = proxies::start(&cluster, &[]);
    assert_eq!(endpoints(&proxy), client_urls(&cluster));
    assert_eq!(cluster_file(&proxy)["PeerURLs"], serde_json::json!(peer_urls(&cluster)));
    let index = proxy.put("/a", "1");
    for member in &cluster.members {
        let read = member.get("/v2/keys/a?quorum=true").expect(&[200]);
        assert_eq!((read.index(), &read.json()["node"]["value"]), (index, &"1".into()));
    }
    let created = proxy.ask(&Request::new("POST", "/v2/keys/queue").form(&[("value", "x")]));
    assert_eq!(created.expect(&[201]).json()["action"], "create");
    assert_eq!(proxy.ask(&Request::new("DELETE", "/v2/keys/a")).expect(&[200]).status, 200);
    assert_eq!(proxy.get("/v2/keys/a").expect(&[404]).json()["errorCode"], 100);
    let head = proxy.ask(&Request::new("HEAD", "/v2/keys/queue")).expect(&[200]);
    assert!(head.header("Content-Length").is_some_and(|length| length != "0"), "{head:?}");
    let options = proxy.ask(&Request::new("OPTIONS", "/v2/keys/a")).expect(&[200]);
    assert!(options.body.is_empty());
    // A path that nobody knows is the members' affair.
    let same = |target: &str| {
        let (through, direct) = (proxy.get(target), cluster.members[0].get(target));
        assert_eq!((through.status, through.text()), (direct.status, direct.text()), "{target}");
    };
    for target in ["/v2/members", "/version", "/nowhere", "/v2/config/local/proxy/", "/v3/none"] {
        same(target);
    }
    assert_eq!(proxy.get("/health").expect(&[200]).json()["health"], "true");
    assert!(metric(&proxy, "etcd_proxy_requests_total{method=\"PUT\"}") >= 1.0);
    assert!(metric(&proxy, "etcd_proxy_handled_total{code=\"404\",method=\"GET\"}") >= 1.0);
    assert!(metric(&proxy, "etcd_proxy_handling_duration_seconds_count{method=\"GET\"}") >= 1.0);
}

#[test]
fn etcdctl_works_through_a_proxy() {
    let cluster = Cluster::start(3);
    let proxy = proxies::start(&cluster, &[]);
    let etcdctl = |arguments: &[&str]| {
        let mut command = run::etcdctl(&binaries::etcdctl(), &proxy.url());
        run::run(command.arg("--no-sync").args(arguments), "")
    };
    let check = |arguments: &[&str], expected: &str| {
        let output = etcdctl(arguments);
        assert_eq!((output.exit, output.stdout.as_str()), (Some(0), expected), "{output:?}");
    };
    check(&["set", "/message", "Hello"], "Hello\n");
    check(&["get", "/message"], "Hello\n");
    check(&["mkdir", "/dir"], "");
    check(&["rm", "/message"], "PrevNode.Value: Hello\n");
    let health = etcdctl(&["cluster-health"]);
    assert!(health.stdout.ends_with("cluster is healthy\n"), "{health:?}");
    let members = etcdctl(&["member", "list"]);
    assert_eq!(members.stdout.lines().count(), 3, "{members:?}");
    let mut watch = run::etcdctl(&binaries::etcdctl(), &proxy.url());
    let watch = run::start(watch.args(["--no-sync", "watch", "--recursive", "/dir"]), "");
    let watchers = |member: &Member| metric(member, "etcd_store_watchers ");
    eventually(PATIENCE, "the watch has begun", || {
        cluster.members.iter().any(|member| watchers(member) > 0.0).then_some(())
    });
    cluster.put("/dir/a", "seen");
    assert_eq!(watch.wait(PATIENCE).stdout, "[set] /dir/a\nseen\n");
}

#[test]
fn records_of_a_domain_lead_a_proxy_to_the_members_once() {
    let cluster = Cluster::start(3);
    let records = cluster.members.iter().enumerate().flat_map(|(at, member)| {
        let port = member.peer_url().rsplit(':').next().expect("a port");
        [
            format!("srv-host=_etcd-server._tcp.etcd.test,m{at}.etcd.test,{port}"),
            format!("host-record=m{at}.etcd.test,127.0.0.1"),
        ]
    });
    let Some(mut dns) = Dns::start(&records.collect::<Vec<_>>()) else { return };
    let mut proxy = proxies::spawn_with(Start::new().dns(&dns), &["--discovery-srv=etcd.test"]);
    proxy.allow("DNS SRV discovery ignored since the proxy has already been initialized");
    proxy.wait_until_ready();
    assert_eq!(endpoints(&proxy), client_urls(&cluster));
    dns.stop();
    proxy.stop();
    proxy.restart();
    assert!(proxy.log().contains("DNS SRV discovery ignored"));
    assert_eq!(endpoints(&proxy), client_urls(&cluster));
}

#[test]
fn a_readonly_proxy_passes_reads_alone() {
    let cluster = Cluster::start(1);
    let proxy = proxies::start(&cluster, &["--proxy=readonly", "--cors=*"]);
    cluster.put("/a", "1");
    assert_eq!(proxy.get("/v2/keys/a").expect(&[200]).json()["node"]["value"], "1");
    for method in ["PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"] {
        let answer = proxy.ask(&Request::new(method, "/v2/keys/a").form(&[("value", "2")]));
        assert_eq!((answer.status, answer.text()), (501, String::new()), "{method}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{method}");
    }
    assert_eq!(endpoints(&proxy), client_urls(&cluster));
    assert_eq!(cluster.members[0].get("/v2/keys/a").json()["node"]["value"], "1");
}

#[test]
fn pages_of_allowed_origins_may_ask_a_proxy() {
    let cluster = Cluster::start(1);
    let proxy = proxies::start(&cluster, &["--cors=http://a.example"]);
    let ask = |origin: &str, method: &str| {
        proxy.ask(&Request::new(method, "/v2/keys/").header("Origin", origin)).expect(&[200])
    };
    let allowed = |answer: &Answer| answer.header("Access-Control-Allow-Origin").map(str::to_owned);
    for method in ["GET", "OPTIONS"] {
        let answer = ask("http://a.example", method);
        assert_eq!(allowed(&answer).as_deref(), Some("http://a.example"), "{method}");
        let methods = answer.header("Access-Control-Allow-Methods");
        assert_eq!(methods, Some("POST, GET, OPTIONS, PUT, DELETE"));
        assert_eq!(allowed(&ask("http://b.example", method)), None, "{method}");
    }
}

#[test]
fn members_that_die_are_left_out_and_asked_again_later() {
    let mut cluster = Cluster::start(3);
    let proxy = proxies::start(&cluster, &QUICK);
    let mut connection = proxy.connect();
    for at in [0, 1, 2] {
        cluster.members[at].kill();
        for number in 0..40 {
            let read = connection.ask(&Request::get("/v2/keys/")).expect("an answer comes");
            assert_eq!(read.status, 200, "{}", read.text());
            let write = Request::put(&format!("/v2/keys/{at}/{number}"), "x");
            let deadline = Instant::now() + PATIENCE;
            // The leader may have been the one that died.
            while !matches!(connection.ask(&write).expect("an answer comes").status, 200 | 201) {
                assert!(Instant::now() < deadline, "writes do not go on");
            }
        }
        // Each refresh shuffles whom it asks first: in the end it is the dead one.
        let words = format!("failed to direct request to {}", cluster.members[at].url());
        eventually(PATIENCE, "the dead one is asked", || {
            let read = connection.ask(&Request::get("/v2/keys/")).expect("an answer comes");
            assert_eq!(read.status, 200, "{}", read.text());
            proxy.log().text().contains(&words).then_some(())
        });
        cluster.members[at].restart();
    }
    let tree = cluster.agree().to_string();
    for key in (0..3).flat_map(|at| (0..40).map(move |number| format!("\"/{at}/{number}\""))) {
        assert!(tree.contains(&key), "{key}");
    }
    let all = client_urls(&cluster);
    eventually(PATIENCE, "all are asked again", || (endpoints(&proxy) == all).then_some(()));
    let said = proxy.log().text();
    for words in [" unavailable", "to retest connectivity"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_member_whose_machine_vanishes_holds_nobody_up_for_long() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let flags =
        ["--proxy-write-timeout=1000", "--proxy-failure-wait=3000", "--proxy-dial-timeout=300"];
    let proxy = proxies::start(&cluster, &flags);
    let told = proxy.get("/v2/config/local/proxy").json();
    let url = told["endpoints"][0].as_str().expect("a URL").to_owned();
    let first = cluster.members.iter().position(|member| member.url() == url).expect("known");
    // A connection to it is open when it vanishes, and nothing on it ever fails by itself.
    assert_eq!(proxy.get("/v2/keys/").status, 200);
    cluster.isolate_from_all(first);
    let asked = Instant::now();
    assert_eq!(proxy.get("/v2/keys/").status, 200);
    println!("a read took {:?}", asked.elapsed());
    assert!(!endpoints(&proxy).contains(&url));
    eventually(PATIENCE, "it is tried again, and not for long", || {
        assert_eq!(proxy.get("/v2/keys/").status, 200);
        proxy.log().contains("no connection within 300ms").then_some(())
    });
    cluster.heal();
    let all = client_urls(&cluster);
    eventually(PATIENCE, "it is asked again", || (endpoints(&proxy) == all).then_some(()));
}

#[test]
fn without_members_a_proxy_says_so_and_it_goes_on_once_they_are_back() {
    let mut cluster = Cluster::start(1);
    let proxy = proxies::start(&cluster, &["--proxy-failure-wait=3000"]);
    cluster.put("/a", "1");
    cluster.members[0].kill();
    let failed = proxy.get("/v2/keys/a");
    let text = "{\"message\":\"httpproxy: unable to get response from 1 endpoint(s)\"}";
    assert_eq!((failed.status, failed.text().as_str()), (502, text));
    let text = "{\"message\":\"httpproxy: zero endpoints currently available\"}";
    for request in [Request::get("/v2/keys/a"), Request::put("/v2/keys/a", "2")] {
        let refused = proxy.ask(&request);
        assert_eq!((refused.status, refused.text().as_str()), (503, text));
        assert_eq!(refused.header("Content-Type"), Some("application/json"));
    }
    assert!(endpoints(&proxy).is_empty());
    for reason in ["zero_endpoints", "failed_sending_request", "failed_getting_response"] {
        let series = format!("{{method=\"GET\",proxying_error=\"{reason}\"}}");
        assert!(metric(&proxy, &format!("etcd_proxy_dropped_total{series}")) >= 1.0, "{reason}");
    }
    cluster.members[0].restart();
    eventually(PATIENCE, "it goes on", || (proxy.get("/v2/keys/a").status == 200).then_some(()));
    // One line, however many ask.
    assert_eq!(proxy.log().text().matches("zero endpoints currently available").count(), 1);
}

#[test]
fn a_proxy_that_starts_before_the_members_waits_for_them() {
    let (peer, client) = (ports::free(), ports::free());
    let peer_url = format!("http://127.0.0.1:{peer}");
    let mut proxy = proxies::spawn(Start::new(), &[&peer_url], &[]);
    eventually(PATIENCE, "it serves", || {
        let connection = e2e::Connection::open(proxy.address()).ok();
        let answer = connection?.ask(&Request::get("/v2/keys/")).ok()?;
        (answer.status == 503).then_some(())
    });
    let mut member = Start::new().client_port(client).peer_url(&peer_url).start();
    proxy.wait_until_ready();
    assert_eq!(endpoints(&proxy), [member.url()]);
    // What was known stays while nobody tells: clients may well be answered still.
    member.kill();
    eventually(PATIENCE, "that nobody tells is noticed", || {
        let text = proxy.log().text();
        drop(proxy.get("/v2/keys/"));
        (text.matches("could not retrieve cluster information").count() == 2).then_some(())
    });
    member.restart();
    eventually(PATIENCE, "it goes on", || (proxy.get("/v2/keys/").status == 200).then_some(()));
}

#[test]
fn members_that_come_and_go_are_found_and_remembered() {
    let mut cluster = Cluster::start(1);
    let mut proxy = proxies::start(&cluster, &QUICK);
    for _ in 0..2 {
        // The leader that is removed hands over, perhaps to one that does not know of it yet.
        cluster.add().allow("cannot campaign");
    }
    let all = client_urls(&cluster);
    eventually(PATIENCE, "the new members are found", || (endpoints(&proxy) == all).then_some(()));
    let id = cluster.members[0].get("/v2/members").json()["members"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|member| member["clientURLs"][0] == cluster.members[0].url().as_str())
        .map(|member| member["id"].as_str().expect("an id").to_owned())
        .expect("it knows itself");
    let removed = proxy.ask(&Request::new("DELETE", &format!("/v2/members/{id}")));
    assert_eq!(removed.status, 204, "{}", removed.text());
    // The only one that the flags name.
    let mut gone = cluster.forget(0);
    gone.allow("permanently removed");
    gone.reap(PATIENCE);
    let rest = client_urls(&cluster);
    eventually(PATIENCE, "the member that has gone is forgotten", || {
        (endpoints(&proxy) == rest).then_some(())
    });
    // It asks those whom it has found.
    cluster.put("/a", "1");
    cluster.add();
    let all = client_urls(&cluster);
    eventually(PATIENCE, "a member that comes later is found", || {
        (endpoints(&proxy) == all).then_some(())
    });
    let expected = serde_json::json!(peer_urls(&cluster));
    eventually(PATIENCE, "it is written down", || {
        (cluster_file(&proxy)["PeerURLs"] == expected).then_some(())
    });
    // The flags lead nowhere any more, the file does.
    assert_eq!(proxy.stop().code(), None);
    proxy.restart();
    assert!(proxy.log().contains("from cluster file"));
    assert_eq!(proxy.get("/v2/keys/a").expect(&[200]).json()["node"]["value"], "1");
    assert_eq!(cluster_file(&proxy)["PeerURLs"], expected);
}

#[test]
fn the_data_directory_decides_between_member_and_proxy() {
    let cluster = Cluster::start(1);
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let data_dir = directory.path().join("data");
    let mut proxy =
        proxies::spawn(Start::new().data_dir(&data_dir), &[cluster.members[0].peer_url()], &[]);
    proxy.wait_until_ready();
    proxy.stop();
    // The same directory with the flags of a member, and the other way round.
    let mut again = Start::new().data_dir(&data_dir).spawn();
    again.allow("the server is already initialized as proxy before, starting as etcd proxy...");
    again.wait_until_ready();
    assert_eq!(endpoints(&again), client_urls(&cluster));
    let member_dir = directory.path().join("member");
    let mut member = Start::new().data_dir(&member_dir).start();
    member.put("/mine", "1");
    member.stop();
    let mut member = Start::new().data_dir(&member_dir).flag("--proxy=on").spawn();
    member.allow("the server is already initialized as member before, starting as etcd member...");
    member.wait_until_ready();
    assert_eq!(member.get("/v2/keys/mine").expect(&[200]).json()["node"]["value"], "1");
    assert!(!member_dir.join("proxy").exists() && !data_dir.join("member").exists());
}

#[test]
fn watches_pass_as_they_happen_and_end_with_either_side() {
    let mut cluster = Cluster::start(1);
    let proxy = proxies::start(&cluster, &QUICK);
    let watchers = |cluster: &Cluster| {
        let text = cluster.members[0].get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix("etcd_store_watchers "));
        line.expect("members count watchers").to_owned()
    };
    let mut poll = proxy.connect();
    poll.send(&Request::get("/v2/keys/a?wait=true")).expect("it is sent");
    let head = poll.receive_head().expect("the head comes at once");
    assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
    let mut stream = proxy.connect();
    stream.send(&Request::get("/v2/keys/?wait=true&stream=true&recursive=true")).expect("sent");
    stream.receive_head().expect("the head comes at once");
    for number in 0..3 {
        cluster.put("/a", &number.to_string());
        let event = stream.receive_chunk().expect("it comes").expect("an event");
        let event: Value = serde_json::from_slice(&event).expect("JSON");
        assert_eq!(event["node"]["value"], number.to_string());
    }
    let polled = poll.receive_rest(head).expect("it ends with its event");
    assert_eq!(polled.json()["node"]["value"], "0");
    assert_eq!(watchers(&cluster), "1");
    drop(stream);
    eventually(PATIENCE, "the member's watch ends with its client", || {
        (watchers(&cluster) == "0").then_some(())
    });
    // A member that dies must not look like one that has answered.
    poll.send(&Request::get("/v2/keys/a?wait=true")).expect("it is sent");
    let head = poll.receive_head().expect("the head comes at once");
    cluster.members[0].kill();
    assert!(poll.receive_rest(head).is_err());
    cluster.members[0].restart();
}

#[test]
fn a_proxy_that_stops_ends_watches_as_a_member_does() {
    let cluster = Cluster::start(1);
    let mut proxy = proxies::start(&cluster, &[]);
    let mut poll = proxy.connect();
    poll.send(&Request::get("/v2/keys/a?wait=true")).expect("it is sent");
    let head = poll.receive_head().expect("the head comes at once");
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = poll.receive_rest(head).expect("it ends in order");
    assert!(ended.body.is_empty());
    proxy.reap(PATIENCE);
}

#[test]
fn a_slow_client_makes_no_proxy_hold_what_it_does_not_read() {
    let cluster = Cluster::start(1);
    let proxy = proxies::start(&cluster, &[]);
    let value = "x".repeat(1 << 20);
    for number in 0..24 {
        cluster.put(&format!("/large/{number}"), &value);
    }
    let resident = || metric(&proxy, "process_resident_memory_bytes");
    let before = resident();
    let mut slow: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    for connection in &mut slow {
        connection.send(&Request::get("/v2/keys/large")).expect("it is sent");
        connection.receive_head().expect("the head comes");
    }
    // The system's buffers fill in no time; what comes then must wait at the member.
    std::thread::sleep(Duration::from_secs(1));
    let grown = resident() - before;
    assert!(grown < 24e6, "{grown} bytes for four clients of 24 MiB each");
    // They are served all the same.
    let mut body = Vec::new();
    let mut first = slow.remove(0);
    while let Some(chunk) = first.receive_chunk().expect("it goes on") {
        body.extend_from_slice(&chunk);
    }
    let listing: Value = serde_json::from_slice(&body).expect("the listing is whole");
    assert_eq!(listing["node"]["nodes"].as_array().map(Vec::len), Some(24));
}

#[test]
fn only_so_many_clients_are_served_at_once() {
    let cluster = Cluster::start(1);
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], ports::free()));
    // 150 are kept for other things, and a client may cost four.
    let limited = "ulimit -n 190; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", limited]).arg(binaries::etcd()).arg("--proxy=on");
    command.arg("--data-dir").arg(directory.path().join("data"));
    command.arg(format!("--listen-client-urls=http://{address}"));
    command.arg(format!("--initial-cluster=m0={}", cluster.members[0].peer_url()));
    let _proxy = run::start(&mut command, "");
    let ask = |target: &str, patience: Duration| {
        let mut connection = e2e::Connection::open(address)?;
        connection.set_patience(patience);
        connection.send(&Request::get(target))?;
        connection.receive_head().map(|head| (connection, head.status))
    };
    eventually(PATIENCE, "it serves", || ask("/version", PATIENCE).ok());
    let watch = "/v2/keys/a?wait=true";
    let mut watches: Vec<_> =
        (0..10).map(|_| ask(watch, PATIENCE).expect("there is a place")).collect();
    assert!(watches.iter().all(|(_, status)| *status == 200));
    assert!(ask("/version", Duration::from_millis(300)).is_err());
    drop(watches.pop());
    let (_, status) = ask("/version", PATIENCE).expect("there is a place again");
    assert_eq!(status, 200);
}

#[test]
fn bodies_are_bounded_and_broken_ones_are_told() {
    let cluster = Cluster::start(1);
    let proxy = proxies::start(&cluster, &[]);
    let large = "x".repeat(1_600_000);
    let refused = proxy.ask(&Request::put("/v2/keys/a", &large));
    assert_eq!(refused.status, 413, "{}", refused.text());
    let mut broken = proxy.connect();
    let bytes =
        b"PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n";
    broken.send_bytes(bytes).expect("it is sent");
    let answer = broken.receive().expect("an answer comes");
    assert_eq!(answer.status, 500);
    let text = answer.json()["message"].as_str().expect("a message").to_owned();
    assert!(text.starts_with("httpproxy: failed to read request body: "), "{text}");
    assert_eq!(proxy.get("/v2/keys/a").status, 404);
    // As it is for members: who asks first is told to go on.
    let mut asking = proxy.connect();
    let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\n";
    asking.send_bytes(head.as_bytes()).expect("it is sent");
    let mut told = [0; 25];
    asking.stream().read_exact(&mut told).expect("it is told");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    asking.send_bytes(b"value=1").expect("it is sent");
    assert_eq!(asking.receive().expect("an answer comes").status, 201);
}

#[test]
fn a_member_that_advertises_a_proxy_makes_no_endless_circle() {
    let port = ports::free();
    let advertised = format!("--advertise-client-urls=http://127.0.0.1:{port}");
    let mut member = Start::new().flag(&advertised).start();
    let mut proxy = proxies::spawn_with(
        Start::new().flag(&format!("--initial-cluster=m={}", member.peer_url())),
        &[&format!("--listen-client-urls=http://127.0.0.1:{port}")],
    );
    proxy.allow("goes round in circles");
    let address = ([127, 0, 0, 1], port).into();
    let answer = eventually(PATIENCE, "it serves", || {
        e2e::Connection::open(address).ok()?.ask(&Request::get("/v2/keys/")).ok()
    });
    assert_eq!(answer.status, 508, "{}", answer.text());
    eventually(PATIENCE, "it is told", || {
        proxy.log().contains("does a member advertise the address of a proxy").then_some(())
    });
    proxy.stop();
    member.stop();
}

/// Members that ask clients and each other for certificates.
#[test]
fn tls_is_spoken_on_both_sides() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("one"));
    put(dir.path(), "ca.pem", &authority.pem);
    for (name, serial) in [("member", 1), ("proxy", 2), ("client", 3)] {
        authority.issue(dir.path(), name, serial);
    }
    let file = |name: &str| dir.path().join(name).display().to_string();
    let side = |prefix: &str, who: &str| {
        [
            format!("--{prefix}cert-file={}", file(&format!("{who}.pem"))),
            format!("--{prefix}key-file={}", file(&format!("{who}.key"))),
            format!("--{prefix}trusted-ca-file={}", file("ca.pem")),
            format!("--{prefix}client-cert-auth"),
        ]
    };
    let owned = [side("", "member"), side("peer-", "member")].concat();
    let flags: Vec<&str> = owned.iter().map(String::as_str).collect();
    let mut cluster = Cluster::start_with_tls(3, &flags);
    for member in &mut cluster.members {
        member.allow("The scheme of client url");
        member.allow("rejected connection");
    }
    let (plain, secure) = (ports::free(), ports::free());
    let https = format!("https://127.0.0.1:{secure}");
    let listens = format!("--listen-client-urls=http://127.0.0.1:{plain},{https}");
    // Only the peers' settings lead to members; then both do.
    let peers_alone = side("peer-", "proxy").to_vec();
    let with_clients =
        [side("peer-", "proxy").to_vec(), side("", "proxy").to_vec(), vec![listens]].concat();
    let peer_urls: Vec<_> = cluster.members.iter().map(Member::peer_url).collect();
    for (flags, is_secure) in [(&peers_alone, false), (&with_clients, true)] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let start = if is_secure { Start::new().client_port(plain) } else { Start::new() };
        let mut proxy = proxies::spawn(start, &peer_urls, &flags);
        proxy.allow("The scheme of client url");
        proxy.allow("rejected connection");
        let (ip, port) = ([127, 0, 0, 1], if is_secure { plain } else { proxy.address().port() });
        let address = std::net::SocketAddr::from((ip, port));
        let set = Request::put("/v2/keys/a", "1");
        eventually(PATIENCE, "it serves", || {
            let answer = e2e::Connection::open(address).ok()?.ask(&set).ok()?;
            [200, 201].contains(&answer.status).then_some(())
        });
        if !is_secure {
            let mut https = cluster.https.clone();
            https.sort_unstable();
            assert_eq!(endpoints(&proxy), https);
            continue;
        }
        let etcdctl = |files: &[&str]| {
            let mut command = run::etcdctl(&binaries::etcdctl(), &https);
            run::run(command.arg("--no-sync").args(files).args(["get", "/a"]), "")
        };
        let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
        let shown = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
        let got = etcdctl(&shown);
        assert_eq!((got.exit, got.stdout.as_str()), (Some(0), "1\n"), "{got:?}");
        assert_ne!(etcdctl(&["--ca-file", &ca]).exit, Some(0));
    }
}

#[test]
fn a_proxy_goes_on_with_the_data_of_a_real_one_and_a_real_one_with_ours() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) || binaries::is_original() {
        return;
    }
    let original = original.expect("it is installed");
    let cluster = Cluster::start(1);
    let nowhere = format!("http://127.0.0.1:{}", ports::free());
    for real_first in [true, false] {
        let directory = tempfile::tempdir().expect("/tmp can be written");
        let start = |real: bool| {
            let start = if real { Start::original(original.clone()) } else { Start::new() };
            start.data_dir(&directory.path().join("data"))
        };
        let mut first = proxies::spawn(start(real_first), &[cluster.members[0].peer_url()], &[]);
        first.wait_until_ready();
        first.stop();
        let file = fs::read(directory.path().join("data/proxy/cluster")).expect("it is there");
        let mut second = proxies::spawn(start(!real_first), &[&nowhere], &[]);
        second.wait_until_ready();
        assert_eq!(endpoints(&second), client_urls(&cluster), "real first: {real_first}");
        let after = fs::read(directory.path().join("data/proxy/cluster")).expect("it is there");
        assert_eq!(after, file);
        second.stop();
    }
}
