//! The v2 API's answers.

use serde::Deserialize;

use crate::error::Error;

/// The answer to a request for a key, and an event of a watch alike.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Response {
    /// `get`, `set`, `create`, `update`, `delete`, `compareAndSwap`, `compareAndDelete`, `expire`.
    pub action: String,
    /// The key as it is now.
    pub node: Node,
    /// The key as it was before a write, if there was one.
    #[serde(default, rename = "prevNode")]
    pub prev_node: Option<Node>,
    /// `X-Etcd-Index`: the store's index when the answer was made, or when a watch began. Zero
    /// if the server did not say.
    #[serde(skip)]
    pub index: u64,
}

/// A key or a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Empty for the root.
    pub key: String,
    /// `None` for a directory and for what was deleted. Bytes that are not UTF-8 come as U+FFFD:
    /// that is all that v2's JSON can carry.
    pub value: Option<String>,
    /// Whether it is a directory.
    pub dir: bool,
    /// When it goes, in RFC 3339 as the server wrote it.
    pub expiration: Option<String>,
    /// Seconds until it goes, rounded up.
    pub ttl: Option<i64>,
    /// A directory's children, as far as they were asked for.
    pub nodes: Vec<Node>,
    /// The index of its last write.
    pub modified_index: u64,
    /// The index at which it came to be.
    pub created_index: u64,
}

impl Response {
    /// Reads an answer's body; `index` is the head's.
    pub(crate) fn parse(body: &[u8], index: Option<u64>) -> Result<Self, Error> {
        let mut response: Self = serde_json::from_slice(body)
            .map_err(|problem| Error::Malformed { reason: problem.to_string() })?;
        response.index = index.unwrap_or(0);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_directories_and_the_root_are_read() {
        let body = br#"{"action":"get","node":{"dir":true,"nodes":[
            {"key":"/a","value":"","modifiedIndex":5,"createdIndex":4},
            {"key":"/d","dir":true,"expiration":"2030-01-01T00:00:00.5Z","ttl":9,
             "modifiedIndex":6,"createdIndex":6}]}}"#;
        let response = Response::parse(body, Some(7)).expect("parses");
        assert_eq!((response.index, response.node.key.as_str()), (7, ""));
        let [file, directory] = response.node.nodes.as_slice() else { panic!("two nodes") };
        assert_eq!((file.value.as_deref(), file.modified_index), (Some(""), 5));
        assert_eq!((directory.value.as_deref(), directory.ttl), (None, Some(9)));
    }

    #[test]
    fn what_is_not_an_answer_is_malformed() {
        for body in ["", "{}", "<html>", r#"{"action":"get"}"#, r#"{"action":"get","node":"x"}"#] {
            let result = Response::parse(body.as_bytes(), None);
            assert!(matches!(result, Err(Error::Malformed { .. })), "{body}");
        }
    }
}
