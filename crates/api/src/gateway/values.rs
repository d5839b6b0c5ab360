//! Values of JSON one after the other, as they come: each byte is looked at once to find where one ends, and
//! what has not ended is read again only when it has doubled, to find what is wrong in it.

use bytes::{Buf as _, BytesMut};
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Error};

/// What has come and was not taken.
#[derive(Default)]
pub(super) struct Values {
    come: BytesMut,
    end: End,
    /// A value that is not whole is read again once so much is there.
    read_at: usize,
}

impl Values {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.come.extend_from_slice(bytes);
    }

    /// Bytes that wait, of which the first value, if any, is not whole.
    pub(super) fn len(&self) -> usize {
        self.come.len()
    }

    /// Takes a whole value off the front; `None` if there is none yet, or none at all if `is_all`
    /// has come. What is `null` is empty.
    pub(super) fn take<T: DeserializeOwned + Default>(
        &mut self,
        is_all: bool,
    ) -> Option<Result<T, Error>> {
        let end = self.end.find(&self.come);
        if end.is_none() && self.end.is_before_a_value() {
            // Blanks say nothing, however many.
            self.come.clear();
            self.end = End::default();
            return None;
        }
        if end.is_none() && !is_all && self.come.len() < self.read_at {
            return None;
        }
        let front = end.and_then(|end| self.come.get(..end)).unwrap_or(&self.come);
        let mut values = Deserializer::from_slice(front).into_iter::<Option<T>>();
        let is_whole = end.is_some() || is_all;
        match values.next()? {
            // A word may go on.
            Ok(_) if !is_whole => {
                self.read_at = self.come.len() * 2;
                None
            }
            Ok(value) => {
                let end = end.unwrap_or_else(|| values.byte_offset());
                self.come.advance(end);
                self.end = End::default();
                self.read_at = 0;
                Some(Ok(value.unwrap_or_default()))
            }
            Err(error) if !is_whole && (error.is_eof() || is_at_end(&error, front)) => {
                self.read_at = self.come.len() * 2;
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Looks for the end of the first value.
#[derive(Default)]
struct End {
    /// Bytes that were looked at.
    at: usize,
    /// Brackets of either kind that are open: which closes which the reader checks.
    depth: usize,
    inside: Inside,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Inside {
    #[default]
    Nothing,
    Text,
    /// Behind a backslash.
    Escape,
    /// A number or a word on its own.
    Word,
}

/// Whether nothing is wrong but that a text ends: in a number of a field that nobody knows, that is told as
/// a number that cannot be.
fn is_at_end(error: &Error, text: &[u8]) -> bool {
    let lines = text.split(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(|line| line.len() + 1).sum();
    before + error.column() >= text.len()
}

/// As JSON has them: a form feed is none.
fn is_blank(byte: u8) -> bool {
    b" \t\r\n".contains(&byte)
}

impl End {
    /// Where the first value of `text` ends; it was asked for the beginning of it before.
    fn find(&mut self, text: &[u8]) -> Option<usize> {
        while let Some(&byte) = text.get(self.at) {
            if self.inside == Inside::Word && (is_blank(byte) || b"{}[]\",:".contains(&byte)) {
                return Some(self.at);
            }
            self.at += 1;
            if self.ends_with(byte) {
                return Some(self.at);
            }
        }
        None
    }

    fn is_before_a_value(&self) -> bool {
        self.depth == 0 && self.inside == Inside::Nothing
    }

    /// Goes on by a byte; whether the value ends with it.
    fn ends_with(&mut self, byte: u8) -> bool {
        match (self.inside, byte) {
            (Inside::Escape, _) | (Inside::Nothing, b'"') => self.inside = Inside::Text,
            (Inside::Text, b'\\') => self.inside = Inside::Escape,
            (Inside::Text, b'"') => {
                self.inside = Inside::Nothing;
                return self.depth == 0;
            }
            (Inside::Text | Inside::Word, _) => {}
            (Inside::Nothing, b'{' | b'[') => self.depth += 1,
            (Inside::Nothing, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            (Inside::Nothing, _) if self.depth > 0 || is_blank(byte) => {}
            (Inside::Nothing, _) => self.inside = Inside::Word,
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde::{Deserialize, Deserializer};
    use serde_json::{Value, json};

    use super::*;

    thread_local! {
        static READ: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts how often it is read.
    #[derive(Debug, Default, PartialEq)]
    struct Counted(Value);

    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            READ.set(READ.get() + 1);
            Value::deserialize(deserializer).map(Self)
        }
    }

    /// What is taken if the text comes in pieces of so many bytes; an error is a text.
    fn taken(text: &str, piece: usize) -> Vec<Value> {
        let (mut values, mut all) = (Values::default(), Vec::new());
        let pieces = text.as_bytes().chunks(piece).map(Some).chain([None]);
        for piece in pieces {
            values.push(piece.unwrap_or_default());
            while let Some(value) = values.take::<Counted>(piece.is_none()) {
                let is_wrong = value.is_err();
                all.push(value.map_or_else(|error| error.to_string().into(), |value| value.0));
                if is_wrong {
                    return all;
                }
            }
        }
        all
    }

    #[test]
    fn values_are_the_same_in_whatever_pieces_they_come() {
        let text = r#" {"a":"}\"{","b":[1,{"c":[]}]} {}{"d":"\\"}"x" 5 -1.5e3 true[] ["]"]"e\"""#;
        let expected = [
            json!({"a": "}\"{", "b": [1, {"c": []}]}),
            json!({}),
            json!({"d": "\\"}),
            json!("x"),
            json!(5),
            json!(-1.5e3),
            json!(true),
            json!([]),
            json!(["]"]),
            json!("e\""),
        ];
        for piece in 1..=text.len() {
            assert_eq!(taken(text, piece), expected, "{piece}");
        }
    }

    /// Found by `fuzz/targets/json.rs`: the reader skips what it does not know.
    #[test]
    fn a_number_that_goes_on_in_the_next_piece_is_none_that_cannot_be() {
        #[derive(Debug, Default, Deserialize)]
        struct Known {}
        let text = b"{\n\"unknown\":33e-3}";
        for end in 1..text.len() {
            let mut values = Values::default();
            values.push(&text[..end]);
            assert!(values.take::<Known>(false).is_none(), "{end}");
            values.push(&text[end..]);
            assert!(values.take::<Known>(false).unwrap().is_ok(), "{end}");
        }
    }

    /// Found by `fuzz/targets/json.rs`.
    #[test]
    fn what_json_does_not_take_for_a_blank_is_none() {
        for piece in 1..9 {
            let told = taken("\u{c}{} \u{c}", piece);
            assert!(matches!(&told[..], [Value::String(_)]), "{piece}: {told:?}");
        }
    }

    #[test]
    fn null_is_empty_and_blanks_are_nothing() {
        for piece in 1..9 {
            assert_eq!(taken("null {}", piece), [Value::Null, json!({})], "{piece}");
            assert!(taken(" \n\t\r ", piece).is_empty());
        }
        let mut values = Values::default();
        values.push(&[b' '; 1_000]);
        assert!(values.take::<Counted>(false).is_none());
        assert_eq!(values.len(), 0);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for text in ["}", "{]", "{\"a\"}", "nonsense", "{\"a\":", "\"x", ",{}", "{} x", "nullnull "]
        {
            for piece in 1..=text.len() {
                let taken = taken(text, piece);
                let last = taken.last().and_then(Value::as_str).unwrap_or_default();
                assert!(last.contains(" at line 1 column "), "{text} {piece}: {taken:?}");
            }
        }
        // Before the value has ended, if that is seen then.
        let mut values = Values::default();
        values.push(b"{\"a\" 5, ");
        assert!(values.take::<Counted>(false).is_some_and(|value| value.is_err()));
    }

    #[test]
    fn a_value_in_many_pieces_is_read_few_times() {
        let text = json!({ "a": "x".repeat(10_000), "b": vec![0; 5_000] }).to_string();
        READ.set(0);
        assert_eq!(taken(&text, 2).len(), 1);
        let reads = READ.get();
        assert!((2..=20).contains(&reads), "{reads} times");
        // And many values once each, whatever waits behind them.
        let text = "{\"a\":1}".repeat(10_000);
        READ.set(0);
        assert_eq!(taken(&text, text.len()).len(), 10_000);
        assert_eq!(READ.get(), 10_000);
    }
}
