//! Lines that are slow, and sleepers.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use base::{ClusterId, MemberId};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time,
};

use super::{Member, until};
use crate::{Identity, Lane, frame::Frame};

/// What goes over a thin line at once, and how often.
const PIECE_BYTES: usize = 20_000;
const PIECE_EVERY: Duration = Duration::from_millis(100);
/// Takes eight seconds.
const LARGE_BYTES: usize = 80 * PIECE_BYTES;

/// A port behind which somebody else's is, over a thin line, which can stand still.
fn thin_line(to: String, stands_still: Arc<AtomicBool>) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    // Otherwise the kernel would take all of it at once.
    socket.set_recv_buffer_size(u32::try_from(PIECE_BYTES).unwrap()).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(listener, to, stands_still));
    address
}

async fn serve(listener: TcpListener, to: String, stands_still: Arc<AtomicBool>) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(&to).await.unwrap();
        let ((mut from, mut back), (mut answers, mut on)) = (near.into_split(), far.into_split());
        let stands_still = Arc::clone(&stands_still);
        tokio::spawn(async move {
            let mut piece = vec![0; PIECE_BYTES];
            while let Ok(bytes @ 1..) = from.read(&mut piece).await {
                while stands_still.load(Relaxed) {
                    time::sleep(PIECE_EVERY).await;
                }
                time::sleep(PIECE_EVERY).await;
                if on.write_all(&piece[..bytes]).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    }
}

#[tokio::test]
async fn a_message_may_take_as_long_as_it_moves_and_breaks_the_stream_once_it_stands_still() {
    let (one, two) =
        (Member::start(1, 9, "127.0.0.1:0").await, Member::start(2, 9, "127.0.0.1:0").await);
    let stands_still = Arc::new(AtomicBool::new(false));
    let line = thin_line(two.address.clone(), Arc::clone(&stands_still));
    one.knows(2, &[&line]);
    until("active", || one.peers.status()[0].active_since.is_some()).await;
    for message in [Bytes::from(vec![7; LARGE_BYTES]), Bytes::from_static(b"small")] {
        one.peers.send(MemberId(2), Lane::Append, message);
    }
    until("both are there", || two.heard.received.lock().len() == 2).await;
    let lengths: Vec<_> = two.heard.received.lock().iter().map(|(_, one)| one.len()).collect();
    assert_eq!(lengths, [LARGE_BYTES, 5], "each once, in order");
    let status = &one.peers.status()[0];
    assert_eq!((status.disconnected, status.failed), (0, 0), "it never broke");

    one.peers.send(MemberId(2), Lane::Append, vec![8; LARGE_BYTES].into());
    time::sleep(10 * PIECE_EVERY).await;
    stands_still.store(true, Relaxed);
    until("it is given up", || one.peers.status()[0].disconnected == 1).await;
    assert_eq!(two.heard.received.lock().len(), 2);
}

#[tokio::test]
async fn what_came_while_a_listener_slept_is_not_read() {
    let one = Member::start(1, 9, "127.0.0.1:0").await;
    let mut stream = TcpStream::connect(&one.address).await.unwrap();
    let them = Identity { cluster: ClusterId(9), member: MemberId(2) };
    let headers = them.headers(MemberId(1)).map(|(name, value)| format!("{name}: {value}\r\n"));
    let request = format!(
        "GET /raft/stream/append HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
         upgrade: retcd-raft/1\r\n{}\r\n",
        headers.concat()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let message = |text: &'static str| {
        let mut out = BytesMut::new();
        Frame::Message(Bytes::from_static(text.as_bytes())).write(&mut out);
        out
    };
    stream.write_all(&message("early")).await.unwrap();
    until("it listens", || one.heard.received.lock().len() == 1).await;
    // The first half of the one, and after it all else: nobody but this test runs meanwhile.
    let (half, rest) = (message("late"), message("later"));
    let (first, second) = half.split_at(11);
    stream.write_all(first).await.unwrap();
    time::sleep(Duration::from_millis(100)).await;
    let mut stream = stream.into_std().unwrap();
    stream.write_all(second).unwrap();
    stream.write_all(&rest).unwrap();
    #[allow(clippy::disallowed_methods, reason = "it is the thread that sleeps, with all on it")]
    std::thread::sleep(Duration::from_millis(5_200));
    let mut stream = TcpStream::from_std(stream).unwrap();
    // Closed, with what was not read in it.
    let mut answers = Vec::new();
    drop(time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answers)).await);
    let heard: Vec<_> = one.heard.received.lock().iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(heard, ["early"]);
}
