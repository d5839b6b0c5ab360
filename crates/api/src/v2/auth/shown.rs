//! Users and roles as JSON, as 2.3.8 writes it.

use proto::command::Patterns;
use state::auth::Auth;

use crate::v2::{json::write_string, members::write_strings};

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(128);
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// `{"users":[…]}`; without any, `null`.
pub(super) fn users(auth: &Auth) -> String {
    let users: Vec<String> = auth.users().map(|name| one_user(auth, name)).collect();
    if users.is_empty() {
        return "{\"users\":null}\n".to_owned();
    }
    format!("{{\"users\":[{}]}}\n", users.join(","))
}

pub(super) fn roles(auth: &Auth) -> String {
    format!("{{\"roles\":[{}]}}\n", roles_of(auth, &auth.v2_roles()))
}

/// A user with what each of its roles permits; `None`: there is none.
pub(super) fn user(auth: &Auth, name: &str) -> Option<String> {
    auth.user(name)?;
    Some(one_user(auth, name) + "\n")
}

fn one_user(auth: &Auth, name: &str) -> String {
    let roles = auth.v2_roles_of(name).unwrap_or_default();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let roles = roles_of(auth, &roles);
    text(|out| {
        push(out, "{\"user\":");
        write_string(out, name.as_bytes());
        if !roles.is_empty() {
            push(out, &format!(",\"roles\":[{roles}]"));
        }
        push(out, "}");
    })
}

/// Those that are there.
fn roles_of(auth: &Auth, names: &[&str]) -> String {
    let shown = names.iter().filter_map(|name| Some(role(name, &auth.v2_role(name)?)));
    shown.collect::<Vec<_>>().join(",")
}

pub(super) fn role(name: &str, Patterns { read, write }: &Patterns) -> String {
    text(|out| {
        push(out, "{\"role\":");
        write_string(out, name.as_bytes());
        push(out, ",\"permissions\":{\"kv\":{\"read\":");
        write_strings(out, read);
        push(out, ",\"write\":");
        write_strings(out, write);
        push(out, "}}}");
    })
}

/// A user after a change, with the names of its roles; `None`: none were given.
pub(super) fn changed_user(name: &str, roles: Option<&[String]>) -> String {
    text(|out| {
        push(out, "{\"user\":");
        write_string(out, name.as_bytes());
        push(out, ",\"roles\":");
        match roles {
            Some(roles) => write_strings(out, roles),
            None => push(out, "null"),
        }
        push(out, "}\n");
    })
}
