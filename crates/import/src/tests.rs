//! Whole data directories, and damaged ones. Those that real etcd made are imported in `e2e`.

use std::{path::Path, sync::Arc};

use base::{Disk, disk::MemDisk};
use bytes::Bytes;
use mvcc::Kind;
use prost::Message as _;
use proto::{
    authpb::Permission,
    command::By,
    etcdserverpb::{
        AlarmRequest, AlarmType, AuthRoleAddRequest, AuthRoleGrantPermissionRequest,
        AuthUserAddRequest, AuthUserGrantRoleRequest, DeleteRangeRequest, PutRequest, RangeRequest,
        RequestOp, TxnRequest, alarm_request::AlarmAction, request_op,
    },
};
use sha2::{Digest as _, Sha256};
use state::State;

use crate::{
    ImportError, Imported,
    bolt::making::{Content, Rows, file, seal},
    log::making::Maker,
    messages::{
        Change, Entry, Lease, Present, RaftRequest, RequestHeader, SnapFile, Snapshot,
        SnapshotMetadata,
    },
    samples::{
        CONSISTENT, LEASE, SNAP, Version, WAL, buckets, entries, imported_as, opened, pair, put,
        write,
    },
};

/// The last one that the log says to be committed.
const COMMIT: u64 = 11;

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

fn imported(disk: &Arc<dyn Disk>, from: &str) -> Result<Imported, ImportError> {
    imported_as(disk, from, |_| {})
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
            }
            seal(db, 4_096);
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

#[test]
fn a_snapshot_behind_all_entries_that_can_be_is_told() {
    let metadata = Some(SnapshotMetadata { index: u64::MAX });
    let data = Snapshot { data: Bytes::new(), metadata }.encode_to_vec();
    let crc = crc32c::crc32c(&data);
    let snap = SnapFile { crc, data: data.into() }.encode_to_vec();
    let disk = directory(&sample(), &log());
    write(disk.as_ref(), &Path::new(SNAP).join("1-1.snap"), &snap);
    let error = imported(&disk, "/from").unwrap_err().to_string();
    assert!(error.contains("it says to be of entry 18446744073709551615"), "{error}");
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

fn imported_with(requests: Vec<RaftRequest>) -> (Arc<dyn Disk>, Result<Imported, ImportError>) {
    let disk = directory_with(requests);
    let done = imported(&disk, "/from");
    (disk, done)
}

/// A directory of the sample's file, and behind it these requests of clients.
fn directory_with(requests: Vec<RaftRequest>) -> Arc<dyn Disk> {
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
    directory(&sample(), &maker.finish())
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

fn asked(user: &str, auth_revision: u64, request: RaftRequest) -> RaftRequest {
    let header = Some(RequestHeader { username: user.to_owned(), auth_revision, id: 0 });
    RaftRequest { header, ..request }
}

fn put_by(user: &str, auth_revision: u64, key: &str) -> RaftRequest {
    let put = Some(put(key, "x", 0));
    asked(user, auth_revision, RaftRequest { put, ..RaftRequest::default() })
}

/// Entries that make root, and alice who may write `a` and put `lease` on it, and enable auth.
fn enabling() -> Vec<RaftRequest> {
    let add = |name: &str| {
        let hashed_password = "aGFzaA==".to_owned();
        let name = name.to_owned();
        Change::UserAdd(AuthUserAddRequest { name, hashed_password, ..Default::default() })
    };
    let grant = |user: &str, role: &str| {
        let (user, role) = (user.to_owned(), role.to_owned());
        Change::UserGrant(AuthUserGrantRoleRequest { user, role })
    };
    let perm = Permission { perm_type: 2, key: "a".into(), range_end: "".into() };
    let name = "writer".to_owned();
    let permit = AuthRoleGrantPermissionRequest { name: name.clone(), perm: Some(perm) };
    let changes = [
        add("root"),
        grant("root", "root"),
        add("alice"),
        Change::RoleAdd(AuthRoleAddRequest { name }),
        Change::RoleGrant(permit),
        grant("alice", "writer"),
        Change::Enable(Present {}),
    ];
    changes.map(|change| RaftRequest { auth: Some(change), ..RaftRequest::default() }).to_vec()
}

/// The auth revision after [`enabling`].
const ENABLED: u64 = 7;

/// What was refused takes no revision, so that what follows has the original's.
#[test]
fn users_of_the_log_are_judged_as_the_original_judged_them() {
    let mut requests = vec![put_by("", 0, "before")];
    requests.extend(enabling());
    requests.extend([
        put_by("", 0, "nobody"),
        put_by("alice", ENABLED - 1, "a"),
        put_by("alice", ENABLED, "hidden"),
        put_by("alice", ENABLED, "a"),
        put_by("root", ENABLED, "root"),
    ]);
    let disable = RaftRequest { auth: Some(Change::Disable(Present {})), ..Default::default() };
    let by_alice = asked("alice", ENABLED, disable.clone());
    requests.push(by_alice);
    let (disk, done) = imported_with(requests.clone());
    let done = done.unwrap();
    assert_eq!((done.revision, done.entries, done.refused), (6, 10, 4), "{done:?}");
    assert_eq!((done.users, done.roles, done.auth_enabled), (2, 1, true), "{done:?}");
    let state = opened(&disk);
    for (key, revision) in [("before", 4), ("a", 5), ("root", 6)] {
        assert_eq!(value(&state, key).unwrap().2, revision, "{key}");
    }
    assert!(value(&state, "nobody").is_none() && value(&state, "hidden").is_none());
    let auth = state.reader().auth();
    assert!(auth.is_enabled());
    assert_eq!(auth.revision(), ENABLED);
    assert_eq!(auth.user("alice").unwrap().password_hash.as_deref(), Some(&b"hash"[..]));
    let by = By { user: "alice".to_owned(), auth_revision: ENABLED };
    assert!(
        auth.writes(Some(&by), b"a", b"").is_ok() && auth.writes(Some(&by), b"b", b"").is_err()
    );
    // And then by nobody.
    requests.extend([asked("root", 1, disable), put_by("", 0, "free")]);
    let (disk, done) = imported_with(requests);
    assert_eq!(done.map(|done| (done.auth_enabled, done.users)).unwrap(), (false, 2));
    assert_eq!(value(&opened(&disk), "free").unwrap().2, 7);
}

/// The sample's `b` is on lease 7, and alice may not write it: 3.2 would have let her.
#[test]
fn what_versions_of_the_original_judge_differently_stops_the_import() {
    let mut requests = enabling();
    let on_lease = Some(put("a", "x", 7));
    let on_lease = RaftRequest { put: on_lease, ..RaftRequest::default() };
    requests.push(asked("alice", ENABLED, on_lease.clone()));
    let (disk, done) = imported_with(requests);
    let error = done.unwrap_err();
    assert!(matches!(error, ImportError::Judgement(15)), "{error}");
    assert!(!disk.exists("/to/member/keyspace".as_ref()).unwrap());
    let mut requests = enabling();
    requests.push(asked("root", ENABLED, on_lease));
    assert_eq!(imported_with(requests).1.unwrap().revision, 4);
}

#[test]
fn users_that_are_left_behind_have_been_asked_for_nonetheless() {
    let mut requests = enabling();
    requests.push(put_by("alice", ENABLED, "b"));
    let disk = directory_with(requests);
    let done = imported_as(&disk, "/from", |what| what.without_auth = true).unwrap();
    assert_eq!((done.users, done.roles, done.auth_enabled), (0, 0, false), "{done:?}");
    assert_eq!((done.refused, done.revision), (1, 3), "{done:?}");
}
