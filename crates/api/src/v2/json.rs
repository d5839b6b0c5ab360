//! JSON as Go writes it: the same order of fields, the same escapes.

use base::UnixNanos;
use state::keys::{Action, Event, Failure, Node};
use time::OffsetDateTime;

/// `{"action":…,"node":…,"prevNode":…}` and a line feed.
///
/// `without_values` leaves both nodes out (`noValueOnSuccess`, etcd 3.1).
pub(crate) fn write_event(out: &mut Vec<u8>, event: &Event, now: UnixNanos, without_values: bool) {
    out.extend_from_slice(b"{\"action\":\"");
    out.extend_from_slice(action(event.action).as_bytes());
    out.push(b'"');
    if !without_values {
        out.extend_from_slice(b",\"node\":");
        write_node(out, &event.node, now);
        if let Some(prev) = &event.prev_node {
            out.extend_from_slice(b",\"prevNode\":");
            write_node(out, prev, now);
        }
    }
    out.extend_from_slice(b"}\n");
}

pub(crate) fn write_node(out: &mut Vec<u8>, node: &Node, now: UnixNanos) {
    begin_node(out, node, now);
    end_node(out, node);
}

/// The fields of a node up to where its children come.
pub(crate) fn begin_node(out: &mut Vec<u8>, node: &Node, now: UnixNanos) {
    out.push(b'{');
    // The root is shown without a key, and without indexes.
    if node.key.as_ref() != b"/" {
        out.extend_from_slice(b"\"key\":");
        write_string(out, &node.key);
        out.push(b',');
    }
    if let Some(value) = &node.value {
        out.extend_from_slice(b"\"value\":");
        write_string(out, value);
        out.push(b',');
    }
    if node.dir {
        out.extend_from_slice(b"\"dir\":true,");
    }
    if let Some(expiry) = node.expiry {
        out.extend_from_slice(b"\"expiration\":\"");
        write_time(out, expiry);
        out.extend_from_slice(b"\",");
        let left = ttl(expiry, now);
        if left != 0 {
            out.extend_from_slice(b"\"ttl\":");
            write_number(out, left);
            out.push(b',');
        }
    }
}

/// The fields of a node after its children.
pub(crate) fn end_node(out: &mut Vec<u8>, node: &Node) {
    if node.modified_index != 0 {
        out.extend_from_slice(b"\"modifiedIndex\":");
        write_number(out, node.modified_index);
        out.push(b',');
    }
    if node.created_index != 0 {
        out.extend_from_slice(b"\"createdIndex\":");
        write_number(out, node.created_index);
        out.push(b',');
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b'}');
}

pub(crate) fn write_failure(out: &mut Vec<u8>, failure: &Failure) {
    out.extend_from_slice(b"{\"errorCode\":");
    write_number(out, failure.code.number());
    out.extend_from_slice(b",\"message\":");
    write_string(out, failure.code.message().as_bytes());
    out.extend_from_slice(b",\"cause\":");
    write_string(out, failure.cause.as_bytes());
    out.extend_from_slice(b",\"index\":");
    write_number(out, failure.index);
    out.extend_from_slice(b"}\n");
}

pub(crate) fn write_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A string as Go's `encoding/json` writes it: `<`, `>`, `&` and the two line separators of
/// JavaScript are escaped, and bytes that are no UTF-8 become U+FFFD, one for one.
pub(crate) fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if bytes.chunks(CHUNK).all(are_plain) {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            write_text(out, chunk.valid());
            for _ in chunk.invalid() {
                out.extend_from_slice(b"\\ufffd");
            }
        }
    }
    out.push(b'"');
}

/// Looked at without a branch, so that the compiler can use vectors.
const CHUNK: usize = 64;

fn are_plain(chunk: &[u8]) -> bool {
    chunk.iter().fold(true, |all, byte| all & is_plain(*byte))
}

/// Whether a byte stands for itself in a JSON string of Go, and is a character.
fn is_plain(byte: u8) -> bool {
    (b' '..0x80).contains(&byte) & !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(is_escaped) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = special.chars();
        chars.next().into_iter().for_each(|char| write_escaped(out, char));
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn is_escaped(char: char) -> bool {
    matches!(char, '\0'..' ' | '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

fn write_escaped(out: &mut Vec<u8>, char: char) {
    let short: &[u8] = match char {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        _ => return write_code(out, u32::from(char)),
    };
    out.extend_from_slice(short);
}

/// `\u` and four hex digits.
fn write_code(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = char::from_digit(code >> shift & 0xf, 16).unwrap_or('0');
        out.extend_from_slice(digit.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Seconds left, rounded up; Go's division for what has passed (up to a second late is 0).
fn ttl(expiry: UnixNanos, now: UnixNanos) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    let left = expiry.0.saturating_sub(now.0);
    left / SECOND + i64::from(left % SECOND > 0)
}

/// RFC 3339 in UTC with as many decimals as are not zero, as Go's `time.Time` is written.
pub(crate) fn write_time(out: &mut Vec<u8>, at: UnixNanos) {
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0)) else { return };
    let (date, time) = (at.date(), at.time());
    let whole = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    out.extend_from_slice(whole.as_bytes());
    if time.nanosecond() != 0 {
        let decimals = format!(".{:09}", time.nanosecond());
        out.extend_from_slice(decimals.trim_end_matches('0').as_bytes());
    }
    out.push(b'Z');
}

pub(crate) fn action(action: Action) -> &'static str {
    match action {
        // Never told: see `Event::action`.
        Action::None | Action::Set => "set",
        Action::Create => "create",
        Action::Update => "update",
        Action::CompareAndSwap => "compareAndSwap",
        Action::CompareAndDelete => "compareAndDelete",
        Action::Delete => "delete",
        Action::Expire => "expire",
    }
}

#[cfg(test)]
mod tests {
    use base::Code;

    use super::*;

    fn string(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        assert_eq!(string(b"plain ~\x7f"), "\"plain ~\x7f\"");
        assert_eq!(string(b"\"\\\n\r\t\x01\x1f"), r#""\"\\\n\r\t\u0001\u001f""#);
        assert_eq!(string(b"<a&b>"), r#""\u003ca\u0026b\u003e""#);
        assert_eq!(string("ü\u{2028}\u{2029}€".as_bytes()), "\"ü\\u2028\\u2029€\"");
        assert_eq!(string(b"a\xff\xe4\xbdb"), r#""a\ufffd\ufffd\ufffdb""#);
        let long = "x".repeat(200);
        for special in ["<", "\u{1}", "\\"] {
            let escaped = string(special.as_bytes());
            let text = string(format!("{long}{special}{long}").as_bytes());
            assert_eq!(text, format!("\"{long}{}{long}\"", escaped.trim_matches('"')));
        }
    }

    #[test]
    fn times_lose_their_trailing_zeros() {
        let time = |nanos| {
            let mut out = Vec::new();
            write_time(&mut out, UnixNanos(nanos));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_392_062_089_357_382_223), "2014-02-10T19:54:49.357382223Z");
        assert_eq!(time(1_392_062_089_350_000_000), "2014-02-10T19:54:49.35Z");
    }

    #[test]
    fn ttl_is_rounded_up_and_goes_below_zero() {
        let at = |nanos: i64| UnixNanos(10_000_000_000 + nanos);
        assert_eq!(ttl(at(1), at(0)), 1);
        assert_eq!(ttl(at(1_000_000_000), at(0)), 1);
        assert_eq!(ttl(at(1_000_000_001), at(0)), 2);
        assert_eq!(ttl(at(0), at(0)), 0);
        assert_eq!(ttl(at(0), at(999_999_999)), 0);
        assert_eq!(ttl(at(0), at(1_500_000_000)), -1);
    }

    #[test]
    fn events_have_gos_order_of_fields_and_omit_what_is_empty() {
        let node = Node {
            key: "/a".into(),
            value: Some("v".into()),
            dir: false,
            expiry: Some(UnixNanos(1_000_000_000)),
            modified_index: 7,
            created_index: 6,
        };
        let root = Node {
            key: "/".into(),
            value: None,
            dir: true,
            expiry: None,
            modified_index: 0,
            created_index: 0,
        };
        let event =
            Event { action: Action::Set, node, prev_node: Some(root), index: 7, created: false };
        let mut out = Vec::new();
        write_event(&mut out, &event, UnixNanos(0), false);
        let expected = concat!(
            r#"{"action":"set","node":{"key":"/a","value":"v","expiration":"1970-01-01T00:00:01Z","#,
            r#""ttl":1,"modifiedIndex":7,"createdIndex":6},"prevNode":{"dir":true}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        write_event(&mut out, &event, UnixNanos(0), true);
        assert_eq!(out, b"{\"action\":\"set\"}\n");
    }

    #[test]
    fn failures_are_worded_as_etcd_words_them() {
        let mut out = Vec::new();
        let failure = Failure { code: Code::CompareFailed, cause: "[a != b]".into(), index: 9 };
        write_failure(&mut out, &failure);
        let expected = "{\"errorCode\":101,\"message\":\"Compare failed\",\"cause\":\"[a != b]\",\"index\":9}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
