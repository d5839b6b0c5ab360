//! What v3 changes, by the rules of etcd 3.6.

use base::Refused;
use bytes::Bytes;
use proto::{
    authpb::Permission,
    command::{AuthChange, Authenticate, RoleGrant, RoleRevoke, UserAdd, UserPassword, UserRole},
};

use super::{
    Access, Auth, Draft, ROOT, Role, User,
    v2::{self, Done, Refusal},
};

/// What a change gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Done,
    /// The user has logged in, by a token that begins with this.
    Token {
        user: String,
        secret: String,
    },
    V2(Result<Done, Refusal>),
}

/// Carries out a change whose proposer is allowed to make it.
pub(crate) fn carry_out(draft: &mut Draft, change: AuthChange) -> Result<Changed, Refused> {
    match change {
        AuthChange::Enable(_) => enable(draft)?,
        AuthChange::Disable(_) if draft.auth().enabled => draft.disable(),
        AuthChange::Disable(_) => {}
        AuthChange::UserAdd(add) => add_user(draft, add)?,
        AuthChange::UserDelete(user) => delete_user(draft, &user.name)?,
        AuthChange::UserPassword(change) => change_password(draft, change)?,
        AuthChange::UserGrant(grant) => grant_role(draft, grant)?,
        AuthChange::UserRevoke(revoke) => revoke_role(draft, &revoke)?,
        AuthChange::RoleAdd(role) => add_role(draft, &role.name)?,
        AuthChange::RoleDelete(role) => delete_role(draft, &role.name)?,
        AuthChange::RoleGrant(grant) => grant_permission(draft, grant)?,
        AuthChange::RoleRevoke(revoke) => revoke_permission(draft, revoke)?,
        AuthChange::Authenticate(request) => return authenticate(draft.auth(), request),
        AuthChange::V2Enable(_) => return Ok(Changed::V2(v2::enable(draft))),
        AuthChange::V2Disable(_) => return Ok(Changed::V2(v2::disable(draft))),
        AuthChange::V2PutUser(put) => return Ok(Changed::V2(v2::put_user(draft, put))),
        AuthChange::V2DeleteUser(user) => {
            return Ok(Changed::V2(v2::delete_user(draft, &user.name)));
        }
        AuthChange::V2PutRole(put) => return Ok(Changed::V2(v2::put_role(draft, put))),
        AuthChange::V2DeleteRole(role) => {
            return Ok(Changed::V2(v2::delete_role(draft, &role.name)));
        }
    }
    Ok(Changed::Done)
}

fn enable(draft: &mut Draft) -> Result<(), Refused> {
    if draft.auth().enabled {
        return Ok(());
    }
    match draft.auth().user(ROOT) {
        None => Err(Refused::RootUserNotExist),
        Some(root) if !root.is_root() => Err(Refused::RootRoleNotExist),
        Some(_) => {
            // A write of v2 may have opened it while nobody was asked who he is.
            draft.set_anonymous(false);
            draft.enable();
            Ok(())
        }
    }
}

/// The password was right; it may have been changed since.
fn authenticate(auth: &Auth, request: Authenticate) -> Result<Changed, Refused> {
    let Authenticate { user, secret, checked } = request;
    if !auth.enabled {
        return Err(Refused::AuthNotEnabled);
    }
    let known = auth.user(&user).ok_or(Refused::AuthFailed)?;
    if known.password_hash.is_none() {
        return Err(Refused::AuthFailed);
    }
    if checked < known.since {
        return Err(Refused::AuthOldRevision);
    }
    Ok(Changed::Token { user, secret })
}

fn add_user(draft: &mut Draft, add: UserAdd) -> Result<(), Refused> {
    let UserAdd { name, password_hash } = add;
    if name.is_empty() {
        return Err(Refused::UserEmpty);
    }
    if draft.auth().user(&name).is_some() {
        return Err(Refused::UserAlreadyExist);
    }
    let since = draft.next_revision();
    draft.put_user(&name, User { password_hash, since, ..User::default() });
    Ok(())
}

fn user(auth: &Auth, name: &str) -> Result<User, Refused> {
    auth.user(name).cloned().ok_or(Refused::UserNotFound)
}

fn delete_user(draft: &mut Draft, name: &str) -> Result<(), Refused> {
    if draft.auth().enabled && name == ROOT {
        return Err(Refused::InvalidAuthMgmt);
    }
    user(draft.auth(), name)?;
    draft.remove_user(name);
    Ok(())
}

/// Who has none gets none.
fn change_password(draft: &mut Draft, change: UserPassword) -> Result<(), Refused> {
    let UserPassword { name, password_hash } = change;
    let before = user(draft.auth(), &name)?;
    let password_hash = before.password_hash.is_some().then_some(password_hash);
    let since = draft.next_revision();
    draft.put_user(&name, User { password_hash, since, ..before });
    Ok(())
}

fn grant_role(draft: &mut Draft, grant: UserRole) -> Result<(), Refused> {
    let mut after = user(draft.auth(), &grant.user)?;
    if grant.role != ROOT && draft.auth().role(&grant.role).is_none() {
        return Err(Refused::RoleNotFound);
    }
    if after.roles.insert(grant.role) {
        draft.put_user(&grant.user, after);
    }
    Ok(())
}

fn revoke_role(draft: &mut Draft, revoke: &UserRole) -> Result<(), Refused> {
    if draft.auth().enabled && revoke.user == ROOT && revoke.role == ROOT {
        return Err(Refused::InvalidAuthMgmt);
    }
    let mut after = user(draft.auth(), &revoke.user)?;
    if !after.roles.remove(&revoke.role) {
        return Err(Refused::RoleNotGranted);
    }
    draft.put_user(&revoke.user, after);
    Ok(())
}

fn add_role(draft: &mut Draft, name: &str) -> Result<(), Refused> {
    if name.is_empty() {
        return Err(Refused::RoleEmpty);
    }
    if draft.auth().role(name).is_some() {
        return Err(Refused::RoleAlreadyExist);
    }
    draft.put_role(name, Role::default());
    Ok(())
}

fn role(auth: &Auth, name: &str) -> Result<Role, Refused> {
    auth.role(name).cloned().ok_or(Refused::RoleNotFound)
}

fn delete_role(draft: &mut Draft, name: &str) -> Result<(), Refused> {
    if draft.auth().enabled && name == ROOT {
        return Err(Refused::InvalidAuthMgmt);
    }
    role(draft.auth(), name)?;
    draft.remove_role(name);
    Ok(())
}

fn grant_permission(draft: &mut Draft, grant: RoleGrant) -> Result<(), Refused> {
    let Permission { perm_type, key, range_end } =
        grant.permission.ok_or(Refused::PermissionNotGiven)?;
    let access = Access::of(perm_type).filter(|_| is_valid_range(&key, &range_end));
    let access = access.ok_or(Refused::InvalidAuthMgmt)?;
    let mut after = role(draft.auth(), &grant.role)?;
    after.permissions.insert((key, range_end), access);
    draft.put_role(&grant.role, after);
    Ok(())
}

/// Whether a range can be that of a permission: it has a key, and does not end before it.
pub(super) fn is_valid_range(key: &Bytes, range_end: &Bytes) -> bool {
    let ends = range_end.is_empty() || key < range_end || &range_end[..] == b"\0";
    !key.is_empty() && ends
}

fn revoke_permission(draft: &mut Draft, revoke: RoleRevoke) -> Result<(), Refused> {
    let RoleRevoke { role: name, key, range_end } = revoke;
    let mut after = role(draft.auth(), &name)?;
    if after.permissions.remove(&(key, range_end)).is_none() {
        return Err(Refused::PermissionNotGranted);
    }
    draft.put_role(&name, after);
    Ok(())
}
