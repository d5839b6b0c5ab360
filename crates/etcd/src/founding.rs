//! What comes to the peer ports of a member that is being founded.
//!
//! Those who are founded with it ask there whether the cluster runs already, and would wait: nobody
//! serves the port yet. So they are turned away, which tells them at once that there is no answer. A start
//! with `--force-new-cluster` has another answer.

use std::{future, task::Poll, thread};

use tokio::{runtime::Runtime, sync::oneshot};

use crate::listen::Bound;

/// Turns away whoever comes to these ports while `work` lasts.
pub(crate) fn turning_away<T>(runtime: &Runtime, ports: &[Bound], work: impl FnOnce() -> T) -> T {
    meanwhile(runtime, turn_away(ports), work)
}

/// Does `task`, which never ends, while `work` lasts.
pub(crate) fn meanwhile<T>(
    runtime: &Runtime,
    task: impl Future<Output = ()> + Send,
    work: impl FnOnce() -> T,
) -> T {
    thread::scope(|scope| {
        let (done, is_done) = oneshot::channel::<()>();
        scope.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = task => {}
                    _ = is_done => {}
                }
            });
        });
        let worked = work();
        drop(done);
        worked
    })
}

/// Never ends. A port that fails is left to itself: whoever comes there waits.
async fn turn_away(ports: &[Bound]) {
    future::poll_fn(|context| {
        for port in ports {
            while let Poll::Ready(Ok(_)) = port.listener.poll_accept(context) {}
        }
        Poll::<()>::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
        time::Duration,
    };

    use super::*;
    use crate::listen;

    #[test]
    fn whoever_comes_meanwhile_is_turned_away_and_afterwards_waits() {
        let runtime = crate::serve::runtime().unwrap();
        let entered = runtime.enter();
        let listener = listen::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = listener.local_addr().unwrap();
        let ports = [Bound { listener: listener.into(), is_secure: false }];
        let ask = |patience| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(patience)).unwrap();
            // It may be over before this is sent.
            stream.write_all(b"GET /members HTTP/1.1\r\n\r\n").ok();
            let waits = stream.read(&mut [0]).is_err_and(|error| {
                [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut]
                    .contains(&error.kind())
            });
            !waits
        };
        assert!(turning_away(&runtime, &ports, || {
            (0..3).all(|_| ask(Duration::from_secs(20)))
        }));
        assert!(!ask(Duration::from_millis(200)), "nobody is turned away any more");
        drop(entered);
    }
}
