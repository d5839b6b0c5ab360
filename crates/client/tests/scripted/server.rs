//! A server that answers its connections from a script and remembers what it was asked.

use std::{sync::Arc, time::Duration};

use client::{Client, Config};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};

/// What to do with one request.
pub(crate) enum Reply {
    /// Answer, and close the connection.
    Full { status: u16, index: u64, body: String },
    /// Begin an answer and break the connection before its body.
    HeadOnly { index: u64 },
    /// Take the request and stay silent.
    Silence,
}

/// An answer of the keys API or another.
pub(crate) fn reply(status: u16, index: u64, body: &str) -> Reply {
    Reply::Full { status, index, body: body.to_owned() }
}

/// A key's answer.
pub(crate) fn key(value: &str, modified: u64) -> Reply {
    let body = format!(
        r#"{{"action":"set","node":{{"key":"/k","value":"{value}","modifiedIndex":{modified},"createdIndex":1}}}}"#
    );
    reply(200, modified, &body)
}

/// A server with its script; it refuses connections once that is at its end.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            for reply in script {
                let (connection, _) = listener.accept().await.unwrap();
                answer(connection, reply, &log).await;
            }
        });
        Self { url, seen }
    }

    /// A proxy that opens one tunnel and is itself what is behind it: TLS, and then the script's
    /// first answer.
    pub(crate) async fn tunnel(acceptor: tls::Acceptor, reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let request = read_request(&mut connection).await;
            log.lock().push(request);
            connection.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
            answer(acceptor.accept(connection.into()).await.unwrap(), reply, &log).await;
        });
        Self { url, seen }
    }

    /// The requests so far, each as its head's lines and its body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    /// The first lines of the requests, without the HTTP version.
    pub(crate) fn targets(&self) -> Vec<String> {
        let first = |request: &String| request.split(" HTTP/").next().unwrap().to_owned();
        self.seen.lock().iter().map(first).collect()
    }
}

async fn answer(
    mut connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    reply: Reply,
    log: &Mutex<Vec<String>>,
) {
    let request = read_request(&mut connection).await;
    log.lock().push(request);
    let (text, hold) = match reply {
        Reply::Full { status, index, body } => {
            let length = body.len();
            let head = head(status, index);
            (format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"), false)
        }
        Reply::HeadOnly { index } => {
            (format!("{}Transfer-Encoding: chunked\r\n\r\n", head(200, index)), false)
        }
        Reply::Silence => (String::new(), true),
    };
    connection.write_all(text.as_bytes()).await.unwrap();
    connection.flush().await.unwrap();
    if hold {
        tokio::spawn(async move {
            sleep(Duration::from_secs(30)).await;
            drop(connection);
        });
    }
}

fn head(status: u16, index: u64) -> String {
    format!("HTTP/1.1 {status} Whatever\r\nX-Etcd-Index: {index}\r\n")
}

pub(crate) async fn read_request(connection: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = connection.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "the request ended early: {text:?}");
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |text| text.parse().unwrap()) {
            return text;
        }
    }
}

/// A client of these servers that loses patience soon.
pub(crate) fn client(servers: &[&Server]) -> Client {
    let urls: Vec<&str> = servers.iter().map(|server| server.url.as_str()).collect();
    let config = Config {
        request_timeout: Some(Duration::from_millis(300)),
        total_timeout: Some(Duration::from_secs(3)),
        ..Config::default()
    };
    Client::new(&urls, config).unwrap()
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
