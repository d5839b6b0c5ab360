//! Clients that are slow, wrong, greedy or gone: each gets an answer or its connection's end, and
//! nobody else notices.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use e2e::{Answer, Connection, Member, Request, binaries, eventually, limits};

/// After an answer the connection is in order: it is closed, or it takes the next request.
#[track_caller]
fn is_in_order(mut connection: Connection, what: &str) {
    if let Ok(answer) = connection.ask(&Request::get("/v2/keys/")) {
        assert_eq!(answer.status, 200, "{what}: the next answer is not to the next request");
    }
}

#[track_caller]
fn is_refused(connection: &mut Connection, what: &str) -> Answer {
    let answer = connection.receive().unwrap_or_else(|problem| panic!("{what}: {problem}"));
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    answer
}

#[test]
fn what_is_too_large_is_refused_and_leaves_the_connection_in_order() {
    let member = Member::start();
    let long = "x".repeat(2 << 20);
    let requests = [
        ("a request line", Request::get(&format!("/v2/keys/{long}"))),
        ("a query", Request::get(&format!("/v2/keys/a?value={long}"))),
        ("a header", Request::get("/v2/keys/").header("X-Long", &long)),
        ("a form", Request::put("/v2/keys/a", &"x".repeat(11 << 20))),
        ("a value", Request::put("/v2/keys/a", &"x".repeat(3 << 20))),
    ];
    for (what, request) in requests {
        let mut connection = member.connect();
        // The member may answer before it has read all of it, and then need not read the rest.
        let sent = connection.send(&request);
        if binaries::is_original() && what == "a value" {
            continue; // 3.4 has no limit there.
        }
        let answer = connection.receive();
        if binaries::is_original() && answer.is_err() {
            continue; // It closes with bytes unread, and the system throws its answer away.
        }
        let answer = answer.unwrap_or_else(|problem| panic!("{what}: {problem}, sent {sent:?}"));
        assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
        is_in_order(connection, what);
    }
    let answer = member.get("/v2/keys/a").expect(&[404, 200]);
    assert!(answer.status == 404 || binaries::is_original(), "something was written");
}

#[test]
fn a_form_that_is_too_large_gets_its_answer_even_while_it_is_being_sent() {
    if binaries::is_original() {
        return;
    }
    let member = Member::start();
    let mut connection = member.connect();
    let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\nvalue=";
    connection.send_bytes(head.as_bytes()).expect("the member reads");
    is_refused(&mut connection, "a form of a gigabyte");
}

#[test]
fn values_up_to_a_megabyte_are_taken_whole() {
    let member = Member::start();
    let value: String = ('a'..='z').cycle().take(1_000_000).collect();
    member.put("/large", &value);
    assert_eq!(member.get("/v2/keys/large").json()["node"]["value"], value.as_str());
}

#[test]
fn a_body_in_chunks_is_a_body() {
    let member = Member::start();
    let mut connection = member.connect();
    let head = "PUT /v2/keys/chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\n";
    connection.send_bytes(head.as_bytes()).expect("the member reads");
    for chunk in
        ["3\r\nval\r\n", "5;ext=1\r\nue=in\r\n", "8\r\n+%63hunk\r\n", "1\r\ns\r\n", "0\r\n\r\n"]
    {
        connection.send_bytes(chunk.as_bytes()).expect("the member reads");
        std::thread::sleep(Duration::from_millis(5));
    }
    let answer = connection.receive().expect("an answer comes").expect(&[201]);
    assert_eq!(answer.json()["node"]["value"], "in chunks");
    is_in_order(connection, "chunks");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let member = Member::start();
    let mut connection = member.connect();
    let mut bytes = Vec::new();
    for number in 0..200 {
        let body = format!("value={number}");
        let put = format!(
            "PUT /v2/keys/pipe/{} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            number % 5,
            body.len()
        );
        let get = format!("GET /v2/keys/pipe/{} HTTP/1.1\r\nHost: x\r\n\r\n", number % 5);
        bytes.extend_from_slice(put.as_bytes());
        bytes.extend_from_slice(get.as_bytes());
    }
    connection.send_bytes(&bytes).expect("the member reads");
    for number in 0..200 {
        for action in ["set", "get"] {
            let answer = connection.receive().expect("an answer comes").json();
            assert_eq!(answer["action"], action);
            assert_eq!(answer["node"]["value"], number.to_string());
        }
    }
}

#[test]
fn a_client_that_closes_its_half_still_gets_its_answer() {
    let member = Member::start();
    for request in ["GET /v2/keys/ HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v2/keys/ HTTP/1.0\r\n\r\n"] {
        let mut connection = member.connect();
        connection.send_bytes(request.as_bytes()).expect("the member reads");
        connection.stream().shutdown(Shutdown::Write).expect("a half can be closed");
        assert_eq!(connection.receive().expect("an answer comes").status, 200);
        assert!(connection.is_closed(), "nobody can ask again here");
    }
}

#[test]
fn values_that_are_no_utf_8_are_kept_and_told_as_json_can() {
    let member = Member::start();
    let request = Request::new("PUT", "/v2/keys/bytes")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("value=a%FF%FEb%00%C3%A9%3Cc%3E%26%E2%80%A8\u{1}");
    let answer = member.ask(&request).expect(&[201]);
    // As Go writes it: U+FFFD for each bad byte, and nothing that a script in a page would run.
    let value = r#""value":"a\ufffd\ufffdb\u0000é\u003cc\u003e\u0026\u2028\u0001""#;
    assert!(answer.text().contains(value), "{}", answer.text());
    assert!(member.get("/v2/keys/bytes").text().contains(value));
}

#[test]
fn keys_with_any_escape_are_keys() {
    let member = Member::start();
    let check = |escaped: &str, key: &str| {
        let answer = member.ask(&Request::put(&format!("/v2/keys{escaped}"), "x")).expect(&[201]);
        assert_eq!(answer.json()["node"]["key"], key, "{escaped}");
        let answer = member.get(&format!("/v2/keys{escaped}")).expect(&[200]);
        assert_eq!(answer.json()["node"]["key"], key, "{escaped}");
    };
    check("/a%20b", "/a b");
    check("/a+b", "/a+b");
    check("/%E2%82%AC", "/€");
    check("/sl%2Fash", "/sl/ash");
    check("/q%3Fq", "/q?q");
    check("/h%23h", "/h#h");
    check("/per%25cent", "/per%cent");
    check("/quo%22te", "/quo\"te");
    check("/nul%00l", "/nul\u{0}l");
    check("/%61", "/a");
    check("/semi;colon", "/semi;colon");
    let mut connection = member.connect();
    connection.send(&Request::get("/v2/keys/bad%zz")).expect("the member reads");
    is_refused(&mut connection, "a broken escape");
}

#[test]
fn a_slow_client_holds_up_nobody() {
    let member = Member::start();
    let request = b"GET /v2/keys/ HTTP/1.1\r\nHost: x\r\nX-Padding: aaaaaaaaaaaaaaaaaaa\r\n\r\n";
    let mut slow: Vec<Connection> = (0..100).map(|_| member.connect()).collect();
    let mut other = member.connect();
    for byte in request {
        for connection in &mut slow {
            connection.send_bytes(&[*byte]).expect("the member reads");
        }
        let began = Instant::now();
        assert_eq!(other.ask(&Request::get("/v2/keys/")).expect("an answer comes").status, 200);
        assert!(began.elapsed() < Duration::from_secs(1), "slow clients hold up others");
    }
    for mut connection in slow {
        assert_eq!(connection.receive().expect("an answer comes").status, 200);
    }
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let member = Member::start();
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = (0..4000).map(|_| random.u8(..)).collect();
    let lines: [(&str, &[u8]); 10] = [
        ("noise", &noise),
        ("noise and a blank line", &[&noise[..100], b"\r\n\r\n"].concat()),
        ("no version", b"GET /v2/keys/\r\n\r\n"),
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("a header without a colon", b"GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n"),
        ("a blank in a header's name", b"GET / HTTP/1.1\r\nHost: x\r\na b: c\r\n\r\n"),
        ("a bad length", b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"),
        ("two lengths", b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nvalue="),
        ("a bad chunk", b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nzz\r\n"),
    ];
    for (what, bytes) in lines {
        let mut stream = TcpStream::connect(member.address()).expect("the member accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        stream.write_all(bytes).expect("the member reads");
        // Noise alone may look like the beginning of a line: its end makes it plain.
        stream.shutdown(Shutdown::Write).expect("a half can be closed");
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let timed_out = ended.is_err_and(|problem| e2e::http::timed_out(&problem));
        assert!(!timed_out, "{what}: neither answered nor closed");
        let text = String::from_utf8_lossy(&answer);
        let refused = answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.contains("400");
        assert!(refused, "{what}: {text}");
    }
    assert_eq!(member.get("/v2/keys/a").status, 404);
}

#[test]
fn a_thousand_idle_connections_cost_nobody_his_answer() {
    limits::raise_open_files(4096);
    let member = Member::start();
    let mut idle: Vec<Connection> = (0..1000).map(|_| member.connect()).collect();
    let began = Instant::now();
    member.put("/awake", "x");
    assert!(began.elapsed() < Duration::from_secs(2));
    // And none of them was sacrificed.
    for connection in idle.iter_mut().step_by(97) {
        assert_eq!(
            connection.ask(&Request::get("/v2/keys/awake")).expect("it is open").status,
            200
        );
    }
}

#[test]
fn http_1_0_is_spoken() {
    let member = Member::start();
    member.put("/old", "x");
    let mut connection = member.connect();
    connection.send_bytes(b"GET /v2/keys/old HTTP/1.0\r\n\r\n").expect("the member reads");
    let answer = connection.receive().expect("an answer comes").expect(&[200]);
    assert_eq!(answer.json()["node"]["value"], "x");
    assert!(answer.header("Transfer-Encoding").is_none(), "1.0 knows no chunks");
    assert!(connection.is_closed(), "1.0 closes unless it is asked not to");
    let mut connection = member.connect();
    // A watch in 1.0 goes on until its event, and the end of the connection is its end.
    let watch = b"GET /v2/keys/old?wait=true HTTP/1.0\r\n\r\n";
    connection.send_bytes(watch).expect("the member reads");
    assert_eq!(connection.receive_head().expect("headers come at once").status, 200);
    member.put("/old", "y");
    assert!(!connection.is_closed(), "the event comes");
    eventually(Duration::from_secs(5), "the end", || connection.is_closed().then_some(()));
}

#[test]
fn a_client_that_asks_before_sending_its_body_is_told_to_go_on() {
    let member = Member::start();
    let mut stream = TcpStream::connect(member.address()).expect("the member accepts");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
    let head = b"PUT /v2/keys/asked HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
                 Content-Length: 7\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n";
    stream.write_all(head).expect("the member reads");
    let mut told = [0; 21];
    stream.read_exact(&mut told).expect("it is told to go on");
    assert!(told.starts_with(b"HTTP/1.1 100 Continue"));
    stream.write_all(b"value=x").expect("the member reads");
    let mut answer = [0; 512];
    let read = loop {
        let read = stream.read(&mut answer).expect("an answer comes");
        if 4 < read {
            break read;
        }
    };
    assert!(String::from_utf8_lossy(&answer[..read]).contains("HTTP/1.1 201"));
}

#[test]
fn a_client_that_goes_away_in_mid_request_writes_nothing() {
    let member = Member::start();
    let index = member.get("/v2/keys/").index();
    for sent in ["PUT /v2/ke", "PUT /v2/keys/half HTTP/1.1\r\nHost: x\r\nContent-Le"] {
        let mut connection = member.connect();
        connection.send_bytes(sent.as_bytes()).expect("the member reads");
    }
    let mut connection = member.connect();
    let head = "PUT /v2/keys/half HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\nvalue=half of it";
    connection.send_bytes(head.as_bytes()).expect("the member reads");
    drop(connection);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(member.get("/v2/keys/half").expect(&[404]).index(), index);
}
