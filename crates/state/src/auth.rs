//! Users, roles and what they permit: one set, of which both APIs are views (etcd 3.6 and 2.3.8).
//!
//! A permission is a range of keys to read, to write, or both; v2 writes it as a pattern. Whether a
//! command is allowed is asked twice, by the same function: before it is proposed, and when it is
//! applied, since users and roles may have changed meanwhile.
//!
//! - `ranges`: permissions put together; `row`: how users and roles lie in the table `Meta`
//! - `check`: what commands and reads need; `paths`: the same for v2's paths
//! - `draft`: a change under way; `change`: what v3 changes; `v2`: what v2 changes and sees
//! - `load`: users and roles of another store
//! - `tokens`: who has logged in

mod change;
mod check;
mod draft;
mod load;
mod paths;
mod ranges;
mod row;
mod tokens;
pub mod v2;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use proto::authpb::{Permission, permission::Type};

use self::ranges::Permits;
pub(crate) use self::{
    change::{Changed, carry_out},
    check::{Known, check},
    draft::Draft,
    row::{PREFIX, read},
};
pub use self::{
    load::Parts,
    paths::{Path, Readable},
    tokens::Tokens,
};

/// The user who can always do everything, and the role that makes it so.
pub const ROOT: &str = "root";
/// The role of whoever comes through v2 without a name.
pub const GUEST: &str = "guest";

/// Where the original begins.
const REVISION_FIRST: u64 = 1;

/// All users and roles, as they are after some entry.
#[derive(Clone, Debug)]
pub struct Auth {
    enabled: bool,
    anonymous: bool,
    revision: u64,
    users: BTreeMap<String, Arc<Account>>,
    roles: BTreeMap<String, Role>,
    guest: Arc<Account>,
}

impl Default for Auth {
    fn default() -> Self {
        let (users, roles) = (BTreeMap::new(), BTreeMap::new());
        let (revision, guest) = (REVISION_FIRST, guest());
        Self { enabled: false, anonymous: false, revision, users, roles, guest }
    }
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// What bcrypt made of the password; `None`: there is none, and it cannot be given.
    pub password_hash: Option<Bytes>,
    /// Their names. v2 takes some that are not there.
    pub roles: BTreeSet<String>,
    /// The auth revision at which the user was made, or got another password: who logged in before
    /// is logged in no more.
    pub since: u64,
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// By key and end, as in requests.
    permissions: BTreeMap<(Bytes, Bytes), Access>,
}

/// What a permission permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Access {
    read: bool,
    write: bool,
}

impl Access {
    /// `None`: no kind that there is.
    fn of(kind: i32) -> Option<Self> {
        Some(match Type::try_from(kind).ok()? {
            Type::Read => Self { read: true, write: false },
            Type::Write => Self { read: false, write: true },
            Type::Readwrite => Self { read: true, write: true },
        })
    }

    fn kind(self) -> Type {
        match (self.read, self.write) {
            (true, true) => Type::Readwrite,
            (false, true) => Type::Write,
            _ => Type::Read,
        }
    }
}

/// A user, and what its roles permit together.
#[derive(Debug, Default)]
struct Account {
    user: User,
    /// Put together when it is first asked for; a change of a role begins anew.
    permits: OnceLock<Permits>,
}

impl Account {
    fn of(user: User) -> Arc<Self> {
        Arc::new(Self { user, permits: OnceLock::new() })
    }

    fn permits(&self, roles: &BTreeMap<String, Role>) -> &Permits {
        self.permits.get_or_init(|| {
            let roles = self.user.roles.iter().filter_map(|name| roles.get(name));
            Permits::of(roles.flat_map(|role| &role.permissions))
        })
    }
}

/// Who has the role of that name and nothing else.
fn guest() -> Arc<Account> {
    let roles = BTreeSet::from([GUEST.to_owned()]);
    Account::of(User { roles, ..User::default() })
}

impl Auth {
    /// Whether anybody is asked who he is.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether v2 lets in who says no name, with the role [`GUEST`].
    pub fn is_open_to_guests(&self) -> bool {
        self.anonymous && self.roles.contains_key(GUEST)
    }

    /// Moves with every change of users and roles, and when they are disabled.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|account| &account.user)
    }

    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name)
    }

    /// The names of all users, in order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// The names of all roles, in order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }
}

impl Role {
    /// As v3 shows them, in order of their keys.
    pub fn permissions(&self) -> Vec<Permission> {
        let shown = |((key, range_end), access): (&(Bytes, Bytes), &Access)| Permission {
            perm_type: access.kind().into(),
            key: key.clone(),
            range_end: range_end.clone(),
        };
        self.permissions.iter().map(shown).collect()
    }
}

impl User {
    fn is_root(&self) -> bool {
        self.roles.contains(ROOT)
    }
}

#[cfg(test)]
mod tests;
