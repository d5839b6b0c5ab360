//! Who asks: what a client says of itself goes on to the member that answers.

use client::v3::Client;
use http::HeaderMap;
use tonic::metadata::MetadataMap;

/// What of a call's metadata is for the member.
const PASSED_ON: [&str; 4] = ["token", "authorization", "hasleader", "client-api-version"];

/// What a client says of itself, in a form to be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Who(Vec<(&'static str, Vec<u8>)>);

/// Those of the headers that go on.
pub(crate) fn headers(metadata: &MetadataMap) -> HeaderMap {
    let given = metadata.as_ref();
    let pairs = PASSED_ON.into_iter().filter_map(|name| {
        given.get(name).map(|value| (http::HeaderName::from_static(name), value.clone()))
    });
    pairs.collect()
}

/// A client that asks with the words of whoever sent this metadata.
pub(crate) fn client(client: &Client, metadata: &MetadataMap) -> Client {
    client.on_behalf(headers(metadata))
}

/// Who sent this metadata, as far as permissions go.
pub(crate) fn who(metadata: &MetadataMap) -> Who {
    let headers = headers(metadata);
    let of = |name: &'static str| headers.get(name).map(|value| (name, value.as_bytes().to_vec()));
    Who(["token", "authorization"].into_iter().filter_map(of).collect())
}

/// Whether a client wants no answer of a member without a leader.
pub(crate) fn needs_leader(metadata: &MetadataMap) -> bool {
    metadata.as_ref().get("hasleader").is_some_and(|value| value.as_bytes() == b"true")
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
        assert!(needs_leader(&metadata));
        let without = who(&MetadataMap::new());
        assert_ne!(who(&metadata), without);
        metadata.remove("token");
        assert_eq!(who(&metadata), without);
    }
}
