//! What the log changes of users and roles.

use std::fmt::Display;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bcrypt::Version;
use bytes::Bytes;
use proto::command::{
    AuthChange, By, Named, Nothing, RoleGrant, RoleRevoke, UserAdd, UserPassword, UserRole,
};
use state::auth::Auth;

use crate::messages::Change;

/// What bcrypt is to cost, as it does by default: what the original's members had is not in the log.
const COST: u32 = 10;

pub(crate) type Salt = [u8; 16];

/// What the password of an entry is salted with: its index and its request's id, which no other one has.
///
/// Members that import the same log must not differ, so it is not made by chance. And not of the password:
/// guesses could be tried without bcrypt.
pub(crate) fn salt(index: u64, id: u64) -> Salt {
    (u128::from(index) << 64 | u128::from(id)).to_be_bytes()
}

/// Carries out a change of the log, if the original has: false, and it has refused it. An error says why
/// it cannot be carried out.
pub(crate) fn carry_out(
    auth: &mut Auth,
    by: &By,
    change: Change,
    salt: Salt,
) -> Result<bool, String> {
    // Up to 3.4 it stands in the file before the file says that it has that entry.
    if matches!(change, Change::Enable(_)) && auth.is_enabled() {
        return Ok(true);
    }
    // Since when the user is who he is, the original does not ask here.
    let by = By { user: by.user.clone(), auth_revision: u64::MAX };
    if auth.is_admin(Some(&by)).is_err() {
        return Ok(false);
    }
    Ok(auth.change(of(change, salt)?).is_ok())
}

fn of(change: Change, salt: Salt) -> Result<AuthChange, String> {
    let user_role = |user, role| UserRole { user, role };
    Ok(match change {
        Change::Enable(_) => AuthChange::Enable(Nothing {}),
        Change::Disable(_) => AuthChange::Disable(Nothing {}),
        Change::UserAdd(add) => {
            let has_password = !add.options.is_some_and(|options| options.no_password);
            let hash = has_password.then(|| hash(&add.password, &add.hashed_password, salt));
            AuthChange::UserAdd(UserAdd { name: add.name, password_hash: hash.transpose()? })
        }
        Change::UserDelete(user) => AuthChange::UserDelete(Named { name: user.name }),
        Change::UserPassword(change) => {
            let password_hash = hash(&change.password, &change.hashed_password, salt)?;
            AuthChange::UserPassword(UserPassword { name: change.name, password_hash })
        }
        Change::UserGrant(grant) => AuthChange::UserGrant(user_role(grant.user, grant.role)),
        Change::UserRevoke(revoke) => AuthChange::UserRevoke(user_role(revoke.name, revoke.role)),
        Change::RoleAdd(role) => AuthChange::RoleAdd(Named { name: role.name }),
        Change::RoleDelete(role) => AuthChange::RoleDelete(Named { name: role.role }),
        Change::RoleGrant(grant) => {
            AuthChange::RoleGrant(RoleGrant { role: grant.name, permission: grant.perm })
        }
        Change::RoleRevoke(revoke) => AuthChange::RoleRevoke(RoleRevoke {
            role: revoke.role,
            key: revoke.key,
            range_end: revoke.range_end,
        }),
    })
}

/// What is kept of a password: from 3.5 on that stands in the log, before it the password itself.
fn hash(password: &str, hashed: &str, salt: Salt) -> Result<Bytes, String> {
    let cannot = |error: &dyn Display| format!("a password of it cannot be read: {error}");
    if !hashed.is_empty() {
        return STANDARD.decode(hashed).map(Into::into).map_err(|error| cannot(&error));
    }
    let parts = bcrypt::hash_with_salt(password, COST, salt).map_err(|error| cannot(&error))?;
    // The kind that Go's bcrypt makes.
    Ok(parts.format_for_version(Version::TwoA).into())
}
