//! `/debug/vars`: what Go's expvar shows, as far as it means something here.

use http::{HeaderValue, Method, StatusCode};
use server::RaftState;

use super::process;
use crate::{
    context::Context,
    reply::{self, Reply},
    v2::json,
};

pub(crate) fn answer(context: &Context, method: &Method) -> Reply {
    if *method != Method::GET {
        return reply::method_not_allowed("GET");
    }
    let process = process::read();
    let status = context.handle.status();
    let mut body = Vec::from(*b"{\n\"cmdline\": [");
    for (at, argument) in process::arguments().iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        json::write_string(&mut body, argument.as_bytes());
    }
    let state = match status.state {
        RaftState::Follower => "StateFollower",
        RaftState::PreCandidate => "StatePreCandidate",
        RaftState::Candidate => "StateCandidate",
        RaftState::Leader => "StateLeader",
    };
    let leader = status.leader.map_or(0, |id| id.0);
    let rest = format!(
        "],\n\"file_descriptor_limit\": {},\n\"memstats\": {{\"Sys\":{},\"Alloc\":{}}},\n\
         \"raft.status\": {{\"id\":\"{}\",\"term\":{},\"commit\":{},\"applied\":{},\
         \"lead\":\"{leader:x}\",\"raftState\":\"{state}\"}}\n}}\n",
        process.max_fds,
        process.virtual_bytes,
        process.resident_bytes,
        context.handle.member_id(),
        status.term,
        status.committed,
        status.applied,
    );
    body.extend_from_slice(rest.as_bytes());
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    reply::whole(StatusCode::OK, json, String::from_utf8_lossy(&body).into_owned())
}
