//! Query strings and forms, by the rules of Go's `url.ParseQuery`.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::escape;

/// Names and values in the order of their precedence: of a name that comes twice, the first counts.
#[derive(Debug, Default)]
pub(crate) struct Form<'a> {
    pairs: Vec<Pair<'a>>,
}

/// A name and its value, unescaped.
type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl<'a> Form<'a> {
    /// Adds the pairs of one encoded text behind those that are there.
    ///
    /// The error is worded as Go words it. A semicolon is one too (Go 1.17 and later): older
    /// builds took it for `&`, and so cut values short without a word.
    pub(crate) fn add(&mut self, encoded: &'a [u8]) -> Result<(), String> {
        // Go tells of this one before all others.
        if memchr::memchr(b';', encoded).is_some() {
            return Err("invalid semicolon separator in query".to_owned());
        }
        for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let (name, value) = pair.split_at(at);
            let value = value.get(1..).unwrap_or_default();
            self.pairs.push((unescape(name)?, unescape(value)?));
        }
        Ok(())
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs
            .iter()
            .find(|(known, _)| known.as_ref() == name.as_bytes())
            .map(|(_, value)| value.as_ref())
    }

    /// All values of this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let is_so = move |(known, _): &&Pair<'_>| known.as_ref() == name.as_bytes();
        self.pairs.iter().filter(is_so).map(|(_, value)| value.as_ref())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

fn unescape(text: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    if escape::has_bad(text) {
        let bad = memchr::memchr_iter(b'%', text).find_map(|at| {
            let found = text.get(at..(at + 3).min(text.len()))?;
            escape::has_bad(found).then_some(found)
        });
        let bad = String::from_utf8_lossy(bad.unwrap_or_default());
        return Err(format!("invalid URL escape {bad:?}"));
    }
    if memchr::memchr(b'+', text).is_none() {
        return Ok(percent_decode(text).into());
    }
    let spaced: Vec<u8> =
        text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Ok(Cow::Owned(percent_decode(&spaced).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoded: &str, expected: Result<&[(&str, &str)], &str>) {
        let mut form = Form::default();
        let parsed = form.add(encoded.as_bytes()).map(|()| {
            form.pairs
                .iter()
                .map(|(name, value)| {
                    (String::from_utf8_lossy(name).into(), String::from_utf8_lossy(value).into())
                })
                .collect::<Vec<(String, String)>>()
        });
        let expected = expected
            .map(|pairs| {
                pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
            })
            .map_err(str::to_owned);
        assert_eq!(parsed, expected, "{encoded}");
    }

    #[test]
    fn forms_are_read_as_go_reads_them() {
        check("", Ok(&[]));
        check("&&a=1&", Ok(&[("a", "1")]));
        check("a", Ok(&[("a", "")]));
        check("a=", Ok(&[("a", "")]));
        check("=1", Ok(&[("", "1")]));
        check("a=b=c", Ok(&[("a", "b=c")]));
        check("a+b=c+d%2B%20e", Ok(&[("a b", "c d+ e")]));
        check("a=%e4%bd", Ok(&[("a", "\u{fffd}")]));
        check("a=%zz", Err("invalid URL escape \"%zz\""));
        check("a=b%4", Err("invalid URL escape \"%4\""));
        check("a=%", Err("invalid URL escape \"%\""));
        check("a=1;b=2", Err("invalid semicolon separator in query"));
        check("a=%&b=%zz", Err("invalid URL escape \"%\""));
        check("a=%&b=;", Err("invalid semicolon separator in query"));
    }

    #[test]
    fn the_first_value_of_a_name_counts() {
        let mut form = Form::default();
        form.add(b"value=body").unwrap();
        form.add(b"value=query&ttl=5").unwrap();
        assert_eq!(form.get("value"), Some(&b"body"[..]));
        assert_eq!(form.get("ttl"), Some(&b"5"[..]));
        assert_eq!(form.get("dir"), None);
    }
}
