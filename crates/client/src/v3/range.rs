//! The ends of ranges.

use bytes::Bytes;

/// The end of the range of all keys that begin with `prefix`: one zero byte, for "all that follow",
/// where no key is above them.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|&byte| byte < u8::MAX) {
        Some(at) => {
            let (head, rest) = prefix.split_at(at);
            let next = rest.first().map(|byte| byte + 1);
            head.iter().copied().chain(next).collect()
        }
        None => Bytes::from_static(b"\0"),
    }
}

/// The first key behind `key`.
pub fn after(key: &[u8]) -> Bytes {
    key.iter().copied().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_no_key_begins_with_it() {
        for (prefix, end) in [
            (&b"a"[..], &b"b"[..]),
            (b"foo/", b"foo0"),
            (b"a\xff", b"b"),
            (b"\xff\xff", b"\0"),
            (b"", b"\0"),
        ] {
            assert_eq!(prefix_end(prefix), end, "{prefix:?}");
        }
        assert_eq!(after(b"a"), &b"a\0"[..]);
    }
}
