//! An HTTP client that hides nothing: what is on the wire is what a test gets.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// Longer takes nothing that is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    /// What came behind the last answer.
    unread: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names and values as they stood on the wire.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

/// A request as text, with a form if there is a body.
pub(crate) fn request(method: &str, target: &str, body: Option<&str>) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n");
    match body {
        None => format!("{head}\r\n").into_bytes(),
        Some(body) => format!("{head}{FORM}Content-Length: {}\r\n\r\n{body}", body.len()).into(),
    }
}

pub(crate) const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the member accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the member reads");
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: Option<&str>) -> Answer {
        self.send(request(method, target, body));
        self.answer_to(method)
    }

    /// The answer to anything but HEAD.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    #[track_caller]
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer(method).expect("an answer comes")
    }

    pub(crate) fn try_answer(&mut self, method: &str) -> io::Result<Answer> {
        let mut answer = self.try_head()?;
        if method == "HEAD" || answer.status == 204 || answer.status / 100 == 1 {
            return Ok(answer);
        }
        if answer.header("Transfer-Encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                answer.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = answer.header("Content-Length") {
            let length = length.parse().expect("a length is a number");
            while self.unread.len() < length {
                self.fill()?;
            }
            answer.body = self.unread.drain(..length).collect();
        } else {
            while self.fill().is_ok() {}
            answer.body = std::mem::take(&mut self.unread);
        }
        Ok(answer)
    }

    #[track_caller]
    pub(crate) fn head(&mut self) -> Answer {
        self.try_head().expect("a head comes")
    }

    fn try_head(&mut self) -> io::Result<Answer> {
        let end = loop {
            match self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.fill()?,
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8(head).expect("heads are text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").expect("name and value"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Answer { status, headers, body: Vec::new() })
    }

    /// The next so many bytes.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            self.fill().expect("more comes");
        }
        self.unread.drain(..length).collect()
    }

    /// The next chunk; `None` at the regular end of the body.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let end = loop {
            match self.unread.windows(2).position(|bytes| bytes == b"\r\n") {
                Some(at) => break at,
                None => self.fill()?,
            }
        };
        let length = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let length = usize::from_str_radix(&length, 16).expect("a chunk's length");
        while self.unread.len() < end + 2 + length + 2 {
            self.fill()?;
        }
        let chunk = self.unread[end + 2..end + 2 + length].to_vec();
        self.unread.drain(..end + 2 + length + 2);
        Ok((length > 0).then_some(chunk))
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let read = self.stream.read(&mut bytes)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&bytes[..read]);
        Ok(())
    }

    /// Whether nothing comes for this long, and the connection is open.
    pub(crate) fn is_quiet(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let result = self.fill();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        result
            .is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Whether the member has ended the connection in order, with nothing more to say.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.unread.is_empty()
            && self.fill().is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof)
    }
}
