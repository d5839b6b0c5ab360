//! Changes of users, roles and permissions. No password stands here, only what bcrypt made of it.

use bytes::Bytes;

use crate::authpb::Permission;

/// Who asked for a command, as the member that took it in has found out.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct By {
    #[prost(string, tag = "1")]
    pub user: String,
    /// That of users and roles as they were then.
    #[prost(uint64, tag = "2")]
    pub auth_revision: u64,
}

/// A change of users, roles or permissions, or a new token.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Auth {
    #[prost(
        oneof = "AuthChange",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 21, 22, 23, 24, 25"
    )]
    pub change: Option<AuthChange>,
}

/// Those that begin with `V2` follow the rules of API 2, and have its answers.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AuthChange {
    #[prost(message, tag = "1")]
    Enable(Nothing),
    #[prost(message, tag = "2")]
    Disable(Nothing),
    #[prost(message, tag = "3")]
    UserAdd(UserAdd),
    #[prost(message, tag = "4")]
    UserDelete(Named),
    #[prost(message, tag = "5")]
    UserPassword(UserPassword),
    #[prost(message, tag = "6")]
    UserGrant(UserRole),
    #[prost(message, tag = "7")]
    UserRevoke(UserRole),
    #[prost(message, tag = "8")]
    RoleAdd(Named),
    #[prost(message, tag = "9")]
    RoleDelete(Named),
    #[prost(message, tag = "10")]
    RoleGrant(RoleGrant),
    #[prost(message, tag = "11")]
    RoleRevoke(RoleRevoke),
    /// Makes a token that all members know.
    #[prost(message, tag = "12")]
    Authenticate(Authenticate),
    #[prost(message, tag = "20")]
    V2Enable(Nothing),
    #[prost(message, tag = "21")]
    V2Disable(Nothing),
    #[prost(message, tag = "22")]
    V2PutUser(PutUser),
    #[prost(message, tag = "23")]
    V2DeleteUser(Named),
    #[prost(message, tag = "24")]
    V2PutRole(PutRole),
    #[prost(message, tag = "25")]
    V2DeleteRole(Named),
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Nothing {}

/// The user or role that it is about.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Named {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UserAdd {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Absent: nobody can log in by a password.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub password_hash: Option<Bytes>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UserPassword {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub password_hash: Bytes,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UserRole {
    #[prost(string, tag = "1")]
    pub user: String,
    #[prost(string, tag = "2")]
    pub role: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RoleGrant {
    #[prost(string, tag = "1")]
    pub role: String,
    #[prost(message, optional, tag = "2")]
    pub permission: Option<Permission>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RoleRevoke {
    #[prost(string, tag = "1")]
    pub role: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub range_end: Bytes,
}

/// The user's password was right.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Authenticate {
    #[prost(string, tag = "1")]
    pub user: String,
    /// What nobody can guess: the first part of the token.
    #[prost(string, tag = "2")]
    pub secret: String,
    /// The auth revision of which the password was.
    #[prost(uint64, tag = "3")]
    pub checked: u64,
}

/// Creates a user, or changes one: see `state::auth`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutUser {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Absent: as it is.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub password_hash: Option<Bytes>,
    /// Of a user that is created.
    #[prost(string, repeated, tag = "3")]
    pub roles: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub grant: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub revoke: Vec<String>,
}

/// Creates a role, or changes one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRole {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Of a role that is created.
    #[prost(message, optional, tag = "2")]
    pub permissions: Option<Patterns>,
    #[prost(message, optional, tag = "3")]
    pub grant: Option<Patterns>,
    #[prost(message, optional, tag = "4")]
    pub revoke: Option<Patterns>,
}

/// Paths, or what paths begin with and a `*`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Patterns {
    #[prost(string, repeated, tag = "1")]
    pub read: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub write: Vec<String>,
}

impl Patterns {
    pub fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty()
    }
}
