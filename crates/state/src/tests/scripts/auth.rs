//! Users, roles and what they permit, in scripts.
//!
//! `by=NAME` on any command says who asks, with the auth revision as it is, or as `by=NAME@3` says.

use proto::{
    authpb::{Permission, permission::Type},
    command::{
        Auth, AuthChange, Authenticate, By, Named, Nothing, Patterns, PutRole, PutUser, RoleGrant,
        RoleRevoke, UserAdd, UserPassword, UserRole,
    },
};

use super::*;
use crate::auth::{Path, Readable, v2::Done};

/// Who asks, if somebody does.
pub(super) fn by(words: &Words<'_>, revision: u64) -> Option<By> {
    let text = words.named("by")?;
    let (user, revision) = match text.split_once('@') {
        Some((user, revision)) => (user, revision.parse().unwrap()),
        None => (text, revision),
    };
    Some(By { user: user.to_owned(), auth_revision: revision })
}

fn list(words: &Words<'_>, name: &str) -> Vec<String> {
    words.named(name).into_iter().flat_map(|list| list.split(',')).map(str::to_owned).collect()
}

fn patterns(words: &Words<'_>, read: &str, write: &str) -> Option<Patterns> {
    let patterns = Patterns { read: list(words, read), write: list(words, write) };
    (!patterns.is_empty()).then_some(patterns)
}

/// `auth VERB …`, `user VERB NAME …`, `role VERB NAME …`, `v2 VERB NAME …`, `login NAME`.
pub(super) fn op(verb: &str, words: &Words<'_>, revision: u64) -> Op {
    let word = |at| words.at(at).to_owned();
    let hash = words.named("hash").map(|hash| Bytes::from(hash.to_owned()));
    let (name, named) = (word(1), Named { name: word(1) });
    let user_role = UserRole { user: word(1), role: word(2) };
    let change = match (verb, words.at(0)) {
        ("auth", "enable") => AuthChange::Enable(Nothing {}),
        ("auth", "disable") => AuthChange::Disable(Nothing {}),
        ("user", "add") => AuthChange::UserAdd(UserAdd { name, password_hash: hash }),
        ("user", "delete") => AuthChange::UserDelete(named),
        ("user", "passwd") => {
            AuthChange::UserPassword(UserPassword { name, password_hash: hash.unwrap() })
        }
        ("user", "grant") => AuthChange::UserGrant(user_role),
        ("user", "revoke") => AuthChange::UserRevoke(user_role),
        ("role", "add") => AuthChange::RoleAdd(named),
        ("role", "delete") => AuthChange::RoleDelete(named),
        ("role", "grant") => {
            let permission = (words.at(2) != "nothing").then(|| permission(words));
            AuthChange::RoleGrant(RoleGrant { role: name, permission })
        }
        ("role", "revoke") => {
            let (key, range_end) = (v3::bytes(words.at(2)), end(words.at(3)));
            AuthChange::RoleRevoke(RoleRevoke { role: name, key, range_end })
        }
        ("login", user) => AuthChange::Authenticate(Authenticate {
            user: user.to_owned(),
            secret: "secret".to_owned(),
            checked: words.number("checked").unwrap_or(revision),
        }),
        ("v2", verb) => v2(verb, words, hash),
        other => panic!("what is {other:?}?"),
    };
    Op::Auth(Auth { change: Some(change) })
}

fn v2(verb: &str, words: &Words<'_>, password_hash: Option<Bytes>) -> AuthChange {
    let name = words.at(1).to_owned();
    match verb {
        "enable" => AuthChange::V2Enable(Nothing {}),
        "disable" => AuthChange::V2Disable(Nothing {}),
        "user" => {
            let (roles, grant) = (list(words, "roles"), list(words, "grant"));
            let revoke = list(words, "revoke");
            AuthChange::V2PutUser(PutUser { name, password_hash, roles, grant, revoke })
        }
        "rmuser" => AuthChange::V2DeleteUser(Named { name }),
        "role" => AuthChange::V2PutRole(PutRole {
            name,
            permissions: patterns(words, "read", "write"),
            grant: patterns(words, "grant_read", "grant_write"),
            revoke: patterns(words, "revoke_read", "revoke_write"),
        }),
        "rmrole" => AuthChange::V2DeleteRole(Named { name }),
        _ => panic!("what is {verb:?}?"),
    }
}

fn end(word: &str) -> Bytes {
    if word.is_empty() { Bytes::new() } else { v3::bytes(word) }
}

fn permission(words: &Words<'_>) -> Permission {
    let kind = match words.at(2) {
        "read" => Type::Read.into(),
        "write" => Type::Write.into(),
        "readwrite" => Type::Readwrite.into(),
        number => number.parse().unwrap(),
    };
    let key = if words.at(3).is_empty() { Bytes::new() } else { v3::bytes(words.at(3)) };
    Permission { perm_type: kind, key, range_end: end(words.at(4)) }
}

pub(super) fn show_v2(answer: &Result<Done, crate::auth::v2::Refusal>) -> String {
    match answer {
        Ok(Done::User { created, roles }) => {
            format!("{} {roles:?}", if *created { "created" } else { "roles" })
        }
        Ok(Done::Role { created, permissions: Patterns { read, write } }) => {
            format!("{} {read:?} {write:?}", if *created { "created" } else { "role" })
        }
        Ok(Done::Nothing) => "done".to_owned(),
        Err(refusal) => format!("{} {}", refusal.status, refusal.text),
    }
}

/// All users and roles, as both APIs show them.
pub(super) fn show(fixture: &Fixture) -> Vec<String> {
    let auth = fixture.state.reader().auth();
    let enabled = if auth.is_enabled() { "enabled" } else { "disabled" };
    let guests = if auth.is_open_to_guests() { ", open to guests" } else { "" };
    let mut lines = vec![format!("{enabled}{guests}, revision {}", auth.revision())];
    for name in auth.users() {
        let user = auth.user(name).unwrap();
        let password = user.password_hash.as_ref().map_or("none".to_owned(), v3::text);
        lines.push(format!(
            "  user {name}: password {password}, since {}, roles {:?}",
            user.since, user.roles
        ));
    }
    for name in auth.roles() {
        let role = auth.role(name).unwrap();
        let shown = role.permissions();
        let shown = shown.iter().map(|permission| {
            let Permission { key, range_end, .. } = permission;
            format!("{:?} {:?} {:?}", permission.perm_type(), v3::text(key), v3::text(range_end))
        });
        let shown: Vec<String> = shown.collect();
        let Patterns { read, write } = role.patterns();
        lines.push(format!("  role {name}: {}; v2 {read:?} {write:?}", shown.join(", ")));
    }
    lines
}

/// `may [by=NAME] read KEY [END]`, `may [by=NAME] ls PATH [recursive]` where the path may end in a
/// slash, `may [by=NAME] manage`, `may [by=NAME] come`.
pub(super) fn may(fixture: &Fixture, words: &Words<'_>) -> String {
    let auth = fixture.state.reader().auth();
    let by = by(words, auth.revision());
    let by = by.as_ref();
    let answer = match words.at(0) {
        "read" => auth.reads(by, &v3::bytes(words.at(1)), &end(words.at(2))),
        "write" => auth.writes(by, &v3::bytes(words.at(1)), &end(words.at(2))),
        "manage" => auth.is_admin(by),
        "come" => auth.identified(by),
        "ls" => {
            let path = words.at(1);
            let slash = path.len() > 1 && path.ends_with('/');
            let path = if slash { &path[..path.len() - 1] } else { path };
            let recursive = words.has("recursive");
            let asked = Path { path: path.as_bytes(), slash, recursive };
            match auth.v2_reads(by, asked) {
                Ok(Readable::Below) => return "below".to_owned(),
                Ok(Readable::Itself) => return "itself".to_owned(),
                Ok(Readable::All) => Ok(()),
                Err(refused) => Err(refused),
            }
        }
        _ => panic!("what is {words:?}?", words = words.0),
    };
    answer.map_or_else(|refused| refused.to_string(), |()| "yes".to_owned())
}
