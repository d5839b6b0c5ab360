//! `/version`: what clients test for, and what this really is.

use base::version::{self, Minor};
use http::{Method, StatusCode};
use server::Handle;

#[cfg(feature = "next-version")]
use super::next::more;
use crate::reply::{self, Reply};

pub(crate) fn answer(handle: &Handle, method: &Method) -> Reply {
    if *method != Method::GET {
        return reply::method_not_allowed("GET");
    }
    let text = |minor: Option<Minor>, none: &str| minor.map_or(none.to_owned(), Minor::in_full);
    let cluster = text(handle.reader().cluster_version(), "not_decided");
    let storage = text(handle.storage_version(), "unknown");
    let (server, product, more) = (version::SERVER, version::PRODUCT, more(handle));
    let body = format!(
        "{{\"etcdserver\":\"{server}\",\"etcdcluster\":\"{cluster}\",\
         \"storage\":\"{storage}\",\"retcd\":\"{product}\"{more}}}"
    );
    reply::json(StatusCode::OK, body)
}

#[cfg(not(feature = "next-version"))]
fn more(_: &Handle) -> &'static str {
    ""
}
