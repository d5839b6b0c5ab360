//! Who asks: what a client says of itself goes on to the member that answers.

use client::v3::Client;
use http::HeaderMap;
use tonic::metadata::MetadataMap;

/// What of a call's metadata is for the member.
const PASSED_ON: [&str; 4] = ["token", "authorization", "hasleader", "client-api-version"];

/// What a client says of itself, in a form to be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Who(Vec<(&'static str, Vec<u8>)>);

impl Who {
    /// As far as permissions go.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let of =
            |name: &'static str| headers.get(name).map(|value| (name, value.as_bytes().to_vec()));
        Self(["token", "authorization"].into_iter().filter_map(of).collect())
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// Asks with the words of whoever that is.
    pub(crate) client: Client,
    /// As far as permissions go.
    pub(crate) who: Who,
    /// Wants no answer of a member without a leader.
    pub(crate) needs_leader: bool,
}

impl Asker {
    /// Whoever has sent this metadata.
    pub(crate) fn new(client: &Client, metadata: &MetadataMap) -> Self {
        let headers = headers(metadata);
        let who = Who::of(&headers);
        let needs_leader = headers.get("hasleader").is_some_and(|value| value == "true");
        Self { client: client.on_behalf(headers), who, needs_leader }
    }
}

/// A client that asks with the words of whoever sent this metadata.
pub(crate) fn client(client: &Client, metadata: &MetadataMap) -> Client {
    client.on_behalf(headers(metadata))
}

/// Those of the headers that go on.
fn headers(metadata: &MetadataMap) -> HeaderMap {
    let given = metadata.as_ref();
    let pairs = PASSED_ON.into_iter().filter_map(|name| {
        given.get(name).map(|value| (http::HeaderName::from_static(name), value.clone()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_and_what_is_between_client_and_proxy_does_not() {
        let mut metadata = MetadataMap::new();
        metadata.insert("token", "secret".parse().unwrap());
        metadata.insert("hasleader", "true".parse().unwrap());
        metadata.insert("grpc-timeout", "1S".parse().unwrap());
        metadata.insert("user-agent", "me".parse().unwrap());
        let headers = headers(&metadata);
        let names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["token", "hasleader"]);
        let client = Client::new(&["127.0.0.1:1"], client::v3::Config::default()).unwrap();
        let asker = |metadata: &MetadataMap| Asker::new(&client, metadata);
        assert!(asker(&metadata).needs_leader);
        let without = asker(&MetadataMap::new()).who;
        assert_ne!(asker(&metadata).who, without);
        metadata.remove("token");
        assert_eq!(asker(&metadata).who, without);
    }
}
