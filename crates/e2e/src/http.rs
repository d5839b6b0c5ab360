//! A small HTTP/1.1 client that hides nothing: what is on the wire is what a test gets.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An answer that takes longer is a failure of the test, unless it waits on purpose.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Path and query as they go over the wire.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, headers: Vec::new(), body: None }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A PUT of `value` in a form.
    pub fn put(target: &str, value: &str) -> Self {
        Self::new("PUT", target).form(&[("value", value)])
    }

    /// With a body of JSON.
    #[must_use]
    pub fn json(method: &str, target: &str, body: &str) -> Self {
        Self::new(method, target).header("Content-Type", "application/json").body(body)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends `pairs` as `application/x-www-form-urlencoded`.
    #[must_use]
    pub fn form<N: AsRef<str>, V: AsRef<str>>(self, pairs: &[(N, V)]) -> Self {
        self.header("Content-Type", "application/x-www-form-urlencoded").body(encode_pairs(pairs))
    }

    /// Adds `pairs` to the query.
    #[must_use]
    pub fn query<N: AsRef<str>, V: AsRef<str>>(mut self, pairs: &[(N, V)]) -> Self {
        if !pairs.is_empty() {
            self.target = format!("{}?{}", self.target, encode_pairs(pairs));
        }
        self
    }

    fn to_bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            bytes += &format!("Content-Length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// `name=value&…`, every byte escaped that is not plain.
pub fn encode_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let encoded = pairs.iter().map(|(name, value)| {
        format!("{}={}", escape(name.as_ref(), ""), escape(value.as_ref(), ""))
    });
    encoded.collect::<Vec<_>>().join("&")
}

/// Percent-encodes all but letters, digits, `-._~` and the bytes of `keep`.
pub fn escape(text: &str, keep: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || keep.as_bytes().contains(&byte)
        {
            escaped.push(char::from(byte));
        } else {
            escaped += &format!("%{byte:02X}");
        }
    }
    escaped
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|problem| panic!("no JSON ({problem}): {self:?}"))
    }

    /// `X-Etcd-Index`.
    pub fn index(&self) -> u64 {
        let header = self.header("X-Etcd-Index").unwrap_or_else(|| panic!("no index: {self:?}"));
        header.parse().unwrap_or_else(|_| panic!("X-Etcd-Index: {header}"))
    }

    /// Fails the test unless the status is one of these.
    #[must_use]
    #[track_caller]
    pub fn expect(self, statuses: &[u16]) -> Self {
        assert!(statuses.contains(&self.status), "expected {statuses:?}: {self:?}");
        self
    }
}

/// One keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Read from the stream, not yet taken.
    read: Vec<u8>,
    /// An answer to HEAD states a length and has no body.
    head_asked: bool,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::open_within(address, PATIENCE)
    }

    /// Gives up earlier, if nobody answers at all.
    pub fn open_within(address: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, peer: address, read: Vec::new(), head_asked: false })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// How long a read may take from now on.
    pub fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
    }

    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        self.head_asked = request.method == "HEAD";
        let bytes = request.to_bytes(self.peer);
        self.send_bytes(&bytes)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Asks and reads the whole answer.
    pub fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.send(request)?;
        self.receive()
    }

    pub fn receive(&mut self) -> io::Result<Answer> {
        let head = self.receive_head()?;
        self.receive_rest(head)
    }

    /// The rest of an answer whose head was read before.
    pub fn receive_rest(&mut self, head: Answer) -> io::Result<Answer> {
        let mut answer = head;
        if self.head_asked || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        if answer.header("Transfer-Encoding").is_some_and(|coding| coding.contains("chunked")) {
            while let Some(chunk) = self.receive_chunk()? {
                answer.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = answer.header("Content-Length") {
            let length = length.parse().map_err(|_| malformed("Content-Length"))?;
            answer.body = self.take(length)?;
        } else {
            while self.fill()? {}
            answer.body = std::mem::take(&mut self.read);
        }
        Ok(answer)
    }

    /// Status and headers; the body is still to be read.
    pub fn receive_head(&mut self) -> io::Result<Answer> {
        loop {
            let head = self.receive_line_block()?;
            let mut lines = head.split("\r\n");
            let status = lines.next().and_then(|line| line.split(' ').nth(1));
            let status = status.and_then(|status| status.parse().ok());
            let status = status.ok_or_else(|| malformed(&head))?;
            // 100 Continue announces an answer; it is none.
            if status == 100 {
                continue;
            }
            let headers = lines.filter_map(|line| line.split_once(':'));
            let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
            return Ok(Answer { status, headers: headers.collect(), body: Vec::new() });
        }
    }

    /// The next chunk of a chunked body, `None` at its end.
    pub fn receive_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.take_through(b"\r\n")?;
        let size = String::from_utf8_lossy(&line).trim().to_owned();
        let size = usize::from_str_radix(&size, 16).map_err(|_| malformed(&size))?;
        let chunk = self.take(size)?;
        // Behind the last one there may be trailers.
        while self.take_through(b"\r\n")? != b"\r\n" {}
        Ok((0 < size).then_some(chunk))
    }

    /// Whether the server has closed the connection; waits for it as long as a read may take.
    pub fn is_closed(&mut self) -> bool {
        match self.fill() {
            Ok(more) => !more,
            Err(problem) => problem.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Whether nothing comes for `time`.
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.set_patience(time);
        let silent = self.read.is_empty() && self.fill().is_err_and(|problem| timed_out(&problem));
        self.set_patience(PATIENCE);
        silent
    }

    /// Whether nothing has come up to now.
    pub fn has_nothing(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket can be told not to wait");
        let nothing = self.stream.peek(&mut [0]).is_err_and(|problem| timed_out(&problem));
        self.stream.set_nonblocking(false).expect("a socket can be told to wait");
        self.read.is_empty() && nothing
    }

    fn receive_line_block(&mut self) -> io::Result<String> {
        let block = self.take_through(b"\r\n\r\n")?;
        Ok(String::from_utf8_lossy(block.trim_ascii_end()).into_owned())
    }

    fn take_through(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|window| window == mark) {
                return self.take(at + mark.len());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < count {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Reads what is there; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        // Whoever stops and continues this process, as a machine does that is moved, interrupts a read
        // that has a timeout.
        let read = loop {
            match self.stream.read(&mut chunk) {
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.read.extend_from_slice(&chunk[..read]);
        Ok(0 < read)
    }
}

/// Whether a read gave up waiting, in either of the words that the system has for it.
pub fn timed_out(problem: &io::Error) -> bool {
    matches!(problem.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed answer: {what}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answer_to(method: &str, wire: &'static [u8]) -> io::Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the client comes");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request comes");
            assert!(0 < read);
            stream.write_all(wire).expect("the client reads");
        });
        let answer = Connection::open(address)?.ask(&Request::new(method, "/"));
        server.join().expect("the server does not panic");
        answer
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let check = |method: &str, wire: &'static [u8], body: &str| {
            assert_eq!(answer_to(method, wire).expect("it is well formed").text(), body);
        };
        check("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", "ab");
        check("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "");
        check("GET", b"HTTP/1.1 204 No Content\r\n\r\nxx", "");
        check("GET", b"HTTP/1.0 200 OK\r\n\r\nto the end", "to the end");
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n";
        check("GET", chunks, "a0123456789");
        check(
            "GET",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "x",
        );
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        assert!(answer_to("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").is_err());
        let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
        assert!(answer_to("GET", chunk).is_err());
    }

    #[test]
    fn pairs_are_escaped_byte_by_byte() {
        assert_eq!(encode_pairs(&[("value", "a=b&c +ü")]), "value=a%3Db%26c%20%2B%C3%BC");
    }
}
