//! An answer without what differs from run to run: indexes become relative, times go.

use e2e::{Answer, records::is_time};
use serde_json::Value;

/// Writes before the first scenario: no smaller number is an index.
pub(crate) const WARM_UP: u64 = 1_000;

const HEADERS: [&str; 4] = ["X-Etcd-Index", "Content-Type", "Allow", "Location"];

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relative {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    /// Field for field as it came.
    Text(String),
    /// A listing, whose order may be random.
    Json(Value),
}

impl Relative {
    /// The key of the answer's node.
    pub(crate) fn key(&self) -> Option<String> {
        Some(self.json()?["node"]["key"].as_str()?.to_owned())
    }

    /// The key of the directory that the answer says is gone.
    pub(crate) fn key_gone(&self) -> Option<String> {
        let json = self.json()?;
        let is_gone = json["action"] == "delete" || json["action"] == "expire";
        self.key().filter(|_| is_gone && json["prevNode"]["dir"] == true)
    }

    fn json(&self) -> Option<Value> {
        match &self.body {
            Body::Text(text) => serde_json::from_str(text).ok(),
            Body::Json(json) => Some(json.clone()),
        }
    }
}

pub(crate) fn relative(answer: &Answer, base: u64, sorted: bool) -> Relative {
    let header = |name| Some((name, answer.header(name)?));
    let headers = HEADERS.into_iter().filter_map(header).map(|(name, value)| match name {
        "X-Etcd-Index" => (name, index(value, base)),
        _ => (name, indexes(value, "Index=", base)),
    });
    let text = body(&answer.text(), base);
    let listing = text.contains("\"nodes\":[") && !sorted;
    let json = listing.then(|| serde_json::from_str(&text).ok()).flatten();
    let body = json.map_or(Body::Text(text), |json| Body::Json(in_order(json)));
    Relative { status: answer.status, headers: headers.collect(), body }
}

fn body(text: &str, base: u64) -> String {
    let names = ["\"modifiedIndex\":", "\"createdIndex\":", "\"index\":"];
    let text = names.iter().fold(text.to_owned(), |text, name| {
        numbers(&text, name, |number| format!("\"{}\"", index(number, base)))
    });
    let text = numbers(&text, "\"ttl\":", |ttl| {
        let ttl: u64 = ttl.parse().unwrap_or_default();
        (ttl.div_ceil(100) * 100).to_string()
    });
    let text = indexes(&text, "Index=", base);
    let text = indexes(&indexes(&text, "[", base), " != ", base);
    times(&in_order_names(&text, base))
}

/// `+n`, `0` or `old`.
fn index(text: &str, base: u64) -> String {
    match text.parse::<u64>() {
        Ok(0) | Err(_) => text.to_owned(),
        Ok(index) if index < base => "old".to_owned(),
        Ok(index) => format!("+{}", index - base),
    }
}

/// Makes relative what follows `mark`, where it is an index; one of an earlier scenario is `old`.
fn indexes(text: &str, mark: &str, base: u64) -> String {
    numbers(text, mark, |number| match number.parse::<u64>() {
        Ok(index) if WARM_UP < index => self::index(number, base),
        _ => number.to_owned(),
    })
}

fn numbers(text: &str, mark: &str, change: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(mark);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        changed += mark;
        if !number.is_empty() {
            changed += &change(number);
        }
        changed += rest;
    }
    changed
}

/// Names of in-order keys: twenty digits.
fn in_order_names(text: &str, base: u64) -> String {
    numbers(text, "/0000000000", |rest| match rest.parse::<u64>() {
        Ok(index) if rest.len() == 10 => format!("<seq{}>", self::index(&index.to_string(), base)),
        _ => rest.to_owned(),
    })
}

fn times(text: &str) -> String {
    let mark = "\"expiration\":\"";
    let mut parts = text.split(mark);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (time, rest) = part.split_once('"').unwrap_or((part, ""));
        changed += mark;
        changed += if is_time(time) { "<time>" } else { time };
        changed += "\"";
        changed += rest;
    }
    changed
}

fn in_order(mut json: Value) -> Value {
    if let Some(nodes) = json.get_mut("nodes").and_then(Value::as_array_mut) {
        let sorted = nodes.drain(..).map(in_order).collect::<Vec<_>>();
        nodes.extend(sorted);
        nodes.sort_by_key(|node| node["key"].as_str().map(str::to_owned));
    }
    for name in ["node", "prevNode"] {
        if let Some(node) = json.get_mut(name) {
            *node = in_order(node.take());
        }
    }
    json
}
