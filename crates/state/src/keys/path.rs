//! How the names of requests become paths.

use bytes::{Bytes, BytesMut};

/// Cleans the path part of a request as Go's `path.Clean("/" + p)` does: `//`, `.`, `..` and a
/// trailing slash go. The input is already percent-decoded.
///
/// A name is text: bytes that are no UTF-8 become U+FFFD, one for one, as in what etcd 2.3.8 shows
/// of such a key. (There they stay apart inside; here they are one name.)
pub fn clean(path: &[u8]) -> Bytes {
    let mut clean = BytesMut::with_capacity(path.len() + 1);
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = clean.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                clean.truncate(parent);
            }
            name => {
                clean.extend_from_slice(b"/");
                clean.extend_from_slice(name);
            }
        }
    }
    if clean.is_empty() {
        return Bytes::from_static(b"/");
    }
    match std::str::from_utf8(&clean) {
        Ok(_) => clean.freeze(),
        Err(_) => text(&clean).into(),
    }
}

/// Bytes as text, with U+FFFD for each byte that is not part of any, as Go writes them to JSON.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// The name of a child.
pub(super) fn join(dir: &[u8], child: &[u8]) -> Bytes {
    let mut path = BytesMut::with_capacity(dir.len() + 1 + child.len());
    path.extend_from_slice(dir);
    if !dir.ends_with(b"/") {
        path.extend_from_slice(b"/");
    }
    path.extend_from_slice(child);
    path.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right sides are what Go's `path.Clean("/" + p)` gives.
    #[test]
    fn paths_are_cleaned_as_in_go() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("a", "/a"),
            ("/a/", "/a"),
            ("//a///b//", "/a/b"),
            ("/a/./b/.", "/a/b"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("/../a/b/../../c", "/c"),
            ("/a/...", "/a/..."),
            ("/a/..b/.c", "/a/..b/.c"),
            ("/a b/\u{e9}", "/a b/\u{e9}"),
            ("/a\0", "/a\0"),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path.as_bytes()), expected, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_text_becomes_replacement_characters_one_for_one() {
        assert_eq!(clean(b"/\xff"), "/\u{fffd}");
        // The start of a character of three bytes: two bytes, two replacements.
        assert_eq!(clean(b"/a\xe2\x82/b"), "/a\u{fffd}\u{fffd}/b");
        assert!(mvcc::path::is_path(&clean(b"/\xf0\x9f\x98/../\xc0\xaf")));
    }

    #[test]
    fn whatever_comes_a_clean_path_is_one_that_v2_can_name() {
        for path in ["/a//b", "a/..", "/.", "...", "/a/../../b/", "x/./y/../z"] {
            let clean = clean(path.as_bytes());
            assert!(mvcc::path::is_path(&clean), "{path:?} gave {clean:?}");
        }
    }

    #[test]
    fn a_child_of_the_root_has_one_slash() {
        assert_eq!(join(b"/", b"a"), "/a");
        assert_eq!(join(b"/a", b"b"), "/a/b");
    }
}
