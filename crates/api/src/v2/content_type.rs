//! `Content-Type`, by the rules and in the words of Go's `mime.ParseMediaType`.

/// Whether a body of this type is a form.
///
/// What is not even a content type is an error, of whatever it may be the content type.
pub(crate) fn is_form(value: &[u8]) -> Result<bool, &'static str> {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let (kind, parameters) = value.split_at(end);
    let kind = kind.trim_ascii();
    check_kind(kind)?;
    if !are_parameters(parameters) {
        return Err("mime: invalid media parameter");
    }
    Ok(kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded"))
}

fn check_kind(kind: &[u8]) -> Result<(), &'static str> {
    let (kind, rest) = token(kind);
    if kind.is_empty() {
        return Err("mime: no media type");
    }
    if rest.is_empty() {
        return Ok(());
    }
    let rest = rest.strip_prefix(b"/").ok_or("mime: expected slash after first token")?;
    let (subtype, rest) = token(rest);
    if subtype.is_empty() {
        return Err("mime: expected token after slash");
    }
    if rest.is_empty() { Ok(()) } else { Err("mime: unexpected content after media subtype") }
}

/// Whether this is a sequence of `; name=value`, perhaps with a `;` at its end.
fn are_parameters(mut rest: &[u8]) -> bool {
    loop {
        rest = rest.trim_ascii_start();
        if matches!(rest.trim_ascii(), b"" | b";") {
            return true;
        }
        match rest.strip_prefix(b";").and_then(|rest| after_parameter(rest.trim_ascii_start())) {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

fn after_parameter(text: &[u8]) -> Option<&[u8]> {
    let (name, rest) = token(text);
    let value = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let after = match value.strip_prefix(b"\"") {
        Some(quoted) => after_quoted(quoted)?,
        None => Some(token(value)).filter(|(value, _)| !value.is_empty())?.1,
    };
    (!name.is_empty()).then_some(after)
}

fn after_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return text.get(at + 1..),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The token that the text begins with, perhaps an empty one, and what follows.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |byte: &u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(byte);
    text.split_at(text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right sides are what Go 1.19 says.
    #[test]
    fn content_types_are_read_as_in_go() {
        let check = |value: &str, expected: Result<bool, &str>| {
            assert_eq!(is_form(value.as_bytes()), expected, "{value}");
        };
        check("application/x-www-form-urlencoded", Ok(true));
        check("Application/X-WWW-Form-Urlencoded ; charset=utf-8", Ok(true));
        check("application/x-www-form-urlencoded; a=\"b;\\\"c\"; d=e;", Ok(true));
        check("application/x-www-form-urlencoded2", Ok(false));
        check("text/plain", Ok(false));
        check("multipart/form-data; boundary=x", Ok(false));
        check("form", Ok(false));
        check("; a=b", Err("mime: no media type"));
        check("text plain", Err("mime: expected slash after first token"));
        check("text/", Err("mime: expected token after slash"));
        check("text/plain x", Err("mime: unexpected content after media subtype"));
        for bad in ["a; =", "a; b", "a; b=", "a; b=\"c", "a; b=c d=e", "a; b=c;; d=e"] {
            check(bad, Err("mime: invalid media parameter"));
        }
    }
}
