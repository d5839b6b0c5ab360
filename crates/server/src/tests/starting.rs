//! Stories of how a member begins: alone in its directory, founded whole or not at all.

use super::*;

#[test]
fn a_member_that_has_stopped_leaves_its_files_to_others() {
    let (mem, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        handle.write(set("/a", "1")).await.unwrap();
        handle.stop().await;
    });
    let operations = mem.operations();
    drop(handle);
    assert_eq!(mem.operations(), operations, "it writes though it has given up its locks");
}

#[test]
fn a_data_directory_serves_one_process() {
    let (_, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    let second = start_on(&disk, mem_config()).unwrap_err();
    assert!(matches!(second, StartError::InUse { .. }), "{second}");
    runtime().block_on(handle.stop());
    runtime().block_on(start_on(&disk, mem_config()).unwrap().stop());
}

#[test]
fn a_log_directory_serves_one_process() {
    let (_, disk) = mem();
    let with = |data: &str, wal: &str| {
        let wal_dir = Some(wal.into());
        start_on(&disk, Config { wal_dir, ..config(Path::new(data)) })
    };
    let one = with("/one", "/wal").unwrap();
    runtime().block_on(one.ready());
    let Err(StartError::Other(text)) = with("/two", "/wal") else { panic!("not refused") };
    assert!(text.contains("in use") && text.contains("--wal-dir"), "{text}");
    runtime().block_on(one.stop());
    runtime().block_on(with("/one", "/wal").unwrap().stop());
}

#[test]
fn data_of_the_original_is_left_alone() {
    let wal = "member/wal/0000000000000000-0000000000000000.wal";
    for found in [wal, "member/snap/db", "member/snap/0000000000000002-0000000000000005.snap"] {
        let (mem, disk) = mem();
        let path = Path::new("/data").join(found);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        disk.open(&path, base::Open::Create).unwrap();
        let operations = mem.operations();
        let error = start_on(&disk, mem_config()).unwrap_err();
        assert!(error.to_string().contains(found), "{error}");
        assert_eq!(mem.operations(), operations, "{found}: something was touched");
    }
    let (mem, disk) = mem();
    disk.create_dir_all(Path::new("/data/conf")).unwrap();
    let operations = mem.operations();
    assert!(matches!(start_on(&disk, mem_config()), Err(StartError::Original { .. })));
    assert_eq!(mem.operations(), operations);
}

#[test]
fn what_is_no_data_of_ours_is_refused_with_nothing_touched() {
    for path in ["/data/member/wal/0000000000000001.log", "/data/member/keyspace"] {
        let (mem, disk) = mem();
        let path = Path::new(path);
        disk.create_dir_all(Path::new("/data/member/wal")).unwrap();
        let file = disk.open(path, base::Open::Create).unwrap();
        file.write_at(&[7; 5_000], 0).unwrap();
        let names = || disk.list(Path::new("/data/member")).unwrap();
        let before = (names(), mem.used());
        let StartError::Other(text) = start_on(&disk, mem_config()).unwrap_err() else {
            panic!("another refusal")
        };
        let path = path.display().to_string();
        assert!(text.contains(&path) && text.contains("choose another data dir"), "{text}");
        assert_eq!((names(), mem.used()), before);
    }
}

#[test]
fn flags_that_do_not_fit_together_are_refused_with_nothing_touched() {
    let url = |port: u16| format!("http://localhost:{port}");
    let row = |name: &str, port| (name.to_owned(), vec![url(port)]);
    let base = mem_config();
    let cases = [
        (
            Config { name: "other".to_owned(), ..base.clone() },
            "couldn't find local name \"other\" in the initial cluster configuration",
        ),
        (
            Config { peer_urls: vec![url(7001)], ..base.clone() },
            "--initial-cluster has default=http://localhost:2380 but missing from \
             --initial-advertise-peer-urls=http://localhost:7001",
        ),
        (
            Config { peer_urls: vec![url(2380), url(7001)], ..base.clone() },
            "--initial-advertise-peer-urls has http://localhost:7001 but missing from \
             --initial-cluster=default=http://localhost:2380",
        ),
        (
            Config { initial_cluster: vec![row("default", 2380), row("b", 2380)], ..base.clone() },
            "duplicate url http://localhost:2380",
        ),
        (
            Config { initial_cluster: vec![row("default", 2380), row("b", 2381)], ..base.clone() },
            "there is no network to ask other members over",
        ),
        (Config { new_cluster: false, ..base }, "lists no other member"),
    ];
    for (config, text) in cases {
        let (mem, disk) = mem();
        let error = start_on(&disk, config).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert!(!error.contains('\n'), "{error}");
        assert_eq!(mem.operations(), 0, "{text}");
    }
}

#[test]
fn a_member_may_be_listed_by_name_and_advertised_by_address() {
    let network = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _entered = network.enter();
    let (_, disk) = mem();
    let advertise = |url: &str| Config { peer_urls: vec![url.to_owned()], ..mem_config() };
    let error = start_on(&disk, advertise("http://127.0.0.2:2380")).unwrap_err().to_string();
    assert!(error.contains("give both the same URLs"), "{error}");
    let error = start_on(&disk, advertise("http://no-such-host.invalid:2380")).unwrap_err();
    let text = "give both the same URLs (resolve no-such-host.invalid:2380: ";
    assert!(error.to_string().contains(text), "{error}");
    // Listed as localhost.
    let member = start_on(&disk, advertise("http://127.0.0.1:2380")).unwrap();
    network.block_on(member.stop());
}

#[test]
fn a_member_that_is_there_ignores_the_initial_cluster() {
    let (_, disk) = mem();
    let first = start_on(&disk, mem_config()).unwrap();
    runtime().block_on(first.stop());
    let config = Config {
        initial_cluster: vec![("x".to_owned(), vec!["http://y:1".to_owned()])],
        initial_cluster_token: "another".to_owned(),
        ..mem_config()
    };
    let again = start_on(&disk, config).unwrap();
    assert_eq!(again.member_id(), first.member_id());
    assert_eq!(again.cluster_id(), first.cluster_id());
    runtime().block_on(again.stop());
}

#[test]
fn founding_a_member_survives_a_loss_of_power_at_every_step() {
    let (mem, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        handle.stop().await;
    });
    let steps = mem.operations();
    assert!(steps > 10);
    for step in 0..steps {
        let disk = MemDisk::new(step);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        disk.fail_after(step);
        // It may fail at once, or after a while, or have just been done.
        if let Ok(handle) = start_on(&shared, mem_config()) {
            runtime().block_on(async {
                tokio::select! {
                    () = handle.ready() => {}
                    _ = handle.failed() => {}
                }
                handle.stop().await;
            });
        }
        disk.crash();
        let again = start_on(&shared, mem_config())
            .unwrap_or_else(|error| panic!("after step {step}: {error}"));
        runtime().block_on(async {
            again.ready().await;
            again.write(set("/a", "1")).await.unwrap();
            again.stop().await;
        });
    }
}

#[test]
fn a_fresh_member_on_a_real_disk_is_ready_without_waiting_for_a_tick() {
    let dir = real_dir();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let began = Instant::now();
    let handle = start_on(&disk, slow_ticks(config(&dir.path().join("m")))).unwrap();
    runtime().block_on(handle.ready());
    runtime().block_on(handle.stop());
    assert!(began.elapsed() < TICK, "{:?}", began.elapsed());
}
