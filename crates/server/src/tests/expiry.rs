//! Stories of keys whose time is over.

use super::*;

#[test]
fn a_key_goes_when_its_time_comes_and_not_on_a_tick() {
    expires_in_time(&runtime());
    expires_in_time(&network());
}

fn expires_in_time(runtime: &Runtime) {
    let (_, disk) = mem();
    let handle = start_on(&disk, slow_ticks(mem_config())).unwrap();
    runtime.block_on(async {
        handle.ready().await;
        let mut late = Vec::new();
        for millis in [30, 130, 175, 250, 310] {
            let expiry = handle.clock().wall().saturating_add(Duration::from_millis(millis));
            handle.write(set_until("/short", expiry)).await.unwrap();
            // The nearer of two counts, whichever came first.
            let later = expiry.saturating_add(Duration::from_mins(1));
            handle.write(set_until("/long", later)).await.unwrap();
            late.push(expires_after(&handle, "/short", expiry));
        }
        // How late exactly is measured by `bench`; here other processes may hold it up.
        late.sort_unstable();
        assert!(late[2] < TICK / 6, "{late:?}");
        assert!(read(&handle, "/long").is_some());
        handle.stop().await;
    });
}

#[test]
fn an_expiry_in_a_large_batch_is_noticed_at_once() {
    let (_, disk) = mem();
    let handle = start_on(&disk, slow_ticks(mem_config())).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        // One batch of many goes to the apply thread, while the raft thread goes to sleep.
        let hanging = handle.shared.wal.lock();
        let mut writes = vec![spawn_write(&handle, set("/first", "x"))];
        tokio::task::yield_now().await;
        wait_until("the raft thread takes it", || !handle.shared.inbox.has_proposals());
        let expiry = handle.clock().wall().saturating_add(Duration::from_millis(100));
        writes.push(spawn_write(&handle, set_until("/short", expiry)));
        writes.extend((0..100).map(|n| spawn_write(&handle, set("/other", &n.to_string()))));
        while handle.shared.waiters.waiting() < writes.len() {
            tokio::task::yield_now().await;
        }
        drop(hanging);
        for write in writes {
            write.await.unwrap().unwrap();
        }
        let late = expires_after(&handle, "/short", expiry);
        assert!(late < TICK / 2, "{late:?}");
        handle.stop().await;
    });
}

/// Waits until a key expires, and returns how long after its time that was.
fn expires_after(handle: &Handle, path: &str, expiry: UnixNanos) -> Duration {
    wait_until("it expires", || read(handle, path).is_none());
    let now = handle.clock().wall();
    assert!(now >= expiry, "too early");
    expiry.until(now)
}
