//! Keys and forms on the wire, byte for byte as etcdctl 2.3.8 writes them (`--debug` shows them).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What a path keeps: its slashes, and what needs no escape inside one.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The path of `key` below `prefix`, escaped.
///
/// The key is cleaned by itself (`//`, `.` and `..` go, a slash at the end stays), so that no key
/// climbs out of the prefix.
pub(crate) fn key_path(prefix: &str, key: &[u8]) -> String {
    let mut path = prefix.to_owned();
    if !key.is_empty() {
        path.extend(percent_encode(&clean(key), PATH));
    }
    path
}

/// `key` as an absolute path without empty, `.` and `..` segments.
fn clean(key: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in key.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let mut path = Vec::with_capacity(key.len() + 1);
    for segment in &segments {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    if segments.is_empty() || key.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

/// Pairs as `name=value&…`, in order of name: the form of a query and of a body alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    pairs: Vec<(&'static str, Vec<u8>)>,
}

impl Form {
    pub(crate) fn add(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        self.pairs.push((name, value.as_ref().to_vec()));
    }

    pub(crate) fn encode(&self) -> String {
        let mut pairs: Vec<_> = self.pairs.iter().collect();
        pairs.sort_by_key(|(name, _)| *name);
        let mut text = String::new();
        for (name, value) in pairs {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            for (words, word) in value.split(|&byte| byte == b' ').enumerate() {
                if words > 0 {
                    text.push('+');
                }
                text.extend(percent_encode(word, FORM));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cleaned_and_escaped() {
        for (key, path) in [
            ("/message", "/v2/keys/message"),
            ("message", "/v2/keys/message"),
            ("//k3/", "/v2/keys/k3/"),
            ("/", "/v2/keys/"),
            ("", "/v2/keys"),
            ("/a/./b/../c", "/v2/keys/a/c"),
            ("../../version", "/v2/keys/version"),
            ("..", "/v2/keys/"),
            ("/a b?c!*", "/v2/keys/a%20b%3Fc%21%2A"),
            ("/50%/ä#", "/v2/keys/50%25/%C3%A4%23"),
            ("/x-_.~$&+,:;=@", "/v2/keys/x-_.~$&+,:;=@"),
        ] {
            assert_eq!(key_path("/v2/keys", key.as_bytes()), path, "{key}");
        }
        assert_eq!(key_path("/v2/keys", b"/\xff"), "/v2/keys/%FF");
    }

    #[test]
    fn forms_are_sorted_and_escaped() {
        let mut form = Form::default();
        form.add("value", "a b&c=d+e/\n");
        form.add("ttl", "5");
        assert_eq!(form.encode(), "ttl=5&value=a+b%26c%3Dd%2Be%2F%0A");
        let mut bytes = Form::default();
        bytes.add("value", b"\xff ");
        assert_eq!(bytes.encode(), "value=%FF+");
        assert_eq!(Form::default().encode(), "");
    }
}
