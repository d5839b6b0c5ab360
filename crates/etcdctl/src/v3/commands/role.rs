//! `role add`, `get`, `list`, `delete`, `grant-permission` and `revoke-permission`

use std::ffi::OsString;

use bytes::Bytes;
use clap::{Args, Subcommand};
use client::v3::prefix_end;
use proto::{
    Message as _,
    authpb::{Permission, permission::Type},
    etcdserverpb::{
        AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
        AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
        AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
        AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse,
    },
};

use super::{bytes, only, text};
use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed, go,
        output::{Answer, Done, Printer, Text},
    },
};

/// What the end of a range is that has none.
const OPEN: &[u8] = b"\0";

/// Roles, and what they permit
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    Add(Add),
    Get(Get),
    List(List),
    Delete(Delete),
    GrantPermission(Grant),
    RevokePermission(Revoke),
}

impl Role {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(globals).await,
            Self::Get(get) => get.run(globals).await,
            Self::List(list) => list.run(globals).await,
            Self::Delete(delete) => delete.run(globals).await,
            Self::GrantPermission(grant) => grant.run(globals).await,
            Self::RevokePermission(revoke) => revoke.run(globals).await,
        }
    }
}

/// Make a role
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role add <NAME>",
    after_help = "Example:\n  etcdctl role add readers"
)]
pub(crate) struct Add {
    /// The role
    #[arg(value_name = "NAME", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Add {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = only(&self.arguments, "role add command requires role name as its argument")?;
        let printer = Printer::new::<Done<AuthRoleAddResponse>>(globals)?;
        let client = connect(globals).await?;
        let answer = client.role_add(AuthRoleAddRequest { name: name.to_owned() }).await;
        let answer = answer.map_err(failed(Exit::Error))?;
        let said = format!("Role {name} created");
        let message = "etcdserverpb.AuthRoleAddResponse";
        Ok(printer.print(&Done::new(message, answer, |answer| answer.header, said))?)
    }
}

/// Print what a role permits
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role get <NAME>",
    after_help = "Example:\n  etcdctl role get readers"
)]
pub(crate) struct Get {
    /// The role
    #[arg(value_name = "NAME", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Get {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let role = only(&self.arguments, "role get command requires role name as its argument")?;
        let role = role.to_owned();
        let printer = Printer::new::<Permissions>(globals)?;
        let client = connect(globals).await?;
        let answer = client.role_get(AuthRoleGetRequest { role: role.clone() }).await;
        let answer = answer.map_err(failed(Exit::Error))?;
        Ok(printer.print(&Permissions { role, answer })?)
    }
}

/// Print all roles
#[derive(Args, Debug)]
#[command(override_usage = "etcdctl role list", after_help = "Example:\n  etcdctl role list")]
pub(crate) struct List {
    #[arg(hide = true, num_args = 0..)]
    arguments: Vec<OsString>,
}

impl List {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        if !self.arguments.is_empty() {
            return bad_args("role list command requires no arguments");
        }
        let printer = Printer::new::<Roles>(globals)?;
        let client = connect(globals).await?;
        let roles = client.role_list(AuthRoleListRequest {}).await;
        Ok(printer.print(&Roles(roles.map_err(failed(Exit::Error))?))?)
    }
}

/// Delete a role
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role delete <NAME>",
    after_help = "Example:\n  etcdctl role delete readers"
)]
pub(crate) struct Delete {
    /// The role
    #[arg(value_name = "NAME", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Delete {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let role = only(&self.arguments, "role delete command requires role name as its argument")?;
        let printer = Printer::new::<Done<AuthRoleDeleteResponse>>(globals)?;
        let client = connect(globals).await?;
        let answer = client.role_delete(AuthRoleDeleteRequest { role: role.to_owned() }).await;
        let answer = answer.map_err(failed(Exit::Error))?;
        let said = format!("Role {role} deleted");
        let message = "etcdserverpb.AuthRoleDeleteResponse";
        Ok(printer.print(&Done::new(message, answer, |answer| answer.header, said))?)
    }
}

/// Permit a role to read or write keys
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role grant-permission [FLAGS] <ROLE> <read|write|readwrite> <KEY> [END]",
    after_help = "Examples:\n  \
        etcdctl role grant-permission readers read message\n  \
        etcdctl role grant-permission deployers readwrite --prefix services/"
)]
pub(crate) struct Grant {
    /// The role, what it may, and the keys
    #[arg(value_names = ["ROLE", "TYPE", "KEY", "END"], num_args = 0..)]
    arguments: Vec<OsString>,
    #[command(flatten)]
    keys: Keys,
}

impl Grant {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let [role, kind, keys @ ..] = &self.arguments[..] else { return bad_args(GRANT_NEEDS) };
        if keys.is_empty() {
            return bad_args(GRANT_NEEDS);
        }
        let role = text(role)?;
        let kind = match text(kind)?.to_uppercase().as_str() {
            "READ" => Type::Read,
            "WRITE" => Type::Write,
            "READWRITE" => Type::Readwrite,
            _ => return bad_args(format!("invalid permission type: {}", kind.display())),
        };
        let (key, range_end) = self.keys.range(keys)?;
        let printer = Printer::new::<Done<AuthRoleGrantPermissionResponse>>(globals)?;
        let client = connect(globals).await?;
        let perm = Permission { perm_type: kind.into(), key, range_end };
        let request = AuthRoleGrantPermissionRequest { name: role.to_owned(), perm: Some(perm) };
        let answer = client.role_grant_permission(request).await.map_err(failed(Exit::Error))?;
        let said = format!("Role {role} updated");
        let message = "etcdserverpb.AuthRoleGrantPermissionResponse";
        Ok(printer.print(&Done::new(message, answer, |answer| answer.header, said))?)
    }
}

const GRANT_NEEDS: &str = "role grant command requires role name, permission type, and key \
                           [endkey] as its argument";

/// Take back what a role was permitted
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role revoke-permission [FLAGS] <ROLE> <KEY> [END]",
    after_help = "Example:\n  etcdctl role revoke-permission deployers --prefix services/"
)]
pub(crate) struct Revoke {
    /// The role and the keys
    #[arg(value_names = ["ROLE", "KEY", "END"], num_args = 0..)]
    arguments: Vec<OsString>,
    #[command(flatten)]
    keys: Keys,
}

impl Revoke {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let needs = "role revoke-permission command requires role name and key [endkey] as its \
                     argument";
        let [role, keys @ ..] = &self.arguments[..] else { return bad_args(needs) };
        if keys.is_empty() {
            return bad_args(needs);
        }
        let role = text(role)?;
        let (key, range_end) = self.keys.range(keys)?;
        let printer = Printer::new::<Done<AuthRoleRevokePermissionResponse>>(globals)?;
        let client = connect(globals).await?;
        let (shown_key, shown_end) = (lossy(&key), lossy(&range_end));
        let said = match &range_end[..] {
            b"" => format!("Permission of key {shown_key} is revoked from role {role}"),
            OPEN => {
                format!(
                    "Permission of range [{shown_key}, <open ended> is revoked from role {role}"
                )
            }
            _ => format!(
                "Permission of range [{shown_key}, {shown_end}) is revoked from role {role}"
            ),
        };
        let request = AuthRoleRevokePermissionRequest { role: role.to_owned(), key, range_end };
        let answer = client.role_revoke_permission(request).await.map_err(failed(Exit::Error))?;
        let message = "etcdserverpb.AuthRoleRevokePermissionResponse";
        Ok(printer.print(&Done::new(message, answer, |answer| answer.header, said))?)
    }
}

/// Keys beyond the one that is named.
#[derive(Args, Debug)]
struct Keys {
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// All keys from KEY on
    #[arg(long)]
    from_key: bool,
}

impl Keys {
    fn range(&self, keys: &[OsString]) -> Result<(Bytes, Bytes), Failure> {
        if self.prefix && self.from_key {
            return bad_args("--from-key and --prefix flags are mutually exclusive");
        }
        let mut keys = bytes(keys).into_iter();
        let (key, end) = (keys.next().unwrap_or_default(), keys.next());
        let open = Bytes::from_static(OPEN);
        let beyond = self.prefix || self.from_key;
        if key.is_empty() {
            // The smallest key that there can be: an empty one is refused.
            return Ok((open.clone(), if beyond { open } else { Bytes::new() }));
        }
        match end {
            Some(_) if self.prefix => bad_args("unexpected endkey argument with --prefix flag"),
            Some(_) if self.from_key => bad_args("unexpected endkey argument with --from-key flag"),
            Some(end) => Ok((key, end)),
            None if self.prefix => {
                let end = prefix_end(&key);
                Ok((key, end))
            }
            None if self.from_key => Ok((key, open)),
            None => Ok((key, Bytes::new())),
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a role permits, as an answer.
pub(super) struct Permissions {
    pub(super) role: String,
    pub(super) answer: AuthRoleGetResponse,
}

impl Permissions {
    /// The ranges of permissions of some types.
    fn lines(&self, types: [Type; 2], to: &mut Text) {
        for one in self.answer.perm.iter().filter(|one| types.contains(&one.perm_type())) {
            to.bytes(b"\t");
            match &one.range_end[..] {
                b"" => to.bytes(&one.key),
                OPEN => {
                    to.add(format_args!("[{}, <open ended>", lossy(&one.key)));
                }
                end => to.add(format_args!("[{}, {})", lossy(&one.key), lossy(end))),
            }
            if !one.key.is_empty()
                && !one.range_end.is_empty()
                && prefix_end(&one.key) == one.range_end
            {
                to.add(format_args!(" (prefix {})", lossy(&one.key)));
            }
            to.line("");
        }
    }
}

impl Answer for Permissions {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.AuthRoleGetResponse", self.answer.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        let is_root = self.role == "root" && self.answer.perm.is_empty();
        to.line(format_args!("Role {}", self.role));
        for (what, kind) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
            to.line(what);
            if is_root {
                to.line("\t[, <open ended>");
            }
            self.lines([kind, Type::Readwrite], to);
        }
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.answer.header.as_ref());
        for one in &self.answer.perm {
            // The second space is the original's.
            to.line(format_args!("\"PermType\" :  {}", one.perm_type().as_str_name()));
            to.quoted("Key", &one.key);
            to.quoted("RangeEnd", &one.range_end);
        }
    }
}

struct Roles(AuthRoleListResponse);

impl Answer for Roles {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.AuthRoleListResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        self.0.roles.iter().for_each(|role| to.line(role));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        let roles = self.0.roles.iter().map(|role| format!(" {}", go::quote(role.as_bytes())));
        to.line(format_args!("\"Roles\" :{}", roles.collect::<String>()));
    }
}
