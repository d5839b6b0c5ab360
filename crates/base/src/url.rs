//! URLs of members: a scheme, a host, a port, and nothing else; or a socket in the file system.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// `http://host:port` or `https://host:port`, or for clients `unix://path` or `unixs://path`, as it
/// was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    text: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Network { host: String, port: u16 },
    File(PathBuf),
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind<'a> {
    Tcp(SocketAddr),
    /// A file that is a socket.
    Unix(&'a Path),
}

impl Url {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a certificate for it must be good for: a name or an IP, without brackets; empty for all
    /// addresses; the name of a file.
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Network { host, .. } => host,
            Place::File(path) => server_name(path),
        }
    }

    /// Never left out of an URL of the network.
    pub fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Network { port, .. } => Some(*port),
            Place::File(_) => None,
        }
    }

    /// Whether it asks for TLS: `https` or `unixs`.
    pub fn is_secure(&self) -> bool {
        self.text.starts_with("https:") || self.text.starts_with("unixs:")
    }

    /// Where to listen: the host must be an IP or `localhost`, which is 127.0.0.1.
    pub fn bind(&self) -> Option<Bind<'_>> {
        let (host, port) = match &self.place {
            Place::Network { host, port } => (host.as_str(), *port),
            Place::File(path) => return Some(Bind::Unix(path)),
        };
        let ip = match host {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            // Go's listener takes `http://:2379` for all addresses of both kinds.
            "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            host => host.parse().ok()?,
        };
        Some(Bind::Tcp(SocketAddr::new(ip, port)))
    }

    /// A URL for clients, which may name a socket in the file system (etcd 3.1; to be told to clients
    /// 3.7): `unix:///absolute`, `unix://relative`, `unix:either`; `unixs` with TLS.
    pub fn parse_for_clients(text: &str) -> Result<Self, String> {
        if let Some(path) = socket_path(text) {
            if path.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().contains(&0) {
                return Err(format!("URL must name a file, as in unix:///run/etcd.sock: {text}"));
            }
            return Ok(Self { text: text.to_owned(), place: Place::File(path.to_owned()) });
        }
        match text.split_once("://") {
            Some((scheme, _)) if !matches!(scheme, "http" | "https") => {
                Err(format!("URL scheme must be http, https, unix, or unixs: {}", shown(text)))
            }
            _ => Self::parse(text),
        }
    }

    /// A URL for members. The error is a reason, in the original's words where it has some.
    pub fn parse(text: &str) -> Result<Self, String> {
        if socket_path(text).is_some() {
            return Err(format!(
                "URL scheme must be http or https, sockets are for clients: {text}"
            ));
        }
        let written = shown(text);
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("\"{written}\" has no scheme: write http://{written}"));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(format!("URL scheme must be http or https: {written}"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(format!("URL must not contain a path: {written}"));
        }
        let form = || format!("URL address does not have the form \"host:port\": {written}");
        let (host, port) = authority.rsplit_once(':').ok_or_else(form)?;
        let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(form()),
            None if host.contains([':', ']', '@', ' ', '\t', '\n']) => return Err(form()),
            None => host,
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse().ok().filter(|_| digits);
        let port = number.ok_or_else(|| format!("\"{port}\" is no port: {written}"))?;
        let place = Place::Network { host: host.to_owned(), port };
        Ok(Self { text: text.to_owned(), place })
    }
}

/// The file of a `unix` or `unixs` URL, which is taken as it is written.
pub fn socket_path(url: &str) -> Option<&Path> {
    let rest = url.strip_prefix("unix:").or_else(|| url.strip_prefix("unixs:"))?;
    Some(Path::new(rest.strip_prefix("//").unwrap_or(rest)))
}

/// What a certificate must be good for at a socket in the file system: its file's name, without what
/// looks like a port.
pub fn server_name(socket: &Path) -> &str {
    let name = socket.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split_once(':').map_or(name, |(host, _)| host)
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
    list(text, Url::parse)
}

/// As [`parse_list`], with URLs for clients.
pub fn parse_list_for_clients(text: &str) -> Result<Vec<Url>, String> {
    list(text, Url::parse_for_clients)
}

fn list(text: &str, parse: fn(&str) -> Result<Url, String>) -> Result<Vec<Url>, String> {
    let urls: Result<Vec<_>, _> = text.split(',').map(|url| parse(url.trim())).collect();
    // The part that is wrong may be one of a password.
    let has_password = shown(text) != text;
    let mut urls = urls.map_err(|why| if has_password { without_user(text) } else { why })?;
    urls.sort_unstable();
    urls.dedup();
    Ok(urls)
}

fn without_user(text: &str) -> String {
    format!("URL address does not have the form \"host:port\": {}", shown(text))
}

/// A URL, or several, without passwords: for errors and logs, in Go's form, `http://user:xxxxx@host`.
///
/// Whatever a password consists of but `://`, also with what ends one by the rules. So more than a password is
/// hidden where there is an `@` behind.
pub fn shown(text: &str) -> String {
    let pieces = text.split("://").map(|piece| match piece.rsplit_once('@') {
        Some((by, rest)) => match by.split_once(':') {
            Some((user, _)) => format!("{user}:xxxxx@{rest}"),
            None => piece.to_owned(),
        },
        None => piece.to_owned(),
    });
    pieces.collect::<Vec<String>>().join("://")
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
            return Err(format!("\"{}\" is no name=URL", shown(row)));
        };
        if name.is_empty() {
            return Err(format!("\"{}\" has no name: write name={}", shown(row), shown(url)));
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
    fn passwords_in_urls_are_not_shown() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected);
        check("http://root:pass@h:1/a", "http://root:xxxxx@h:1/a");
        check("http://root:pa/ss@h:1", "http://root:xxxxx@h:1");
        check("http://root:12/34?a#b@c:d@h:1/x", "http://root:xxxxx@h:1/x");
        check(
            "http://a:1,https://u:p,w@b:2,http://c:3",
            "http://a:1,https://u:xxxxx@b:2,http://c:3",
        );
        check("root:pa/ss@h:1,http://b:2", "root:xxxxx@h:1,http://b:2");
        for same in
            ["http://h:1", "http://user@h:1", "h:1", "http://[::1]:1/a", "", "@", "unix:///a/b@c"]
        {
            check(same, same);
        }
    }

    #[test]
    fn no_part_of_a_password_stands_in_a_refusal() {
        type Parse = fn(&str) -> Option<String>;
        let all: [Parse; 5] = [
            |text| Url::parse(text).err(),
            |text| Url::parse_for_clients(text).err(),
            |text| parse_list(text).err(),
            |text| parse_list_for_clients(&format!("http://h:1,{text}")).err(),
            |text| parse_members(&format!("a={text}")).err(),
        ];
        for text in [
            "http://me:sec/ret@h:1",
            "me:sec/ret@h:1",
            "ftp://me:sec/ret@h:1",
            "http://me:sec?ret@h:1",
        ] {
            for parse in all {
                let why = parse(text).expect(text);
                assert!(
                    !why.contains("sec") && !why.contains("ret") && why.contains("h:1"),
                    "{why}"
                );
            }
        }
        let why = parse_list("http://me:sec,ret@h:1").unwrap_err();
        assert!(!why.contains("sec") && !why.contains("ret"), "{why}");
    }

    #[test]
    fn a_url_is_scheme_host_and_port() {
        let check = |text: &str, expected: Option<&str>| {
            let url = Url::parse(text).unwrap();
            let expected = expected.map(|at| Bind::Tcp(at.parse().unwrap()));
            assert_eq!(url.bind(), expected, "{text}");
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
    fn clients_may_come_by_a_file() {
        let check = |text: &str, path: &str, is_secure: bool, name: &str| {
            let url = Url::parse_for_clients(text).unwrap();
            assert_eq!(url.bind(), Some(Bind::Unix(Path::new(path))), "{text}");
            assert_eq!(
                (url.is_secure(), url.host(), url.port()),
                (is_secure, name, None),
                "{text}"
            );
            assert_eq!(url.as_str(), text);
        };
        check("unix:///run/etcd.sock", "/run/etcd.sock", false, "etcd.sock");
        check("unixs:///run/etcd.sock", "/run/etcd.sock", true, "etcd.sock");
        check("unix://localhost:2379", "localhost:2379", false, "localhost");
        check("unixs:run/localhost:1", "run/localhost:1", true, "localhost");
        check("unix:/run/a#1 b?c", "/run/a#1 b?c", false, "a#1 b?c");
        let refused = |text: &str, reason: &str| {
            let error = parse_list_for_clients(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        };
        refused("unix://", "must name a file");
        refused("unix:", "must name a file");
        refused("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1");
        refused("http://a", "host:port");
        refused("a:1", "no scheme");
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
        check("unix://localhost:2379", "must be http or https, sockets are for clients");
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
