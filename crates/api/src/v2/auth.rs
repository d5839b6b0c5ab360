//! `/v2/auth`: users, roles, and whether anybody is asked who he is.

mod shown;

use std::sync::Arc;

use base::Refused;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use proto::command::{Auth as Command, AuthChange, Named, Nothing, Op, Patterns, PutRole, PutUser};
use serde::{Deserialize, de::DeserializeOwned};
use server::{Done as Applied, PasswordError};
use state::{
    Response,
    auth::v2::{Done, Refusal},
};

use super::failure;
use crate::{
    auth::{Claim, Denied},
    context::Context,
    reply::{self, Reply, X_ETCD_CLUSTER_ID},
    upload,
};

const METHODS: &str = "GET,PUT,DELETE";

/// Answers a request about this path, decoded and clean.
pub(crate) async fn answer(
    context: &Arc<Context>,
    request: Request<Incoming>,
    path: &[u8],
) -> Reply {
    if context.handle.is_fenced() {
        return failure::refused(context, Refused::Corrupt);
    }
    let path = String::from_utf8_lossy(path).into_owned();
    let rest = path.strip_prefix("/v2/auth/").unwrap_or_default();
    let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let answered = match parts[..] {
        ["enable"] => enable(context, request).await,
        ["users"] => list(context, &request, shown::users).await,
        ["roles"] => list(context, &request, shown::roles).await,
        ["users", name] => user(context, request, name).await,
        ["roles", name] => role(context, request, name).await,
        ["users" | "roles", ..] => {
            return reply::message(StatusCode::BAD_REQUEST, "Invalid path");
        }
        _ => return reply::not_found(),
    };
    let mut reply = answered.unwrap_or_else(|reply| reply);
    if reply.status() != StatusCode::UNAUTHORIZED {
        reply.headers_mut().insert(X_ETCD_CLUSTER_ID, context.cluster_id.clone());
    }
    reply
}

type Answer = Result<Reply, Reply>;

async fn enable(context: &Context, request: Request<Incoming>) -> Answer {
    let claim = Claim::of(&request);
    let change = match *request.method() {
        Method::GET => {
            let is_enabled = context.handle.reader().auth_is_enabled();
            return Ok(reply::json(StatusCode::OK, format!("{{\"enabled\":{is_enabled}}}\n")));
        }
        Method::PUT => AuthChange::V2Enable(Nothing {}),
        Method::DELETE => AuthChange::V2Disable(Nothing {}),
        _ => return Err(reply::method_not_allowed(METHODS)),
    };
    change_to(context, &claim, change).await?;
    Ok(done())
}

async fn list(
    context: &Context,
    request: &Request<Incoming>,
    show: fn(&state::auth::Auth) -> String,
) -> Answer {
    if *request.method() != Method::GET {
        return Err(reply::method_not_allowed("GET"));
    }
    Claim::of(request).is_admin(context).await.map_err(Denied::reply)?;
    Ok(reply::json(StatusCode::OK, show(&context.handle.reader().auth())))
}

async fn user(context: &Context, request: Request<Incoming>, name: &str) -> Answer {
    let claim = Claim::of(&request);
    match *request.method() {
        Method::GET => {
            claim.is_admin(context).await.map_err(Denied::reply)?;
            let auth = context.handle.reader().auth();
            let shown = shown::user(&auth, name);
            let text = format!("auth: User {name} does not exist.");
            Ok(reply::json(StatusCode::OK, shown.ok_or_else(|| not_found(&text))?))
        }
        Method::PUT => put_user(context, &claim, request, name).await,
        Method::DELETE => {
            let change = AuthChange::V2DeleteUser(Named { name: name.to_owned() });
            change_to(context, &claim, change).await?;
            Ok(done())
        }
        _ => Err(reply::method_not_allowed(METHODS)),
    }
}

fn not_found(text: &str) -> Reply {
    reply::message(StatusCode::NOT_FOUND, text)
}

fn bad(text: &str) -> Reply {
    reply::message(StatusCode::BAD_REQUEST, text)
}

/// As Go answers with a JSON type and no body.
fn done() -> Reply {
    reply::json(StatusCode::OK, String::new())
}

#[derive(Deserialize)]
struct User {
    #[serde(default, rename = "user")]
    name: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    roles: Option<Vec<String>>,
    #[serde(default)]
    grant: Option<Vec<String>>,
    #[serde(default)]
    revoke: Option<Vec<String>>,
}

async fn put_user(
    context: &Context,
    claim: &Claim,
    request: Request<Incoming>,
    name: &str,
) -> Answer {
    claim.may_change_users(context).await.map_err(Denied::reply)?;
    let User { name: named, password, roles, grant, revoke } = message(request).await?;
    if named.as_deref().unwrap_or_default() != name {
        return Err(bad("User JSON name does not match the name in the URL"));
    }
    let (grant, revoke) = (grant.unwrap_or_default(), revoke.unwrap_or_default());
    let changes = !grant.is_empty() || !revoke.is_empty();
    if changes && roles.as_ref().is_some_and(|roles| !roles.is_empty()) {
        return Err(bad("User JSON contains both roles and grant/revoke"));
    }
    let password_hash = match password.filter(|password| !password.is_empty()) {
        Some(password) => Some(hash(context, name, &password).await?),
        None => None,
    };
    let given = roles.is_some();
    let roles = roles.unwrap_or_default();
    let put = PutUser { name: name.to_owned(), password_hash, roles, grant, revoke };
    let done = change_to(context, claim, AuthChange::V2PutUser(put)).await?;
    let Done::User { created, roles } = done else { return Err(unexpected(&done)) };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    // Of a new one the roles are shown as they came.
    let roles = (!created || given || !roles.is_empty()).then_some(roles);
    Ok(reply::json(status, shown::changed_user(name, roles.as_deref())))
}

async fn hash(context: &Context, user: &str, password: &str) -> Result<Bytes, Reply> {
    context.auth.passwords.hash(user, password).await.map_err(|why| match why {
        // The original says that something went wrong.
        PasswordError::TooLong | PasswordError::TooCostly => bad(&format!("auth: {why}")),
        PasswordError::TooMany | PasswordError::Stopped => Denied::from(why).reply(),
    })
}

#[derive(Deserialize)]
struct Role {
    #[serde(default, rename = "role")]
    name: Option<String>,
    #[serde(default)]
    permissions: Option<Permissions>,
    #[serde(default)]
    grant: Option<Permissions>,
    #[serde(default)]
    revoke: Option<Permissions>,
}

#[derive(Default, Deserialize)]
struct Permissions {
    #[serde(default)]
    kv: Option<Lists>,
}

#[derive(Default, Deserialize)]
struct Lists {
    #[serde(default)]
    read: Option<Vec<String>>,
    #[serde(default)]
    write: Option<Vec<String>>,
}

impl Permissions {
    fn patterns(self) -> Patterns {
        let Lists { read, write } = self.kv.unwrap_or_default();
        Patterns { read: read.unwrap_or_default(), write: write.unwrap_or_default() }
    }
}

async fn role(context: &Context, request: Request<Incoming>, name: &str) -> Answer {
    let claim = Claim::of(&request);
    match *request.method() {
        Method::GET => {
            claim.is_admin(context).await.map_err(Denied::reply)?;
            let role = context.handle.reader().auth().v2_role(name);
            let text = format!("auth: Role {name} does not exist.");
            let role = role.ok_or_else(|| not_found(&text))?;
            Ok(reply::json(StatusCode::OK, shown::role(name, &role) + "\n"))
        }
        Method::PUT => put_role(context, &claim, request, name).await,
        Method::DELETE => {
            let change = AuthChange::V2DeleteRole(Named { name: name.to_owned() });
            change_to(context, &claim, change).await?;
            Ok(done())
        }
        _ => Err(reply::method_not_allowed(METHODS)),
    }
}

async fn put_role(
    context: &Context,
    claim: &Claim,
    request: Request<Incoming>,
    name: &str,
) -> Answer {
    claim.may_change_users(context).await.map_err(Denied::reply)?;
    let Role { name: named, permissions, grant, revoke } = message(request).await?;
    if named.as_deref().unwrap_or_default() != name {
        return Err(bad("Role JSON name does not match the name in the URL"));
    }
    let permissions = permissions.unwrap_or_default().patterns();
    let grant = grant.unwrap_or_default().patterns();
    let revoke = revoke.unwrap_or_default().patterns();
    let changes = !grant.is_empty() || !revoke.is_empty();
    if changes && !permissions.is_empty() {
        return Err(bad("Role JSON contains both permissions and grant/revoke"));
    }
    let put = PutRole {
        name: name.to_owned(),
        permissions: Some(permissions),
        grant: Some(grant),
        revoke: Some(revoke),
    };
    let done = change_to(context, claim, AuthChange::V2PutRole(put)).await?;
    let Done::Role { created, permissions } = done else { return Err(unexpected(&done)) };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(reply::json(status, shown::role(name, &permissions) + "\n"))
}

/// The first JSON value of the body, as Go reads it.
async fn message<M: DeserializeOwned>(request: Request<Incoming>) -> Result<M, Reply> {
    let body = upload::read(request).await?;
    let first = serde_json::Deserializer::from_slice(&body).into_iter().next();
    first.and_then(Result::ok).ok_or_else(|| bad("Invalid JSON in request body."))
}

/// Carries a change out on all members.
async fn change_to(context: &Context, claim: &Claim, change: AuthChange) -> Result<Done, Reply> {
    let op = Op::Auth(Command { change: Some(change) });
    let done = claim.write(context, op).await.map_err(Denied::reply)?;
    let Applied { response, .. } =
        done.map_err(|why| reply::message(failure::status(why), &why.to_string()))?;
    match response {
        Response::V2Auth(Ok(done)) => {
            context.warn_of_guests();
            Ok(done)
        }
        Response::V2Auth(Err(Refusal { status, text })) => {
            let status = StatusCode::from_u16(status);
            Err(reply::message(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &text))
        }
        Response::V3(Err(refused)) => {
            Err(reply::message(StatusCode::INTERNAL_SERVER_ERROR, refused.text()))
        }
        Response::Keys(_)
        | Response::V3(Ok(_))
        | Response::Expired(_)
        | Response::Done
        | Response::Downgrade(_)
        | Response::Refused(_) => Err(unexpected(&response)),
    }
}

fn unexpected(answer: &impl std::fmt::Debug) -> Reply {
    tracing::error!(?answer, "a change of users got the answer of another command");
    reply::message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}
