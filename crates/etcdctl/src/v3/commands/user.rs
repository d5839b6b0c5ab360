//! `user add`, `get`, `list`, `delete`, `passwd`, `grant-role` and `revoke-role`

use std::{
    ffi::OsString,
    io::{self, BufRead as _},
};

use clap::{ArgAction, Args, Subcommand};
use proto::{
    Message as _,
    authpb::UserAddOptions,
    etcdserverpb::{
        AuthRoleGetRequest, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
        AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
        AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest,
        AuthUserGrantRoleResponse, AuthUserListRequest, AuthUserListResponse,
        AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse,
    },
};

use super::{only, role::Permissions, text};
use crate::{
    failure::{Exit, Failure},
    password,
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed,
        output::{Answer, Done, Printer, Text},
    },
};

/// Users
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    Add(Add),
    Get(Get),
    List(List),
    Delete(Delete),
    Passwd(Passwd),
    GrantRole(GrantRole),
    RevokeRole(RevokeRole),
}

impl User {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(globals).await,
            Self::Get(get) => get.run(globals).await,
            Self::List(list) => list.run(globals).await,
            Self::Delete(delete) => delete.run(globals).await,
            Self::Passwd(passwd) => passwd.run(globals).await,
            Self::GrantRole(grant) => grant.run(globals).await,
            Self::RevokeRole(revoke) => revoke.run(globals).await,
        }
    }
}

/// Make a user
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user add [FLAGS] <NAME[:PASSWORD]>",
    after_help = "Asks for the password at the terminal if there is none.\n\n\
        Examples:\n  \
        etcdctl user add alice\n  \
        etcdctl user add alice --interactive=false < password\n  \
        etcdctl user add host-1 --no-password"
)]
pub(crate) struct Add {
    /// The user
    #[arg(value_name = "NAME[:PASSWORD]", num_args = 0..)]
    arguments: Vec<OsString>,
    #[command(flatten)]
    asking: Asking,
    /// The user's password
    #[arg(long, value_name = "PASSWORD", default_value = "", hide_default_value = true)]
    new_user_password: String,
    /// Without a password: for the common name of a client certificate
    #[arg(long)]
    no_password: bool,
}

impl Add {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = only(&self.arguments, "user add command requires user name as its argument")?;
        let (name, password) = match name.split_once(':') {
            _ if self.no_password => (name, String::new()),
            _ if !self.new_user_password.is_empty() => (name, self.new_user_password.clone()),
            Some(("", _)) => return bad_args("empty user name is not allowed"),
            Some((name, password)) => (name, password.to_owned()),
            None => (name, self.asking.password_of(name)?),
        };
        let printer = Printer::new::<Done<AuthUserAddResponse>>(globals)?;
        let client = connect(globals).await?;
        let request = AuthUserAddRequest {
            name: name.to_owned(),
            password,
            options: Some(UserAddOptions { no_password: self.no_password }),
            ..AuthUserAddRequest::default()
        };
        let answer = client.user_add(request).await.map_err(failed(Exit::Error))?;
        let said = format!("User {name} created");
        let message = "etcdserverpb.AuthUserAddResponse";
        Ok(printer.print(&Done::new(message, answer, |answer| answer.header, said))?)
    }
}

/// Where a new password comes from.
#[derive(Args, Debug)]
struct Asking {
    /// Ask for the password at the terminal; otherwise it is read from stdin
    #[arg(long, value_name = "true|false", default_value = "true", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_possible_values = true)]
    interactive: bool,
}

impl Asking {
    fn password_of(&self, name: &str) -> Result<String, Failure> {
        if !self.interactive {
            let mut line = String::new();
            if let Err(problem) = io::stdin().lock().read_line(&mut line) {
                return bad_args(format!("failed to read the password: {problem}"));
            }
            return Ok(line.split_whitespace().next().unwrap_or_default().to_owned());
        }
        let ask = |prompt: String| match password::ask(&prompt) {
            Ok(password) => Ok(password),
            Err(problem) => bad_args(format!("failed to ask password: {problem}")),
        };
        let password = ask(format!("Password of {name}: "))?;
        if password.is_empty() {
            return bad_args("empty password");
        }
        if ask(format!("Type password of {name} again for confirmation: "))? != password {
            return bad_args("given passwords are different");
        }
        Ok(password)
    }
}

/// Print a user's roles
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user get [FLAGS] <NAME>",
    after_help = "Example:\n  etcdctl user get alice --detail"
)]
pub(crate) struct Get {
    /// The user
    #[arg(value_name = "NAME", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Print what the roles permit
    #[arg(long)]
    detail: bool,
}

impl Get {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = only(&self.arguments, "user get command requires user name as its argument")?;
        let printer = Printer::new::<Roles>(globals)?;
        let client = connect(globals).await?;
        let user = client.user_get(AuthUserGetRequest { name: name.to_owned() }).await;
        let user = user.map_err(failed(Exit::Error))?;
        if !self.detail {
            return Ok(printer.print(&Roles { name: name.to_owned(), user })?);
        }
        crate::output::line(format_args!("User: {name}"))?;
        for role in user.roles {
            let request = AuthRoleGetRequest { role: role.clone() };
            let answer = client.role_get(request).await.map_err(failed(Exit::Error))?;
            crate::output::line("")?;
            printer.print(&Permissions { role, answer })?;
        }
        Ok(())
    }
}

/// Print all users
#[derive(Args, Debug)]
#[command(override_usage = "etcdctl user list", after_help = "Example:\n  etcdctl user list")]
pub(crate) struct List {
    #[arg(hide = true, num_args = 0..)]
    arguments: Vec<OsString>,
}

impl List {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        if !self.arguments.is_empty() {
            return bad_args("user list command requires no arguments");
        }
        let printer = Printer::new::<Users>(globals)?;
        let client = connect(globals).await?;
        let users = client.user_list(AuthUserListRequest {}).await;
        Ok(printer.print(&Users(users.map_err(failed(Exit::Error))?))?)
    }
}

/// Delete a user
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user delete <NAME>",
    after_help = "Example:\n  etcdctl user delete alice"
)]
pub(crate) struct Delete {
    /// The user
    #[arg(value_name = "NAME", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Delete {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = only(&self.arguments, "user delete command requires user name as its argument")?;
        let printer = Printer::new::<Done<AuthUserDeleteResponse>>(globals)?;
        let client = connect(globals).await?;
        let answer = client.user_delete(AuthUserDeleteRequest { name: name.to_owned() }).await;
        let answer = answer.map_err(failed(Exit::Error))?;
        let said = format!("User {name} deleted");
        let message = "etcdserverpb.AuthUserDeleteResponse";
        Ok(printer.print(&Done::new(message, answer, |answer| answer.header, said))?)
    }
}

/// Give a user another password
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user passwd [FLAGS] <NAME>",
    after_help = "Example:\n  etcdctl user passwd alice"
)]
pub(crate) struct Passwd {
    /// The user
    #[arg(value_name = "NAME", num_args = 0..)]
    arguments: Vec<OsString>,
    #[command(flatten)]
    asking: Asking,
}

impl Passwd {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = only(&self.arguments, "user passwd command requires user name as its argument")?;
        let password = self.asking.password_of(name)?;
        let printer = Printer::new::<Done<AuthUserChangePasswordResponse>>(globals)?;
        let client = connect(globals).await?;
        let request = AuthUserChangePasswordRequest {
            name: name.to_owned(),
            password,
            ..AuthUserChangePasswordRequest::default()
        };
        let answer = client.user_change_password(request).await.map_err(failed(Exit::Error))?;
        let message = "etcdserverpb.AuthUserChangePasswordResponse";
        Ok(printer.print(&Done::new(
            message,
            answer,
            |answer| answer.header,
            "Password updated",
        ))?)
    }
}

/// Give a user a role
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user grant-role <NAME> <ROLE>",
    after_help = "Example:\n  etcdctl user grant-role alice readers"
)]
pub(crate) struct GrantRole {
    /// The user and the role
    #[arg(value_names = ["NAME", "ROLE"], num_args = 0..)]
    arguments: Vec<OsString>,
}

impl GrantRole {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let needs = "user grant command requires user name and role name as its argument";
        let (user, role) = two(&self.arguments, needs)?;
        let printer = Printer::new::<Done<AuthUserGrantRoleResponse>>(globals)?;
        let client = connect(globals).await?;
        let request = AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
        let answer = client.user_grant_role(request).await.map_err(failed(Exit::Error))?;
        let said = format!("Role {role} is granted to user {user}");
        let message = "etcdserverpb.AuthUserGrantRoleResponse";
        Ok(printer.print(&Done::new(message, answer, |answer| answer.header, said))?)
    }
}

/// Take a role from a user
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user revoke-role <NAME> <ROLE>",
    after_help = "Example:\n  etcdctl user revoke-role alice readers"
)]
pub(crate) struct RevokeRole {
    /// The user and the role
    #[arg(value_names = ["NAME", "ROLE"], num_args = 0..)]
    arguments: Vec<OsString>,
}

impl RevokeRole {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let needs = "user revoke-role requires user name and role name as its argument";
        let (user, role) = two(&self.arguments, needs)?;
        let printer = Printer::new::<Done<AuthUserRevokeRoleResponse>>(globals)?;
        let client = connect(globals).await?;
        let request = AuthUserRevokeRoleRequest { name: user.to_owned(), role: role.to_owned() };
        let answer = client.user_revoke_role(request).await.map_err(failed(Exit::Error))?;
        let said = format!("Role {role} is revoked from user {user}");
        let message = "etcdserverpb.AuthUserRevokeRoleResponse";
        Ok(printer.print(&Done::new(message, answer, |answer| answer.header, said))?)
    }
}

fn two<'a>(arguments: &'a [OsString], why: &str) -> Result<(&'a str, &'a str), Failure> {
    match arguments {
        [first, second] => Ok((text(first)?, text(second)?)),
        _ => bad_args(why),
    }
}

struct Roles {
    name: String,
    user: AuthUserGetResponse,
}

impl Answer for Roles {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.AuthUserGetResponse", self.user.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.line(format_args!("User: {}", self.name));
        let roles = self.user.roles.iter().map(|role| format!(" {role}"));
        to.line(format_args!("Roles:{}", roles.collect::<String>()));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.user.header.as_ref());
        self.user.roles.iter().for_each(|role| to.quoted("Role", role.as_bytes()));
    }
}

struct Users(AuthUserListResponse);

impl Answer for Users {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.AuthUserListResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        self.0.users.iter().for_each(|user| to.line(user));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        self.0.users.iter().for_each(|user| to.quoted("User", user.as_bytes()));
    }
}
