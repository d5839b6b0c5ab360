//! One connection that speaks just enough HTTP/1.1 to cost little.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One connection; a request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub(crate) async fn open(endpoint: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(endpoint).await.with_context(|| format!("connect to {endpoint}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 * 1024], filled: 0 })
    }

    /// Sends a request and reads its answer; returns the status.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        Ok(self.answer().await?.0)
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads until the head of an answer is there: that of a watch comes before its event.
    pub(crate) async fn head(&mut self) -> anyhow::Result<String> {
        let end = self.fill_head().await?;
        Ok(String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default()).into_owned())
    }

    /// Status and body.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        let end = self.fill_head().await?;
        let head = self.buffer.get(..end).unwrap_or_default();
        let status = status(head)?;
        let length = header(head, b"content-length").map(number).transpose()?;
        let chunked = header(head, b"transfer-encoding").is_some();
        self.consume(end);
        let body = match length {
            Some(length) => self.exactly(length).await?,
            None if chunked => self.chunks().await?,
            None => Vec::new(),
        };
        Ok((status, body))
    }

    async fn fill_head(&mut self) -> anyhow::Result<usize> {
        let mut from = 0;
        loop {
            let filled = self.buffer.get(from..self.filled).unwrap_or_default();
            if let Some(at) = filled.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(from + at + 4);
            }
            from = self.filled.saturating_sub(3);
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> anyhow::Result<Vec<u8>> {
        while self.filled < length {
            self.more().await?;
        }
        let body = self.buffer.get(..length).unwrap_or_default().to_vec();
        self.consume(length);
        Ok(body)
    }

    async fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                let filled = self.buffer.get(..self.filled).unwrap_or_default();
                match filled.windows(2).position(|two| two == b"\r\n") {
                    Some(end) => break end,
                    None => self.more().await?,
                }
            };
            let line = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default());
            let length = usize::from_str_radix(line.trim(), 16).context("length of a chunk")?;
            self.consume(end + 2);
            let chunk = self.exactly(length + 2).await?;
            body.extend_from_slice(chunk.get(..length).unwrap_or_default());
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let read = self.stream.read(room).await?;
        ensure!(read > 0, "the server closed the connection");
        self.filled += read;
        Ok(())
    }

    fn consume(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }
}

fn status(head: &[u8]) -> anyhow::Result<u16> {
    match head.get(9..12).map(number) {
        Some(Ok(status)) => Ok(u16::try_from(status)?),
        _ => bail!("not an HTTP answer: {:?}", String::from_utf8_lossy(head)),
    }
}

fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

fn number(text: &[u8]) -> anyhow::Result<usize> {
    Ok(std::str::from_utf8(text)?.parse()?)
}
