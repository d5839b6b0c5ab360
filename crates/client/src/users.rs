//! The auth API of v2: users, roles, and whether anybody is asked who he is.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cluster::Client,
    error::Error,
    escape::key_path,
    members::{JSON, expect, parse},
    request::Request,
};

const ENABLE: &str = "/v2/auth/enable";
const USERS: &str = "/v2/auth/users";
const ROLES: &str = "/v2/auth/roles";

/// A user of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// The names of its roles.
    pub roles: Vec<String>,
}

/// What its users may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    /// Paths, or what paths begin with and a `*`.
    pub read: Vec<String>,
    pub write: Vec<String>,
}

/// What a role is to permit on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub read: bool,
    pub write: bool,
}

#[derive(Deserialize)]
struct WireUser {
    user: String,
    #[serde(default)]
    roles: Option<Vec<Named>>,
}

/// A role is told by its name, or whole.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Name(String),
    Whole(WireRole),
}

#[derive(Deserialize)]
struct WireRole {
    role: String,
    #[serde(default)]
    permissions: Permissions,
}

#[derive(Default, Deserialize)]
struct Permissions {
    #[serde(default)]
    kv: Lists,
}

#[derive(Default, Deserialize)]
struct Lists {
    #[serde(default)]
    read: Option<Vec<String>>,
    #[serde(default)]
    write: Option<Vec<String>>,
}

impl From<WireUser> for User {
    fn from(wire: WireUser) -> Self {
        let name = |named| match named {
            Named::Name(name) => name,
            Named::Whole(role) => role.role,
        };
        let roles = wire.roles.unwrap_or_default().into_iter().map(name).collect();
        Self { name: wire.user, roles }
    }
}

impl From<WireRole> for Role {
    fn from(WireRole { role, permissions: Permissions { kv } }: WireRole) -> Self {
        let (read, write) = (kv.read.unwrap_or_default(), kv.write.unwrap_or_default());
        Self { name: role, read, write }
    }
}

impl Client {
    /// From now on everybody is asked who he is; needs a user `root`.
    pub async fn enable_auth(&self) -> Result<(), Error> {
        expect(&self.send(&Request::write(Method::PUT, ENABLE)).await?, &[200])
    }

    /// From now on nobody is.
    pub async fn disable_auth(&self) -> Result<(), Error> {
        expect(&self.send(&Request::write(Method::DELETE, ENABLE)).await?, &[200])
    }

    /// The names of all users.
    pub async fn users(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct List {
            users: Option<Vec<WireUser>>,
        }
        let list: List = parse(&self.send(&Request::get(USERS)).await?, &[200])?;
        Ok(list.users.unwrap_or_default().into_iter().map(|user| user.user).collect())
    }

    /// A user; one that is not there is refused with 404.
    pub async fn user(&self, name: &str) -> Result<User, Error> {
        let answer = self.send(&Request::get(path(USERS, name))).await?;
        parse::<WireUser>(&answer, &[200]).map(User::from)
    }

    /// Makes a user. (The server takes it for a change of the password, if there is one.)
    pub async fn add_user(&self, name: &str, password: &str) -> Result<(), Error> {
        self.put_user(name, json!({ "user": name, "password": password })).await
    }

    /// Gives a user another password.
    pub async fn change_password(&self, name: &str, password: &str) -> Result<(), Error> {
        self.put_user(name, json!({ "user": name, "password": password })).await
    }

    /// Gives a user roles.
    pub async fn grant_roles(&self, name: &str, roles: &[String]) -> Result<(), Error> {
        self.put_user(name, json!({ "user": name, "grant": roles })).await
    }

    /// Takes roles from a user.
    pub async fn revoke_roles(&self, name: &str, roles: &[String]) -> Result<(), Error> {
        self.put_user(name, json!({ "user": name, "revoke": roles })).await
    }

    async fn put_user(&self, name: &str, user: Value) -> Result<(), Error> {
        self.put(path(USERS, name), &user).await
    }

    async fn put(&self, path: String, what: &Value) -> Result<(), Error> {
        let request = Request::write(Method::PUT, path).with_body(JSON, what.to_string());
        expect(&self.send(&request).await?, &[200, 201])
    }

    /// Removes a user.
    pub async fn remove_user(&self, name: &str) -> Result<(), Error> {
        let request = Request::write(Method::DELETE, path(USERS, name));
        expect(&self.send(&request).await?, &[200])
    }

    /// The names of all roles.
    pub async fn roles(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct List {
            roles: Option<Vec<WireRole>>,
        }
        let list: List = parse(&self.send(&Request::get(ROLES)).await?, &[200])?;
        Ok(list.roles.unwrap_or_default().into_iter().map(|role| role.role).collect())
    }

    /// A role; one that is not there is refused with 404.
    pub async fn role(&self, name: &str) -> Result<Role, Error> {
        let answer = self.send(&Request::get(path(ROLES, name))).await?;
        parse::<WireRole>(&answer, &[200]).map(Role::from)
    }

    /// Makes a role that permits nothing.
    pub async fn add_role(&self, name: &str) -> Result<(), Error> {
        self.put(path(ROLES, name), &json!({ "role": name })).await
    }

    /// Permits something on a path, or a pattern of them.
    pub async fn grant_access(&self, name: &str, on: &str, access: Access) -> Result<(), Error> {
        self.put(path(ROLES, name), &json!({ "role": name, "grant": lists(on, access) })).await
    }

    /// Takes that back.
    pub async fn revoke_access(&self, name: &str, on: &str, access: Access) -> Result<(), Error> {
        self.put(path(ROLES, name), &json!({ "role": name, "revoke": lists(on, access) })).await
    }

    /// Removes a role.
    pub async fn remove_role(&self, name: &str) -> Result<(), Error> {
        let request = Request::write(Method::DELETE, path(ROLES, name));
        expect(&self.send(&request).await?, &[200])
    }
}

fn path(under: &str, name: &str) -> String {
    key_path(under, name.as_bytes())
}

fn lists(on: &str, access: Access) -> Value {
    let list = |is: bool| if is { vec![on] } else { Vec::new() };
    json!({ "kv": { "read": list(access.read), "write": list(access.write) } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_in_both_forms_that_servers_write() {
        let check = |text: &str, roles: &[&str]| {
            let user: WireUser = serde_json::from_str(text).expect("parses");
            assert_eq!(User::from(user).roles, roles, "{text}");
        };
        check(r#"{"user":"a"}"#, &[]);
        check(r#"{"user":"a","roles":null}"#, &[]);
        check(r#"{"user":"a","roles":["r","s"]}"#, &["r", "s"]);
        let whole = r#"{"role":"r","permissions":{"kv":{"read":["/*"],"write":null}}}"#;
        check(&format!(r#"{{"user":"a","roles":[{whole}]}}"#), &["r"]);
        let role: WireRole = serde_json::from_str(whole).expect("parses");
        let expected = Role { name: "r".into(), read: vec!["/*".into()], write: Vec::new() };
        assert_eq!(Role::from(role), expected);
    }

    #[test]
    fn no_name_climbs_out_of_its_path() {
        assert_eq!(path(USERS, "alice"), "/v2/auth/users/alice");
        assert_eq!(path(USERS, "../enable"), "/v2/auth/users/enable");
    }
}
