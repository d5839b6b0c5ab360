//! `--initial-cluster`: `name=URL,name=URL`, a name as often as it has URLs.

use super::urls::{self, Url};

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
            return Err(format!("\"{text}\" is no URL: {example}"));
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let known = matches!(scheme, "http" | "https");
        if !known || authority.is_empty() || path.is_empty() || text.contains(['?', '#', ' ']) {
            return Err(format!("\"{text}\" names no token: {example}"));
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

/// The members in the order in which their names first come, each with its URLs sorted.
pub(crate) fn parse(text: &str) -> Result<Members, String> {
    let mut members: Vec<(String, String)> = Vec::new();
    for row in text.split(',').map(str::trim).filter(|row| !row.is_empty()) {
        let Some((name, url)) = row.split_once('=') else {
            return Err(format!("\"{row}\" is no name=URL"));
        };
        if name.is_empty() {
            return Err(format!("\"{row}\" has no name: write name={url}"));
        }
        if url.is_empty() {
            return Err(format!("empty URL given for \"{name}\""));
        }
        match members.iter_mut().find(|(listed, _)| listed == name) {
            Some((_, urls)) => *urls = format!("{urls},{url}"),
            None => members.push((name.to_owned(), url.to_owned())),
        }
    }
    if members.is_empty() {
        return Err("it lists no member: write name=URL".to_owned());
    }
    let parsed = members.into_iter().map(|(name, list)| {
        let urls = urls::parse_list(&list)?;
        Ok((name, urls::texts(&urls)))
    });
    parsed.collect()
}

/// The cluster of one member at the URLs that it advertises.
pub(super) fn alone(name: &str, advertised: &[Url]) -> Members {
    vec![(name.to_owned(), urls::texts(advertised))]
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
    }

    #[test]
    fn a_name_may_have_several_urls() {
        let members = parse("a=http://h1:2380,b=http://h2:2380,a=http://h1:1").unwrap();
        let expected = [
            ("a".to_owned(), vec!["http://h1:1".to_owned(), "http://h1:2380".to_owned()]),
            ("b".to_owned(), vec!["http://h2:2380".to_owned()]),
        ];
        assert_eq!(members, expected);
    }

    #[test]
    fn what_is_no_cluster_is_refused_with_a_reason() {
        let check = |text: &str, reason: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        };
        check("http://h1:2380", "is no name=URL");
        check("=http://h1:2380", "has no name");
        check("a=", "empty URL given for \"a\"");
        check("a=h1:2380", "no scheme");
        check(" , ", "lists no member");
    }
}
