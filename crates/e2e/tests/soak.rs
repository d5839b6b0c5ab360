//! A few keys overwritten for long by v2 alone: memory and disk level off, and stay level.
//!
//! By default the quota is small and the run short: what grows with the number of writes shows
//! all the same. `RETCD_OVERWRITES` makes it longer.

use std::{fs, ops::Range, path::Path};

use e2e::{Member, Request, Start, binaries, memory};

const KEYS: u64 = 100;
/// Connections that write at once; they divide the keys among them.
const HANDS: u64 = 25;
/// A quarter of it may be history before the leader compacts.
const QUOTA: u64 = 16 << 20;

#[test]
fn overwriting_a_hundred_keys_for_long_takes_no_more_memory_and_disk_than_for_short() {
    overwrite(&[]);
}

#[test]
fn overwriting_with_a_time_to_live_takes_no_more_either() {
    // Shorter than the run: but for the last ones, each is replaced before it is due.
    overwrite(&[("ttl", "2")]);
}

fn overwrite(extra: &[(&str, &str)]) {
    if binaries::is_original() {
        return; // It keeps no history of v2 to compact.
    }
    let count = e2e::count("RETCD_OVERWRITES", 90_000);
    let quota = format!("--quota-backend-bytes={QUOTA}");
    let member = Start::new().flag(&quota).flag("--snapshot-count=5000").start();
    let mut seen = Vec::new();
    for part in 0..6 {
        let (from, to) = (part * count / 6, (part + 1) * count / 6);
        write(&member, from..to, extra);
        let sizes = (memory::resident(member.pid()), disk(member.data_dir()));
        println!("{to} writes: {} kB of memory, {} kB on disk", sizes.0 / 1024, sizes.1 / 1024);
        seen.push(sizes);
    }
    // The first third fills what there is to fill; from there on nothing grows.
    let (early, late) = seen.split_at(2);
    let largest = |sizes: &[(u64, u64)]| {
        sizes.iter().fold((0, 0), |most, one| (most.0.max(one.0), most.1.max(one.1)))
    };
    let (early, late) = (largest(early), largest(&late[2..]));
    assert!(late.0 < early.0 + early.0 / 2, "memory goes on growing: {seen:?}");
    assert!(late.1 < early.1 + early.1 / 2, "disk goes on growing: {seen:?}");
    // The log lays out a segment of 64 MB beforehand.
    assert!(late.1 < 2 * QUOTA + (64 << 20), "{} bytes on disk", late.1);
    let kept = || member.get("/v2/keys/soak").json()["node"]["nodes"].as_array().map(Vec::len);
    if extra.is_empty() {
        assert_eq!(kept(), Some(100));
    } else {
        let limit = std::time::Duration::from_secs(20);
        e2e::eventually(limit, "all expire", || {
            kept().is_none_or(|count| count == 0).then_some(())
        });
    }
}

/// Writes from several hands: writes that wait at once share a sync.
fn write(member: &Member, numbers: Range<u64>, extra: &[(&str, &str)]) {
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            let numbers = numbers.clone().filter(move |number| number % HANDS == hand);
            scope.spawn(move || {
                let mut connection = member.connect();
                for number in numbers {
                    let value = format!("{number:064}");
                    let form = [&[("value", value.as_str())], extra].concat();
                    let target = format!("/v2/keys/soak/{}", number % KEYS);
                    let request = Request::new("PUT", &target).form(&form);
                    let answer = connection.ask(&request).expect("an answer comes");
                    assert!(answer.status < 300, "{answer:?}");
                }
            });
        }
    });
}

/// What the files below a directory take up, in bytes.
fn disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        // Gone since it was listed.
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// A look through the history for each such poll would take many times as long as the poll.
#[test]
fn polls_of_quiet_keys_with_an_old_index_cost_no_more_than_fresh_ones() {
    if binaries::is_original() {
        return; // It answers them with an error: its history is too short.
    }
    let member = Member::start();
    let first = member.put("/quiet", "1");
    write(&member, 0..30_000, &[]);
    let (mut fresh, mut old) = (0, 0);
    for _ in 0..5 {
        fresh += poll(&member, "");
        old += poll(&member, &format!("&waitIndex={}", first + 1));
    }
    println!("{fresh} ticks for fresh polls, {old} for old ones");
    assert!(10 < fresh, "too little was done to measure: {fresh} ticks");
    assert!(old < 3 * fresh, "{fresh} ticks for fresh polls, {old} for old ones");
    // They do look into the history.
    let answer = member.get(&format!("/v2/keys/quiet?wait=true&waitIndex={first}"));
    assert_eq!(answer.json()["node"]["value"], "1");
}

/// Begins polls that wait, and goes away; the CPU time that it took the member, in clock ticks.
fn poll(member: &Member, index: &str) -> u64 {
    let before = cpu_ticks(member.pid());
    for _ in 0..400 {
        let mut connection = member.connect();
        let target = format!("/v2/keys/quiet?wait=true{index}");
        connection.send(&Request::get(&target)).expect("the member reads");
        assert_eq!(connection.receive_head().expect("headers come at once").status, 200);
        assert!(connection.has_nothing(), "nothing has happened since");
    }
    cpu_ticks(member.pid()) - before
}

/// What a process has used, in user and system mode.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in brackets");
    let numbers = fields.split_whitespace().skip(11).take(2);
    numbers.map(|field| field.parse::<u64>().expect("a number")).sum()
}
