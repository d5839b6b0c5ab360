//! Requests of v3 that are mostly sensible and sometimes anything but.

use std::fmt;

use e2e::v3::bytes;
use serde_json::{Map, Value, json};

/// Few, so that they meet; and fewer than twelve: up to there Go's sort leaves what is alike in order.
const KEYS: [&[u8]; 9] = [b"a", b"a\0", b"b", b"c", b"c/d", b"/a", b"/a/b", b"\xff", b"zz"];
const ENDS: [&[u8]; 7] = [b"\0", b"\0", b"c", b"c0", b"/b", b"\xff\xff", b"A"];
const VALUES: [&str; 6] = ["", "v", "w", "10", "9", "a longer value, of more than one word"];
const LEASES: std::ops::RangeInclusive<i64> = 1..=3;
/// Not so short that any ends while it is looked at.
const TTLS: [i64; 5] = [1_000, 3_000, 5_000, 9_000_000_000, 9_000_000_001];
const NUMBERS: [i64; 6] = [-1, 0, 1, 2, i64::MAX, i64::MIN];
const MALFORMED: [(&str, &str); 28] = [
    ("kv/put", "{"),
    ("kv/put", "[]"),
    ("kv/put", "{\"key\":\"*\"}"),
    ("kv/put", "{\"key\":5}"),
    ("kv/put", "{\"key\":\"YQ==\",\"lease\":\"x\"}"),
    ("kv/put", "{\"key\":\"YQ==\",\"lease\":1.5}"),
    ("kv/range", "{\"key\":\"YQ==\",\"limit\":\"99999999999999999999\"}"),
    ("kv/range", "{\"key\":\"YQ==\",\"sort_order\":\"DESCEND\",\"sort_target\":\"NONSENSE\"}"),
    ("kv/range", "{\"key\":\"YQ==\",\"nonsense\":1}"),
    ("kv/range", ""),
    ("kv/txn", "{\"success\":[{}]}"),
    ("kv/txn", "{\"compare\":[{\"key\":\"YQ==\",\"target\":\"VERSION\",\"result\":\"NONSENSE\"}]}"),
    ("kv/nonsense", "{}"),
    ("lease/grant", "{\"TTL\":\"x\"}"),
    // What is null is not given.
    ("kv/put", "{\"key\":null,\"value\":\"djE=\"}"),
    ("kv/put", "{\"key\":\"YQ==\",\"value\":null,\"lease\":null,\"prev_kv\":null}"),
    ("kv/range", "{\"key\":\"YQ==\",\"limit\":null,\"range_end\":null,\"serializable\":null}"),
    ("kv/range", "{\"key\":\"YQ==\",\"sort_order\":null,\"sort_target\":null}"),
    ("kv/range", "null"),
    ("kv/txn", "{\"compare\":null,\"success\":null}"),
    ("lease/keepalive", "null"),
    // One value counts, whatever comes behind it.
    ("kv/range", "{\"key\":\"YQ==\"} trailing"),
    ("kv/range", "{\"key\":\"YQ==\"}{\"key\":\"Yg==\"}"),
    ("kv/range", "{\"key\":\"YQ==\"}]"),
    // Base64 in lines.
    ("kv/range", "{\"key\":\"YQ==\\n\"}"),
    ("kv/put", "{\"key\":\"Y\\r\\nQ==\",\"value\":\"dm\\nFs\"}"),
    ("kv/rang%65", "{\"key\":\"YQ==\"}"),
    ("kv%2Frange", "{\"key\":\"YQ==\"}"),
];

/// A request whose revisions are still relative: `@3` stands for three after the scenario's base.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) path: &'static str,
    body: Body,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Json(Value),
    Text(&'static str),
}

impl Asked {
    pub(crate) fn new(path: &'static str, json: Value) -> Self {
        Self { path, body: Body::Json(json) }
    }

    pub(crate) fn body(&self, base: i64) -> String {
        match &self.body {
            Body::Json(json) => absolute(json, base).to_string(),
            Body::Text(text) => (*text).to_owned(),
        }
    }

    /// The request, if it is well-formed.
    pub(crate) fn json(&self) -> &Value {
        match &self.body {
            Body::Json(json) => json,
            Body::Text(_) => &Value::Null,
        }
    }

    /// Whether the original might die of it: what is deleted may be put with what it had before. See
    /// the tests of the random hour.
    fn ends_the_original(&self) -> bool {
        let ignores = || has(self.json(), "ignore_value") || has(self.json(), "ignore_lease");
        self.puts_below_an_open_deletion() && ignores()
    }

    /// Whether somewhere in it all keys from one on are deleted, and something is put.
    pub(crate) fn puts_below_an_open_deletion(&self) -> bool {
        self.path == "kv/txn" && has(self.json(), "request_put") && deletes_to_the_end(self.json())
    }

    /// Whether a transaction inside of one puts something.
    pub(crate) fn puts_in_a_nested_transaction(&self) -> bool {
        puts_in_a_nested_transaction(self.json())
    }
}

fn absolute(json: &Value, base: i64) -> Value {
    match json {
        Value::String(text) => match text.strip_prefix('@').map(str::parse::<i64>) {
            Some(Ok(number)) => (base + number).to_string().into(),
            _ => json.clone(),
        },
        Value::Array(all) => all.iter().map(|one| absolute(one, base)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, one)| (name.clone(), absolute(one, base))).collect()
        }
        other => other.clone(),
    }
}

/// Whether a field of this name is anywhere inside.
fn has(json: &Value, name: &str) -> bool {
    match json {
        Value::Array(all) => all.iter().any(|one| has(one, name)),
        Value::Object(fields) => {
            fields.contains_key(name) || fields.values().any(|one| has(one, name))
        }
        _ => false,
    }
}

fn puts_in_a_nested_transaction(json: &Value) -> bool {
    match json {
        Value::Array(all) => all.iter().any(puts_in_a_nested_transaction),
        Value::Object(fields) => {
            fields.get("request_txn").is_some_and(|txn| has(txn, "request_put"))
                || fields.values().any(puts_in_a_nested_transaction)
        }
        _ => false,
    }
}

fn deletes_to_the_end(json: &Value) -> bool {
    match json {
        Value::Array(all) => all.iter().any(deletes_to_the_end),
        Value::Object(fields) => {
            let is_open = |deletion: &Value| deletion["range_end"] == bytes(b"\0");
            fields.get("request_delete_range").is_some_and(is_open)
                || fields.values().any(deletes_to_the_end)
        }
        _ => false,
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Json(json) => write!(f, "{} {json}", self.path),
            Body::Text(text) => write!(f, "{} {text}", self.path),
        }
    }
}

pub(crate) struct Generator {
    random: fastrand::Rng,
    /// Revisions that there may be, counted from the base.
    last: i64,
    /// The member and the kind of the alarm that there is.
    raised: Option<(&'static str, &'static str)>,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), last: 0, raised: None }
    }

    pub(crate) fn next(&mut self) -> Asked {
        loop {
            let asked = self.any();
            if !asked.ends_the_original() {
                return asked;
            }
        }
    }

    fn any(&mut self) -> Asked {
        let (path, body) = match self.random.u8(0..104) {
            0..26 => ("kv/put", self.put()),
            26..48 => ("kv/range", self.range()),
            48..58 => ("kv/deleterange", self.delete_range()),
            58..80 => {
                let depth = if self.chance(10) { 6 } else { 2 };
                ("kv/txn", self.txn(depth))
            }
            80..83 => ("kv/compaction", self.compaction()),
            83..87 => ("lease/grant", json!({"ID": self.lease(), "TTL": self.ttl()})),
            87..90 => {
                (self.pick(&["lease/revoke", "kv/lease/revoke"]), json!({"ID": self.lease()}))
            }
            90..93 => {
                let path = self.pick(&["lease/timetolive", "kv/lease/timetolive"]);
                (path, json!({"ID": self.lease(), "keys": self.random.bool()}))
            }
            93..95 => (self.pick(&["lease/leases", "kv/lease/leases"]), json!({})),
            95..97 => ("lease/keepalive", json!({"ID": self.lease()})),
            97..101 => ("maintenance/alarm", self.alarm()),
            _ => {
                let (path, text) = self.pick(&MALFORMED);
                return Asked { path, body: Body::Text(text) };
            }
        };
        // Most of them.
        self.last += i64::from(path.starts_with("kv/"));
        Asked { path, body: Body::Json(body) }
    }

    fn put(&mut self) -> Value {
        let mut put = Map::new();
        self.key(&mut put);
        let ignores_value = self.chance(12);
        if !ignores_value || self.chance(10) {
            put.insert("value".to_owned(), bytes(self.pick(&VALUES)));
        }
        let ignores_lease = self.chance(12);
        if self.chance(30) && (!ignores_lease || self.chance(10)) {
            put.insert("lease".to_owned(), self.lease());
        }
        self.flag(&mut put, "ignore_value", ignores_value);
        self.flag(&mut put, "ignore_lease", ignores_lease);
        let prev_kv = self.chance(30);
        self.flag(&mut put, "prev_kv", prev_kv);
        Value::Object(put)
    }

    fn range(&mut self) -> Value {
        let mut range = Map::new();
        self.keys(&mut range, 60);
        if self.chance(25) {
            range.insert("revision".to_owned(), self.revision());
        }
        if self.chance(30) {
            let limit = self.random.i64(-1..6);
            range.insert("limit".to_owned(), self.integer(limit));
        }
        if self.chance(35) {
            let order = self.pick(&["NONE", "ASCEND", "DESCEND"]);
            range.insert("sort_order".to_owned(), order.into());
        }
        if self.chance(35) {
            let target = self.pick(&["KEY", "VERSION", "CREATE", "MOD", "VALUE"]);
            range.insert("sort_target".to_owned(), target.into());
        }
        let bounds =
            ["min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"];
        for bound in bounds {
            if self.chance(8) {
                range.insert(bound.to_owned(), self.revision());
            }
        }
        for (name, percent) in [("serializable", 30), ("keys_only", 15), ("count_only", 10)] {
            let is_set = self.chance(percent);
            self.flag(&mut range, name, is_set);
        }
        Value::Object(range)
    }

    fn delete_range(&mut self) -> Value {
        let mut deletion = Map::new();
        self.keys(&mut deletion, 40);
        let prev_kv = self.chance(40);
        self.flag(&mut deletion, "prev_kv", prev_kv);
        Value::Object(deletion)
    }

    fn txn(&mut self, depth: u32) -> Value {
        let mut txn = Map::new();
        let compares: Vec<_> = (0..self.random.usize(0..3)).map(|_| self.compare()).collect();
        if !compares.is_empty() {
            txn.insert("compare".to_owned(), compares.into());
        }
        for branch in ["success", "failure"] {
            // Now and then too many.
            let count = if self.chance(1) { 129 } else { self.random.usize(0..4) };
            let operations: Vec<_> = (0..count).map(|_| self.operation(depth)).collect();
            if !operations.is_empty() {
                txn.insert(branch.to_owned(), operations.into());
            }
        }
        Value::Object(txn)
    }

    fn operation(&mut self, depth: u32) -> Value {
        match self.random.u8(0..100) {
            0..45 => json!({"request_put": self.put()}),
            70..85 => json!({"request_delete_range": self.delete_range()}),
            85..99 if depth > 0 => json!({"request_txn": self.txn(depth - 1)}),
            45..70 | 85..99 => json!({"request_range": self.range()}),
            _ => json!({}),
        }
    }

    fn compare(&mut self) -> Value {
        let mut compare = Map::new();
        self.keys(&mut compare, 15);
        let result = self.pick(&["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]);
        compare.insert("result".to_owned(), result.into());
        let targets = ["VERSION", "CREATE", "MOD", "VALUE", "LEASE"];
        let fields = ["version", "create_revision", "mod_revision", "value", "lease"];
        let at = self.random.usize(0..targets.len());
        compare.insert("target".to_owned(), targets[at].into());
        // Sometimes of another kind, or none.
        let at = if self.chance(5) { self.random.usize(0..fields.len()) } else { at };
        let given = match fields[at] {
            "value" => bytes(self.pick(&VALUES)),
            "lease" => self.lease(),
            "version" => self.integer(3),
            _ => self.revision(),
        };
        if self.chance(95) {
            compare.insert(fields[at].to_owned(), given);
        }
        Value::Object(compare)
    }

    fn compaction(&mut self) -> Value {
        let mut compaction = Map::new();
        let back = self.random.i64(-2..30);
        let revision = if self.chance(90) { relative(self.last - back) } else { self.revision() };
        compaction.insert("revision".to_owned(), revision);
        let physical = self.random.bool();
        self.flag(&mut compaction, "physical", physical);
        Value::Object(compaction)
    }

    /// One at a time: of two, 3.4 goes by the last that was raised, and by none once either is
    /// disarmed; 3.6 by all. And none of no kind: the original then has one, here nothing happens.
    fn alarm(&mut self) -> Value {
        let action = self.pick(&["GET", "GET", "ACTIVATE", "DEACTIVATE", "DEACTIVATE"]);
        let alarms = ["NOSPACE", "NOSPACE", "NOSPACE", "CORRUPT", "NONE"];
        let alarm = self.pick(if action == "ACTIVATE" { &alarms[..4] } else { &alarms });
        let which = (self.pick(&["0", "5", "6"]), alarm);
        let is_raised = self.raised == Some(which);
        let action = match action {
            "ACTIVATE" if self.raised.is_some() && !is_raised => "GET",
            "ACTIVATE" => {
                self.raised = Some(which);
                action
            }
            "DEACTIVATE" if is_raised => {
                self.raised = None;
                action
            }
            _ => action,
        };
        json!({"action": action, "memberID": which.0, "alarm": alarm})
    }

    fn key(&mut self, fields: &mut Map<String, Value>) {
        // No key is the empty one, which is refused.
        if self.chance(98) {
            fields.insert("key".to_owned(), bytes(self.pick(&KEYS)));
        }
    }

    fn keys(&mut self, fields: &mut Map<String, Value>, percent: u8) {
        self.key(fields);
        if self.chance(5) {
            fields.insert("key".to_owned(), bytes(b"\0"));
        }
        if self.chance(percent) {
            let ends = if self.random.bool() { &ENDS[..] } else { &KEYS[..] };
            fields.insert("range_end".to_owned(), bytes(self.pick(ends)));
        }
    }

    fn revision(&mut self) -> Value {
        if self.chance(90) {
            let number = self.random.i64(-3..=self.last + 2);
            return relative(number);
        }
        self.pick(&NUMBERS).to_string().into()
    }

    /// Numbers may be written either way.
    fn integer(&mut self, number: i64) -> Value {
        if self.random.bool() { number.into() } else { number.to_string().into() }
    }

    fn lease(&mut self) -> Value {
        let id = if self.chance(95) { self.random.i64(LEASES) } else { -7 };
        self.integer(id)
    }

    fn ttl(&mut self) -> Value {
        let ttl = if self.chance(90) { self.pick(&TTLS[..3]) } else { self.pick(&TTLS) };
        self.integer(ttl)
    }

    fn flag(&mut self, fields: &mut Map<String, Value>, name: &str, is_set: bool) {
        if is_set || self.chance(3) {
            fields.insert(name.to_owned(), is_set.into());
        }
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.usize(0..all.len())]
    }
}

fn relative(number: i64) -> Value {
    format!("@{number}").into()
}
