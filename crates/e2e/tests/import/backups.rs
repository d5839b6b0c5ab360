//! What `etcdctl backup` makes, as it did for etcd 2, and logs of several parts.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Connection, Request, Start, ports,
    run::{self, run},
};
use serde_json::json;

use super::{
    ask, fill,
    place::{Place, summary},
};

/// `etcdctl backup`, while the member serves.
fn back_up(place: &Place, name: &str, flags: &[&str]) {
    let mut command = run::bare_etcdctl(&place.etcdctl, "2");
    command.arg("backup").arg("--data-dir").arg(place.path("original"));
    let made = run(command.arg("--backup-dir").arg(place.path(name)).args(flags), "");
    assert_eq!(made.exit, Some(0), "{made:?}");
}

/// Real etcd on a backup has other indexes than before, where entries of its log were taken out: so
/// it is what ours is compared with.
#[test]
fn a_backup_of_a_v2_store_is_what_real_etcd_makes_of_it() {
    let Some(place) = Place::new() else { return };
    for (name, snapshots) in [("log", "--snapshot-count=100000"), ("snap", "--snapshot-count=25")] {
        let original = place.original(&[snapshots]);
        fill::v2(&original);
        let before = ask::without_indexes(&ask::v2_tree(&original));
        back_up(&place, name, &[]);
        drop(original);
        let (ours, summary) = place.imported(&place.path(name), &format!("{name}-ours"), &[]);
        let start = Start::original(place.etcd.clone()).data_dir(&place.path(name));
        let start = start.peer_url(&format!("http://127.0.0.1:{}", ports::free()));
        let restored = start.flag("--force-new-cluster").start();
        let tree = ask::v2_tree(&ours);
        assert_eq!(tree, ask::v2_tree(&restored), "{name}: its indexes");
        // Where the log was filtered, keys that were created in order have got other names as well.
        if name == "snap" {
            assert_eq!(ask::without_indexes(&tree), before, "{name}");
        }
        assert_eq!(summary["leases"], 0, "{summary:?}");
        fs::remove_dir_all(place.path("original")).expect("it is there");
    }
}

#[test]
fn a_backup_with_v3_of_3_4_is_refused_since_its_log_has_other_numbers() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::v2(&original);
    fill::v3(&original);
    original.stop();
    back_up(&place, "backup", &["--with-v3"]);
    place.refused(&place.path("backup"), &[], "is a backup that etcdctl up to 3.4 made --with-v3");
}

fn names(place: &Place, dir: &str, end: &str) -> Vec<String> {
    let files = fs::read_dir(place.path("original/member").join(dir)).expect("it is there");
    let names = files.map(|file| file.expect("it is listed").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(end)).collect();
    names.sort_unstable();
    names
}

/// `kill -9` among writes of a megabyte, each of which is many of the operating system's.
#[test]
fn snapshots_segments_and_a_torn_end_lose_nothing_that_was_acknowledged() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&["--snapshot-count=40"]);
    fill::v2(&original);
    let (acknowledged, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let value = STANDARD.encode(vec![b'v'; 1_000_000]);
    let address = original.address();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = Connection::open(address).expect("it serves");
            for number in 1.. {
                let key = STANDARD.encode(format!("big/{number}"));
                let body = json!({"key": key, "value": value}).to_string();
                let answer = connection.ask(&Request::json("POST", "/v3/kv/put", &body));
                if !answer.is_ok_and(|answer| answer.status == 200) {
                    assert!(stop.load(Ordering::Acquire), "it was killed");
                    break;
                }
                acknowledged.store(number, Ordering::Release);
            }
        });
        // A segment has 64 MB.
        e2e::eventually(Duration::from_mins(2), "three segments", || {
            let last = names(&place, "wal", ".wal").pop();
            last.filter(|name| name.starts_with("0000000000000002-"))
        });
        let so_far = acknowledged.load(Ordering::Acquire);
        e2e::eventually(Duration::from_mins(1), "some more", || {
            (acknowledged.load(Ordering::Acquire) > so_far + 5).then_some(())
        });
        stop.store(true, Ordering::Release);
        original.kill();
    });
    assert!(names(&place, "snap", ".snap").len() >= 3, "{:?}", names(&place, "snap", ".snap"));
    let acknowledged = acknowledged.load(Ordering::Acquire);
    let from = place.path("original");
    let check = |to: &str| {
        let output = place.import(&from, to, &[]);
        assert_eq!(output.exit, Some(0), "{output:?}");
        let ours = place.start(to);
        let keys = ask::keys(&ours);
        for number in 1..=acknowledged {
            assert!(keys.contains(&format!("big/{number}")), "{number} of {acknowledged}");
        }
        // Of v2, which was written before.
        assert!(keys.contains(&"/a/b/c".to_owned()));
        (summary(&output), output.stderr.contains("never written whole"))
    };
    let (summary, torn) = check("killed");
    println!("{acknowledged} acknowledged, torn: {torn}: {summary:?}");
    // As if the last record had never come to its end: real etcd cuts it off, and so do we.
    let wal = from.join("member/wal").join(names(&place, "wal", ".wal").pop().expect("a segment"));
    tear(&wal, 3_000_000);
    let (_, torn) = check_torn(&place, &from);
    assert!(torn);
}

/// Writes the first sector of a record of this size behind the last one, as a loss of power may
/// leave it.
fn tear(wal: &Path, bytes: u64) {
    let content = fs::read(wal).expect("it is there");
    let mut end = 0;
    while let Some(field) = content.get(end..end + 8).and_then(|field| field.try_into().ok()) {
        let field = u64::from_le_bytes(field);
        if field == 0 {
            break;
        }
        let padding = if field >> 63 == 1 { (field >> 56) & 7 } else { 0 };
        end += 8 + usize::try_from((field & ((1 << 56) - 1)) + padding).expect("it fits");
    }
    let mut record = bytes.to_le_bytes().to_vec();
    record.extend([0x08, 0x02, 0x10, 0x01, 0x1a]);
    record.resize(512, b'x');
    let end = u64::try_from(end).expect("it fits");
    let file = fs::OpenOptions::new().write(true).open(wal).expect("it is there");
    file.write_all_at(&record, end).expect("it can be written");
}

fn check_torn(place: &Place, from: &Path) -> (i64, bool) {
    let output = place.import(from, "torn", &[]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    (summary(&output)["keys"], output.stderr.contains("never written whole"))
}
