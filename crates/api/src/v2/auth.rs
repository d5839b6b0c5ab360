//! `/v2/auth`: users and roles come with their own issue; until then auth is off, and says so.

use http::{Method, StatusCode};

use crate::reply::{self, Reply};

const LATER: &str = "users and roles are not supported yet: auth is off and stays off";

/// `/v2/auth/enable`.
pub(crate) fn enabled(method: &Method) -> Reply {
    match *method {
        Method::GET => reply::json(StatusCode::OK, "{\"enabled\":false}\n".to_owned()),
        Method::PUT | Method::DELETE => answer(),
        _ => reply::method_not_allowed("GET,PUT,DELETE"),
    }
}

/// All the rest.
pub(crate) fn answer() -> Reply {
    reply::message(StatusCode::NOT_IMPLEMENTED, LATER)
}
