//! Lines that were cut for a while.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use base::MemberId;
use http::Uri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::{Came, Member, accept_stream, read_all, until};
use crate::{Dialer, Lane, Timeouts, outgoing, peers::Peer};

/// Longer than any of these tests.
const VERY_LONG: Timeouts =
    Timeouts { read: Duration::from_mins(10), write: Duration::from_mins(10) };

/// Opens the first stream of each lane, of which it hears nothing; all later ones it reads.
async fn hears_second_streams(listener: TcpListener, came: Came) {
    let (mut first, mut lanes) = (Vec::new(), Vec::new());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let head = accept_stream(&mut stream).await;
        let lane = head.split(' ').nth(1).unwrap().to_owned();
        if lanes.contains(&lane) {
            tokio::spawn(read_all(stream, Arc::clone(&came)));
        } else {
            lanes.push(lane);
            first.push(stream);
        }
    }
}

#[tokio::test]
async fn another_stream_takes_the_place_of_one_that_is_silent_long_before_that_is_given_up() {
    let one = Member::start_with(1, 9, "127.0.0.1:0", VERY_LONG).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.knows(2, &[&listener.local_addr().unwrap().to_string()]);
    let came = Came::default();
    tokio::spawn(hears_second_streams(listener, Arc::clone(&came)));
    until("active", || one.peers.status()[0].active_since.is_some()).await;
    let lost = *one.heard.unreachable.lock();
    for lane in Lane::ALL {
        one.peers.send(MemberId(2), lane, "nobody hears it".into());
    }
    until("each lane has a new stream", || *one.heard.unreachable.lock() == lost + 2).await;
    for lane in Lane::ALL {
        one.peers.send(MemberId(2), lane, lane.name().into());
    }
    until("what is sent now arrives", || came.lock().len() == 2).await;
    came.lock().sort_unstable();
    assert_eq!(*came.lock(), ["append", "message"]);
    let status = &one.peers.status()[0];
    assert_eq!(status.disconnected, 0, "it was active all the time");
}

/// Opens the first stream of each lane, and then takes connections without a word, as the system does for a
/// process that is stopped. Counts those that are open, and how many there were.
async fn sleeps(listener: TcpListener, open: Arc<AtomicUsize>, ever: Arc<AtomicUsize>) {
    let mut tasks = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        open.fetch_add(1, Relaxed);
        let is_first = ever.fetch_add(1, Relaxed) < Lane::ALL.len();
        let open = Arc::clone(&open);
        tasks.spawn(async move {
            if is_first {
                accept_stream(&mut stream).await;
            }
            let mut ignored = [0; 1024];
            while let Ok(1..) = stream.read(&mut ignored).await {}
            open.fetch_sub(1, Relaxed);
        });
    }
}

#[tokio::test]
async fn a_peer_that_sleeps_is_asked_for_one_stream_at_a_time_and_keeps_the_old_one() {
    let one = Member::start_with(1, 9, "127.0.0.1:0", VERY_LONG).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.knows(2, &[&listener.local_addr().unwrap().to_string()]);
    let (open, ever) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(sleeps(listener, Arc::clone(&open), Arc::clone(&ever)));
    let lanes = Lane::ALL.len();
    let mut most = 0;
    until("it is asked a few times", || {
        most = most.max(open.load(Relaxed));
        ever.load(Relaxed) >= 5 * lanes
    })
    .await;
    // Of one that is given up the end may be noticed after the beginning of the next.
    assert!(most <= 3 * lanes, "{most} connections at once");
    let status = &one.peers.status()[0];
    assert!(status.active_since.is_some() && status.disconnected == 0, "{status:?}");
}

/// Of connections to this port nobody has answered to, how many there are now.
fn unanswered(port: u16) -> usize {
    let (table, remote) = (fs::read_to_string("/proc/net/tcp").unwrap(), format!(":{port:04X}"));
    let is_ours = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|to| to.ends_with(&remote)) && fields.next() == Some("02")
    };
    table.lines().filter(is_ours).count()
}

#[tokio::test]
async fn a_connection_is_begun_again_while_nobody_answers_and_no_more_than_a_few_times() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // The system drops what asks for more.
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(TcpStream::connect(address).await.unwrap());
    }
    let dialer = Dialer::default().with_election_timeout(Duration::from_secs(5));
    let url: Uri = format!("http://{address}").parse().unwrap();
    let dialling = tokio::spawn(async move { dialer.dial(&url).await });
    let mut most = 0;
    until("a second attempt, and a third", || {
        most = most.max(unanswered(address.port()));
        most >= 3
    })
    .await;
    assert!(unanswered(address.port()) <= 4);
    drop(others);
    let (told, mut all_told) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut came = Vec::new();
            stream.read_to_end(&mut came).await.unwrap();
            told.send(came).await.ok();
        }
    });
    let mut dialled = dialling.await.unwrap().unwrap();
    dialled.write_all(b"hello").await.unwrap();
    drop(dialled);
    // The others end without a word.
    while all_told.recv().await.unwrap() != b"hello" {}
}

/// Whoever grants another stream ends the old one, which may be doing well again.
#[tokio::test]
async fn who_speaks_while_there_is_a_connection_to_it_is_not_asked_for_another_stream() {
    let one = Member::start(1, 9, "127.0.0.1:0").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (peer, asks) = (Peer::new(MemberId(2), Vec::new()), AtomicUsize::new(0));
    let is_wanted = || {
        asks.fetch_add(1, Relaxed);
        false
    };
    let opened = outgoing::open_if(&one.peers.0, &peer, Some(url), "append", is_wanted).await;
    assert!(opened.is_err() && asks.load(Relaxed) == 1);
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut came = Vec::new();
    stream.read_to_end(&mut came).await.unwrap();
    assert_eq!(came, b"", "it was asked");
}
