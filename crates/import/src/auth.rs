//! Users, roles and what they permit: those of v2 and v3 become one set.
//!
//! - `change`: what the log changes of v3's; `judge`: what the original has refused for them

mod change;
mod judge;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use state::auth::{Auth, GUEST, Parts, ROOT};

pub(crate) use self::{
    change::{carry_out, salt},
    judge::judge,
};
use crate::{ImportError, Names, Prefer};

/// Names that an error tells.
const NAMES_MAX: usize = 10;

/// What of users and permissions is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A permission of this role names no range of keys, or is of no kind.
    NoPermission { role: String },
    /// A user or role whose name is no text, or of v2 and cannot be read.
    Unreadable { what: &'static str, name: String },
    /// v3 did not ask for permissions, and does now.
    V3AsksToo,
    /// v2 did not ask for permissions, and does now.
    V2AsksToo,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPermission { role } => {
                write!(f, "role {role}: a permission that permits nothing was left out")
            }
            Self::Unreadable { what, name } => {
                write!(f, "{what} {name} was left out, since it cannot be read")
            }
            Self::V3AsksToo => f.write_str(
                "only v2 asked for permissions: here v3 asks too, and lets nobody in without a name",
            ),
            Self::V2AsksToo => f.write_str(
                "only v3 asked for permissions: here v2 asks too, and has no guests until they are \
                 enabled",
            ),
        }
    }
}

/// Both sets as one. Who has logged in at the original stays so, unless v2 has something to add.
pub(crate) fn merged(v3: Auth, v2: Parts, prefer: Option<Prefer>) -> Result<Auth, ImportError> {
    if !v2.enabled && v2.users.is_empty() && v2.roles.is_empty() {
        return Ok(v3);
    }
    let mut all = Parts::from(&v3);
    let users = both(&all.users, &v2.users).map(|name| format!("user {name}"));
    let roles = both(&all.roles, &v2.roles).map(|name| format!("role {name}"));
    let names: Vec<String> = users.chain(roles).collect();
    if !names.is_empty() && prefer.is_none() {
        let count = names.len();
        let names = names.into_iter().take(NAMES_MAX).map(Into::into);
        return Err(ImportError::BothAuth { names: Names(names.collect()), count });
    }
    let v3_wins = prefer == Some(Prefer::V3);
    all.revision += 1;
    // A role of v3 that has this name was not meant for guests.
    all.anonymous = v2.enabled && !(v3_wins && all.roles.contains_key(GUEST));
    all.enabled |= v2.enabled;
    for (name, mut user) in v2.users {
        user.since = all.revision;
        put(&mut all.users, name, user, v3_wins);
    }
    for (name, role) in v2.roles {
        put(&mut all.roles, name, role, v3_wins);
    }
    // In v2 root has the role without being given it.
    if let Some(root) = all.users.get_mut(ROOT).filter(|_| v2.enabled) {
        root.roles.insert(ROOT.to_owned());
    }
    Ok(all.into())
}

/// The names that both have, for what is not the same.
fn both<'a, T: PartialEq>(
    v3: &'a BTreeMap<String, T>,
    v2: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = &'a str> {
    let differs = |(name, one): &(&String, &T)| v3.get(*name).is_some_and(|other| other != *one);
    v2.iter().filter(differs).map(|(name, _)| name.as_str())
}

fn put<T>(into: &mut BTreeMap<String, T>, name: String, one: T, keeps: bool) {
    if !keeps || !into.contains_key(&name) {
        into.insert(name, one);
    }
}
