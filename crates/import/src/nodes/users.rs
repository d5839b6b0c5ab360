//! Users and roles of v2: JSON in nodes that no client sees.

use std::collections::BTreeMap;

use mvcc::{Kind, Store};
use proto::command::Patterns;
use serde::{Deserialize, de::DeserializeOwned};
use state::auth::{Parts, ROOT, Role, User};

use crate::{ImportError, Note};

/// There and `true` if permissions are asked for.
const ENABLED: &[u8] = b"/2/enabled";
const USERS: (&[u8], &[u8]) = (b"/2/users/", b"/2/users0");
const ROLES: (&[u8], &[u8]) = (b"/2/roles/", b"/2/roles0");

#[derive(Deserialize)]
struct UserNode {
    /// What bcrypt made of it.
    password: String,
    roles: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RoleNode {
    permissions: Permissions,
}

#[derive(Deserialize)]
struct Permissions {
    kv: Lists,
}

#[derive(Deserialize)]
struct Lists {
    read: Option<Vec<String>>,
    write: Option<Vec<String>>,
}

/// What v2 has of users and roles; of its own it has no revision.
pub(super) fn read(store: &Store, notes: &mut Vec<Note>) -> Result<Parts, ImportError> {
    let enabled = store.get(Kind::Key, ENABLED, 0)?.is_some_and(|record| record.value == "true");
    let mut roles = BTreeMap::new();
    for (name, RoleNode { permissions }) in each(store, ROLES, "role", notes)? {
        let role = role(&name, permissions.kv, notes);
        roles.insert(name, role);
    }
    let mut users = BTreeMap::new();
    for (name, UserNode { password, roles: given }) in each(store, USERS, "user", notes)? {
        // Some that are not there it leaves with their users: v3 may have others of these names.
        let is_there = |role: &String| role == ROOT || roles.contains_key(role);
        let mut given: Vec<_> = given.into_iter().flatten().filter(is_there).collect();
        if name == ROOT {
            given.push(ROOT.to_owned());
        }
        let roles = given.into_iter().collect();
        users.insert(name, User { password_hash: Some(password.into()), roles, since: 0 });
    }
    Ok(Parts { enabled, anonymous: enabled, revision: 0, users, roles })
}

/// The nodes of a directory, read, by their names.
fn each<T: DeserializeOwned>(
    store: &Store,
    (from, to): (&[u8], &[u8]),
    what: &'static str,
    notes: &mut Vec<Note>,
) -> Result<Vec<(String, T)>, ImportError> {
    let mut found = Vec::new();
    for (path, _) in store.range(from, Some(to), 0, usize::MAX)? {
        let Some(record) = store.get(Kind::Key, &path, 0)? else { continue };
        let name = path.get(from.len()..).unwrap_or_default();
        let text = str::from_utf8(name).ok().filter(|name| !name.contains('/'));
        match (text, serde_json::from_slice(&record.value)) {
            (Some(name), Ok(node)) => found.push((name.to_owned(), node)),
            _ => notes.push(Note::Unreadable { what, name: name.escape_ascii().to_string() }),
        }
    }
    Ok(found)
}

/// An empty pattern makes the original crash when it is looked at.
fn role(name: &str, lists: Lists, notes: &mut Vec<Note>) -> Role {
    let mut sound = |list: Option<Vec<String>>| {
        let mut patterns = list.unwrap_or_default();
        let all = patterns.len();
        patterns.retain(|pattern| !pattern.is_empty());
        let role = || Note::NoPermission { role: name.to_owned() };
        notes.extend((patterns.len()..all).map(|_| role()));
        patterns
    };
    let patterns = Patterns { read: sound(lists.read), write: sound(lists.write) };
    Role::of(&patterns).unwrap_or_default()
}
