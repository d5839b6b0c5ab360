//! `/version`: what clients test for, and what this really is.

use base::version;
use http::{Method, StatusCode};
use server::Handle;

use crate::reply::{self, Reply};

pub(crate) fn answer(handle: &Handle, method: &Method) -> Reply {
    if *method != Method::GET {
        return reply::method_not_allowed("GET");
    }
    let cluster = handle.reader().cluster_version();
    let cluster = cluster.as_deref().unwrap_or("not_decided");
    let (server, product) = (version::SERVER, version::PRODUCT);
    let body = format!(
        "{{\"etcdserver\":\"{server}\",\"etcdcluster\":\"{cluster}\",\"retcd\":\"{product}\"}}"
    );
    reply::json(StatusCode::OK, body)
}
