//! A change of users and roles under way: nothing of it counts if it is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Account, Auth, GUEST, Role, User, guest,
    row::{self, Rows},
};

/// What users and roles become.
#[derive(Debug)]
pub(crate) struct Draft {
    auth: Auth,
    users: BTreeSet<String>,
    roles: BTreeSet<String>,
    has_moved: bool,
    has_switched: bool,
}

impl Draft {
    pub(crate) fn of(auth: &Auth) -> Self {
        let (users, roles) = (BTreeSet::new(), BTreeSet::new());
        Self { auth: auth.clone(), users, roles, has_moved: false, has_switched: false }
    }

    /// As it stands now.
    pub(crate) fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The auth revision that the change makes.
    pub(super) fn next_revision(&self) -> u64 {
        self.auth.revision + 1
    }

    pub(super) fn put_user(&mut self, name: &str, user: User) {
        self.auth.users.insert(name.to_owned(), Account::of(user));
        self.touch_user(name);
    }

    pub(super) fn remove_user(&mut self, name: &str) {
        self.auth.users.remove(name);
        self.touch_user(name);
    }

    fn touch_user(&mut self, name: &str) {
        self.users.insert(name.to_owned());
        self.has_moved = true;
    }

    pub(super) fn put_role(&mut self, name: &str, role: Role) {
        self.auth.roles.insert(name.to_owned(), role);
        self.touch_role(name);
    }

    /// Nobody has it any more: a later role of that name is another.
    pub(super) fn remove_role(&mut self, name: &str) {
        let holds = |(_, account): &(&String, &Arc<Account>)| account.user.roles.contains(name);
        let holders: BTreeMap<String, User> = self
            .auth
            .users
            .iter()
            .filter(holds)
            .map(|(holder, account)| (holder.clone(), account.user.clone()))
            .collect();
        for (holder, mut user) in holders {
            user.roles.remove(name);
            self.put_user(&holder, user);
        }
        self.auth.roles.remove(name);
        self.touch_role(name);
        if name == GUEST {
            self.set_anonymous(false);
        }
    }

    /// What its holders may do is put together anew.
    fn touch_role(&mut self, name: &str) {
        for account in self.auth.users.values_mut() {
            if account.user.roles.contains(name) {
                *account = Account::of(account.user.clone());
            }
        }
        if name == GUEST {
            self.auth.guest = guest();
        }
        self.roles.insert(name.to_owned());
        self.has_moved = true;
    }

    pub(super) fn set_anonymous(&mut self, anonymous: bool) {
        self.has_switched |= self.auth.anonymous != anonymous;
        self.auth.anonymous = anonymous;
    }

    /// As in etcd, the auth revision stays: who has come without a name until now is refused for that.
    pub(super) fn enable(&mut self) {
        self.auth.enabled = true;
        self.has_switched = true;
    }

    /// The door for guests is closed too: whoever enables it through v3 does not know of it.
    pub(super) fn disable(&mut self) {
        self.auth.enabled = false;
        self.auth.anonymous = false;
        self.has_moved = true;
    }

    /// What it has come to, with the rows to be stored; `None`: nothing has changed.
    pub(crate) fn finish(mut self) -> Option<(Auth, Rows)> {
        if !self.has_moved && !self.has_switched {
            return None;
        }
        if self.has_moved {
            self.auth.revision += 1;
        }
        let rows = row::rows(&self.auth, &self.users, &self.roles);
        Some((self.auth, rows))
    }
}
