//! URLs of members: a scheme, a host, a port, and nothing else.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// `http://host:port` or `https://host:port`, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    text: String,
    host: String,
    port: u16,
}

impl Url {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A name or an IP, without brackets; empty for all addresses.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Never left out.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }

    /// Where to listen: the host must be an IP or `localhost`, which is 127.0.0.1.
    pub fn bind_address(&self) -> Option<SocketAddr> {
        let ip = match self.host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            // Go's listener takes `http://:2379` for all addresses of both kinds.
            "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(ip, self.port))
    }

    /// The error is a reason, in the original's words where it has some.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("\"{text}\" has no scheme: write http://{text}"));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(format!("URL scheme must be http or https: {text}"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(format!("URL must not contain a path: {text}"));
        }
        let form = || format!("URL address does not have the form \"host:port\": {text}");
        let (host, port) = authority.rsplit_once(':').ok_or_else(form)?;
        let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(form()),
            None if host.contains([':', ']', '@', ' ', '\t', '\n']) => return Err(form()),
            None => host,
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse().ok().filter(|_| digits);
        let port = number.ok_or_else(|| format!("\"{port}\" is no port: {text}"))?;
        Ok(Self { text: text.to_owned(), host: host.to_owned(), port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// URLs with commas between, sorted, each once.
///
/// Sorted, because the ids of members and clusters are computed from them, and because the
/// original shows them so.
pub fn parse_list(text: &str) -> Result<Vec<Url>, String> {
    let urls: Result<Vec<_>, _> = text.split(',').map(|url| Url::parse(url.trim())).collect();
    let mut urls = urls?;
    urls.sort_unstable();
    urls.dedup();
    Ok(urls)
}

/// URLs as they were written.
pub fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(|url| url.text.clone()).collect()
}

/// `name=URL,name=URL`, a name as often as it has URLs: the members in the order in which their names first come, each with its URLs sorted.
pub fn parse_members(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
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
        let urls = parse_list(&list)?;
        Ok((name, texts(&urls)))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_scheme_host_and_port() {
        let check = |text: &str, expected: Option<&str>| {
            let address = Url::parse(text).unwrap().bind_address().map(|at| at.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        };
        check("http://127.0.0.1:2379", Some("127.0.0.1:2379"));
        check("http://localhost:4001", Some("127.0.0.1:4001"));
        check("http://0.0.0.0:1", Some("0.0.0.0:1"));
        check("http://[::1]:2379", Some("[::1]:2379"));
        check("http://[::]:2379", Some("[::]:2379"));
        check("http://:2379", Some("[::]:2379"));
        check("https://10.0.0.1:2379", Some("10.0.0.1:2379"));
        check("http://infra0.example:2380", None);
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_reason() {
        let check = |text: &str, reason: &str| {
            let error = parse_list(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        };
        check("", "no scheme");
        check("127.0.0.1:2379", "write http://127.0.0.1:2379");
        check("ftp://127.0.0.1:2379", "must be http or https");
        check("unix://localhost:2379", "must be http or https");
        check("http://127.0.0.1", "host:port");
        check("http://::1:2379", "host:port");
        check("http://[::1", "host:port");
        check("http://[x]:1", "host:port");
        check("http://me@host:1", "host:port");
        check("http://127.0.0.1:2379/v2", "must not contain a path");
        check("http://127.0.0.1:2379/", "must not contain a path");
        check("http://127.0.0.1:2379?a", "must not contain a path");
        check("http://127.0.0.1:99999", "is no port");
        check("http://127.0.0.1:+80", "is no port");
        check("http://127.0.0.1:", "is no port");
        check("http://a:1,", "no scheme");
    }

    #[test]
    fn a_list_is_sorted_and_has_each_url_once() {
        let urls = parse_list("http://b:2, http://a:4001,http://a:2379,http://b:2").unwrap();
        assert_eq!(texts(&urls), ["http://a:2379", "http://a:4001", "http://b:2"]);
    }

    #[test]
    fn a_name_may_have_several_urls() {
        let members = parse_members("a=http://h1:2380,b=http://h2:2380,a=http://h1:1").unwrap();
        let expected = [
            ("a".to_owned(), vec!["http://h1:1".to_owned(), "http://h1:2380".to_owned()]),
            ("b".to_owned(), vec!["http://h2:2380".to_owned()]),
        ];
        assert_eq!(members, expected);
    }

    #[test]
    fn what_is_no_cluster_is_refused_with_a_reason() {
        let check = |text: &str, reason: &str| {
            let error = parse_members(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        };
        check("http://h1:2380", "is no name=URL");
        check("=http://h1:2380", "has no name");
        check("a=", "empty URL given for \"a\"");
        check("a=h1:2380", "no scheme");
        check(" , ", "lists no member");
    }
}
