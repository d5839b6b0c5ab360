//! How a member starts, how it refuses to, and how it leaves.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{Connection, Member, Request, Start, binaries, ports, rings, run};
use nix::sys::signal::Signal;

/// A start that must fail: it ends soon, with something other than 0, and one line on stderr that
/// holds all of `hints`.
#[track_caller]
fn is_refused(mut command: Command, hints: &[&str]) -> run::Output {
    let began = Instant::now();
    let output = run::start(&mut command, "").wait(Duration::from_secs(20));
    assert_ne!(output.exit, Some(0), "{output:?}");
    if !binaries::is_original() {
        assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
        let told: Vec<_> = output.stderr.lines().filter(|line| !is_information(line)).collect();
        assert_eq!(told.len(), 1, "one line says it: {output:#?}");
        let holds = |hint: &&str| told[0].contains(*hint);
        assert!(hints.iter().all(holds), "not all of {hints:?} in: {}", told[0]);
    }
    output
}

/// What a start logs before it finds that it cannot go on.
fn is_information(line: &str) -> bool {
    let front: String = line.chars().take(60).collect();
    [" I | ", "INFO", "\"level\":\"info\""].iter().any(|level| front.contains(level))
}

/// Every file below `path` with its content.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.insert(path.display().to_string(), Vec::new());
            found.extend(files(&path));
        } else {
            let content = fs::read(&path).expect("a file can be read");
            found.insert(path.display().to_string(), content);
        }
    }
    found
}

/// Runs `refused` and sees that nothing below `path` has changed.
#[track_caller]
fn touches_nothing(path: &Path, refused: impl FnOnce()) {
    let before = files(path);
    refused();
    let after = files(path);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "files came or went");
    for (name, content) in &before {
        assert!(*content == after[name], "{name} changed");
    }
}

#[test]
fn wrong_flags_are_refused_in_one_line_with_nothing_touched() {
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let data_dir = directory.path().join("data");
    let check = |flags: &[&str], hints: &[&str]| {
        let start = flags.iter().fold(Start::new(), |start, flag| start.flag(flag));
        let output = is_refused(start.command(&data_dir), hints);
        let is_original = binaries::is_original();
        assert!(is_original || !data_dir.exists(), "{flags:?} left a data directory");
        output
    };
    let output = check(&["--no-such-flag"], &["no-such-flag"]);
    assert_eq!(output.exit, Some(2), "an unknown flag is exit 2, as in Go");
    check(&["-no-such-flag=1"], &["no-such-flag"]);
    check(&["stray"], &["stray"]);
    check(&["--listen-client-urls", "nonsense"], &["listen-client-urls", "nonsense"]);
    check(&["--listen-client-urls", "ftp://127.0.0.1:1"], &["listen-client-urls", "ftp"]);
    check(&["--listen-peer-urls", "http://127.0.0.1"], &["listen-peer-urls"]);
    if !binaries::is_original() {
        let nowhere = "http://127.0.0.1:99999";
        check(&["--advertise-client-urls", nowhere], &["advertise-client-urls", nowhere]);
    }
    check(&["--election-timeout", "often"], &["election-timeout", "often"]);
    check(&["--election-timeout", "10"], &["election-timeout"]);
    check(&["--initial-cluster-state", "maybe"], &["initial-cluster-state", "maybe"]);
    check(&["--config-file", "/nonexistent.yaml"], &["/nonexistent.yaml"]);
}

#[test]
fn a_port_in_use_is_refused_by_its_name() {
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let data_dir = directory.path().join("data");
    let port = ports::free();
    let _taken = TcpListener::bind(("127.0.0.1", port)).expect("it was free");
    let address = format!("127.0.0.1:{port}");
    is_refused(Start::new().client_port(port).command(&data_dir), &[&address]);
    assert!(binaries::is_original() || !data_dir.exists(), "it left a data directory");
    let peer = Start::new().peer_url(&format!("http://{address}"));
    is_refused(peer.command(&data_dir), &[&address]);
    assert!(binaries::is_original() || !data_dir.exists(), "it left a data directory");
}

#[test]
fn a_data_directory_in_use_is_refused_and_its_owner_goes_on() {
    if binaries::is_original() {
        return; // It waits for the other to go.
    }
    let member = Member::start();
    member.put("/mine", "1");
    let name = member.data_dir().display().to_string();
    is_refused(Start::new().command(member.data_dir()), &["in use", &name]);
    member.put("/mine", "2");
}

#[test]
fn a_data_directory_of_real_etcd_is_refused_and_stays_as_it_was() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) || binaries::is_original() {
        return;
    }
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let data_dir = directory.path().join("data");
    let start = Start::original(original.expect("it is installed")).data_dir(&data_dir);
    let mut other = start.start();
    other.put("/theirs", "1");
    other.stop();
    touches_nothing(&data_dir, || {
        let name = data_dir.display().to_string();
        is_refused(Start::new().command(&data_dir), &["original etcd", &name, "--data-dir"]);
    });
}

#[test]
fn what_looks_like_the_data_of_real_etcd_is_refused_and_stays_as_it_was() {
    if binaries::is_original() {
        return;
    }
    let look_alikes: [&[&str]; 3] = [
        &["member/wal/0000000000000000-0000000000000000.wal", "member/snap/db"],
        &["member/wal/0000000000000000-0000000000000000.wal"],
        &["conf"],
    ];
    for paths in look_alikes {
        let directory = tempfile::tempdir().expect("/tmp can be written");
        let data_dir = directory.path().join("data");
        for path in paths {
            let path = data_dir.join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("/tmp can be written");
            fs::write(path, b"bytes of another program").expect("/tmp can be written");
        }
        touches_nothing(&data_dir, || {
            let name = data_dir.display().to_string();
            is_refused(Start::new().command(&data_dir), &[&name]);
        });
    }
}

#[test]
fn killed_at_any_moment_of_its_first_start_a_member_starts_the_second_time() {
    if binaries::is_original() {
        return; // It hangs for ever when it was killed between two of its first syncs.
    }
    let rounds = e2e::count("RETCD_KILLS", 15);
    let seed = e2e::count("RETCD_SEED", fastrand::u64(..));
    println!("RETCD_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..rounds {
        let mut member = Start::new().spawn();
        sleep(Duration::from_micros(random.u64(0..60_000)));
        member.kill();
        member.restart();
        member.put("/up", "1");
    }
}

/// A member that has died, in such a way that its files have to be mended before they can be used.
fn dead_member() -> Member {
    // So few that the keyspace has been written to.
    let mut member = Start::new().flag("--snapshot-count=20").start();
    for number in 0..50 {
        member.put("/kept", &number.to_string());
    }
    e2e::eventually(Duration::from_secs(20), "the keyspace is written", || {
        let metrics = member.get("/metrics").text();
        let commits = |line: &str| {
            let count = line.strip_prefix("etcd_disk_backend_commit_duration_seconds_count ")?;
            count.parse::<f64>().ok()
        };
        metrics.lines().find_map(commits).filter(|count| *count >= 1.0).map(drop)
    });
    member.kill();
    member
}

#[test]
fn a_directory_whose_log_is_gone_or_of_another_is_refused_and_stays_as_it_was() {
    if binaries::is_original() {
        return;
    }
    let mut member = dead_member();
    let other = dead_member();
    let wal = member.data_dir().join("member/wal");
    let aside = member.data_dir().join("member/aside");
    let refused = |hints: &[&str]| {
        touches_nothing(member.data_dir(), || {
            is_refused(Start::new().command(member.data_dir()), hints);
        });
    };
    fs::rename(&wal, &aside).expect("it can be renamed");
    refused(&["wal"]);
    fs::create_dir(&wal).expect("it can be made");
    refused(&["wal"]);
    touches_nothing(other.data_dir(), || {
        let others = other.data_dir().join("member/wal").display().to_string();
        let start = Start::new().flag("--wal-dir").flag(&others);
        touches_nothing(member.data_dir(), || {
            is_refused(start.command(member.data_dir()), &["not of one member"]);
        });
    });
    fs::remove_dir(&wal).expect("it is empty");
    fs::rename(&aside, &wal).expect("it can be renamed");
    member.restart();
    assert_eq!(member.get("/v2/keys/kept").json()["node"]["value"], "49", "all is there again");
}

#[test]
fn a_damaged_log_or_keyspace_is_refused_and_stays_as_it_was() {
    if binaries::is_original() {
        return;
    }
    let member = dead_member();
    let keyspace = member.data_dir().join("member/keyspace");
    let log = files(&member.data_dir().join("member/wal"));
    let (segment, bytes) = log.iter().find(|(name, _)| !name.ends_with("lock")).expect("a segment");
    let refused = |hints: &[&str]| {
        touches_nothing(member.data_dir(), || {
            is_refused(Start::new().command(member.data_dir()), hints);
        });
    };
    fs::write(segment, b"").expect("it can be written");
    refused(&[segment, "restore it from a backup"]);
    let mut rotten = bytes.clone();
    rotten[20] ^= 1;
    fs::write(segment, &rotten).expect("it can be written");
    refused(&[segment, "Restore this member from a backup"]);
    fs::write(segment, bytes).expect("it can be written");
    let whole = fs::read(&keyspace).expect("it can be read");
    fs::write(&keyspace, &whole[..whole.len() - 5_000]).expect("it can be written");
    refused(&["member/keyspace", "restore this member from a backup"]);
}

#[test]
fn the_inside_of_a_data_directory_is_refused_and_stays_as_it_was() {
    if binaries::is_original() {
        return;
    }
    let member = dead_member();
    let inside = member.data_dir().join("member");
    touches_nothing(&inside, || {
        is_refused(Start::new().command(&inside), &["the directory above it", "--data-dir"]);
    });
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let data_dir = directory.path().join("theirs");
    fs::create_dir_all(data_dir.join("snap")).expect("/tmp can be written");
    fs::write(data_dir.join("snap/db"), b"bytes").expect("/tmp can be written");
    touches_nothing(&data_dir, || {
        is_refused(Start::new().command(&data_dir), &["original etcd", "snap/db"]);
    });
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named_with_its_flag() {
    if binaries::is_original() {
        return;
    }
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("/tmp can be written");
    let name = file.display().to_string();
    touches_nothing(directory.path(), || {
        let start = Start::new().flag("--wal-dir").flag(&name);
        let data_dir = directory.path().join("data");
        is_refused(start.command(&data_dir), &[&name, "--wal-dir"]);
        is_refused(Start::new().command(&file), &[&name, "--data-dir"]);
        is_refused(Start::new().command(&file.join("below")), &[&name, "--data-dir"]);
    });
}

#[test]
fn what_is_no_keyspace_is_refused_and_stays_as_it_was() {
    if binaries::is_original() {
        return;
    }
    for content in [&b""[..], b"r", &[7; 10_000]] {
        let mut member = Member::start();
        member.put("/kept", "1");
        member.stop();
        let keyspace = member.data_dir().join("member/keyspace");
        fs::write(&keyspace, content).expect("it can be written");
        touches_nothing(member.data_dir(), || {
            let hints = ["member/keyspace", "restore", "backup"];
            is_refused(Start::new().command(member.data_dir()), &hints);
        });
    }
}

#[test]
fn rot_in_the_log_is_refused_and_named() {
    if binaries::is_original() {
        return;
    }
    let mut member = Member::start();
    for number in 0..200 {
        member.put("/kept", &number.to_string());
    }
    member.stop();
    let wal = member.data_dir().join("member/wal");
    let mut segments: Vec<_> =
        fs::read_dir(&wal).expect("the log is there").flatten().map(|entry| entry.path()).collect();
    segments.sort();
    let segment = segments.first().expect("it has a segment");
    let mut bytes = fs::read(segment).expect("it can be read");
    // In the middle of what was written: far behind the header, far before the last sync.
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("it has something");
    bytes[written / 2] ^= 0x40;
    fs::write(segment, &bytes).expect("it can be written");
    touches_nothing(member.data_dir(), || {
        let name = segment.file_name().expect("it has one").to_string_lossy().into_owned();
        is_refused(Start::new().command(member.data_dir()), &[&name]);
    });
    bytes[written / 2] ^= 0x40;
    fs::write(segment, &bytes).expect("it can be written");
    member.restart();
    assert_eq!(member.get("/v2/keys/kept").json()["node"]["value"], "199", "all is there again");
}

#[test]
fn a_member_that_serves_says_so_as_the_original_does() {
    let member = Member::start();
    let lines = [
        "set the initial cluster version to",
        "enabled capabilities for version",
        "published",
        "ready to serve client requests",
    ];
    for line in lines {
        e2e::eventually(Duration::from_secs(5), line, || member.log().contains(line).then_some(()));
    }
}

#[test]
fn a_flag_is_good_with_one_dash_or_two_in_the_environment_and_in_a_file() {
    let name_of = |start: Start| {
        let member = start.start();
        member.get("/v2/members").json()["members"][0]["name"].clone()
    };
    let named = |name: &str| {
        let peer = format!("http://127.0.0.1:{}", ports::free());
        let start = Start::new().peer_url(&peer);
        start.flag("--initial-cluster").flag(&format!("{name}={peer}"))
    };
    assert_eq!(name_of(named("one").flag("-name").flag("one")), "one");
    assert_eq!(name_of(named("two").flag("--name").flag("two")), "two");
    assert_eq!(name_of(named("three").flag("--name=three")), "three");
    assert_eq!(name_of(named("four").flag("-name=four")), "four");
    assert_eq!(name_of(named("five").env("ETCD_NAME", "five")), "five");
    if binaries::is_original() {
        return; // 3.4 refuses to choose between the two; 2.3.8 chooses as we do.
    }
    let both = named("flag").flag("--name=flag").env("ETCD_NAME", "environment");
    let mut member = both.start();
    member.allow("ETCD_NAME");
    let name = member.get("/v2/members").json()["members"][0]["name"].clone();
    assert_eq!(name, "flag", "the command line wins");
}

#[test]
fn a_file_in_yaml_takes_the_place_of_flags() {
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let (client, peer) = (ports::free(), format!("http://127.0.0.1:{}", ports::free()));
    let text = format!(
        "# A comment.\nname: filed\ndata-dir: {}\nlisten-client-urls: http://127.0.0.1:{client}\n\
         advertise-client-urls: http://127.0.0.1:{client}\nlisten-peer-urls: {peer}\n\
         initial-advertise-peer-urls: {peer}\ninitial-cluster: filed={peer}\n\
         initial-cluster-state: 'new'\nsnapshot-count: 5000\n{}",
        directory.path().join("filed.etcd").display(),
        if binaries::is_original() { "enable-v2: true\n" } else { "" },
    );
    let file = directory.path().join("etcd.yaml");
    fs::write(&file, text).expect("/tmp can be written");
    let start = Start::new().only_flags().client_port(client).peer_url(&peer);
    let member = start.flag("--config-file").flag(&file.display().to_string()).start();
    assert_eq!(member.get("/v2/members").json()["members"][0]["name"], "filed");
    assert!(directory.path().join("filed.etcd/member").is_dir());
}

#[test]
fn version_and_help_are_told_without_starting() {
    let output = run::run(Command::new(binaries::etcd()).arg("--version"), "");
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert!(output.stdout.starts_with("etcd Version: "), "{output:?}");
    let output = run::run(Command::new(binaries::etcd()).arg("--help"), "");
    assert_eq!(output.exit, Some(0));
    assert!((output.stdout + &output.stderr).contains("initial-cluster-state"));
}

#[test]
fn sigterm_finishes_what_was_accepted_and_leaves_at_once() {
    let mut member = Member::start();
    let address = member.address();
    let acknowledged: Vec<(String, String)> = std::thread::scope(|scope| {
        let writer = |writer: usize| {
            scope.spawn(move || {
                let mut last = None;
                let mut connection = Connection::open(address).expect("the member accepts");
                for number in 0.. {
                    let (key, value) = (format!("/w/{writer}"), format!("{number}"));
                    let request = Request::put(&format!("/v2/keys{key}"), &value);
                    match connection.ask(&request) {
                        Ok(answer) if answer.status < 300 => last = Some((key, value)),
                        // Refused in words, or the connection's regular end.
                        Ok(_) | Err(_) => break,
                    }
                }
                last.expect("some writes were acknowledged")
            })
        };
        let writers: Vec<_> = (0..8).map(writer).collect();
        sleep(Duration::from_millis(300));
        let began = Instant::now();
        member.signal(Signal::SIGTERM);
        member.reap(Duration::from_secs(10));
        if !binaries::is_original() {
            assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
        }
        writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
    });
    member.restart();
    for (key, value) in acknowledged {
        let answer = member.get(&format!("/v2/keys{key}")).expect(&[200]);
        let found: u64 = answer.json()["node"]["value"].as_str().expect("it").parse().expect("it");
        let sent: u64 = value.parse().expect("it is a number");
        // One more may have been carried out without its answer getting through.
        assert!(found == sent || found == sent + 1, "{key} is {found}, {sent} was acknowledged");
    }
}

#[test]
fn sigint_leaves_as_sigterm_does() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut member = Member::start();
        member.put("/left", "1");
        member.signal(signal);
        let status = member.reap(Duration::from_secs(5));
        assert_eq!(status.signal(), Some(signal as i32), "a shell sees 128 and this");
        member.restart();
        assert_eq!(member.get("/v2/keys/left").json()["node"]["value"], "1");
    }
}

#[test]
fn a_second_signal_kills_a_member_that_still_waits_for_a_request() {
    if binaries::is_original() {
        return; // It does not wait for this request.
    }
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut member = Member::start();
        member.put("/left", "1");
        let mut half = member.connect();
        let request = b"PUT /v2/keys/half HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nvalue=";
        half.send_bytes(request).expect("the member reads");
        // Whoever comes later is answered: this one has been taken on.
        member.put("/left", "2");
        member.signal(Signal::SIGTERM);
        sleep(Duration::from_millis(300));
        assert!(!member.has_ended(), "it did not wait: this test shows nothing");
        member.signal(second);
        let status = member.reap(Duration::from_secs(5));
        assert_eq!(status.signal(), Some(second as i32));
        member.restart();
        assert_eq!(member.get("/v2/keys/left").json()["node"]["value"], "2");
    }
}

#[test]
fn what_was_written_is_there_after_a_restart_with_its_indexes() {
    let mut member = Member::start();
    member.put("/a/b", "1");
    member.ask(&Request::put("/v2/keys/a/c", "2").query(&[("ttl", "5000")]));
    member.ask(&Request::new("PUT", "/v2/keys/d").query(&[("dir", "true"), ("ttl", "6000")]));
    let index = member.put("/_hidden", "3");
    let before = member.get("/v2/keys/a?recursive=true&sorted=true").text();
    let id = member.get("/v2/members").text();
    member.stop();
    member.restart();
    let after = member.get("/v2/keys/a?recursive=true&sorted=true");
    assert!(index <= after.index());
    let fixed = |text: &str| {
        let ttl = text.find("\"ttl\":").expect("one of them has a ttl");
        let end = ttl + text[ttl..].find(',').expect("it goes on");
        format!("{}{}", &text[..ttl], &text[end..])
    };
    assert_eq!(fixed(&after.text()), fixed(&before));
    assert_eq!(member.get("/v2/members").text(), id);
    assert_eq!(member.get("/v2/keys/d").json()["node"]["dir"], true);
}
