//! `etcdutl import`: what the original left is what a cluster of ours begins with.
//!
//! Real etcd is filled, asked everything, and stopped or killed; its data is imported; ours is asked
//! the same and answers the same. Here it is 3.4; `versions` has 3.5, `clusters` those of three
//! members, `rules` what a member of ours would refuse, `users` who may do what, `backups` what
//! `etcdctl backup` makes and logs of several parts, `attempts` what is cut off and what is shown
//! meanwhile.

use std::fs;

use e2e::Member;

mod import {
    pub(super) mod ask;
    mod attempts;
    mod backups;
    mod clusters;
    pub(super) mod fill;
    pub(super) mod place;
    mod rules;
    mod users;
    mod versions;
}

use import::{
    ask, fill,
    place::{self, Place},
};

#[test]
fn v3_data_answers_as_it_did_from_a_snapshot_a_stopped_and_a_killed_member() {
    let Some(place) = Place::new() else { return };
    place::v3_answers_as_it_did(&place);
}

#[test]
fn what_the_file_lacks_is_taken_from_the_log() {
    let Some(place) = Place::new() else { return };
    // Only what forces it writes to the file: the compaction in the middle.
    let flags = ["--backend-batch-interval=1h", "--backend-batch-limit=100000000"];
    let mut original = place.original(&flags);
    fill::v3(&original);
    let expected = ask::v3(&original);
    original.kill();
    let (ours, summary) = place.imported(&place.path("original"), "ours", &[]);
    assert!(summary["log-entries"] >= 5, "{summary:?}");
    let found = ask::v3(&ours);
    for (question, answer) in &expected {
        assert_eq!(found.get(question), Some(answer), "{question}");
    }
}

#[test]
fn v2_data_keeps_its_indexes_with_and_without_a_snapshot() {
    let Some(place) = Place::new() else { return };
    place::v2_keeps_its_indexes(&place);
}

#[test]
fn of_two_number_spaces_v3_keeps_its_own_and_v2_comes_behind() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&["--snapshot-count=30"]);
    fill::v3(&original);
    fill::v2(&original);
    let (v3, v2) = (ask::v3(&original), ask::v2(&original));
    original.kill();
    let from = place.path("original");
    let (ours, summary) = place.imported(&from, "both", &[]);
    // At the old revisions there is nothing of v2.
    let found = ask::v3_history(&ours, &v3);
    for (question, answer) in found {
        assert_eq!(v3.get(&question), Some(&answer), "{question}");
    }
    let mut tree = ask::without_indexes(&ask::v2_tree(&ours));
    ask::only_v2(&mut tree);
    assert_eq!(tree, ask::without_indexes(&v2["tree"]));
    let larger =
        ask::revision(&v3).max(i64::try_from(v2["index"].as_u64().unwrap_or(0)).unwrap_or(0));
    assert!(summary["revision"] > larger, "{summary:?}");
    assert!(summary["v2-nodes"] > 10, "{summary:?}");
    let index = ours.get("/v2/keys/").index();
    assert_eq!(index, summary["revision"].unsigned_abs());
}

#[test]
fn a_name_that_both_have_needs_a_word() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    original.put("/both", "of v2");
    original.put("/dir/below", "of v2");
    original.put("/only", "of v2");
    for name in ["/both", "/dir"] {
        fill::put(&original, name.as_bytes(), b"of v3", 0);
    }
    original.stop();
    let from = place.path("original");
    place.refused(
        &from,
        &[],
        "2 names are both keys of v3 and nodes of v2: /both, /dir. Say which",
    );
    let value = |member: &Member, name: &str| {
        let answer = member.get(&format!("/v2/keys{name}"));
        answer.json()["node"]["value"].as_str().map(str::to_owned)
    };
    let (ours, summary) = place.imported(&from, "v2", &["--prefer", "v2"]);
    assert_eq!(value(&ours, "/both").as_deref(), Some("of v2"));
    assert_eq!(value(&ours, "/dir/below").as_deref(), Some("of v2"));
    assert_eq!(value(&ours, "/only").as_deref(), Some("of v2"));
    assert_eq!(ask::keys(&ours), ["/both", "/dir/below", "/only"]);
    assert_eq!((summary["keys"], summary["directories"]), (3, 1));
    drop(ours);
    let output = place.import(&from, "v3", &["--prefer=v3"]);
    assert!(output.stderr.contains("3 v2 nodes were left out"), "{output:?}");
    let ours = place.start("v3");
    assert_eq!(value(&ours, "/both").as_deref(), Some("of v3"));
    assert_eq!(value(&ours, "/dir").as_deref(), Some("of v3"));
    assert_eq!(ask::keys(&ours), ["/both", "/dir", "/only"]);
}

#[test]
fn what_cannot_be_imported_is_refused_and_nothing_is_left() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::put(&original, b"a", b"b", 0);
    let from = place.path("original");
    place.refused(&from, &[], "is in use: stop its etcd");
    place.refused(&place.path("nowhere"), &[], "there is nothing of etcd in");
    let empty = place.path("empty");
    fs::create_dir(&empty).expect("it can be made");
    place.refused(&empty, &[], "there is nothing of etcd in");
    original.stop();
    let output = place.import(&from, "once", &[]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "no progress in a pipe: {output:?}");
    let before = fs::read(place.path("once/member/keyspace")).expect("it is there");
    let again = place.import(&from, "once", &[]);
    assert_eq!(again.exit, Some(1), "{again:?}");
    assert!(again.stderr.contains("not empty"), "{again:?}");
    assert_eq!(fs::read(place.path("once/member/keyspace")).expect("it is there"), before);
    place.refused(&place.path("once"), &[], "is of this etcd and needs no import");
    place.refused(&from, &["--initial-cluster", "other=http://a:1"], "couldn't find local name");
}

/// Of both files, cut off and with flipped bits: an error that names the file, or another value; no
/// panic, and nothing that starts.
#[test]
fn damaged_data_is_refused() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::v3(&original);
    original.put("/v2", "1");
    original.kill();
    let from = place.path("original");
    let wal = from.join("member/wal/0000000000000000-0000000000000000.wal");
    let db = from.join("member/snap/db");
    let mut dice = fastrand::Rng::with_seed(3);
    let mut refused = 0;
    for file in [&db, &wal] {
        let sound = fs::read(file).expect("it is there");
        let used = sound.iter().rposition(|byte| *byte != 0).expect("it is not empty") + 1;
        for round in 0..e2e::count("RETCD_DAMAGES", 25) {
            let mut bytes = sound.clone();
            if round % 3 == 0 {
                bytes.truncate(dice.usize(..used));
            } else {
                bytes[dice.usize(..used)] ^= 1 << dice.u8(..8);
            }
            fs::write(file, &bytes).expect("it can be written");
            let output = place.import(&from, "damaged", &[]);
            assert!(!output.stderr.contains("panicked"), "{output:?}");
            let started = place.path("damaged");
            if output.exit == Some(0) {
                fs::remove_dir_all(&started).expect("it is there");
                continue;
            }
            assert_eq!(output.exit, Some(1), "{output:?}");
            assert!(!started.exists(), "something is left: {output:?}");
            refused += 1;
        }
        fs::write(file, &sound).expect("it can be written");
    }
    assert!(refused > 20, "{refused}");
    // Behind its checksum nothing is let pass.
    original.restart();
    let save = place.save(&original, "saved.db");
    let mut bytes = fs::read(&save).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&save, &bytes).expect("it can be written");
    place.refused(&save, &[], "its SHA-256 does not match");
}
