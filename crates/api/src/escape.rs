//! Escapes in URLs and forms, as Go takes and writes them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// What Go leaves as it is in the path of a URL, besides letters and digits.
pub(crate) const PATH: &AsciiSet = &NON_ALPHANUMERIC
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

/// Whether some `%` is not followed by two hex digits: Go refuses such a text.
pub(crate) fn has_bad(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).any(|at| {
        let hex = text.get(at + 1..at + 3);
        !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_needs_two_hex_digits() {
        for good in ["", "a", "%2f", "%2Fx%00"] {
            assert!(!has_bad(good.as_bytes()), "{good}");
        }
        for bad in ["%", "a%", "%2", "%2x", "%zz", "%%41"] {
            assert!(has_bad(bad.as_bytes()), "{bad}");
        }
    }
}
