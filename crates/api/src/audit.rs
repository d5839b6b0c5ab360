//! Who did what: a record of each request, for whoever keeps an audit log. Who that is comes from outside.
//!
//! No value and no password stands in a record: only names, and what became of the request.
//!
//! - `trail`: what is learned of a request on its way; `keys`: which keys a command names

mod keys;
mod trail;

use std::{fmt, net::SocketAddr, sync::Arc};

use base::UnixNanos;
use serde::Serialize;

pub(crate) use self::{
    keys::Does,
    trail::{HTTP, Trail, V2},
};

/// Keeps records of requests.
pub trait AuditLog: fmt::Debug + Send + Sync {
    /// Takes a record, and never waits.
    fn keep(&self, record: Record);
}

/// `--audit-log`.
pub type Audit = Arc<dyn AuditLog>;

/// What became of a request. Texts that clients choose are cut where they are long.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// When it came.
    #[serde(skip)]
    pub at: UnixNanos,
    /// Whether that was asked, and with what result.
    pub who: Who,
    /// Who asked, once that was found out.
    pub user: Option<String>,
    /// Whom a client said to be whose password had to be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// `None`: through a socket in the file system.
    pub from: Option<SocketAddr>,
    /// `v2`, `v3`, `v3-json` for what came through the gateway, or `http` for what operators ask.
    pub api: &'static str,
    /// `PUT /v2/keys`, `etcdserverpb.KV/Put`.
    pub method: String,
    /// What it would do with which keys: the first ones that it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Keys>,
    /// How many more it names.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_keys: usize,
    /// Whom or what else it is about.
    #[serde(flatten)]
    pub about: About,
    /// False: users and roles as they are do not permit it.
    pub allowed: bool,
    /// Why it is not allowed, as the client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How it ended: a code of gRPC by name, or a status of HTTP.
    pub code: String,
}

/// Who somebody was found to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Users are not enabled, or it is all one who asks for this.
    #[default]
    NotAsked,
    /// He said no name, and v2 lets guests in.
    Guest,
    User,
    /// He said no name, or did not show that it is his.
    Unknown,
}

/// A range of keys, or one, and what a request would do there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keys {
    pub does: &'static str,
    /// Of a permission: `read`, `write` or `readwrite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// As text, or in base64 if it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end_base64: Option<String>,
    /// Of v2: with all that lies below.
    #[serde(skip_serializing_if = "is_false")]
    pub recursive: bool,
    /// What is shown of them is not all.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
}

/// Whom or what a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The user that is changed or looked at.
    #[serde(rename = "of_user", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(rename = "of_role", skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(rename = "of_lease", skip_serializing_if = "Option::is_none")]
    pub lease: Option<i64>,
    /// In hexadecimal.
    #[serde(rename = "of_member", skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// At which a member is to be reached by the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer_urls: Vec<String>,
    /// Below it history goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// What becomes of which: `ACTIVATE NOSPACE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// What becomes of one, to which version: `ENABLE 3.5.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downgrade: Option<String>,
    /// What the log is to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(is_it: &bool) -> bool {
    !is_it
}
