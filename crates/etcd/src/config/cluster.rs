//! Who belongs to a new cluster, and where that is written.

use base::url::{self, Url};

/// A token of a discovery service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiscoveryUrl {
    /// As it was given; also the cluster's token.
    pub(crate) text: String,
    /// `http://host:port`.
    pub(crate) origin: String,
    /// The token's directory, with a slash in front and none behind.
    pub(crate) path: String,
}

impl DiscoveryUrl {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let example = "give one like https://discovery.etcd.io/<token>, or \
                       http://HOST:2379/v2/keys/<directory> of any cluster";
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("\"{}\" is no URL: {example}", url::shown(text)));
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let known = matches!(scheme, "http" | "https");
        if !known || authority.is_empty() || path.is_empty() || text.contains(['?', '#', ' ']) {
            return Err(format!("\"{}\" names no token: {example}", url::shown(text)));
        }
        // What is cut off at a slash may be part of a password.
        if format!("{scheme}://{authority}").parse::<client::Endpoint>().is_err() {
            return Err(format!("\"{}\" names no host: {example}", url::shown(text)));
        }
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            origin: format!("{scheme}://{authority}"),
            path: format!("/{path}"),
        })
    }
}

/// Name and peer URLs of each member.
pub(crate) type Members = Vec<(String, Vec<String>)>;

/// The cluster of one member at the URLs that it advertises.
pub(super) fn alone(name: &str, advertised: &[Url]) -> Members {
    vec![(name.to_owned(), url::texts(advertised))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_an_origin_and_a_directory() {
        let url = DiscoveryUrl::parse("http://10.0.0.1:2379/v2/keys/_d/t/").unwrap();
        assert_eq!(url.origin, "http://10.0.0.1:2379");
        assert_eq!((url.path.as_str(), url.text.ends_with("/t")), ("/v2/keys/_d/t", true));
        assert_eq!(DiscoveryUrl::parse("https://discovery.etcd.io/x").unwrap().path, "/x");
        for text in ["x", "http://", "http://h", "http://h/", "ftp://h/x", "http://h/x?y"] {
            assert!(DiscoveryUrl::parse(text).is_err(), "{text}");
        }
        for text in [
            "http://me:pa/ss@h:1/x",
            "http://me:pass@h:1/x",
            "me:pa/ss@h:1/x",
            "ftp://me:pa/ss@h/x",
        ] {
            let why = DiscoveryUrl::parse(text).unwrap_err();
            assert!(
                why.contains("me:xxxxx@h") && !why.contains("pa") && !why.contains("ss"),
                "{why}"
            );
        }
    }
}
