//! Peers that say nothing, by a clock that stands still unless somebody waits for it.

use std::{io, sync::Arc, time::Duration};

use base::{ClusterId, MemberId, OsClock};
use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream},
    runtime, time,
};

use super::Heard;
use crate::{
    Dialer, Identity, Inbound, Lane, Peers, Stay, Timeouts, frame::Frame, incoming, outgoing,
    peers::Peer, standing::Standing,
};

/// A stream takes so much that nobody has read yet.
const ROOM: usize = 1 << 10;

fn timeouts(read: u64, write: u64) -> Timeouts {
    Timeouts { read: Duration::from_secs(read), write: Duration::from_secs(write) }
}

/// After how many seconds a stream is given up at whose other end nobody is, and why.
async fn given_up(timeouts: Timeouts, message_bytes: usize) -> (u64, String) {
    let peer = Peer::new(MemberId(2), Vec::new());
    let (near, _far) = tokio::io::duplex(ROOM);
    if message_bytes > 0 {
        assert!(peer.queue(Lane::Append).push(vec![0; message_bytes].into(), Stay::Always));
    }
    let (standing, began) = (Mutex::new(Standing::new(timeouts)), time::Instant::now());
    let ended = outgoing::send_all(&peer, Lane::Append, &standing, near).await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    (began.elapsed().as_secs(), ended.to_string())
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_and_who_takes_nothing_are_given_up_after_a_time_for_each() {
    let larger = 2 * ROOM;
    for (timeouts, bytes, seconds, says) in [
        (Timeouts::default(), 0, 5, "no answer for 5 s"),
        (Timeouts::default(), larger, 5, "no answer for 5 s, and of 2057 bytes 1"),
        // What has been written does not wait.
        (timeouts(60, 7), 0, 60, "no answer for 60 s"),
        (timeouts(60, 7), larger, 7, "no answer for 7 s, and of 2057 bytes 1"),
        (timeouts(7, 60), larger, 7, "no answer for 7 s, and of 2057 bytes 1"),
    ] {
        let (after, why) = given_up(timeouts, bytes).await;
        assert_eq!(after, seconds, "{timeouts:?}, {bytes} bytes: {why}");
        assert!(why.starts_with(says), "{why}");
    }
}

/// Somebody who listens, with a stream to him and what he has heard.
fn listener(timeouts: Timeouts) -> (Peers, Arc<Heard>, (DuplexStream, DuplexStream)) {
    let heard = Arc::new(Heard::default());
    let inbound: Arc<dyn Inbound> = Arc::clone(&heard) as Arc<dyn Inbound>;
    let identity = Identity { cluster: ClusterId(9), member: MemberId(1) };
    let (ways, clock) = ((Dialer::default(), timeouts), Arc::new(OsClock::new()));
    let peers = Peers::new(identity, inbound, ways, clock, runtime::Handle::current());
    (peers, heard, tokio::io::duplex(ROOM))
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_which_nothing_comes_is_closed_after_the_time_to_read() {
    for seconds in [5, 60] {
        let (peers, _, (_near, far)) = listener(timeouts(seconds, 5));
        let began = time::Instant::now();
        let ended = incoming::receive_all(&peers.0, MemberId(2), far).await.unwrap_err();
        assert_eq!((ended.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, seconds));
    }
}

/// Its clients were told that it took too long.
#[tokio::test(start_paused = true)]
async fn what_comes_late_is_not_read_however_long_a_silent_stream_is_kept() {
    for (silence, is_read) in [(4, true), (6, false)] {
        let (peers, heard, (mut near, far)) = listener(timeouts(60, 60));
        let speaks = async {
            let mut out = BytesMut::new();
            Frame::Message("a write"[..].into()).write(&mut out);
            time::sleep(Duration::from_secs(silence)).await;
            near.write_all(&out).await.unwrap();
            drop(near);
        };
        let (ended, ()) = tokio::join!(incoming::receive_all(&peers.0, MemberId(2), far), speaks);
        assert_eq!(heard.received.lock().len(), usize::from(is_read), "after {silence} s");
        assert_eq!(ended.is_ok(), is_read, "{ended:?}");
    }
}
