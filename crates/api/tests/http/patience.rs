//! How long the member waits for a client, told by a clock that jumps when nothing else happens.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, timeout},
};

use crate::{member::start_member, wire::FORM};

/// Runs a client beside a server whose timers jump.
fn with_jumping_clock<F: Future>(client: impl FnOnce(SocketAddr) -> F) -> F::Output {
    let handle = start_member();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        handle.ready().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let config = api::Config::default();
        let clients = api::Clients::new(handle.clone(), config, Arc::new(|_| false), stopped);
        let serve = clients.serve(api::Port::plain(listener), api::Offer::All);
        tokio::spawn(serve);
        tokio::time::pause();
        let answer = client(address).await;
        tokio::time::resume();
        handle.stop().await;
        answer
    })
}

/// What comes until the end, and after how long.
async fn until_the_end(stream: &mut TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_mins(10), stream.read_to_end(&mut answer)).await;
    read.expect("it ends in ten minutes").expect("it ends in order");
    (String::from_utf8(answer).unwrap(), began.elapsed())
}

#[test]
fn a_head_that_does_not_end_is_waited_for_a_minute_at_most() {
    let (answer, took) = with_jumping_clock(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v2/keys/ HTTP/1.1\r\nHost: x\r\nX-S").await.unwrap();
        until_the_end(&mut stream).await
    });
    assert_eq!(answer, "");
    assert!((Duration::from_secs(25)..Duration::from_secs(65)).contains(&took), "{took:?}");
}

#[test]
fn a_head_that_trickles_in_is_waited_for_a_minute_at_most() {
    let took = with_jumping_clock(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let began = Instant::now();
        stream.write_all(b"GET /v2/keys/ HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let mut byte = [0];
        loop {
            assert!(began.elapsed() < Duration::from_mins(10), "it goes on");
            let sent = stream.write_all(b"X-A: b\r\n").await;
            let ended = timeout(Duration::from_secs(1), stream.read(&mut byte)).await;
            if sent.is_err() || ended.is_ok() {
                return began.elapsed();
            }
        }
    });
    assert!(took < Duration::from_secs(65), "{took:?}");
}

#[test]
fn a_body_that_does_not_come_is_waited_for_half_a_minute() {
    let (answer, took) = with_jumping_clock(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head =
            format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\nval");
        stream.write_all(head.as_bytes()).await.unwrap();
        until_the_end(&mut stream).await
    });
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!((Duration::from_secs(25)..Duration::from_secs(65)).contains(&took), "{took:?}");
}

/// Clients keep connections for later; cutting one may cost its owner a request.
#[test]
fn an_idle_connection_is_kept_for_minutes_whether_it_was_used_or_not() {
    with_jumping_clock(|address| async move {
        for was_used in [false, true] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut bytes = [0; 4096];
            for _ in 0..2 {
                if was_used {
                    stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                    assert!(stream.read(&mut bytes).await.unwrap() > 0);
                }
                let ended = timeout(Duration::from_mins(4), stream.read(&mut bytes)).await;
                assert!(ended.is_err(), "it was cut, or told something: {ended:?}");
            }
            stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(bytes[..read].starts_with(b"HTTP/1.1 200 "));
        }
    });
}

#[test]
fn a_watch_waits_for_hours() {
    with_jumping_clock(|address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v2/keys/a?wait=true HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(bytes[..read].starts_with(b"HTTP/1.1 200 "));
        let ended = timeout(Duration::from_hours(6), stream.read(&mut bytes)).await;
        assert!(ended.is_err(), "it ended: {ended:?}");
    });
}
