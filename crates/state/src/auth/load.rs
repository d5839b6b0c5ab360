//! Users and roles of another store, before there is a cluster.

use std::collections::BTreeMap;

use base::Refused;
use proto::{authpb::Permission, command::AuthChange};

use super::{
    Access, Account, Auth, Draft, Role, User,
    change::{carry_out, is_valid_range},
    guest,
    row::{self, Rows},
};

/// All that [`Auth`] is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Whether anybody is asked who he is.
    pub enabled: bool,
    /// Whether v2 lets in who says no name, if there is a role [`GUEST`](super::GUEST).
    pub anonymous: bool,
    /// That of a store in which nothing has changed is 1. No user is of a later one.
    pub revision: u64,
    /// By their names.
    pub users: BTreeMap<String, User>,
    /// By their names.
    pub roles: BTreeMap<String, Role>,
}

impl From<Parts> for Auth {
    fn from(parts: Parts) -> Self {
        let Parts { enabled, anonymous, revision, users, roles } = parts;
        assert!(users.values().all(|user| user.since <= revision), "from the future");
        let users = users.into_iter().map(|(name, user)| (name, Account::of(user))).collect();
        Self { enabled, anonymous, revision, users, roles, guest: guest() }
    }
}

impl From<&Auth> for Parts {
    fn from(auth: &Auth) -> Self {
        let Auth { enabled, anonymous, revision, ref users, ref roles, .. } = *auth;
        let users = users.iter().map(|(name, account)| (name.clone(), account.user.clone()));
        Self { enabled, anonymous, revision, users: users.collect(), roles: roles.clone() }
    }
}

impl Auth {
    /// Carries out a change of v3 outside a cluster, whoever wants it. What is refused changes nothing.
    pub fn change(&mut self, change: AuthChange) -> Result<(), Refused> {
        let mut draft = Draft::of(self);
        carry_out(&mut draft, change)?;
        if let Some((after, _)) = draft.finish() {
            *self = after;
        }
        Ok(())
    }

    /// All rows that say it.
    pub(crate) fn rows(&self) -> Rows {
        row::rows(self, self.users.keys(), self.roles.keys())
    }
}

impl Role {
    /// Permits this as well as what is permitted already. False, and nothing is: it is no range of keys,
    /// or of no kind that there is.
    pub fn permit(&mut self, permission: Permission) -> bool {
        let Permission { perm_type, key, range_end } = permission;
        let Some(added) = Access::of(perm_type).filter(|_| is_valid_range(&key, &range_end)) else {
            return false;
        };
        let access = self.permissions.entry((key, range_end)).or_default();
        access.read |= added.read;
        access.write |= added.write;
        true
    }
}
