//! Texts as Go writes and reads them: quotes, durations, sizes, numbers.

use std::{fmt::Write as _, time::Duration};

/// `%q`: in double quotes, with everything escaped that does not print.
pub fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|letter| push_letter(&mut quoted, letter));
        for byte in chunk.invalid() {
            push(&mut quoted, format_args!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    text.write_fmt(more).ok();
}

fn push_letter(quoted: &mut String, letter: char) {
    match letter {
        '"' => quoted.push_str("\\\""),
        '\\' => quoted.push_str("\\\\"),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0c' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x0b' => quoted.push_str("\\v"),
        letter if prints(letter) => quoted.push(letter),
        letter => {
            let number = u32::from(letter);
            match number {
                0..0x80 => push(quoted, format_args!("\\x{number:02x}")),
                0x80..0x1_0000 => push(quoted, format_args!("\\u{number:04x}")),
                _ => push(quoted, format_args!("\\U{number:08x}")),
            }
        }
    }
}

/// Whether a letter shows: behind another one, Rust escapes what does not, as Go does.
fn prints(letter: char) -> bool {
    let pair: String = ['a', letter].into_iter().collect();
    pair.escape_debug().count() == 2
}

/// The text that begins here in double quotes, and what follows it. `None`: it is none.
pub fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut bytes = Vec::new();
    loop {
        let letter = rest.chars().next()?;
        rest = rest.get(letter.len_utf8()..)?;
        match letter {
            '"' => return Some((bytes, rest)),
            '\\' => rest = unescape(rest, &mut bytes)?,
            '\n' => return None,
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Reads what follows a backslash; gives what follows that.
fn unescape<'t>(text: &'t str, bytes: &mut Vec<u8>) -> Option<&'t str> {
    let letter = text.chars().next()?;
    let rest = text.get(letter.len_utf8()..)?;
    let number = |digits: usize, radix: u32, from: &'t str| -> Option<(u32, &'t str)> {
        let (number, rest) = from.split_at_checked(digits)?;
        Some((u32::from_str_radix(number, radix).ok()?, rest))
    };
    let plain = match letter {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        'x' | '0'..='7' => {
            let (digits, radix, from) = if letter == 'x' { (2, 16, rest) } else { (3, 8, text) };
            let (byte, rest) = number(digits, radix, from)?;
            bytes.push(u8::try_from(byte).ok()?);
            return Some(rest);
        }
        'u' | 'U' => {
            let (code, rest) = number(if letter == 'u' { 4 } else { 8 }, 16, rest)?;
            let letter = char::from_u32(code)?;
            bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    bytes.push(plain);
    Some(rest)
}

/// `869.445µs`, `2.5s`, `1m2.5s`.
pub fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, scale) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => ("ns", 1),
        1_000..1_000_000 => ("µs", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        push(&mut text, format_args!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        push(&mut text, format_args!("{minutes}m"));
    }
    let below_minute = if unit == "s" { nanos % (60 * scale) } else { nanos };
    let (whole, part) = (below_minute / scale, below_minute % scale);
    push(&mut text, format_args!("{whole}"));
    if part > 0 {
        let digits = scale.ilog10() as usize;
        let part = format!("{part:0digits$}");
        push(&mut text, format_args!(".{}", part.trim_end_matches('0')));
    }
    text + unit
}

/// `25 kB`, `2.1 GB`: to two digits, in steps of a thousand.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let step = bytes.ilog(1000) as usize;
    let unit = UNITS.get(step).copied().unwrap_or("EB");
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    let value = bytes as f64 / 1000_f64.powi(i32::try_from(step).unwrap_or(0));
    let rounded = (value * 10.0 + 0.5).floor() / 10.0;
    if rounded < 10.0 { format!("{rounded:.1} {unit}") } else { format!("{rounded:.0} {unit}") }
}

/// `strconv.ParseInt`, with its error.
pub fn parse_int(text: &str, radix: u32) -> Result<i64, String> {
    parse(text, "ParseInt", radix, i64::from_str_radix)
}

/// `strconv.ParseUint`, with its error.
pub fn parse_uint(text: &str, radix: u32) -> Result<u64, String> {
    // Rust takes a plus here, Go does not.
    let of_no_sign = |text: &str, radix| {
        u64::from_str_radix(if text.starts_with('+') { "" } else { text }, radix)
    };
    parse(text, "ParseUint", radix, of_no_sign)
}

fn parse<T>(
    text: &str,
    function: &str,
    radix: u32,
    read: impl Fn(&str, u32) -> Result<T, std::num::ParseIntError>,
) -> Result<T, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    read(text, radix).map_err(|problem| {
        let is_large = matches!(problem.kind(), PosOverflow | NegOverflow);
        let why = if is_large { "value out of range" } else { "invalid syntax" };
        format!("strconv.{function}: parsing {}: {why}", quote(text.as_bytes()))
    })
}

/// A number as `%016x` has it: the sign of a negative one is among the 16.
pub fn hex16(number: i64) -> String {
    let digits = number.unsigned_abs();
    if number < 0 { format!("-{digits:015x}") } else { format!("{digits:016x}") }
}

/// A flag's whole number without a sign: decimal, or by prefix.
pub fn flag_uint(text: &str) -> Result<u64, String> {
    let prefixed = radix(text).and_then(|(radix, digits)| parse_uint(digits, radix).ok());
    prefixed.map_or_else(|| parse_uint(text, 10), Ok)
}

/// A flag that is on or off.
pub fn flag_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => {
            let text = quote(text.as_bytes());
            Err(format!("strconv.ParseBool: parsing {text}: invalid syntax"))
        }
    }
}

/// What a number's prefix says, and the rest.
fn radix(digits: &str) -> Option<(u32, &str)> {
    let (prefix, digits) = digits.split_at_checked(2)?;
    match prefix {
        "0x" | "0X" => Some((16, digits)),
        "0o" | "0O" => Some((8, digits)),
        "0b" | "0B" => Some((2, digits)),
        _ => None,
    }
}

/// A flag's whole number: decimal, or by prefix.
pub fn flag_int(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let prefixed =
        radix(digits).and_then(|(radix, digits)| parse_int(&format!("{sign}{digits}"), radix).ok());
    prefixed.map_or_else(|| parse_int(text, 10), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_digits_have_the_sign_among_them() {
        let cases = [
            (0, "0000000000000000"),
            (0x1234, "0000000000001234"),
            (-7, "-000000000000007"),
            (i64::MAX, "7fffffffffffffff"),
            (i64::MIN, "-8000000000000000"),
        ];
        for (number, expected) in cases {
            assert_eq!(hex16(number), expected);
        }
    }

    #[test]
    fn quotes_escape_what_does_not_print() {
        for (bytes, quoted) in [
            (&b"foo"[..], r#""foo""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\x00\x07\n\x7f", r#""\x00\a\n\x7f""#),
            (b"\xff\xc3\x28", r#""\xff\xc3(""#),
            ("ä€\u{1f600}".as_bytes(), "\"ä€\u{1f600}\""),
            ("\u{a0}\u{200b}".as_bytes(), r#""\u00a0\u200b""#),
            ("e\u{301}".as_bytes(), "\"e\u{301}\""),
        ] {
            assert_eq!(quote(bytes), quoted);
            assert_eq!(unquote(quoted), Some((bytes.to_vec(), "")), "{quoted}");
        }
    }

    #[test]
    fn quoted_texts_end_with_their_quote() {
        assert_eq!(unquote(r#""k\"1") = "v""#), Some((b"k\"1".to_vec(), r#") = "v""#)));
        assert_eq!(unquote(r#""\101\x41""#), Some((b"AA".to_vec(), "")));
        for bad in ["", "k", "\"k", "\"\\q\"", "\"\\x4\"", "\"\\u12\""] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_and_sizes_are_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (7, "7ns"),
            (869_445, "869.445µs"),
            (3_467_855, "3.467855ms"),
            (1_500_000_000, "1.5s"),
            (62_500_000_000, "1m2.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (12, "12 B"),
            (1_000, "1.0 kB"),
            (16_384, "16 kB"),
            (24_576, "25 kB"),
            (2_147_483_648, "2.1 GB"),
            (9_960_000, "10 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn numbers_are_read_and_refused_as_by_go() {
        assert_eq!(parse_int("-5", 10), Ok(-5));
        assert_eq!(parse_int("7587862094f0e5a", 16), Ok(0x0758_7862_094f_0e5a));
        let refused = parse_int("zz", 16).expect_err("no number");
        assert_eq!(refused, "strconv.ParseInt: parsing \"zz\": invalid syntax");
        let refused = parse_uint("1ffffffffffffffff", 16).expect_err("too large");
        assert!(refused.ends_with("value out of range"), "{refused}");
        assert!(parse_uint("+1", 16).is_err() && parse_uint("-1", 16).is_err());
        assert_eq!(
            (flag_int("0x10"), flag_int("-0b11"), flag_int("010")),
            (Ok(16), Ok(-3), Ok(10))
        );
        assert!(flag_int("0x").is_err() && flag_int("").is_err());
    }
}
