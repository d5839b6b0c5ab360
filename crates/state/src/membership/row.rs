//! How the members lie in the table `Meta`.

use base::MemberId;
use bytes::Bytes;
use prost::Message as _;
use proto::command;

use super::{Member, Members};

#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(message, repeated, tag = "1")]
    members: Vec<command::Member>,
    #[prost(fixed64, repeated, tag = "2")]
    removed: Vec<u64>,
}

pub(crate) fn encode(members: &Members) -> Bytes {
    let row = Row {
        members: members.members.values().map(encode_member).collect(),
        removed: members.removed.iter().map(|id| id.0).collect(),
    };
    row.encode_to_vec().into()
}

fn encode_member(member: &Member) -> command::Member {
    let Member { id, name, peer_urls, client_urls, learner, version } = member.clone();
    command::Member { id: id.0, name, peer_urls, client_urls, learner, version }
}

pub(crate) fn decode(row: &[u8]) -> Result<Members, prost::DecodeError> {
    let row = Row::decode(row)?;
    let members = row.members.into_iter().map(Member::from);
    Ok(Members {
        members: members.map(|member| (member.id, member)).collect(),
        removed: row.removed.into_iter().map(MemberId).collect(),
    })
}
