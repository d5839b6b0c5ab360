//! Which HTTP a connection speaks.

use std::time::Duration;

use tokio::time;

use crate::port::Wire;

/// How a connection begins that speaks HTTP/2; no method of HTTP/1.1 begins so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Between two looks at a beginning that comes in pieces.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Whoever takes longer for so few bytes is taken for a client of HTTP/1.1, which has a watchdog.
const LOOKS_MAX: u32 = 200;

/// Waits for the first bytes of a connection, leaves them there, and says whether they are those of
/// HTTP/2. With TLS, what was agreed on in the handshake counts.
pub(crate) async fn is_http2(wire: &Wire) -> bool {
    let socket = match wire {
        Wire::Tls(stream) => return stream.protocol() == Some(b"h2"),
        Wire::Plain(socket) => socket,
    };
    let mut first = [0; PREFACE.len()];
    for _ in 0..LOOKS_MAX {
        // One that ends or fails will say so again to whoever serves it.
        let Ok(length) = socket.peek(&mut first).await else { return false };
        let came = first.get(..length).unwrap_or_default();
        if !PREFACE.starts_with(came) || came.is_empty() {
            return false;
        }
        if came.len() == PREFACE.len() {
            return true;
        }
        time::sleep(LOOK_AGAIN).await;
    }
    false
}
