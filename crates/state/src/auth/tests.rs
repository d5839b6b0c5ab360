//! Users and roles over restarts and snapshots, and against a plain model.

use std::collections::BTreeMap;

use base::Refused;
use proptest::prelude::*;
use proto::{
    authpb::{Permission, permission::Type},
    command::{
        AuthChange, By, Named, Nothing, Patterns, PutRole, PutUser, RoleGrant, RoleRevoke, UserAdd,
        UserPassword, UserRole,
    },
};

use super::*;

/// Names, of which there are few, so that changes meet.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["root", "guest", "a", "b"].prop_map(|name: String| name)
}

fn permission() -> impl Strategy<Value = Permission> {
    (0..4_i32, "[ab]{0,2}", "[abc\0]{0,2}").prop_map(|(perm_type, key, range_end)| Permission {
        perm_type,
        key: key.into(),
        range_end: range_end.into(),
    })
}

fn patterns() -> impl Strategy<Value = Patterns> {
    let some = || prop::collection::vec("/[ab]?\\*?", 0..3);
    (some(), some()).prop_map(|(read, write)| Patterns { read, write })
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(name(), 0..2)
}

fn change() -> impl Strategy<Value = AuthChange> {
    let hash = || prop::option::of(Just(Bytes::from_static(b"#")));
    let user_role = || (name(), name()).prop_map(|(user, role)| UserRole { user, role });
    prop_oneof![
        1 => Just(AuthChange::Enable(Nothing {})),
        1 => Just(AuthChange::Disable(Nothing {})),
        1 => Just(AuthChange::V2Enable(Nothing {})),
        1 => Just(AuthChange::V2Disable(Nothing {})),
        3 => (name(), hash()).prop_map(|(name, password_hash)| {
            AuthChange::UserAdd(UserAdd { name, password_hash })
        }),
        1 => name().prop_map(|name| AuthChange::UserDelete(Named { name })),
        1 => name().prop_map(|name| AuthChange::V2DeleteUser(Named { name })),
        1 => name().prop_map(|name| {
            AuthChange::UserPassword(UserPassword { name, password_hash: "##".into() })
        }),
        3 => user_role().prop_map(AuthChange::UserGrant),
        1 => user_role().prop_map(AuthChange::UserRevoke),
        3 => name().prop_map(|name| AuthChange::RoleAdd(Named { name })),
        1 => name().prop_map(|name| AuthChange::RoleDelete(Named { name })),
        1 => name().prop_map(|name| AuthChange::V2DeleteRole(Named { name })),
        4 => (name(), permission()).prop_map(|(role, permission)| {
            AuthChange::RoleGrant(RoleGrant { role, permission: Some(permission) })
        }),
        2 => (name(), permission()).prop_map(|(role, Permission { key, range_end, .. })| {
            AuthChange::RoleRevoke(RoleRevoke { role, key, range_end })
        }),
        3 => (name(), hash(), names(), names(), names()).prop_map(
            |(name, password_hash, roles, grant, revoke)| {
                AuthChange::V2PutUser(PutUser { name, password_hash, roles, grant, revoke })
            }
        ),
        3 => (name(), patterns(), patterns(), patterns()).prop_map(
            |(name, permissions, grant, revoke)| {
                let (permissions, grant, revoke) = (Some(permissions), Some(grant), Some(revoke));
                AuthChange::V2PutRole(PutRole { name, permissions, grant, revoke })
            }
        ),
    ]
}

/// What a user may do, by looking at each permission of each of its roles.
fn may(auth: &Auth, name: &str, key: &[u8], kind: Type) -> bool {
    let Some(user) = auth.user(name) else { return false };
    let opens = |permission: &Permission| {
        let (from, to) = (&permission.key, &permission.range_end);
        let within = match &to[..] {
            b"" => key == from,
            b"\0" => key >= &from[..],
            to => key >= &from[..] && key < to,
        };
        within && [kind, Type::Readwrite].contains(&permission.perm_type())
    };
    let roles = user.roles.iter().filter_map(|role| auth.role(role));
    user.roles.contains("root") || roles.flat_map(Role::permissions).any(|one| opens(&one))
}

/// All that is stored, row by row.
type Table = BTreeMap<Bytes, Bytes>;

fn store(table: &mut Table, rows: row::Rows) {
    for (name, row) in rows {
        match row {
            Some(row) => drop(table.insert(name, row)),
            None => drop(table.remove(&name)),
        }
    }
}

proptest! {
    #[test]
    fn whatever_changes_permissions_are_those_of_roles_and_rows_say_it_all(
        changes in prop::collection::vec(change(), 1..40)
    ) {
        let (mut auth, mut table) = (Auth::default(), Table::new());
        for change in changes {
            let mut draft = Draft::of(&auth);
            // What is refused changes nothing.
            let refused = match carry_out(&mut draft, change.clone()) {
                Err(_) | Ok(Changed::V2(Err(_))) => true,
                Ok(_) => false,
            };
            let finished = draft.finish();
            prop_assert!(!(refused && finished.is_some()), "{change:?}");
            if let Some((after, rows)) = finished {
                prop_assert!(after.revision >= auth.revision);
                store(&mut table, rows);
                auth = after;
            }
            // As it is after a restart.
            let stored = read(table.clone().into_iter().collect()).unwrap();
            // As another store takes it over.
            let loaded = Auth::from(Parts::from(&auth));
            let mut rows = Table::new();
            store(&mut rows, loaded.rows());
            prop_assert!(rows == table || table.is_empty(), "{rows:?} {table:?}");
            for auth in [&auth, &stored, &loaded] {
                holds(auth, &stored)?;
            }
        }
    }
}

fn holds(auth: &Auth, read: &Auth) -> Result<(), TestCaseError> {
    let switches = |auth: &Auth| (auth.enabled, auth.anonymous, auth.revision);
    prop_assert_eq!(switches(auth), switches(read));
    prop_assert!(auth.users().eq(read.users()) && auth.roles().eq(read.roles()));
    for name in auth.users() {
        prop_assert_eq!(auth.user(name), read.user(name));
        let by = By { user: name.to_owned(), auth_revision: auth.revision };
        for key in ["/", "/a", "/ab", "a", "aa", "b", "c"] {
            let key = key.as_bytes();
            let expected = |kind| !auth.enabled || may(auth, name, key, kind);
            prop_assert_eq!(auth.reads(Some(&by), key, b"").is_ok(), expected(Type::Read));
            prop_assert_eq!(auth.writes(Some(&by), key, b"").is_ok(), expected(Type::Write));
        }
    }
    for name in auth.roles() {
        prop_assert_eq!(auth.role(name), read.role(name));
    }
    if auth.enabled {
        // Nobody locks everybody out.
        prop_assert!(auth.user(ROOT).is_some_and(User::is_root));
        prop_assert_eq!(auth.reads(None, b"a", b""), Err(Refused::UserEmpty));
    }
    Ok(())
}

/// What stands twice in a role of the original counts together there; and what is no range of keys, or of
/// no kind, permits nothing.
#[test]
fn permissions_that_are_taken_over_add_up() {
    let mut role = Role::default();
    let mut permit = |kind: i32, key: &'static str, end: &'static str| {
        let (key, range_end) = (Bytes::from(key), Bytes::from(end));
        role.permit(Permission { perm_type: kind, key, range_end })
    };
    let (read, write) = (Type::Read.into(), Type::Write.into());
    assert!(permit(read, "a", "c") && permit(write, "a", "") && permit(write, "a", "c"));
    assert!(permit(read, "x", "\0"), "an open end");
    for (kind, key, end) in [(read, "", ""), (read, "", "c"), (read, "c", "a"), (7, "a", "c")] {
        assert!(!permit(kind, key, end), "{kind} {key} {end}");
    }
    let shown = |one: &Permission| (one.perm_type(), one.key.clone(), one.range_end.clone());
    let all: Vec<_> = role.permissions().iter().map(shown).collect();
    let expected = [
        (Type::Write, Bytes::from("a"), Bytes::new()),
        (Type::Readwrite, Bytes::from("a"), Bytes::from("c")),
        (Type::Read, Bytes::from("x"), Bytes::from("\0")),
    ];
    assert_eq!(all, expected);
}

#[test]
fn a_row_that_is_none_is_named() {
    let row = |name: &str, row: &'static [u8]| {
        read(vec![(name.to_owned().into(), Bytes::from_static(row))]).unwrap_err()
    };
    assert_eq!(row("state.auth/group/x", b"").0, "state.auth/group/x");
    assert_eq!(row("state.auth/user/x", b"\xff").0, "state.auth/user/x");
    // A kind of permission that this build does not know.
    let (name, text) = row("state.auth/role/x", b"\x12\x05\x08\x07\x12\x01a");
    assert_eq!((&name[..], &text[..]), ("state.auth/role/x", "a kind of permission is unknown"));
}
