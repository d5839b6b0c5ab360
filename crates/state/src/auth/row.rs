//! How users and roles lie in the table `Meta`: a row each, so that a change costs no more when there
//! are many.

use bytes::Bytes;
use prost::Message as _;
use proto::authpb;

use super::{Access, Account, Auth, Role, User};

/// What the names of all the rows begin with.
pub(crate) const PREFIX: &str = "state.auth";
const USER: &str = "state.auth/user/";
const ROLE: &str = "state.auth/role/";

/// Changed rows of the table `Meta`; `None`: removed.
pub(crate) type Rows = Vec<(Bytes, Option<Bytes>)>;

/// What is true of all users.
#[derive(Clone, PartialEq, prost::Message)]
struct Switches {
    #[prost(bool, tag = "1")]
    enabled: bool,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(bool, tag = "3")]
    anonymous: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UserRow {
    #[prost(bytes = "bytes", optional, tag = "1")]
    password_hash: Option<Bytes>,
    #[prost(string, repeated, tag = "2")]
    roles: Vec<String>,
    #[prost(uint64, tag = "3")]
    since: u64,
}

/// The rows that say what a change has come to; `users` and `roles` are the names of those that it
/// was about.
pub(super) fn rows<'a>(
    auth: &Auth,
    users: impl IntoIterator<Item = &'a String>,
    roles: impl IntoIterator<Item = &'a String>,
) -> Rows {
    let Auth { enabled, anonymous, revision, .. } = *auth;
    let switches = Switches { enabled, revision, anonymous };
    let mut rows = vec![(PREFIX.into(), Some(switches.encode_to_vec().into()))];
    rows.extend(users.into_iter().map(|name| {
        let row = auth.user(name).map(|user| {
            let roles = user.roles.iter().cloned().collect();
            let (password_hash, since) = (user.password_hash.clone(), user.since);
            UserRow { password_hash, roles, since }.encode_to_vec().into()
        });
        (format!("{USER}{name}").into(), row)
    }));
    rows.extend(roles.into_iter().map(|name| {
        let row = auth.role(name).map(|role| {
            let key_permission = role.permissions();
            authpb::Role { name: Bytes::new(), key_permission }.encode_to_vec().into()
        });
        (format!("{ROLE}{name}").into(), row)
    }));
    rows
}

/// Reads all rows whose names begin with [`PREFIX`]. The error is a row's name, and what is wrong.
pub(crate) fn read(rows: Vec<(Bytes, Bytes)>) -> Result<Auth, (String, String)> {
    let mut auth = Auth::default();
    for (key, row) in rows {
        let name = String::from_utf8_lossy(&key).into_owned();
        read_row(&mut auth, &name, row).map_err(|error| (name, error))?;
    }
    Ok(auth)
}

fn read_row(auth: &mut Auth, name: &str, row: Bytes) -> Result<(), String> {
    let damaged = |error: prost::DecodeError| error.to_string();
    if let Some(name) = name.strip_prefix(USER) {
        let UserRow { password_hash, roles, since } = UserRow::decode(row).map_err(damaged)?;
        let user = User { password_hash, roles: roles.into_iter().collect(), since };
        auth.users.insert(name.to_owned(), Account::of(user));
    } else if let Some(name) = name.strip_prefix(ROLE) {
        let authpb::Role { key_permission, .. } = authpb::Role::decode(row).map_err(damaged)?;
        let permissions = key_permission.into_iter().map(|permission| {
            let access = Access::of(permission.perm_type).ok_or("a kind of permission is unknown");
            Ok(((permission.key, permission.range_end), access?))
        });
        let permissions = permissions.collect::<Result<_, &str>>()?;
        auth.roles.insert(name.to_owned(), Role { permissions });
    } else if name == PREFIX {
        let Switches { enabled, revision, anonymous } = Switches::decode(row).map_err(damaged)?;
        (auth.enabled, auth.revision, auth.anonymous) = (enabled, revision, anonymous);
    } else {
        return Err("it is neither a user nor a role".to_owned());
    }
    Ok(())
}
