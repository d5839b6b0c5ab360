//! What the original refuses, what its log changes, and two sets that become one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proto::{
    authpb::{Permission, UserAddOptions, permission::Type},
    command::{By, LeaseRevoke, Op, Patterns},
    etcdserverpb::{
        AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGrantRoleRequest,
        CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest,
        RangeRequest, RequestOp, TxnRequest, request_op::Request,
    },
};
use state::auth::{Auth, Parts, Role, User};

use super::{carry_out, judge, merged, salt};
use crate::{
    ImportError, Prefer,
    alarms::Verdict::{self, Passes, Refused, Unknown},
    messages::{Change, Present},
};

/// Of all users and roles made here.
const REVISION: u64 = 5;

fn user(roles: &[&str]) -> User {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    User { password_hash: Some("hash".into()), roles, since: 1 }
}

fn role(patterns: &[&str]) -> Role {
    let write: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    Role::of(&Patterns { read: write.clone(), write }).unwrap()
}

fn parts(users: &[(&str, &[&str])], roles: &[(&str, &[&str])]) -> Parts {
    let users = users.iter().map(|(name, roles)| ((*name).to_owned(), user(roles)));
    let roles = roles.iter().map(|(name, patterns)| ((*name).to_owned(), role(patterns)));
    let (users, roles) = (users.collect(), roles.collect());
    Parts { enabled: true, anonymous: false, revision: REVISION, users, roles }
}

/// Alice writes below `a/`, and reads nothing below `a/blind/`.
fn auth() -> Auth {
    let mut parts = parts(&[("root", &["root"]), ("alice", &["a"])], &[]);
    let mut a = Role::default();
    for (kind, key, range_end) in [
        (Type::Readwrite, "a/", "a/blind/"),
        (Type::Write, "a/blind/", "a/blind0"),
        (Type::Readwrite, "a/blind0", "a0"),
    ] {
        let (key, range_end) = (key.into(), range_end.into());
        assert!(a.permit(Permission { perm_type: kind.into(), key, range_end }));
    }
    parts.roles.insert("a".to_owned(), a);
    parts.into()
}

fn by(user: &str, auth_revision: u64) -> By {
    By { user: user.to_owned(), auth_revision }
}

fn put(key: &'static str) -> PutRequest {
    PutRequest { key: key.into(), ..PutRequest::default() }
}

fn delete(key: &'static str, range_end: &'static str, prev_kv: bool) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv }
}

fn txn(requests: impl IntoIterator<Item = Request>) -> TxnRequest {
    let ops = requests.into_iter().map(|request| RequestOp { request: Some(request) });
    // What is not carried out counts as well.
    TxnRequest { failure: ops.collect(), ..TxnRequest::default() }
}

fn range(key: &'static str) -> Request {
    Request::RequestRange(RangeRequest { key: key.into(), ..RangeRequest::default() })
}

/// On lease 7 lie `a/x` and `b`, on lease 8 only `a/x`.
fn judged(by: &By, op: &Op) -> Verdict {
    judge(&auth(), by, op, &|lease| match lease {
        7 => vec!["a/x".into(), "b".into()],
        8 => vec!["a/x".into()],
        _ => Vec::new(),
    })
}

#[test]
fn writes_are_judged_as_by_the_original() {
    let alice = by("alice", REVISION);
    let prev_kv = |key| PutRequest { prev_kv: true, ..put(key) };
    let leased = |key, lease| PutRequest { lease, ..put(key) };
    let nested = |request| Request::RequestTxn(txn([request]));
    let compare = |key: &'static str, range_end: &'static str| TxnRequest {
        compare: vec![Compare {
            key: key.into(),
            range_end: range_end.into(),
            ..Compare::default()
        }],
        ..TxnRequest::default()
    };
    for (op, expected) in [
        (Op::Put(put("a/x")), Passes),
        (Op::Put(put("b")), Refused),
        (Op::Put(prev_kv("a/x")), Passes),
        (Op::Put(prev_kv("a/blind/x")), Refused),
        // Only 3.3 and later look at the others on the lease.
        (Op::Put(leased("a/y", 8)), Passes),
        (Op::Put(leased("a/y", 7)), Unknown),
        (Op::Put(leased("b", 7)), Refused),
        (Op::DeleteRange(delete("a/", "a0", false)), Passes),
        (Op::DeleteRange(delete("a/", "a0", true)), Refused),
        (Op::DeleteRange(delete("a/", "b", false)), Refused),
        (Op::Txn(txn([Request::RequestPut(put("a/x")), range("a/x")])), Passes),
        (Op::Txn(txn([Request::RequestPut(put("a/x")), Request::RequestPut(put("b"))])), Refused),
        (Op::Txn(txn([range("a/blind/x")])), Refused),
        (Op::Txn(txn([Request::RequestDeleteRange(delete("a/", "a0", true))])), Refused),
        (Op::Txn(compare("a/x", "")), Passes),
        (Op::Txn(compare("a/", "a0")), Refused),
        // These only 3.5 and later look at.
        (Op::Txn(txn([Request::RequestPut(prev_kv("a/blind/x"))])), Unknown),
        (Op::Txn(txn([Request::RequestPut(leased("a/y", 7))])), Unknown),
        (Op::Txn(txn([nested(Request::RequestPut(put("a/x")))])), Passes),
        (Op::Txn(txn([nested(Request::RequestPut(put("b")))])), Unknown),
        (Op::Txn(txn([nested(nested(range("b")))])), Unknown),
        (Op::Txn(txn([nested(range("b")), range("b")])), Refused),
        (Op::LeaseRevoke(LeaseRevoke { id: 8, ..LeaseRevoke::default() }), Passes),
        (Op::LeaseRevoke(LeaseRevoke { id: 7, ..LeaseRevoke::default() }), Unknown),
    ] {
        assert_eq!(judged(&alice, &op), expected, "{op:?}");
    }
}

#[test]
fn who_asks_is_known_by_the_name_and_the_revision() {
    let op = Op::Put(put("a/x"));
    for (by, expected) in [
        (by("alice", REVISION), Passes),
        (by("alice", REVISION + 1), Passes),
        (by("alice", REVISION - 1), Refused),
        (by("root", REVISION), Passes),
        (by("root", REVISION - 1), Refused),
        (by("", 0), Refused),
        (by("nobody", REVISION), Refused),
        // 3.0 wrote down no revision.
        (by("alice", 0), Unknown),
    ] {
        assert_eq!(judged(&by, &op), expected, "{by:?}");
    }
    let off = Auth::from(Parts { enabled: false, ..Parts::from(&auth()) });
    assert_eq!(judge(&off, &by("", 0), &op, &|_| Vec::new()), Passes);
}

/// Nor what members do by themselves.
#[test]
fn what_the_original_asks_nobody_for_passes() {
    let leased = LeaseRevoke { id: 9, ..LeaseRevoke::default() };
    let compact = proto::command::Compact { revision: CompactionRequest::default().revision };
    for op in [
        Op::LeaseGrant(LeaseGrantRequest { id: 9, ttl: 9 }),
        Op::Compact(compact),
        Op::LeaseRevoke(leased),
    ] {
        assert_eq!(judged(&by("", 0), &op), Passes, "{op:?}");
    }
}

fn changed(auth: &mut Auth, by: &By, change: Change) -> bool {
    carry_out(auth, by, change, salt(7, 77)).unwrap()
}

#[test]
fn passwords_of_the_log_are_kept_as_hashes_whichever_version_wrote_it() {
    let nobody = by("", 0);
    let mut auth = Auth::default();
    let add = |name: &str, password: &str| AuthUserAddRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        ..AuthUserAddRequest::default()
    };
    assert!(changed(&mut auth, &nobody, Change::UserAdd(add("old", "clear"))));
    let hashed_password = STANDARD.encode("$2a$10$hash");
    let new = AuthUserAddRequest { hashed_password, ..add("new", "") };
    assert!(changed(&mut auth, &nobody, Change::UserAdd(new)));
    let options = Some(UserAddOptions { no_password: true });
    let none = AuthUserAddRequest { options, ..add("none", "") };
    assert!(changed(&mut auth, &nobody, Change::UserAdd(none)));
    let hash = |auth: &Auth, name: &str| auth.user(name).unwrap().password_hash.clone();
    let is = |auth: &Auth, name: &str, password: &str| {
        let hash = hash(auth, name).unwrap();
        assert!(hash.starts_with(b"$2a$10$"), "{hash:?}");
        bcrypt::verify(password, str::from_utf8(&hash).unwrap()).unwrap()
    };
    assert!(is(&auth, "old", "clear") && !is(&auth, "old", "other"));
    assert_eq!(hash(&auth, "new").unwrap(), "$2a$10$hash");
    assert_eq!(hash(&auth, "none"), None);
    let change = AuthUserChangePasswordRequest {
        name: "old".to_owned(),
        password: "other".to_owned(),
        ..AuthUserChangePasswordRequest::default()
    };
    assert!(changed(&mut auth, &nobody, Change::UserPassword(change)));
    assert!(is(&auth, "old", "other"));
    assert_eq!((auth.revision(), auth.user("old").unwrap().since), (5, 5));
    assert!(!changed(&mut auth, &nobody, Change::UserAdd(add("old", "again"))), "it is there");
    let wrong = AuthUserAddRequest { hashed_password: "?".to_owned(), ..add("wrong", "") };
    let error = carry_out(&mut auth, &nobody, Change::UserAdd(wrong), salt(7, 77)).unwrap_err();
    assert!(error.starts_with("a password of it cannot be read: "), "{error}");
}

/// Every initial member of a cluster imports the same log, and they must not differ.
#[test]
fn whoever_imports_a_log_makes_the_same_hashes_and_no_two_of_a_log_are_alike() {
    let hash = |index, id| {
        let (name, password) = ("a".to_owned(), "secret".to_owned());
        let add = AuthUserAddRequest { name, password, ..AuthUserAddRequest::default() };
        let mut auth = Auth::default();
        assert_eq!(
            carry_out(&mut auth, &by("", 0), Change::UserAdd(add), salt(index, id)),
            Ok(true)
        );
        auth.user("a").unwrap().password_hash.clone().unwrap()
    };
    assert_eq!(hash(7, 77), hash(7, 77));
    for (index, id) in [(8, 77), (7, 78)] {
        // The salt is behind kind and cost.
        assert_ne!(hash(7, 77)[7..29], hash(index, id)[7..29], "{index} {id}");
    }
}

/// As whom they are, and not as whom they were when they logged in.
#[test]
fn only_root_changes_users_once_they_are_asked_for() {
    let mut auth = auth();
    let role = || Change::RoleAdd(AuthRoleAddRequest { name: "new".to_owned() });
    for who in ["", "alice", "nobody"] {
        assert!(!changed(&mut auth, &by(who, REVISION), role()), "{who}");
    }
    assert!(changed(&mut auth, &by("root", 0), role()));
    let (role, user) = ("new".to_owned(), "alice".to_owned());
    let permission = Permission { key: "b".into(), ..Permission::default() };
    let grant = AuthRoleGrantPermissionRequest { name: role.clone(), perm: Some(permission) };
    let root = by("root", REVISION);
    assert!(changed(&mut auth, &root, Change::RoleGrant(grant)));
    let grant = AuthUserGrantRoleRequest { user, role };
    assert!(changed(&mut auth, &root, Change::UserGrant(grant)));
    assert_eq!(auth.revision(), REVISION + 3);
    assert_eq!(auth.reads(Some(&by("alice", REVISION + 3)), b"b", b""), Ok(()));
    let delete = || Change::UserDelete(AuthUserDeleteRequest { name: "root".to_owned() });
    assert!(!changed(&mut auth, &root, delete()), "while they are asked for");
    assert!(changed(&mut auth, &by("", 0), Change::Enable(Present {})), "the file has it already");
    assert!(changed(&mut auth, &root, Change::Disable(Present {})));
    assert!(changed(&mut auth, &by("", 0), delete()));
    assert!(!auth.is_enabled() && auth.user("root").is_none());
}

fn v2(users: &[(&str, &[&str])], roles: &[(&str, &[&str])]) -> Parts {
    Parts { revision: 0, anonymous: true, ..parts(users, roles) }
}

#[test]
fn what_only_one_of_both_has_is_in_the_set() {
    let v3 = parts(&[("root", &["root"]), ("alice", &["a"])], &[("a", &["/a/*"])]);
    let none = Parts::default();
    let alone = Parts::from(&merged(v3.clone().into(), none, None).unwrap());
    assert_eq!(alone, v3, "its tokens go on");
    let off = Parts { enabled: false, ..v3 };
    let both = v2(&[("bob", &["b"])], &[("b", &["/b/*"]), ("a", &["/a/*"]), ("guest", &["/*"])]);
    let both = merged(off.into(), both, None).unwrap();
    assert!(both.is_enabled() && both.is_open_to_guests());
    assert_eq!(both.revision(), REVISION + 1);
    assert_eq!(both.users().collect::<Vec<_>>(), ["alice", "bob", "root"]);
    assert_eq!(both.roles().collect::<Vec<_>>(), ["a", "b", "guest"]);
    let since = |name| both.user(name).unwrap().since;
    assert_eq!((since("alice"), since("bob")), (1, REVISION + 1));
}

#[test]
fn a_name_that_both_have_needs_a_word() {
    let v3 =
        || parts(&[("root", &[]), ("alice", &["dev"])], &[("dev", &["/v3/*"]), ("guest", &[])]);
    let other = || {
        let mut other =
            v2(&[("alice", &[]), ("root", &["root"])], &[("dev", &["/v2/*"]), ("guest", &["/*"])]);
        other.users.get_mut("alice").unwrap().password_hash = Some("of v2".into());
        other
    };
    let error = merged(v3().into(), other(), None).unwrap_err();
    let ImportError::BothAuth { names, count } = &error else { panic!("{error}") };
    assert_eq!(names.to_string(), "user alice, user root, role dev, role guest");
    assert_eq!(*count, 4);
    let of_v2 = merged(v3().into(), other(), Some(Prefer::V2)).unwrap();
    assert_eq!(of_v2.user("alice").unwrap().password_hash, Some("of v2".into()));
    assert_eq!(of_v2.role("dev"), Some(&role(&["/v2/*"])));
    assert!(of_v2.is_open_to_guests());
    let of_v3 = merged(v3().into(), other(), Some(Prefer::V3)).unwrap();
    assert_eq!(of_v3.user("alice"), v3().users.get("alice"));
    assert_eq!(of_v3.role("dev"), Some(&role(&["/v3/*"])));
    assert!(!of_v3.is_open_to_guests(), "v3's role of that name was not meant for guests");
    // In v2 it has this role without being given it.
    assert!(of_v3.user("root").unwrap().roles.contains("root"));
}
