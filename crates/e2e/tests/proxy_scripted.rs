//! Proxy mode in front of servers that do as a test tells them: what goes over the wire, and what
//! becomes of a request whose member does not answer.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use e2e::{Connection, Member, Request, Start, eventually, proxies};

const PATIENCE: Duration = Duration::from_secs(30);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a server does with a request: its answer; `None`: it closes the connection.
type Script = fn(&Seen) -> Option<&'static str>;

/// A request as it came over the wire.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, text)| text).collect()
    }

    fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// A server that takes itself for a member.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections whose client has gone.
    ended: Arc<Mutex<usize>>,
}

impl Server {
    fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let server = Self {
            address: listener.local_addr().expect("it is bound"),
            seen: Arc::default(),
            ended: Arc::default(),
        };
        let (seen, ended) = (Arc::clone(&server.seen), Arc::clone(&server.ended));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, ended) = (Arc::clone(&seen), Arc::clone(&ended));
                std::thread::spawn(move || {
                    serve(stream, script, &seen);
                    *ended.lock().expect("nobody panics") += 1;
                });
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics").clone()
    }

    fn ended(&self) -> usize {
        *self.ended.lock().expect("nobody panics")
    }
}

fn serve(mut stream: TcpStream, script: Script, seen: &Mutex<Vec<Seen>>) {
    while let Some(request) = receive(&mut stream) {
        seen.lock().expect("nobody panics").push(request.clone());
        let Some(answer) = script(&request) else { return };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn receive(stream: &mut TcpStream) -> Option<Seen> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        fill(stream, &mut read)?;
    };
    let mut seen =
        Seen { head: String::from_utf8_lossy(&read[..head]).into_owned(), body: String::new() };
    let length = seen.header("Content-Length").first().map_or(0, |text| text.parse().expect("n"));
    while read.len() < head + 4 + length {
        fill(stream, &mut read)?;
    }
    seen.body = String::from_utf8_lossy(&read[head + 4..]).into_owned();
    Some(seen)
}

fn fill(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
    read.extend_from_slice(&chunk[..count]);
    Some(())
}

/// Tells a proxy that the members are at these URLs; returns where to ask.
fn registry(client_urls: &[String]) -> String {
    let urls = client_urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(",");
    let body = format!(
        "[{{\"id\":1,\"peerURLs\":[\"http://127.0.0.1:1\"],\"name\":\"a\",\"clientURLs\":[{urls}]}}]"
    );
    let answer = format!(
        "HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            while receive(&mut stream).is_some() && stream.write_all(answer.as_bytes()).is_ok() {}
        }
    });
    format!("http://{address}")
}

fn proxy(servers: &[&Server], flags: &[&str]) -> Member {
    let urls: Vec<_> = servers.iter().map(|server| server.url()).collect();
    let proxy = proxies::spawn(Start::new(), &[&registry(&urls)], flags);
    eventually(PATIENCE, "it serves", || {
        let answer = Connection::open(proxy.address()).ok()?;
        let mut answer = answer;
        let told = answer.ask(&Request::get("/v2/config/local/proxy")).ok()?;
        (told.json()["endpoints"].as_array()?.len() == servers.len()).then_some(())
    });
    proxy
}

#[test]
fn what_concerns_one_connection_stays_behind_and_the_rest_goes_on() {
    let server = Server::start(|_| {
        Some(
            "HTTP/1.1 201 Made Up\r\nKeep-Alive: timeout=5\r\nConnection: Keep-Alive, X-Hop\r\n\
             X-Hop: 1\r\nX-Etcd-Index: 7\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nDate: today\r\n\
             Content-Length: 2\r\n\r\nok",
        )
    });
    let proxy = proxy(&[&server], &[]);
    let target = "/v2/keys/a%2Fb;c?x=%20&y=1;2&wait=no";
    let request = Request::new("PUT", target)
        .header("Connection", "close, X-Mine")
        .header("X-Mine", "1")
        .header("Keep-Alive", "timeout=9")
        .header("TE", "trailers")
        .header("Upgrade", "websocket")
        .header("Proxy-Authorization", "Basic x")
        .header("Authorization", "Basic y")
        .header("X-Forwarded-For", "10.0.0.1")
        .header("X-Forwarded-For", "10.0.0.2, 10.0.0.3")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-Two", "1")
        .header("X-Two", "2")
        .body("value=1");
    let answer = proxy.ask(&request);
    let seen = server.seen();
    let [seen] = &seen[..] else { panic!("{seen:#?}") };
    assert_eq!(seen.line(), format!("PUT {target} HTTP/1.1"));
    assert_eq!(seen.body, "value=1");
    assert_eq!(seen.header("X-Forwarded-For"), ["10.0.0.1, 10.0.0.2, 10.0.0.3, 127.0.0.1"]);
    assert_eq!(seen.header("Host"), [proxy.address().to_string()]);
    assert_eq!(seen.header("Authorization"), ["Basic y"]);
    assert_eq!(seen.header("X-Two"), ["1", "2"]);
    for gone in ["Connection", "X-Mine", "Keep-Alive", "TE", "Upgrade", "Proxy-Authorization"] {
        assert!(seen.header(gone).is_empty(), "{gone}: {seen:?}");
    }
    assert_eq!((answer.status, answer.text().as_str()), (201, "ok"));
    assert_eq!(answer.header("X-Etcd-Index"), Some("7"));
    assert_eq!(answer.header("Date"), Some("today"));
    let cookies = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    assert_eq!(cookies.count(), 2);
    assert_eq!((answer.header("Keep-Alive"), answer.header("X-Hop")), (None, None));
}

#[test]
fn where_a_body_ends_is_said_once() {
    let server = Server::start(|_| Some(OK));
    let proxy = proxy(&[&server], &[]);
    let lengths = ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked"];
    for (at, lengths) in lengths.iter().enumerate() {
        let mut connection = proxy.connect();
        let bytes =
            format!("POST /a HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\n7\r\nvalue=1\r\n0\r\n\r\n");
        connection.send_bytes(bytes.as_bytes()).expect("it is sent");
        assert_eq!(connection.receive().expect("an answer").status, 200);
        let seen = server.seen();
        assert_eq!(seen.len(), at + 1);
        assert_eq!(
            (seen[at].body.as_str(), seen[at].header("Content-Length")),
            ("value=1", vec!["7"])
        );
        assert!(seen[at].header("Transfer-Encoding").is_empty());
    }
}

#[test]
fn a_read_that_gets_no_answer_is_asked_elsewhere_and_a_write_is_not() {
    let (mute, other) = (Server::start(|_| None), Server::start(|_| Some(OK)));
    // Until the one that does not answer happens to be the first to be asked.
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        let reads = matches!(method, "GET" | "HEAD");
        eventually(PATIENCE, method, || {
            let before = (mute.seen().len(), other.seen().len());
            let proxy = proxy(&[&mute, &other], &[]);
            let answer = proxy.ask(&Request::new(method, "/v2/keys/a"));
            let asked = (mute.seen().len() - before.0, other.seen().len() - before.1);
            if asked == (0, 1) {
                assert_eq!(answer.status, 200);
                return None;
            }
            if reads {
                assert_eq!((asked, answer.status), ((1, 1), 200), "{method}");
            } else {
                assert_eq!((asked, answer.status), ((1, 0), 502), "{method}");
                let text = "{\"message\":\"httpproxy: unable to get response from 1 endpoint(s): \
                            whether the request was carried out is not known\"}";
                assert_eq!(answer.text(), text);
            }
            Some(())
        });
    }
}

#[test]
fn a_write_goes_to_the_next_while_nobody_can_have_seen_it() {
    let server = Server::start(|_| Some(OK));
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        format!("http://{}", listener.local_addr().expect("it is bound"))
    };
    let registry = registry(&[nobody.clone(), server.url()]);
    for round in 1..=8 {
        let mut proxy = proxies::spawn(Start::new(), &[&registry], &[]);
        proxy.wait_until_ready();
        let before = server.seen().len();
        assert_eq!(proxy.ask(&Request::put("/v2/keys/a", "1")).status, 200, "round {round}");
        assert_eq!(server.seen().len(), before + 1);
    }
}

#[test]
fn a_member_that_is_silent_for_too_long_is_given_up() {
    // It says nothing at all: the connection stays open.
    let silent = Server::start(|_| Some(""));
    let proxy = proxy(&[&silent], &["--proxy-read-timeout=200"]);
    let answer = proxy.ask(&Request::get("/v2/keys/a"));
    assert_eq!(answer.status, 502, "{}", answer.text());
    eventually(PATIENCE, "the reason is told", || {
        proxy.log().contains("nothing was read for 200ms (--proxy-read-timeout)").then_some(())
    });
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let server = Server::start(|seen| {
        Some(if seen.line().contains("/chunked") {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npart \r\nno chunk\r\n"
        } else {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n4\r\nhere\r\n0\r\n\r\n"
        })
    });
    let proxy = proxy(&[&server], &[]);
    assert_eq!(proxy.get("/whole").text(), "all here");
    let mut connection = proxy.connect();
    connection.send(&Request::get("/chunked")).expect("it is sent");
    assert!(connection.receive().is_err());
}

#[test]
fn a_request_ends_with_the_client_who_asked_it() {
    let silent = Server::start(|_| Some(""));
    let proxy = proxy(&[&silent], &[]);
    for method in ["GET", "PUT"] {
        let (seen, ended) = (silent.seen().len(), silent.ended());
        let mut connection = proxy.connect();
        connection.send(&Request::new(method, "/v2/keys/a").body("x")).expect("it is sent");
        eventually(PATIENCE, "it is asked", || (silent.seen().len() > seen).then_some(()));
        drop(connection);
        eventually(PATIENCE, "it is let go", || (silent.ended() > ended).then_some(()));
    }
    // Whoever leaves says nothing about the member.
    let told = proxy.get("/v2/config/local/proxy").json();
    assert_eq!(told["endpoints"][0], silent.url());
}

#[test]
fn connections_to_members_are_used_again_and_those_they_closed_are_not() {
    let keeping = Server::start(|_| Some(OK));
    let through = proxy(&[&keeping], &[]);
    for _ in 0..20 {
        assert_eq!(through.ask(&Request::put("/v2/keys/a", "1")).status, 200);
    }
    assert_eq!((keeping.seen().len(), keeping.ended()), (20, 0));
    let closing = Server::start(|seen| (!seen.line().contains("/last")).then_some(OK));
    let through = proxy(&[&closing], &["--proxy-failure-wait=0"]);
    for _ in 0..5 {
        assert_eq!(through.ask(&Request::put("/v2/keys/a", "1")).status, 200);
        assert_eq!(through.get("/last").status, 502);
        assert_eq!(through.ask(&Request::put("/v2/keys/a", "1")).status, 200);
    }
}

#[test]
fn what_is_no_path_is_refused() {
    let server = Server::start(|_| Some(OK));
    let proxy = proxy(&[&server], &[]);
    for line in ["CONNECT a:1 HTTP/1.1", "GET * HTTP/1.1"] {
        let mut connection = proxy.connect();
        connection.send_bytes(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).expect("sent");
        assert_eq!(connection.receive_head().expect("an answer").status, 400, "{line}");
    }
    // A whole URL is a path with more in front.
    let mut connection = proxy.connect();
    connection.send_bytes(b"GET http://else.example/a?b HTTP/1.0\r\n\r\n").expect("it is sent");
    assert_eq!(connection.receive().expect("an answer").text(), "ok");
    let seen = server.seen();
    assert_eq!(seen.iter().map(Seen::line).collect::<Vec<_>>(), ["GET /a?b HTTP/1.1"]);
}
