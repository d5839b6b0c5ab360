//! Recorded answers of real etcd, and how an answer of today is held against one.
//!
//! A record leaves open what differs from run to run. `<root>` is the scenario's own directory;
//! `+n` an index counted from the scenario's base; `<seq+n>` the name of an in-order key;
//! `<time>` an RFC 3339 time in UTC; a `ttl` is rounded up to hundreds. See
//! `conformance/README.md` of the records for the whole of it.

use serde_json::Value;

use crate::{Answer, Request, http::escape};

/// The headers that a record of the keys API holds, or holds to be absent.
const HEADERS: [&str; 4] = ["X-Etcd-Index", "Content-Type", "Allow", "Location"];

/// The lines of a record file.
pub fn lines(name: &str) -> Vec<Value> {
    let path = format!("{}/conformance/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|problem| panic!("{path}: {problem}"));
    let parse = |line| serde_json::from_str(line).expect("a record is JSON");
    text.lines().map(parse).collect()
}

/// What the names and numbers of one scenario stand for in this run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// `/<name>`: stands for `<root>`.
    pub root: String,
    /// The index that `+0` stands for.
    pub base: u64,
}

impl Scenario {
    /// The request of a step.
    pub fn request(&self, step: &Value) -> Request {
        let path = self.fill(text(&step["key"]));
        let target = format!("/v2/keys{}", escape(&path, "/"));
        let request = Request::new(text(&step["method"]), &target);
        let request = request.query(&self.pairs(&step["query"]));
        let form = self.pairs(&step["form"]);
        if form.is_empty() { request } else { request.form(&form) }
    }

    fn pairs(&self, pairs: &Value) -> Vec<(String, String)> {
        let pairs = pairs.as_array().expect("pairs are a list").iter();
        let pair = |pair: &Value| {
            let (name, value) = (text(&pair[0]), text(&pair[1]));
            let is_index = name == "prevIndex" || name == "waitIndex";
            (name.to_owned(), if is_index { self.fill_indexes(value) } else { value.to_owned() })
        };
        pairs.map(pair).collect()
    }

    /// What is wrong with the answer to a step, if anything.
    pub fn compare(&self, step: &Value, answer: &Answer) -> Result<(), String> {
        let expected = &step["expect"];
        let status = expected["status"].as_u64().expect("a status is a number");
        if u64::from(answer.status) != status {
            return Err(format!("status {} instead of {status}", answer.status));
        }
        for name in HEADERS {
            let wanted = expected["headers"].get(name).map(|value| self.fill_indexes(text(value)));
            let wanted = wanted.map(|value| self.fill(&value));
            if answer.header(name) != wanted.as_deref() {
                let got = answer.header(name);
                return Err(format!("header {name} is {got:?} instead of {wanted:?}"));
            }
        }
        match &expected["body"] {
            Value::String(body) => self.compare_text(body, &answer.text()),
            body => {
                let answer = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
                self.compare_json(body, &answer, is_sorted(step))
            }
        }
    }

    fn compare_text(&self, expected: &str, got: &str) -> Result<(), String> {
        let expected = self.fill(&self.fill_indexes(expected));
        if expected == got { Ok(()) } else { Err(format!("body {got:?} instead of {expected:?}")) }
    }

    fn compare_json(&self, expected: &Value, got: &Value, sorted: bool) -> Result<(), String> {
        let (Value::Object(expected), Value::Object(got)) = (expected, got) else {
            return Err(format!("{got} instead of {expected}"));
        };
        let names = |fields: &serde_json::Map<String, Value>| {
            fields.keys().map(String::clone).collect::<Vec<_>>()
        };
        if names(expected) != names(got) {
            return Err(format!("fields {:?} instead of {:?}", names(got), names(expected)));
        }
        for (name, expected) in expected {
            let said = self.compare_field(name, expected, &got[name], sorted);
            said.map_err(|problem| format!("{name}: {problem}"))?;
        }
        Ok(())
    }

    fn compare_field(
        &self,
        name: &str,
        expected: &Value,
        got: &Value,
        sorted: bool,
    ) -> Result<(), String> {
        let same = match (name, expected) {
            ("modifiedIndex" | "createdIndex" | "index", Value::String(expected)) => {
                self.is_index(expected, got)
            }
            ("ttl", _) => rounded(got.as_u64()) == expected.as_u64(),
            ("expiration", _) => got.as_str().is_some_and(is_time),
            ("nodes", Value::Array(expected)) => return self.compare_nodes(expected, got, sorted),
            ("cause", Value::String(expected)) if expected.starts_with('[') => {
                got.as_str() == Some(&self.fill_indexes(expected))
            }
            (_, Value::String(expected)) => got.as_str() == Some(&self.fill(expected)),
            (_, Value::Object(_)) => return self.compare_json(expected, got, sorted),
            _ => expected == got,
        };
        if same { Ok(()) } else { Err(format!("{got} instead of {expected}")) }
    }

    fn compare_nodes(&self, expected: &[Value], got: &Value, sorted: bool) -> Result<(), String> {
        let got = got.as_array().ok_or("not a list")?;
        if expected.len() != got.len() {
            return Err(format!("{} nodes instead of {}", got.len(), expected.len()));
        }
        // The names of in-order keys sort alike written out and as `<seq+n>` only once filled in.
        let key = |node: &&Value| self.fill(node["key"].as_str().unwrap_or_default());
        let mut expected: Vec<_> = expected.iter().collect();
        let mut got: Vec<_> = got.iter().collect();
        if !sorted {
            expected.sort_by_key(key);
            got.sort_by_key(key);
        }
        expected.iter().zip(got).try_for_each(|(e, g)| self.compare_json(e, g, sorted))
    }

    fn is_index(&self, expected: &str, got: &Value) -> bool {
        let Some(got) = got.as_u64() else { return false };
        match expected {
            "old" => 0 < got && got < self.base,
            _ => self.fill_indexes(expected) == got.to_string(),
        }
    }

    /// Puts this run's names in the place of `<root>` and `<seq+n>`.
    fn fill(&self, text: &str) -> String {
        let text = text.replace("<root>", &self.root);
        let Some((before, rest)) = text.split_once("<seq+") else { return text };
        let (number, after) = rest.split_once('>').expect("<seq+n> is closed");
        let number: u64 = number.parse().expect("<seq+n> has a number");
        format!("{before}{:020}{}", self.base + number, self.fill(after))
    }

    /// Puts this run's indexes in the place of `+n`.
    fn fill_indexes(&self, text: &str) -> String {
        let mut parts = text.split('+');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let stands_alone = filled.is_empty() || filled.ends_with(['=', ' ', '[']);
            match part[..digits].parse::<u64>() {
                Ok(number) if stands_alone => filled += &(self.base + number).to_string(),
                _ => filled += &format!("+{}", &part[..digits]),
            }
            filled += &part[digits..];
        }
        filled
    }
}

fn is_sorted(step: &Value) -> bool {
    let pairs = step["query"].as_array().expect("pairs are a list");
    let sorted = |pair: &Value| pair[0] == "sorted" && ["true", "1", "t"].contains(&text(&pair[1]));
    pairs.iter().any(sorted)
}

fn rounded(ttl: Option<u64>) -> Option<u64> {
    ttl.map(|ttl| ttl.div_ceil(100) * 100)
}

/// Whether this is an RFC 3339 time in UTC, with or without a fraction of a second.
pub fn is_time(text: &str) -> bool {
    let Some(text) = text.strip_suffix('Z') else { return false };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let shape: String = seconds.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00"
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `got` is `pattern`, in which each of `<id>` (lower-case hex), `<time>` (a time, or a
/// duration as Go writes it) and `<word>` (a number, a version) stands for any such text.
pub fn matches(pattern: &str, got: &str) -> bool {
    let pattern = &pattern.replace("<word>", "<time>");
    let Some(at) = ["<id>", "<time>"].iter().filter_map(|mark| pattern.find(mark)).min() else {
        return pattern == got;
    };
    let (before, rest) = pattern.split_at(at);
    let Some(got) = got.strip_prefix(before) else { return false };
    let (is_part, after): (fn(char) -> bool, &str) = match rest.strip_prefix("<id>") {
        Some(after) => (|c| c.is_ascii_digit() || ('a'..='f').contains(&c), after),
        None => (|c| c.is_ascii_alphanumeric() || "-:.+µ".contains(c), &rest["<time>".len()..]),
    };
    let length: usize = got.chars().take_while(|c| is_part(*c)).map(char::len_utf8).sum();
    0 < length && matches(after, &got[length..])
}

/// The text of a JSON string.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scenario() -> Scenario {
        Scenario { root: "/s1".to_owned(), base: 40 }
    }

    #[test]
    fn indexes_are_filled_in_where_they_stand_alone() {
        let check = |text: &str, filled: &str| assert_eq!(scenario().fill_indexes(text), filled);
        check("+2", "42");
        check("[+99 != +1]", "[139 != 41]");
        check("[a+1 != +1]", "[a+1 != 41]");
        check("/x?wait=true&waitIndex=+3", "/x?wait=true&waitIndex=43");
        check("0", "0");
        check("1+", "1+");
    }

    #[test]
    fn names_are_filled_in() {
        assert_eq!(scenario().fill("<root>/a/<seq+2>"), "/s1/a/00000000000000000042");
    }

    #[test]
    fn a_difference_is_found_in_every_part_of_an_answer() {
        let step = json!({"query": [], "expect": {"status": 200,
            "headers": {"X-Etcd-Index": "+1", "Content-Type": "application/json"},
            "body": {"action": "get", "node": {"key": "<root>", "dir": true, "nodes": [
                {"key": "<root>/b", "value": "", "expiration": "<time>", "ttl": 300,
                 "modifiedIndex": "+1", "createdIndex": "old"},
                {"key": "<root>/a", "value": "x", "modifiedIndex": "+1", "createdIndex": "+1"}],
                "modifiedIndex": "0"}}}});
        let good = r#"{"action":"get","node":{"key":"/s1","dir":true,"nodes":[{"key":"/s1/a","value":"x","modifiedIndex":41,"createdIndex":41},{"key":"/s1/b","value":"","expiration":"2026-11-23T12:00:00.5Z","ttl":299,"modifiedIndex":41,"createdIndex":7}],"modifiedIndex":0}}"#;
        let answer = |status, index: &str, body: &str| {
            let headers = [("x-etcd-index", index), ("Content-Type", "application/json")];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Answer { status, headers: headers.to_vec(), body: body.as_bytes().to_vec() }
        };
        let compare = |answer: &Answer| scenario().compare(&step, answer);
        assert_eq!(compare(&answer(200, "41", good)), Ok(()));
        assert!(compare(&answer(201, "41", good)).is_err());
        assert!(compare(&answer(200, "42", good)).is_err());
        let changes = [
            ("\"get\"", "\"set\""),
            ("\"ttl\":299", "\"ttl\":301"),
            ("12:00:00.5Z", "12:00:00.5+01:00"),
            ("\"createdIndex\":7", "\"createdIndex\":41"),
            ("\"createdIndex\":41", "\"createdIndex\":40"),
            ("\"modifiedIndex\":0", "\"modifiedIndex\":1"),
            ("\"value\":\"x\",", ""),
            ("/s1/a", "/s1/c"),
            ("\"dir\":true,", "\"dir\":true,\"value\":\"\","),
        ];
        for (from, to) in changes {
            assert!(good.contains(from));
            assert!(compare(&answer(200, "41", &good.replace(from, to))).is_err(), "{from} → {to}");
        }
        let mut more = answer(200, "41", good);
        more.headers.push(("Allow".to_owned(), "GET".to_owned()));
        assert!(compare(&more).is_err(), "a header that the record does not have");
    }

    #[test]
    fn order_counts_only_when_it_was_asked_for() {
        let nodes = [json!({"key": "<root>/b"}), json!({"key": "<root>/a"})];
        let got = json!([{"key": "/s1/a"}, {"key": "/s1/b"}]);
        assert!(scenario().compare_nodes(&nodes, &got, false).is_ok());
        assert!(scenario().compare_nodes(&nodes, &got, true).is_err());
    }

    #[test]
    fn patterns_match_ids_and_times() {
        assert!(matches("<id>: name=a\n", "8e9e05c52164694d: name=a\n"));
        assert!(!matches("<id>: name=a\n", ": name=a\n"));
        assert!(!matches("<id>: name=a\n", "8e9g: name=a\n"));
        assert!(matches("{\"t\":\"<time>\",", "{\"t\":\"2026-11-23T12:00:00.123Z\","));
        assert!(matches("\"<time>\"", "\"1m2.5s\""));
        assert!(!matches("\"<time>\"", "\"\""));
    }
}
