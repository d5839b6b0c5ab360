//! The members API.

use http::Method;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::{
    cluster::Client,
    error::Error,
    escape::key_path,
    request::Request,
    transport::{Answer, message_of},
};

const MEMBERS: &str = "/v2/members";

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// In hexadecimal.
    pub id: String,
    /// Empty until it has been started.
    pub name: String,
    /// Where the other members reach it.
    #[serde(rename = "peerURLs", deserialize_with = "list_or_null")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has been started.
    #[serde(rename = "clientURLs", deserialize_with = "list_or_null", default)]
    pub client_urls: Vec<String>,
}

/// Go writes an empty list as null here and there.
fn list_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Client {
    /// All members, in the server's order.
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        #[derive(Deserialize)]
        struct List {
            members: Option<Vec<Member>>,
        }
        let answer = self.send(&Request::get(MEMBERS)).await?;
        let list: List = parse(&answer, &[200])?;
        Ok(list.members.unwrap_or_default())
    }

    /// The member that leads.
    pub async fn leader(&self) -> Result<Member, Error> {
        let answer = self.send(&Request::get(format!("{MEMBERS}/leader"))).await?;
        parse(&answer, &[200])
    }

    /// Adds a member, which is then to be started. Never sent twice after an unclear failure.
    pub async fn add_member(&self, peer_urls: &[impl AsRef<str>]) -> Result<Member, Error> {
        let request = Request::write(Method::POST, MEMBERS).with_body(JSON, urls(peer_urls));
        parse(&self.send(&request).await?, &[201])
    }

    /// Gives a member other peer URLs.
    pub async fn update_member(
        &self,
        id: &str,
        peer_urls: &[impl AsRef<str>],
    ) -> Result<(), Error> {
        let request = Request::write(Method::PUT, member_path(id)).with_body(JSON, urls(peer_urls));
        expect(&self.send(&request).await?, &[204])
    }

    /// Removes a member for good. One that has been removed already is fine.
    pub async fn remove_member(&self, id: &str) -> Result<(), Error> {
        let request = Request::write(Method::DELETE, member_path(id));
        expect(&self.send(&request).await?, &[204, 410])
    }
}

pub(crate) const JSON: &str = "application/json";

fn urls(peer_urls: &[impl AsRef<str>]) -> String {
    let urls: Vec<&str> = peer_urls.iter().map(AsRef::as_ref).collect();
    json!({ "peerURLs": urls }).to_string()
}

fn member_path(id: &str) -> String {
    key_path(MEMBERS, id.as_bytes())
}

/// Passes the statuses that were hoped for; others become the server's message.
pub(crate) fn expect(answer: &Answer, wanted: &[u16]) -> Result<(), Error> {
    if wanted.contains(&answer.status) {
        return Ok(());
    }
    let status = answer.status;
    let message =
        message_of(&answer.body).unwrap_or_else(|| format!("unexpected status code {status}"));
    Err(Error::Refused { status, message })
}

/// Reads an answer's JSON, if its status is one of those hoped for.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(
    answer: &Answer,
    wanted: &[u16],
) -> Result<T, Error> {
    expect(answer, wanted)?;
    serde_json::from_slice(&answer.body)
        .map_err(|problem| Error::Malformed { reason: problem.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unstarted_member_has_neither_name_nor_client_urls() {
        let text = r#"{"id":"1f","name":"","peerURLs":["http://a:2380"],"clientURLs":null}"#;
        let member: Member = serde_json::from_str(text).expect("parses");
        assert_eq!((member.id.as_str(), member.client_urls.len()), ("1f", 0));
    }

    #[test]
    fn no_id_climbs_out_of_the_members_path() {
        assert_eq!(member_path("1f"), "/v2/members/1f");
        assert_eq!(member_path("../keys/a"), "/v2/members/keys/a");
    }
}
