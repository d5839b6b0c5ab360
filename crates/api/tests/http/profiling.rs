//! `/debug/pprof/`: where the processor's time goes.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use proto::{Message as _, profile::Profile};

use crate::member::Member;

fn profiled() -> Member {
    Member::start_with(api::Config { profiling: true, ..api::Config::default() })
}

fn decoded(zipped: &[u8]) -> Profile {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(zipped).read_to_end(&mut bytes).expect("it is zipped");
    Profile::decode(&*bytes).expect("it is a profile")
}

/// Something to find.
#[inline(never)]
fn burn_until(stop: &AtomicBool) -> u64 {
    let mut number = 1_u64;
    while !stop.load(Relaxed) {
        for _ in 0..10_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
    }
    number
}

/// There is one timer in a process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_profile_is_what_pprof_reads_and_one_is_taken_at_a_time() {
    let _one = ONE_AT_A_TIME.lock();
    let member = profiled();
    let stop = Arc::new(AtomicBool::new(false));
    let burning = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || burn_until(&stop))
    };
    // Whichever comes first. Where the machine has no time for the second, the first may end before it comes.
    let mut taken = None;
    crate::member::eventually("one is told that another is under way", || {
        let mut both = [member.connect(), member.connect()];
        for connection in &mut both {
            connection.send("GET /debug/pprof/profile?seconds=2 HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        let [one, other] = both.map(|mut connection| connection.answer());
        let (answer, refused) = if one.status == 200 { (one, other) } else { (other, one) };
        let is_refused = refused.status == 500;
        if is_refused {
            let busy = "Could not enable CPU profiling: cpu profiling already in use\n";
            assert_eq!(refused.text(), busy);
        }
        taken = Some(answer.expect(200));
        is_refused
    });
    let answer = taken.expect("one was taken");
    stop.store(true, Relaxed);
    burning.join().expect("it ends");
    assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"));
    let profile = decoded(&answer.body);
    let text = |place: i64| profile.string_table[usize::try_from(place).unwrap()].as_str();
    assert_eq!(text(0), "");
    let kinds: Vec<_> =
        profile.sample_type.iter().map(|kind| (text(kind.r#type), text(kind.unit))).collect();
    assert_eq!(kinds, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert_eq!((profile.period, profile.duration_nanos), (10_000_000, 2_000_000_000));
    assert!(profile.time_nanos > 0);
    let mut seen = 0;
    for sample in &profile.sample {
        assert_eq!(sample.value[1], sample.value[0] * profile.period);
        for id in &sample.location_id {
            let location = profile.location.iter().find(|location| location.id == *id).unwrap();
            for line in &location.line {
                let is = |id: u64| id == line.function_id;
                let function = profile.function.iter().find(|one| is(one.id)).unwrap();
                if text(function.name).contains("burn_until") {
                    seen += sample.value[0];
                }
            }
        }
    }
    assert!(seen > 0, "what burns the processor's time is not seen");
}

#[test]
fn what_go_alone_could_tell_is_refused_with_advice() {
    let member = profiled();
    let index = member.get("/debug/pprof/").expect(200);
    assert_eq!(index.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(index.text().contains("profile?seconds=30") && index.text().contains("goroutine"));
    for name in ["heap", "allocs", "goroutine", "threadcreate", "block", "mutex", "trace"] {
        let text = member.get(&format!("/debug/pprof/{name}")).expect(501).text();
        assert!(text.starts_with(&format!("{name}: ")) && text.len() > 30, "{text}");
    }
    assert_eq!(member.get("/debug/pprof/symbol").expect(200).text(), "num_symbols: 1\n");
    assert!(!member.get("/debug/pprof/cmdline").expect(200).body.is_empty());
    member.get("/debug/pprof/nothing").expect(404);
}

#[test]
fn without_the_flag_there_is_none() {
    let member = Member::start();
    for path in ["/debug/pprof/", "/debug/pprof/profile", "/debug/pprof/cmdline"] {
        member.get(path).expect(404);
    }
}

#[test]
fn a_profile_ends_with_its_client() {
    let _one = ONE_AT_A_TIME.lock();
    let member = profiled();
    let mut leaving = None;
    // The other may come first.
    crate::member::eventually("it is under way", || {
        let mut connection = member.connect();
        connection.send("GET /debug/pprof/profile?seconds=300 HTTP/1.1\r\nHost: x\r\n\r\n");
        leaving = Some(connection);
        std::thread::sleep(Duration::from_millis(50));
        member.get("/debug/pprof/profile?seconds=1").status == 500
    });
    drop(leaving);
    crate::member::eventually("another can be taken", || {
        member.get("/debug/pprof/profile?seconds=1").status == 200
    });
}
