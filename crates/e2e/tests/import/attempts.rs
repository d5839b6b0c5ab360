//! Imports that are cut off, and what is shown of one while it goes on.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{Start, rings, run::run};

use super::{ask, fill, place::Place};

/// Wherever it is interrupted: there is no member, or a whole one; and the next attempt succeeds where
/// there is none, without anybody having to remove anything.
#[test]
fn an_import_that_was_interrupted_left_no_member_and_nothing_in_the_way() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::v3(&original);
    original.stop();
    let from = place.path("original");
    let (mut whole, mut interrupted, mut remains) = (0, 0, 0);
    for round in 0..e2e::count("RETCD_INTERRUPTIONS", 12) {
        let name = format!("round{round}");
        let mut command = place.command(&from, &name);
        let mut running =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        // Anywhere, or just when it has begun.
        if round % 2 == 1 {
            e2e::eventually(Duration::from_secs(30), "it begins", || {
                place.path(&name).join("member/lock").exists().then_some(())
            });
        }
        std::thread::sleep(Duration::from_millis(round * if round % 2 == 1 { 2 } else { 40 }));
        drop(running.kill());
        drop(running.wait());
        if place.path(&name).join("member/keyspace").exists() {
            whole += 1;
            let ours = place.start(&name);
            assert_eq!(ask::keys(&ours).len(), 128);
            continue;
        }
        interrupted += 1;
        let start = Start::new().data_dir(&place.path(&name)).flag("--force-new-cluster");
        let mut member = start.spawn();
        member.allow("there is no member in");
        member.allow("the log");
        assert!(!member.reap(Duration::from_secs(30)).success(), "round {round}");
        let left = fs::read_dir(place.path(&name).join("member")).map_or(0, Iterator::count);
        remains += usize::from(left > 0);
        let (ours, _) = place.imported(&from, &name, &[]);
        assert_eq!(ask::keys(&ours).len(), 128, "round {round}");
    }
    println!("{whole} whole, {interrupted} interrupted, {remains} of which left something");
    assert!(remains > 0, "{interrupted} were interrupted, before they began");
}

/// Two at a time: the second one does not wait, and takes nothing away.
#[test]
fn of_two_imports_to_one_place_the_second_is_refused() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::v3(&original);
    original.stop();
    let from = place.path("original");
    let mut first = place.command(&from, "ours");
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    e2e::eventually(Duration::from_secs(30), "it begins", || {
        place.path("ours/member/lock").exists().then_some(())
    });
    let second = place.import(&from, "ours", &[]);
    assert_eq!(second.exit, Some(1), "{second:?}");
    let is_told = ["in use by another process", "not empty"].iter();
    assert!(is_told.clone().any(|text| second.stderr.contains(text)), "{second:?}");
    assert!(first.wait().expect("it is ours").success());
    assert_eq!(ask::keys(&place.start("ours")).len(), 128);
}

#[test]
fn there_is_a_bar_on_a_terminal_and_none_in_a_pipe() {
    let Some(place) = Place::new() else { return };
    let has_script = Command::new("script").arg("--version").output().is_ok();
    if !rings::can_run("script", has_script, "apt-get install bsdutils") {
        return;
    }
    let original = place.original(&[]);
    for round in 0..30 {
        let value = vec![b'v'; 500_000];
        fill::put(&original, format!("large{round}").as_bytes(), &value, 0);
    }
    let save = place.save(&original, "saved.db");
    drop(original);
    let shown = format!("{:?}", place.command(&save, "terminal")).replace('"', "'");
    let mut terminal = Command::new("script");
    terminal.env("TERM", "xterm").args(["-qec", &shown, "/dev/null"]);
    let on_terminal = run(&mut terminal, "");
    assert_eq!(on_terminal.exit, Some(0), "{on_terminal:?}");
    for stage in ["checksum [", "keys ["] {
        assert!(on_terminal.stdout.contains(stage), "{stage}: {on_terminal:?}");
    }
    let piped = place.import(&save, "piped", &[]);
    assert_eq!((piped.exit, piped.stderr.lines().count()), (Some(0), 1), "{piped:?}");
    assert!(!piped.stderr.contains('['), "{piped:?}");
}

/// What a file says that it takes, is not what it gets.
#[test]
fn sizes_that_nobody_has_are_refused_before_memory_is_taken() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::v3(&original);
    original.kill();
    let from = place.path("original");
    let wal = from.join("member/wal/0000000000000000-0000000000000000.wal");
    let file = fs::OpenOptions::new().read(true).write(true).open(&wal).expect("it is there");
    let length = file.metadata().expect("it is there").len();
    let mut end = [0; 8];
    // All zeros: nothing is there any more.
    file.read_exact_at(&mut end, length - 4_096).expect("it has room");
    assert_eq!(end, [0; 8]);
    file.set_len(1 << 40).expect("a file may have holes");
    let mut first = [0; 8];
    file.read_exact_at(&mut first, 0).expect("it begins");
    file.write_all_at(&((1_u64 << 40) - 8).to_le_bytes(), 0).expect("it can be written");
    place.refused(&from, &[], "it is longer than any record of etcd");
    file.write_all_at(&first, 0).expect("it can be written");
    let (ours, _) = place.imported(&from, "ours", &[]);
    assert_eq!(ask::keys(&ours).len(), 128, "holes at the end do no harm");
}
