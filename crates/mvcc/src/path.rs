//! The form of names that the v2 API can see: clean absolute paths in UTF-8.
//!
//! The root is `/`. Every other path begins with `/`, ends in none, and has no empty, `.` or `..`
//! segment.

/// Whether v2 can name this key.
pub fn is_path(name: &[u8]) -> bool {
    let Some(segments) = name.strip_prefix(b"/") else { return false };
    if segments.is_empty() {
        return true;
    }
    let clean = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..");
    segments.split(|byte| *byte == b'/').all(clean) && std::str::from_utf8(name).is_ok()
}

/// The directories above `path`, nearest last, without the root: `/a/b/c` gives `/a`, `/a/b`.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .skip(1)
        .filter(|(_, byte)| **byte == b'/')
        .filter_map(move |(at, _)| path.get(..at))
}

/// Whether `path`, seen from `from` (itself or a directory above it), is hidden: some segment
/// below `from` begins with `_`.
pub fn is_hidden(from: &[u8], path: &[u8]) -> bool {
    let below = if from == b"/" { Some(path) } else { path.strip_prefix(from) };
    below.is_some_and(|below| below.windows(2).any(|pair| pair == b"/_"))
}

/// Whether `path` lies strictly below the directory `dir`.
pub fn is_below(dir: &[u8], path: &[u8]) -> bool {
    if dir == b"/" {
        return path.len() > 1;
    }
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/") && rest.len() > 1)
}

/// What the names strictly below `dir` begin with: `/a/`, or `/` for the root.
pub(crate) fn prefix(dir: &[u8]) -> Vec<u8> {
    let mut prefix = dir.to_vec();
    if !dir.ends_with(b"/") {
        prefix.push(b'/');
    }
    prefix
}

/// The first name behind everything that begins with [`prefix`]`(dir)`.
pub(crate) fn prefix_end(dir: &[u8]) -> Vec<u8> {
    let mut end = prefix(dir);
    end.pop();
    end.push(b'/' + 1);
    end
}

/// The next name after `name` in byte order.
pub fn successor(name: &[u8]) -> Vec<u8> {
    let mut next = name.to_vec();
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_absolute_utf8_paths_are_paths() {
        for good in ["/", "/a", "/a/b", "/a b/.c/..d/...", "/_a", "/\u{e9}", "/a\0b"] {
            assert!(is_path(good.as_bytes()), "{good:?}");
        }
        for bad in ["", "a", "a/b", "//", "/a/", "/a//b", "/.", "/a/..", "/a/../b", "/./a"] {
            assert!(!is_path(bad.as_bytes()), "{bad:?}");
        }
        assert!(!is_path(b"/a\xff"));
    }

    #[test]
    fn ancestors_come_nearest_last_and_without_the_root() {
        let of = |path: &'static str| ancestors(path.as_bytes()).collect::<Vec<_>>();
        assert_eq!(of("/a/b/c"), [b"/a".as_slice(), b"/a/b"]);
        assert!(of("/a").is_empty());
        assert!(of("/").is_empty());
    }

    #[test]
    fn only_segments_below_hide() {
        let cases = [
            ("/", "/_a", true),
            ("/", "/a/_b/c", true),
            ("/", "/a_/b", false),
            ("/_a", "/_a", false),
            ("/_a", "/_a/b", false),
            ("/_a", "/_a/_b", true),
            ("/a", "/a/b/_c", true),
        ];
        for (from, path, hidden) in cases {
            assert_eq!(is_hidden(from.as_bytes(), path.as_bytes()), hidden, "{from} {path}");
        }
    }

    #[test]
    fn a_longer_name_is_not_below() {
        assert!(is_below(b"/a", b"/a/b"));
        assert!(is_below(b"/", b"/a"));
        assert!(!is_below(b"/", b"/"));
        assert!(!is_below(b"/a", b"/a"));
        assert!(!is_below(b"/a", b"/a-x"));
        assert!(!is_below(b"/a", b"/ab/c"));
    }
}
