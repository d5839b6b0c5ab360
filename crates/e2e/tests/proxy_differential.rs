//! The same requests to a proxy of real etcd 3.4.23 and to ours, in front of the same real member.

use std::time::Duration;

use e2e::{Member, Request, Start, binaries, eventually, proxies, rings};

const PATIENCE: Duration = Duration::from_secs(30);

/// What came back, but for what differs from one request to the next.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// A member of real etcd, a real proxy, and one of ours.
struct Sides {
    member: Member,
    real: Member,
    ours: Member,
}

impl Sides {
    fn start(flags: &[&str]) -> Option<Self> {
        let original = binaries::real_etcd();
        let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
        if !rings::can_run("real-etcd", original.is_some(), why_not) || binaries::is_original() {
            return None;
        }
        let original = original.expect("it is installed");
        let member = Start::original(original.clone()).start();
        let proxy = |start: Start| {
            let mut proxy = proxies::spawn(start, &[member.peer_url()], flags);
            proxy.wait_until_ready();
            proxy
        };
        let (real, ours) = (proxy(Start::original(original)), proxy(Start::new()));
        Some(Self { member, real, ours })
    }

    /// Asks both, and holds one answer against the other.
    fn check(&self, request: &Request) {
        let real = outcome(&self.real, request);
        let ours = outcome(&self.ours, request);
        assert_eq!(ours, real, "{request:?}");
    }
}

fn outcome(proxy: &Member, request: &Request) -> Outcome {
    let answer = proxy.ask(request);
    // Go's server adds the last one to plain texts.
    let skipped = ["date", "x-content-type-options"];
    let headers = answer.headers.iter().map(|(name, text)| (name.clone(), text.clone()));
    let mut headers: Vec<_> = headers
        .filter(|(name, _)| !skipped.contains(&name.to_ascii_lowercase().as_str()))
        .collect();
    headers.sort_unstable();
    Outcome { status: answer.status, headers, body: answer.text() }
}

#[test]
fn a_proxy_passes_on_what_the_original_passes_on() {
    // 3.4 allows all origins unless it is told otherwise.
    let Some(sides) = Sides::start(&["--cors=http://a.example:80"]) else { return };
    sides.member.put("/a", "1");
    for target in [
        "/v2/keys/a",
        "/v2/keys/none",
        "/v2/keys/?recursive=true&sorted=true",
        "/v2/keys/a?waitIndex=x&wait=true",
        "/v2/config/local/proxy",
        "/v2/config/local/proxy/",
        "/v2/members",
        "/v2/machines",
        "/version",
        "/nowhere",
        "/",
    ] {
        sides.check(&Request::get(target));
    }
    // Here it is the member that leads to the clean path, with headers of its own.
    for target in ["//v2/keys/a", "/v2/../v2/keys/a?x"] {
        let ask = |proxy: &Member| {
            let answer = proxy.get(target);
            (answer.status, answer.header("Location").map(str::to_owned), answer.text())
        };
        assert_eq!(ask(&sides.ours), ask(&sides.real), "{target}");
    }
    for method in ["HEAD", "DELETE", "PATCH", "OPTIONS", "MADEUP"] {
        sides.check(&Request::new(method, "/v2/keys/none"));
        sides.check(&Request::new(method, "/v2/config/local/proxy"));
    }
    sides.check(&Request::put("/v2/keys/a?prevExist=false", "x"));
    sides.check(&Request::put("/v2/keys/a?prevValue=2", "x"));
    let options = Request::new("OPTIONS", "/v2/keys/a");
    sides.check(&options.clone().header("Origin", "http://a.example:80"));
    sides.check(&options.header("Origin", "http://b.example:80"));
}

#[test]
fn a_readonly_proxy_refuses_what_the_original_refuses() {
    let Some(sides) = Sides::start(&["--proxy=readonly", "--cors=http://a.example:80"]) else {
        return;
    };
    sides.member.put("/a", "1");
    for method in ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "MADEUP"] {
        for target in ["/v2/keys/a", "/v2/config/local/proxy", "/nowhere"] {
            sides.check(&Request::new(method, target));
        }
    }
}

#[test]
fn a_proxy_without_members_answers_as_the_original_does() {
    let flags = ["--proxy-failure-wait=2000", "--cors=http://a.example:80"];
    let Some(mut sides) = Sides::start(&flags) else { return };
    sides.member.kill();
    let failed = Request::get("/v2/keys/a");
    sides.check(&failed);
    for method in ["GET", "PUT", "HEAD", "OPTIONS"] {
        sides.check(&Request::new(method, "/v2/keys/a"));
        sides.check(&Request::new(method, "/v2/config/local/proxy"));
    }
    let origin = Request::get("/v2/keys/a").header("Origin", "http://a.example:80");
    sides.check(&origin);
    for proxy in [&sides.real, &sides.ours] {
        eventually(PATIENCE, "it is asked again", || {
            let told = proxy.get("/v2/config/local/proxy").json();
            (told["endpoints"].as_array()?.len() == 1).then_some(())
        });
    }
    // Two of them at once would make the one's failure the other's.
    sides.check(&Request::put("/v2/keys/a", "1"));
}

#[test]
fn a_body_that_breaks_off_is_told_as_the_original_tells_it() {
    let Some(sides) = Sides::start(&[]) else { return };
    let ask = |proxy: &Member| {
        let mut connection = proxy.connect();
        let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        connection.send_bytes(format!("{head}no chunk\r\n").as_bytes()).expect("it is sent");
        let answer = connection.receive().expect("an answer comes");
        let text = answer.json()["message"].as_str().expect("a message").to_owned();
        let (front, _) = text.rsplit_once(": ").expect("a reason");
        (answer.status, front.to_owned(), answer.header("Content-Type").map(str::to_owned))
    };
    assert_eq!(ask(&sides.ours), ask(&sides.real));
}
