//! Members that are far away: what they say to each other takes its time.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Passes on to `port` all that comes, so much later, and what it says as well. Returns where; it goes on
/// as long as the test's process.
pub fn away(port: u16, late: Duration) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // Nobody may listen there yet.
            let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let ends = (from.try_clone(), to.try_clone());
                let (Ok(from), Ok(to)) = ends else { continue };
                pass_on(from, to, late);
            }
        }
    });
    address
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, late: Duration) {
    let (sends, on_its_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if sends.send((Instant::now() + late, buffer[..read].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in on_its_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
    });
}
