//! Users and roles as v2 changes and sees them, by the rules of etcd 2.3.8.
//!
//! A pattern `/a/*` is the permission on all keys that begin with `/a/`. What v3 has made and no
//! pattern can say is in force here, too, and not shown.

use bytes::Bytes;
use proto::command::{Patterns, PutRole, PutUser};

use super::{Access, Auth, Draft, GUEST, ROOT, Role, User};

/// Why a change is not made: an HTTP status, and the text to the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub text: String,
}

impl Refusal {
    fn new(status: u16, text: impl AsRef<str>) -> Self {
        Self { status, text: format!("auth: {}", text.as_ref()) }
    }
}

/// What a change has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The user with the names of its roles, as it was given or as it has become.
    User {
        created: bool,
        roles: Vec<String>,
    },
    Role {
        created: bool,
        permissions: Patterns,
    },
    Nothing,
}

pub(super) fn enable(draft: &mut Draft) -> Result<Done, Refusal> {
    if draft.auth().enabled {
        return Err(Refusal::new(409, "already enabled"));
    }
    let Some(root) = draft.auth().user(ROOT).cloned() else {
        return Err(Refusal::new(409, "No root user available, please create one"));
    };
    // Here it always has this role.
    if !root.is_root() {
        draft.put_user(ROOT, attach_root(ROOT, root));
    }
    if draft.auth().role(GUEST).is_none() {
        let mut role = Role::default();
        role.permissions.insert(range_of("/*"), Access { read: true, write: true });
        draft.put_role(GUEST, role);
    }
    draft.set_anonymous(true);
    draft.enable();
    Ok(Done::Nothing)
}

pub(super) fn disable(draft: &mut Draft) -> Result<Done, Refusal> {
    if !draft.auth().enabled {
        return Err(Refusal::new(409, "already disabled"));
    }
    draft.disable();
    Ok(Done::Nothing)
}

fn attach_root(name: &str, mut user: User) -> User {
    if name == ROOT {
        user.roles.insert(ROOT.to_owned());
    }
    user
}

/// Without any lists it changes the password of a user who is there, or creates one.
pub(super) fn put_user(draft: &mut Draft, put: PutUser) -> Result<Done, Refusal> {
    let changes = !put.grant.is_empty() || !put.revoke.is_empty();
    match draft.auth().user(&put.name).cloned() {
        Some(_) if !put.roles.is_empty() => {
            Err(Refusal::new(409, format!("User {} already exists.", put.name)))
        }
        Some(before) => change_user(draft, &before, put),
        None if changes => Err(Refusal::new(404, format!("User {} does not exist.", put.name))),
        None => create_user(draft, put),
    }
}

fn create_user(draft: &mut Draft, put: PutUser) -> Result<Done, Refusal> {
    let PutUser { name, password_hash, mut roles, .. } = put;
    if password_hash.is_none() {
        let text = format!("Cannot create user {name} with an empty password");
        return Err(Refusal::new(400, text));
    }
    // As in 2.3.8, one that is given roles is not told as new.
    let created = roles.is_empty();
    if name == ROOT && !roles.iter().any(|role| role == ROOT) {
        roles.push(ROOT.to_owned());
    }
    let since = draft.next_revision();
    draft.put_user(&name, User { password_hash, roles: roles.iter().cloned().collect(), since });
    Ok(Done::User { created, roles })
}

fn change_user(draft: &mut Draft, before: &User, put: PutUser) -> Result<Done, Refusal> {
    let PutUser { name, password_hash, grant, revoke, .. } = put;
    let mut after = attach_root(&name, before.clone());
    for role in grant {
        let text = format!("Granting duplicate role {role} for user {name}");
        if !after.roles.insert(role) {
            return Err(Refusal::new(409, text));
        }
    }
    for role in revoke {
        if !after.roles.remove(&role) {
            let text = format!("Revoking ungranted role {role} for user {name}");
            return Err(Refusal::new(409, text));
        }
    }
    after = attach_root(&name, after);
    if password_hash.is_some() {
        after.password_hash = password_hash;
        after.since = draft.next_revision();
    }
    if after == *before {
        let text = "User not updated. Use grant/revoke/password to update the user.";
        return Err(Refusal::new(400, text));
    }
    let roles = after.roles.iter().cloned().collect();
    draft.put_user(&name, after);
    Ok(Done::User { created: false, roles })
}

pub(super) fn delete_user(draft: &mut Draft, name: &str) -> Result<Done, Refusal> {
    if draft.auth().enabled && name == ROOT {
        return Err(Refusal::new(403, "Cannot delete root user while auth is enabled."));
    }
    if draft.auth().user(name).is_none() {
        return Err(Refusal::new(404, format!("User {name} does not exist")));
    }
    draft.remove_user(name);
    Ok(Done::Nothing)
}

/// A write to the role of guests opens the door for them.
pub(super) fn put_role(draft: &mut Draft, put: PutRole) -> Result<Done, Refusal> {
    let PutRole { name, permissions, grant, revoke } = put;
    refuse_root(&name)?;
    let (grant, revoke) = (grant.unwrap_or_default(), revoke.unwrap_or_default());
    let before = draft.auth().role(&name).cloned();
    let done = match before {
        Some(_) if grant.is_empty() && revoke.is_empty() => {
            return Err(Refusal::new(409, format!("Role {name} already exists.")));
        }
        Some(before) => change_role(draft, &name, &before, &grant, &revoke)?,
        None if grant.is_empty() && revoke.is_empty() => {
            let permissions = permissions.unwrap_or_default();
            let role = Role::of(&permissions)?;
            draft.put_role(&name, role);
            Done::Role { created: true, permissions }
        }
        None => return Err(Refusal::new(404, format!("Role {name} does not exist."))),
    };
    if name == GUEST {
        draft.set_anonymous(true);
    }
    Ok(done)
}

fn change_role(
    draft: &mut Draft,
    name: &str,
    before: &Role,
    grant: &Patterns,
    revoke: &Patterns,
) -> Result<Done, Refusal> {
    let mut after = before.clone();
    for (kind, pattern) in each(grant) {
        let access = after.permissions.entry(range(pattern)?).or_default();
        let flag = kind.of(access);
        if *flag {
            let text = format!("Granting duplicate {} permission {pattern}", kind.word());
            return Err(Refusal::new(409, text));
        }
        *flag = true;
    }
    for (kind, pattern) in each(revoke) {
        let range = range(pattern)?;
        if let Some(access) = after.permissions.get_mut(&range) {
            *kind.of(access) = false;
            if *access == Access::default() {
                after.permissions.remove(&range);
            }
        }
    }
    if after == *before {
        let text = "Role not updated. Use grant/revoke to update the role.";
        return Err(Refusal::new(400, text));
    }
    let permissions = after.patterns();
    draft.put_role(name, after);
    Ok(Done::Role { created: false, permissions })
}

/// Whoever has the role has it no more: in 2.3.8 it stays with them, and counts again when there is
/// another of that name.
pub(super) fn delete_role(draft: &mut Draft, name: &str) -> Result<Done, Refusal> {
    refuse_root(name)?;
    if draft.auth().role(name).is_none() {
        return Err(Refusal::new(404, format!("Role {name} doesn't exist.")));
    }
    draft.remove_role(name);
    Ok(Done::Nothing)
}

fn refuse_root(name: &str) -> Result<(), Refusal> {
    if name == ROOT {
        return Err(Refusal::new(403, format!("Cannot modify role {name}: is root role.")));
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

impl Kind {
    fn of(self, access: &mut Access) -> &mut bool {
        match self {
            Self::Read => &mut access.read,
            Self::Write => &mut access.write,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

fn each(patterns: &Patterns) -> impl Iterator<Item = (Kind, &str)> {
    let read = patterns.read.iter().map(|pattern| (Kind::Read, pattern.as_str()));
    read.chain(patterns.write.iter().map(|pattern| (Kind::Write, pattern.as_str())))
}

/// The keys of a pattern. (An empty one makes 2.3.8 crash at the next request.)
fn range(pattern: &str) -> Result<(Bytes, Bytes), Refusal> {
    if pattern.is_empty() {
        return Err(Refusal::new(400, "A permission needs a path."));
    }
    Ok(range_of(pattern))
}

fn range_of(pattern: &str) -> (Bytes, Bytes) {
    let Some(prefix) = pattern.strip_suffix('*') else {
        return (pattern.to_owned().into(), Bytes::new());
    };
    if prefix.is_empty() {
        return (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    }
    (prefix.to_owned().into(), prefix_end(prefix.as_bytes()))
}

/// Before which key those end that begin with a prefix, as in requests of v3.
fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte != u8::MAX) {
        Some(last) => prefix
            .iter()
            .take(last + 1)
            .enumerate()
            .map(|(at, byte)| if at == last { byte + 1 } else { *byte })
            .collect(),
        None => Bytes::from_static(b"\0"),
    }
}

/// `None`: no pattern says it.
fn pattern(key: &Bytes, range_end: &Bytes) -> Option<String> {
    if key == "\0" && range_end == "\0" {
        return Some("*".to_owned());
    }
    let text = str::from_utf8(key).ok()?;
    if range_end.is_empty() {
        return (!text.ends_with('*')).then(|| text.to_owned());
    }
    (*range_end == prefix_end(key)).then(|| format!("{text}*"))
}

impl Role {
    /// What these patterns permit; none of them may be empty.
    pub fn of(patterns: &Patterns) -> Result<Self, Refusal> {
        let mut role = Self::default();
        for (kind, pattern) in each(patterns) {
            *kind.of(role.permissions.entry(range(pattern)?).or_default()) = true;
        }
        Ok(role)
    }

    /// What patterns say of it, in order.
    pub fn patterns(&self) -> Patterns {
        let mut patterns = Patterns::default();
        for ((key, range_end), access) in &self.permissions {
            let Some(pattern) = pattern(key, range_end) else { continue };
            if access.read {
                patterns.read.push(pattern.clone());
            }
            if access.write {
                patterns.write.push(pattern);
            }
        }
        patterns.read.sort_unstable();
        patterns.write.sort_unstable();
        patterns
    }
}

impl Auth {
    /// What v2 shows of a role: it always has one of the name `root`. `None`: there is none.
    pub fn v2_role(&self, name: &str) -> Option<Patterns> {
        if name == ROOT {
            let all = || vec!["/*".to_owned()];
            return Some(Patterns { read: all(), write: all() });
        }
        self.role(name).map(Role::patterns)
    }

    /// The names of a user's roles as v2 shows them: it always gives `root` the role of that name.
    pub fn v2_roles_of(&self, name: &str) -> Option<Vec<String>> {
        let user = attach_root(name, self.user(name)?.clone());
        Some(user.roles.into_iter().collect())
    }

    /// The names of all roles, in order.
    pub fn v2_roles(&self) -> Vec<&str> {
        let mut roles: Vec<&str> = self.roles().filter(|name| *name != ROOT).collect();
        roles.push(ROOT);
        roles.sort_unstable();
        roles
    }
}
