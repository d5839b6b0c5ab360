//! Whole data directories, made here as 3.5 and later write them, and damaged ones. Those that real
//! etcd made are imported in `e2e`.

use std::{path::Path, sync::Arc};

use backend::Backend;
use base::{Disk, Open, disk::MemDisk, version::THIS};
use member::{Bootstrap, Place, initial};
use mvcc::Kind;
use prost::Message as _;
use proto::{
    etcdserverpb::{
        AlarmRequest, AlarmType, DeleteRangeRequest, LeaseCheckpoint, LeaseCheckpointRequest,
        LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        alarm_request::AlarmAction, request_op,
    },
    mvccpb::KeyValue,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use state::State;

use super::{Import, ImportError, Imported, import};
use crate::{
    bolt::tests::{Content, Rows, file},
    log::tests::Maker,
    messages::{Entry, Lease, MemberAttributes, Present, RaftRequest, RequestHeader},
};

const SNAP: &str = "/from/member/snap";
const WAL: &str = "/from/member/wal";
/// The last entry that is in the file.
const CONSISTENT: u64 = 7;
/// The last one that the log says to be committed.
const COMMIT: u64 = 11;

/// What real etcd 3.4 and 3.5, 3.6 write there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    V3_5,
    V3_6,
}

/// What the file holds at [`CONSISTENT`].
fn buckets(version: Version, leases: &[Lease]) -> Vec<(&'static str, Content)> {
    let mut meta = vec![
        (b"confState".to_vec(), br#"{"voters":[1],"auto_leave":false}"#.to_vec()),
        (b"consistent_index".to_vec(), CONSISTENT.to_be_bytes().to_vec()),
    ];
    if version == Version::V3_6 {
        meta.push((b"storageVersion".to_vec(), b"3.6.0".to_vec()));
    }
    meta.push((b"term".to_vec(), 2_u64.to_be_bytes().to_vec()));
    let text = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    let keys = vec![pair(2, "a", "1", (2, 1), 0), pair(3, "b", "x", (3, 1), 7)];
    let leases =
        leases.iter().map(|lease| (lease.id.to_be_bytes().to_vec(), lease.encode_to_vec()));
    vec![
        ("alarm", Content::Inline(Vec::new())),
        ("auth", Content::Inline(vec![(b"authRevision".to_vec(), 1_u64.to_be_bytes().to_vec())])),
        ("authRoles", Content::Inline(Vec::new())),
        ("authUsers", Content::Inline(Vec::new())),
        (
            "cluster",
            Content::Inline(vec![
                text("clusterVersion", "3.5.0"),
                text("downgrade", r#"{"target-version":"","enabled":false}"#),
            ]),
        ),
        ("key", Content::Rows(keys)),
        ("lease", Content::Rows(leases.collect())),
        ("members", Content::Inline(vec![text("8e9e05c52164694d", r#"{"id":1,"name":"a"}"#)])),
        ("members_removed", Content::Inline(vec![text("2", "removed")])),
        ("meta", Content::Inline(meta)),
    ]
}

fn pair(
    main: i64,
    key: &str,
    value: &str,
    (create_revision, version): (i64, i64),
    lease: i64,
) -> (Vec<u8>, Vec<u8>) {
    let name = [&main.to_be_bytes()[..], b"_", &[0; 8]].concat();
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    let pair = KeyValue { key, value, create_revision, version, mod_revision: main, lease };
    (name, pair.encode_to_vec())
}

fn put(key: &str, value: &str, lease: i64) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    PutRequest { key, value, lease, ..PutRequest::default() }
}

/// All entries, of which those after [`CONSISTENT`] are not in the file, and the last one is behind
/// [`COMMIT`].
fn entries() -> Vec<Entry> {
    let client = || RaftRequest { header: Some(RequestHeader::default()), ..Default::default() };
    let change = json!({"id": 1, "peerURLs": ["http://a:2380"]}).to_string();
    let change = crate::messages::ConfChange { kind: 0, context: change.into() };
    let requests = [
        None,
        None,
        Some(RaftRequest { cluster_member_attr_set: Some(MemberAttributes {}), ..client() }),
        Some(RaftRequest { cluster_version_set: Some(Present {}), ..client() }),
        Some(RaftRequest { put: Some(put("a", "1", 0)), ..client() }),
        Some(RaftRequest { lease_grant: Some(LeaseGrantRequest { id: 7, ttl: 100 }), ..client() }),
        Some(RaftRequest { put: Some(put("b", "x", 7)), ..client() }),
        Some(RaftRequest { put: Some(put("a", "2", 0)), ..client() }),
        Some(RaftRequest {
            lease_checkpoint: Some(LeaseCheckpointRequest {
                checkpoints: vec![LeaseCheckpoint { id: 7, remaining_ttl: 40 }],
            }),
            ..client()
        }),
        Some(RaftRequest { txn: Some(both()), ..client() }),
        None,
        Some(RaftRequest { put: Some(put("late", "4", 0)), ..client() }),
    ];
    let mut all = Vec::new();
    for (request, index) in requests.into_iter().zip(1..) {
        // The first is a change of the members, and so is the eleventh, of the newer kind.
        let (kind, data) = match (index, request) {
            (1, _) => (1, change.encode_to_vec()),
            (11, _) => (2, Vec::new()),
            (_, request) => (0, request.map_or_else(Vec::new, |one| one.encode_to_vec())),
        };
        all.push(Entry { kind, term: 2, index, data: data.into() });
    }
    all
}

/// A transaction that puts and deletes.
fn both() -> TxnRequest {
    let op = |request| RequestOp { request: Some(request) };
    let delete = DeleteRangeRequest { key: "b".into(), ..DeleteRangeRequest::default() };
    TxnRequest {
        success: vec![
            op(request_op::Request::RequestPut(put("c", "3", 0))),
            op(request_op::Request::RequestDeleteRange(delete)),
        ],
        ..TxnRequest::default()
    }
}

fn log() -> Vec<(String, Vec<u8>)> {
    let mut maker = Maker::new();
    for entry in entries() {
        if entry.index == 6 {
            maker.cut(6);
        }
        maker.add(&entry);
        maker.commit(entry.index.min(COMMIT));
    }
    maker.finish()
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    disk.open(path, Open::Create).unwrap().write_at(bytes, 0).unwrap();
}

/// A disk with a data directory of this.
fn directory(db: &[u8], segments: &[(String, Vec<u8>)]) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    write(disk.as_ref(), &Path::new(SNAP).join("db"), db);
    for (name, bytes) in segments {
        write(disk.as_ref(), &Path::new(WAL).join(name), bytes);
    }
    disk
}

fn sample() -> Vec<u8> {
    file(4_096, &buckets(Version::V3_5, &[LEASE]))
}

const LEASE: Lease = Lease { id: 7, ttl: 100, remaining: 60 };

fn imported(disk: &Arc<dyn Disk>, from: &str) -> Result<Imported, ImportError> {
    let all = [("a".to_owned(), vec!["http://a:2380".to_owned()])];
    let own = initial::own("a", &all).unwrap();
    let what = Import {
        from: Path::new(from),
        from_wal: None,
        to: &Place { data_dir: "/to".into(), wal_dir: None },
        as_whom: &Bootstrap::of_all(&all, own, "token"),
        prefer: None,
        without_auth: false,
    };
    import(disk, &what, &mut |_| {})
}

fn opened(disk: &Arc<dyn Disk>) -> State {
    let path = Path::new("/to/member/keyspace");
    let options = backend::Options { cache_bytes: 1 << 20 };
    let backend = Backend::open(Arc::clone(disk), path, options).unwrap();
    State::open(Arc::new(backend), THIS).unwrap()
}

/// Value, create and mod revision, version.
fn value(state: &State, key: &str) -> Option<(String, i64, i64, i64)> {
    let found = state.reader().store().get(Kind::Key, key.as_bytes(), 0).unwrap()?;
    let value = String::from_utf8_lossy(&found.value).into_owned();
    Some((value, found.create_revision, found.revision.main, found.version))
}

/// Nothing of the original's own, in its newer buckets and requests, is taken for a key or counts as
/// a revision.
#[test]
fn directories_of_3_5_and_later_are_read_with_what_is_new_in_them() {
    for version in [Version::V3_5, Version::V3_6] {
        for page_bytes in [1 << 12, 1 << 14, 1 << 16] {
            let disk = directory(&file(page_bytes, &buckets(version, &[LEASE])), &log());
            let done = imported(&disk, "/from").unwrap();
            assert_eq!((done.keys, done.dirs, done.leases), (3, 0, 1), "{done:?}");
            assert_eq!((done.revision, done.compacted), (6, -1), "{done:?}");
            assert_eq!((done.entries, done.uncommitted, done.torn), (4, 1, false), "{done:?}");
            let state = opened(&disk);
            assert_eq!(value(&state, "a"), Some(("2".to_owned(), 2, 4, 2)));
            assert_eq!(value(&state, "b"), None);
            assert_eq!(value(&state, "c"), Some(("3".to_owned(), 5, 5, 1)));
            assert_eq!(value(&state, "late"), Some(("4".to_owned(), 6, 6, 1)));
            let before = state.reader().store().get(Kind::Key, b"b", 4).unwrap().unwrap();
            assert_eq!((&before.value[..], before.lease), (&b"x"[..], 7));
        }
    }
}

/// As it was noted down last: in the file, or in the log behind that.
#[test]
fn of_a_lease_there_remains_what_was_noted_down() {
    let disk = directory(&sample(), &log());
    imported(&disk, "/from").unwrap();
    let lease = opened(&disk).reader().leases().get(7).unwrap();
    assert_eq!((lease.ttl, lease.remaining), (100, 40));
    let fresh = Lease { remaining: 0, ..LEASE };
    let other = Lease { id: 8, ttl: 50, remaining: 12 };
    let save = file(4_096, &buckets(Version::V3_6, &[fresh, other]));
    let save = [&save[..], &Sha256::digest(&save)].concat();
    let disk = directory(&[], &[]);
    write(disk.as_ref(), Path::new("/save.db"), &save);
    let done = imported(&disk, "/save.db").unwrap();
    assert!(done.checked && done.leases == 2 && done.entries == 0, "{done:?}");
    let state = opened(&disk);
    let left = |id| state.reader().leases().get(id).map(|lease| (lease.ttl, lease.remaining));
    assert_eq!((left(7), left(8)), (Some((100, 0)), Some((50, 12))));
    assert_eq!(state.reader().store().leased(7), ["b"]);
}

#[test]
fn a_lease_that_cannot_be_is_told() {
    let endless = Lease { ttl: i64::MAX, ..LEASE };
    let disk = directory(&file(4_096, &buckets(Version::V3_5, &[endless])), &log());
    let error = imported(&disk, "/from").unwrap_err().to_string();
    assert!(error.contains("lease 7 with a time to live of 9223372036854775807 s"), "{error}");
}

/// `etcdctl backup --with-v3` up to 3.4 takes entries out of the log, and leaves the file's number.
#[test]
fn a_backup_whose_numbers_were_shifted_is_refused() {
    let without = || {
        let mut all = buckets(Version::V3_5, &[LEASE]);
        all.retain(|(name, _)| !["members", "members_removed", "cluster"].contains(name));
        file(4_096, &all)
    };
    for entries_left in [CONSISTENT - 1, COMMIT] {
        let mut maker = Maker::new();
        let kept = entries().into_iter().skip(1).zip(1..).take_while(|(_, at)| *at <= entries_left);
        for (entry, index) in kept {
            maker.add(&Entry { index, ..entry });
            maker.commit(index);
        }
        let error = imported(&directory(&without(), &maker.finish()), "/from").unwrap_err();
        assert!(matches!(error, ImportError::Shifted(_)), "{entries_left}: {error}");
    }
}

/// Every place where a file can be cut, or a page of it be of zeros.
#[test]
fn what_was_cut_is_an_error_and_leaves_nothing() {
    let db = sample();
    let pages = db.len() / 4_096;
    assert!(pages > 4, "{pages}");
    let refused = |db: &[u8], what: &str| {
        let disk = directory(db, &log());
        let error = imported(&disk, "/from").expect_err(what);
        let text = error.to_string();
        assert!(text.starts_with("/from/member/snap/db: "), "{what}: {text}");
        assert!(!disk.exists("/to/member/keyspace".as_ref()).unwrap(), "{what}");
        assert!(!disk.exists("/to/member/keyspace.copy".as_ref()).unwrap(), "{what}");
    };
    for page in 0..pages {
        for length in [page * 4_096, page * 4_096 + 1, page * 4_096 + 100] {
            refused(&db[..length], &format!("cut at {length}"));
        }
        if page >= 2 {
            let mut zeros = db.clone();
            zeros[page * 4_096..(page + 1) * 4_096].fill(0);
            refused(&zeros, &format!("zeros in page {page}"));
        }
    }
}

/// Numbers that claim more than there is, or more than memory is for.
#[test]
fn sizes_that_cannot_be_are_errors() {
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut db = sample();
        change(&mut db);
        imported(&directory(&db, &log()), "/from").unwrap_err().to_string()
    };
    // Of page 2: how many pages it has, how many elements, how long the first key is.
    for (at, bytes) in [(12, &[0xff; 4][..]), (10, &[0xff; 2]), (24, &[0xff; 4])] {
        let text = error(&|db| {
            db[2 * 4_096 + at..][..bytes.len()].copy_from_slice(bytes);
        });
        assert!(text.contains("page 2 is damaged"), "{at}: {text}");
    }
    // A page size, with a checksum that matches.
    for size in [0_u32, 100, 3_000, 1 << 25, u32::MAX] {
        let text = error(&|db| {
            for page in [0, 4_096] {
                db[page + 24..page + 28].copy_from_slice(&size.to_le_bytes());
                let sum = crate::bolt::tests::sum(&db[page + 16..page + 72]);
                db[page + 72..page + 80].copy_from_slice(&sum.to_le_bytes());
            }
        });
        assert!(text.contains("it names a page size that cannot be"), "{size}: {text}");
    }
    // A record of the log, in a file that has room for it. On this disk what was never written takes
    // no memory.
    let mut segments = log();
    let (name, bytes) = segments.pop().unwrap();
    let end = bytes.len() - 4_096;
    for length in [(1_u64 << 30) + 8, 1 << 40, (1 << 56) - 8] {
        let mut bytes = bytes.clone();
        bytes[end..end + 8].copy_from_slice(&length.to_le_bytes());
        let disk = directory(&sample(), &[&segments[..], &[(name.clone(), bytes)]].concat());
        let text = imported(&disk, "/from").unwrap_err().to_string();
        assert!(text.contains("it is longer than what is left of the file"), "{length}: {text}");
    }
    let far = |main: i64| {
        let mut all = buckets(Version::V3_5, &[]);
        all.retain(|(name, _)| *name != "key");
        let rows: Rows = vec![pair(main, "a", "1", (2, 1), 0)];
        all.insert(5, ("key", Content::Rows(rows)));
        imported(&directory(&file(4_096, &all), &log()), "/from").unwrap_err().to_string()
    };
    for main in [i64::MAX, i64::MAX - 1, i64::MAX / 2 + 1] {
        assert!(far(main).contains("a revision cannot be"), "{main}");
    }
}

/// Whatever becomes of the files: they are imported or refused. No panic, no endless way, and what is
/// refused leaves nothing.
#[test]
fn random_damage_is_imported_or_refused() {
    let (db, segments) = (sample(), log());
    let mut dice = fastrand::Rng::with_seed(11);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..400 {
        let (mut db, mut segments) = (db.clone(), segments.clone());
        for _ in 0..dice.usize(1..4) {
            let which = dice.usize(..=segments.len());
            let bytes = if which == 0 { &mut db } else { &mut segments[which - 1].1 };
            if bytes.is_empty() {
                continue;
            }
            let at = dice.usize(..bytes.len());
            match dice.u8(..5) {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << dice.u8(..8),
                2 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = dice.u8(..)),
                3 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
                _ => {
                    let from = dice.usize(..bytes.len());
                    let length = dice.usize(..64).min(bytes.len() - at.max(from));
                    bytes.copy_within(from..from + length, at);
                }
            }
        }
        let disk = directory(&db, &segments);
        if imported(&disk, "/from").is_ok() {
            taken += 1;
            drop(opened(&disk));
        } else {
            refused += 1;
            assert!(!disk.exists("/to/member/keyspace".as_ref()).unwrap());
            assert!(!disk.exists("/to/member/keyspace.copy".as_ref()).unwrap());
        }
    }
    assert!(refused > 50 && taken > 50, "{refused} refused, {taken} taken");
}

/// A directory of the sample's file, and behind it these requests of clients.
fn imported_with(requests: Vec<RaftRequest>) -> (Arc<dyn Disk>, Result<Imported, ImportError>) {
    let mut maker = Maker::new();
    let behind = requests.into_iter().zip(CONSISTENT + 1..).map(|(request, index)| {
        let data = request.encode_to_vec().into();
        Entry { kind: 0, term: 2, index, data }
    });
    let before = entries().into_iter().take_while(|entry| entry.index <= CONSISTENT);
    for entry in before.chain(behind) {
        maker.add(&entry);
        maker.commit(entry.index);
    }
    let disk = directory(&sample(), &maker.finish());
    let done = imported(&disk, "/from");
    (disk, done)
}

fn success_of(requests: Vec<request_op::Request>) -> TxnRequest {
    let success = requests.into_iter().map(|request| RequestOp { request: Some(request) });
    TxnRequest { success: success.collect(), ..TxnRequest::default() }
}

/// Its answers were larger than any that a member of ours gives; and what follows has the original's
/// revisions.
#[test]
fn what_answered_more_than_we_do_is_carried_out() {
    let large = PutRequest { value: vec![b'v'; 1 << 20].into(), ..put("large", "", 0) };
    let range = || {
        let range = RangeRequest { key: "large".into(), ..RangeRequest::default() };
        request_op::Request::RequestRange(range)
    };
    let prev_kv = |key| PutRequest { prev_kv: true, ..put(key, "new", 0) };
    let mut requests: Vec<_> = (0..70).map(|_| range()).collect();
    requests.push(request_op::Request::RequestPut(prev_kv("large")));
    let delete =
        DeleteRangeRequest { key: "a".into(), prev_kv: true, ..DeleteRangeRequest::default() };
    requests.push(request_op::Request::RequestDeleteRange(delete));
    let (disk, done) = imported_with(vec![
        RaftRequest { put: Some(large), ..RaftRequest::default() },
        RaftRequest { txn: Some(success_of(requests)), ..RaftRequest::default() },
        RaftRequest { put: Some(put("behind", "x", 0)), ..RaftRequest::default() },
    ]);
    assert_eq!(done.unwrap().revision, 6);
    let state = opened(&disk);
    assert_eq!(value(&state, "large"), Some(("new".to_owned(), 4, 5, 2)));
    assert_eq!(value(&state, "a"), None);
    assert_eq!(value(&state, "behind"), Some(("x".to_owned(), 6, 6, 1)));
}

#[test]
fn what_the_original_lets_pass_without_space_is_carried_out() {
    let nested = success_of(vec![request_op::Request::RequestPut(put("nested", "x", 0))]);
    let alarm = |action: AlarmAction| {
        let (action, alarm) = (action.into(), AlarmType::Nospace.into());
        let alarm = Some(AlarmRequest { action, member_id: 1, alarm });
        RaftRequest { alarm, ..RaftRequest::default() }
    };
    let (disk, done) = imported_with(vec![
        alarm(AlarmAction::Activate),
        RaftRequest { put: Some(put("refused", "x", 0)), ..RaftRequest::default() },
        RaftRequest {
            txn: Some(success_of(vec![request_op::Request::RequestTxn(nested)])),
            ..RaftRequest::default()
        },
        alarm(AlarmAction::Deactivate),
        RaftRequest { put: Some(put("behind", "x", 0)), ..RaftRequest::default() },
    ]);
    assert_eq!(done.unwrap().revision, 5);
    let state = opened(&disk);
    assert_eq!(value(&state, "refused"), None);
    assert_eq!(value(&state, "nested"), Some(("x".to_owned(), 4, 4, 1)));
    assert_eq!(value(&state, "behind"), Some(("x".to_owned(), 5, 5, 1)));
}

/// What cannot be carried out here and was there, stops the import.
#[test]
fn what_only_we_cannot_carry_out_is_told_and_leaves_nothing() {
    let mut deep = success_of(vec![request_op::Request::RequestPut(put("deep", "x", 0))]);
    for _ in 0..60 {
        deep = success_of(vec![request_op::Request::RequestTxn(deep)]);
    }
    let (disk, done) =
        imported_with(vec![RaftRequest { txn: Some(deep), ..RaftRequest::default() }]);
    let error = done.unwrap_err().to_string();
    assert!(error.starts_with("entry 8 of the log cannot be carried out here: "), "{error}");
    assert!(!disk.exists("/to/member/keyspace".as_ref()).unwrap());
    // Nested less deep, but deeper than a client may ask for here.
    let mut nested = success_of(vec![request_op::Request::RequestPut(put("deep", "x", 0))]);
    for _ in 0..40 {
        nested = success_of(vec![request_op::Request::RequestTxn(nested)]);
    }
    let (disk, done) =
        imported_with(vec![RaftRequest { txn: Some(nested), ..RaftRequest::default() }]);
    assert_eq!(done.unwrap().revision, 4);
    assert_eq!(value(&opened(&disk), "deep"), Some(("x".to_owned(), 4, 4, 1)));
}
