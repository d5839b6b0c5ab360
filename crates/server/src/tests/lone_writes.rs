//! Stories of writes that come one at a time, and are carried out by their own thread.

use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, request_op};

use super::*;

#[test]
fn lone_writes_and_crowds_are_carried_out_alike() {
    let (_, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    network().block_on(async {
        handle.ready().await;
        let mut indexes = Vec::new();
        for round in 0..20 {
            // Finds all quiet, and is carried out by its own thread.
            indexes.push(write_alone(&handle, set("/alone", "1")).await);
            // Both ways at once.
            let crowd: Vec<_> = (0..50)
                .map(|number| spawn_write(&handle, set(&format!("/{round}/{number}"), "1")))
                .collect();
            for write in crowd {
                indexes.push(written(&write.await.unwrap().unwrap().response));
            }
        }
        let first = indexes[0];
        indexes.sort_unstable();
        assert_eq!(indexes, (first..first + 20 * 51).collect::<Vec<_>>());
        handle.stop().await;
    });
    let again = start_on(&disk, mem_config()).unwrap();
    assert!((0..20).all(|n| read(&again, &format!("/{n}/49")).is_some()));
    runtime().block_on(again.stop());
}

#[test]
fn a_lone_write_whose_sync_fails_is_not_acknowledged() {
    let (mem, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    network().block_on(async {
        handle.ready().await;
        write_alone(&handle, set("/before", "1")).await;
        mem.fail_next_sync();
        assert_eq!(handle.write(set("/after", "1")).await.unwrap_err(), Unserved::Stopped);
        let why = handle.failed().await;
        assert!(why.contains("the sync failed"), "{why}");
        handle.stop().await;
    });
}

#[test]
fn a_member_stops_while_lone_writes_come() {
    for _ in 0..20 {
        let (_, disk) = mem();
        let handle = start_on(&disk, slow_ticks(mem_config())).unwrap();
        let began = Instant::now();
        network().block_on(async {
            handle.ready().await;
            let writer = {
                let handle = handle.clone();
                tokio::spawn(async move {
                    let mut acknowledged = 0;
                    while let Ok(done) = handle.write(set("/a", "1")).await {
                        acknowledged = written(&done.response);
                    }
                    acknowledged
                })
            };
            write_alone(&handle, set("/b", "1")).await;
            handle.stop().await;
            // What was acknowledged was applied before, and nothing hangs in between.
            let last = writer.await.unwrap();
            assert!(handle.reader().store().revision() >= i64::try_from(last).unwrap());
            let status = handle.status();
            assert_eq!(status.applied, status.committed);
        });
        assert!(began.elapsed() < TICK, "it waited for a tick");
    }
}

#[test]
fn a_lone_write_that_hangs_keeps_nobody_else_waiting() {
    let (_, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    network().block_on(async {
        handle.ready().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let member = handle.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let handle = member.clone();
                tokio::spawn(async move {
                    let _connected = handle.connected();
                    match socket.read_u8().await.unwrap() {
                        b'w' => drop(handle.write(set("/a", "1")).await.unwrap()),
                        _ => assert!(read(&handle, "/a").is_none(), "it was not hanging"),
                    }
                    socket.write_u8(b'!').await.unwrap();
                });
            }
        });
        let ask = move |what: &'static [u8; 1]| {
            tokio::task::spawn_blocking(move || {
                let mut socket = std::net::TcpStream::connect(address).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                socket.write_all(what).unwrap();
                socket.read_exact(&mut [0]).expect("no answer");
            })
        };
        let hanging = handle.shared.wal.lock();
        let write = ask(b"w");
        wait_until("the write is carried out", || handle.raft.is_locked());
        ask(b"r").await.unwrap();
        drop(hanging);
        write.await.unwrap();
        handle.stop().await;
    });
}

async fn write_alone(handle: &Handle, op: Op) -> u64 {
    written(&handle.write(op).await.unwrap().response)
}

/// Who is woken, and by which thread.
#[derive(Default)]
struct Wakes(parking_lot::Mutex<Vec<String>>);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let thread = std::thread::current();
        self.0.lock().push(thread.name().unwrap_or_default().to_owned());
    }
}

/// Neither its own thread nor the raft thread: who waits is to be told when its time is over, and they
/// say so.
#[test]
fn a_lone_write_that_takes_long_is_carried_out_by_the_apply_thread() {
    const KEYS: usize = 2_000;
    let delete = |to: &'static str| {
        let (key, range_end) = (Bytes::from_static(b"/k"), Bytes::from_static(to.as_bytes()));
        DeleteRangeRequest { key, range_end, prev_kv: false }
    };
    let put = |number: usize| {
        let key = format!("/k/{number:04}").into();
        let put = PutRequest { key, ..PutRequest::default() };
        RequestOp { request: Some(request_op::Request::RequestPut(put)) }
    };
    let nested = RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete("/l"))) };
    let long = [
        Op::DeleteRange(delete("/l")),
        Op::DeleteRange(delete("\0")),
        Op::Txn(TxnRequest { success: vec![nested], ..TxnRequest::default() }),
    ];
    let (_, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    network().block_on(async {
        handle.ready().await;
        for op in long {
            let mut by = Vec::new();
            // One that is done before anybody waits for it tells nothing.
            for _ in 0..20 {
                let success = (0..KEYS).map(put).collect();
                handle.write(Op::Txn(TxnRequest { success, ..Default::default() })).await.unwrap();
                let wakes = Arc::new(Wakes::default());
                let waker = std::task::Waker::from(Arc::clone(&wakes));
                let mut write = Box::pin(handle.write(op.clone()));
                if write.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending() {
                    wait_until("it is answered", || !wakes.0.lock().is_empty());
                    by.clone_from(&wakes.0.lock());
                    write.await.unwrap();
                    break;
                }
            }
            assert_eq!(by, ["apply"], "{op:?}");
            assert_eq!(handle.reader().store().usage().live_records, 0);
        }
        // Small ones are done by whoever asks, unless the raft thread is about something just then.
        let small = DeleteRangeRequest { key: "/x".into(), ..delete("/y") };
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        wait_until("a small one is carried out at once", || {
            Box::pin(handle.write(Op::DeleteRange(small.clone()))).as_mut().poll(&mut cx).is_ready()
        });
        handle.stop().await;
    });
}
