//! Files as etcd 3 has them, made here.

use std::path::Path;

use bytes::Bytes;
use mvcc::Record;
use prost::Message as _;
use proto::{
    authpb::{self, UserAddOptions},
    mvccpb::KeyValue,
};
use sha2::{Digest as _, Sha256};
use state::auth::Auth;

use super::{Db, check_sum};
use crate::{
    Damage, Note,
    bolt::{
        making::{Content, Rows, file},
        tests::disk,
    },
};

/// Revision, whether it is a deletion, key, create revision, version.
type Change = (i64, i64, bool, &'static str, i64, i64);

fn row(&(main, sub, deleted, key, create_revision, version): &Change) -> (Vec<u8>, Vec<u8>) {
    let mut name = main.to_be_bytes().to_vec();
    name.push(b'_');
    name.extend(sub.to_be_bytes());
    let pair = if deleted {
        name.push(b't');
        KeyValue { key: key.into(), ..KeyValue::default() }
    } else {
        let (key, value) = (key.into(), format!("{key} at {main}").into());
        KeyValue { key, value, create_revision, version, mod_revision: main, lease: 7 }
    };
    (name, pair.encode_to_vec())
}

fn revision(main: i64) -> Vec<u8> {
    row(&(main, 0, false, "", 0, 0)).0
}

fn read(keys: Rows, meta: Rows) -> Result<(Db, Vec<Vec<Record>>, i64), Damage> {
    let buckets = [("key", Content::Rows(keys)), ("meta", Content::Inline(meta))];
    let db = Db::open(disk(&file(1_024, &buckets)).as_ref(), Path::new("/db"))?;
    let mut all = Vec::new();
    let mut history = db.history()?;
    while let Some(records) = history.next_revision()? {
        all.push(records);
    }
    let last = history.last;
    Ok((db, all, last))
}

const HISTORY: [Change; 5] = [
    (3, 0, false, "a", 2, 2),
    (9, 0, false, "b", 9, 1),
    (9, 1, true, "a", 0, 0),
    (9, 3, false, "c", 9, 1),
    (12, 0, false, "c", 9, 2),
];

#[test]
fn what_happened_at_a_revision_comes_together_with_its_numbers() {
    let meta = vec![
        (b"consistent_index".to_vec(), 77_u64.to_be_bytes().to_vec()),
        (b"finishedCompactRev".to_vec(), revision(5)),
        (b"scheduledCompactRev".to_vec(), revision(8)),
    ];
    let (db, all, last) = read(HISTORY.iter().map(row).collect(), meta).unwrap();
    let counts: Vec<_> =
        all.iter().map(|records| (records[0].revision.main, records.len())).collect();
    assert_eq!(counts, [(3, 1), (9, 3), (12, 1)]);
    assert_eq!((db.consistent_index, db.compacted, db.swept, db.auth_enabled), (77, 8, 5, false));
    let standing = db.standing(last);
    assert_eq!((standing.revision, standing.compacted, standing.swept), (12, 8, 5));
    let a = &all[1][1];
    assert_eq!((&a.name[..], a.deleted, a.revision.sub, a.version), (&b"a"[..], true, 1, 0));
    let c = &all[2][0];
    assert_eq!((&c.value[..], c.create_revision, c.version, c.lease), (&b"c at 12"[..], 9, 2, 7));
}

/// As when all keys were deleted, and that was compacted.
#[test]
fn a_store_without_rows_stands_where_it_was_compacted() {
    let meta = vec![(b"finishedCompactRev".to_vec(), revision(50))];
    let (db, all, last) = read(Vec::new(), meta).unwrap();
    assert!(all.is_empty());
    assert_eq!(db.standing(last).revision, 50);
}

#[test]
fn rows_that_etcd_does_not_write_are_damage() {
    let sound = row(&HISTORY[0]);
    let with_key = |key: Vec<u8>| vec![(key, sound.1.clone())];
    let mut long = sound.0.clone();
    long.push(b'x');
    let cases = [
        (with_key(sound.0[..16].to_vec()), "a revision is too short"),
        (with_key(long), "a revision is too long"),
        (with_key([&3_i64.to_be_bytes()[..], b"-", &[0; 8]].concat()), "a revision cannot be"),
        (with_key([&(-3_i64).to_be_bytes()[..], b"_", &[0; 8]].concat()), "a revision cannot be"),
        (with_key([&3_i64.to_be_bytes()[..], b"_", &[0xff; 8]].concat()), "a revision cannot be"),
        (with_key(revision(4)), "numbers that do not fit"),
        (vec![(sound.0.clone(), b"\xff\xff".to_vec())], "cannot be decoded"),
        (vec![row(&(3, 0, false, "", 2, 2))], "has no key"),
        (vec![row(&(3, 0, false, "a", 4, 1))], "numbers that do not fit"),
        (vec![row(&(3, 0, false, "a", 2, 0))], "numbers that do not fit"),
    ];
    for (rows, why) in cases {
        let error = read(rows, Vec::new()).unwrap_err().to_string();
        assert!(error.contains(why) && error.starts_with("/db: page "), "{error}");
    }
}

#[test]
fn a_checksum_at_the_end_is_checked_where_there_is_one() {
    let mut bytes = file(1_024, &[("key", Content::Rows(HISTORY.iter().map(row).collect()))]);
    let check = |bytes: &[u8]| check_sum(disk(bytes).as_ref(), Path::new("/db"), &mut |_, _| {});
    assert!(!check(&bytes).unwrap());
    bytes.extend(Sha256::digest(&bytes));
    assert!(check(&bytes).unwrap());
    bytes[3_000] ^= 1;
    assert!(check(&bytes).unwrap_err().to_string().contains("its SHA-256 does not match"));
}

fn user(
    name: &str,
    password: &str,
    roles: &[&str],
    no_password: Option<bool>,
) -> (Vec<u8>, Vec<u8>) {
    let options = no_password.map(|no_password| UserAddOptions { no_password });
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let (name, password) = (Bytes::from(name.to_owned()), Bytes::from(password.to_owned()));
    let user = authpb::User { name: name.clone(), password, roles, options };
    (name.to_vec(), user.encode_to_vec())
}

fn role(name: &str, permissions: &[(i32, &'static str, &'static str)]) -> (Vec<u8>, Vec<u8>) {
    let permission = |&(perm_type, key, end): &(i32, &'static str, &'static str)| {
        let (key, range_end) = (key.into(), end.into());
        authpb::Permission { perm_type, key, range_end }
    };
    let key_permission = permissions.iter().map(permission).collect();
    let name = Bytes::from(name.to_owned());
    (name.to_vec(), authpb::Role { name, key_permission }.encode_to_vec())
}

fn auth_of(auth: Rows, users: Rows, roles: Rows) -> Result<(Auth, Vec<Note>), Damage> {
    let buckets = [
        ("auth", Content::Inline(auth)),
        ("authRoles", Content::Rows(roles)),
        ("authUsers", Content::Rows(users)),
    ];
    let db = Db::open(disk(&file(1_024, &buckets)).as_ref(), Path::new("/db"))?;
    let mut notes = Vec::new();
    Ok((db.auth(&mut notes)?, notes))
}

#[test]
fn users_and_roles_are_those_of_the_buckets() {
    let users = vec![
        user("alice", "$2a$10$a", &["a"], Some(false)),
        user("bob", "", &[], Some(true)),
        user("root", "$2a$10$r", &["root"], None),
        (vec![0xff], user("x", "", &[], None).1),
    ];
    let (read, both, unknown) = (0, 2, 7);
    let odd = [(read, "a", "c"), (both, "", "c"), (unknown, "x", ""), (both, "b", "\0")];
    let numbers = vec![
        (b"authEnabled".to_vec(), vec![1]),
        (b"authRevision".to_vec(), 9_u64.to_be_bytes().to_vec()),
    ];
    let (auth, notes) = auth_of(numbers, users, vec![role("a", &odd), role("b", &[])]).unwrap();
    assert!(auth.is_enabled() && !auth.is_open_to_guests());
    assert_eq!(auth.revision(), 9);
    let all: Vec<_> = auth.users().map(|name| (name, auth.user(name).unwrap())).collect();
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["alice", "bob", "root"]);
    let hash = |at: usize| all[at].1.password_hash.as_deref();
    assert_eq!((hash(0), hash(1), hash(2)), (Some(&b"$2a$10$a"[..]), None, Some(&b"$2a$10$r"[..])));
    assert!(all[0].1.roles.contains("a") && all[2].1.roles.contains("root"));
    assert!(all.iter().all(|(_, user)| user.since == 9));
    assert_eq!(auth.role("a").unwrap().permissions().len(), 2);
    let none = || Note::NoPermission { role: "a".to_owned() };
    let unreadable = Note::Unreadable { what: "user", name: "\\xff".to_owned() };
    assert_eq!(notes, [unreadable, none(), none()]);
    // As a member begins.
    let (fresh, _) = auth_of(Vec::new(), Vec::new(), Vec::new()).unwrap();
    assert_eq!((fresh.is_enabled(), fresh.revision()), (false, 1));
    let damaged = vec![(b"x".to_vec(), b"\xff".to_vec())];
    let error = auth_of(Vec::new(), damaged.clone(), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("a user of it cannot be decoded"), "{error}");
    let error = auth_of(Vec::new(), Vec::new(), damaged).unwrap_err().to_string();
    assert!(error.contains("a role of it cannot be decoded"), "{error}");
}
