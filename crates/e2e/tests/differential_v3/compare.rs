//! An answer without what differs from run to run, and the differences that are meant.

use e2e::Answer;
use serde_json::{Map, Value};

use crate::generate::Asked;

/// Of the original that is compared with. We follow 3.6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Version {
    V34,
    V35,
}

/// What came back, made comparable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    status: u16,
    body: Value,
}

impl Outcome {
    /// The connection was closed, or nothing came.
    pub(crate) fn failed(problem: &std::io::Error) -> Self {
        Self { status: 0, body: problem.kind().to_string().into() }
    }

    pub(crate) fn of(asked: &Asked, answer: &Answer, base: i64) -> Self {
        let text = answer.text();
        let mut body =
            serde_json::from_str(&text).map_or(Value::String(text), |json| relative(json, base));
        if let Some(fields) = body.as_object_mut().filter(|_| asked.path == "maintenance/alarm") {
            // 3.4 gives none.
            fields.remove("header");
        }
        Self { status: answer.status, body }
    }

    /// What a watch has told, and from where on.
    pub(crate) fn told(events: &[Value], start: i64, base: i64) -> Self {
        let body =
            relative(serde_json::json!({"revision": start.to_string(), "events": events}), base);
        Self { status: 200, body }
    }

    pub(crate) fn is_refusal(&self) -> bool {
        self.status >= 400
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.body)
    }
}

const REVISIONS: [&str; 5] =
    ["revision", "create_revision", "mod_revision", "compact_revision", "compactRevision"];

fn relative(json: Value, base: i64) -> Value {
    match json {
        Value::Array(all) => all.into_iter().map(|one| relative(one, base)).collect(),
        Value::Object(fields) => Value::Object(object(fields, base)),
        other => other,
    }
}

fn object(fields: Map<String, Value>, base: i64) -> Map<String, Value> {
    let mut made = Map::new();
    for (name, value) in fields {
        let value = match name.as_str() {
            "cluster_id" | "member_id" | "raft_term" => continue,
            name if REVISIONS.contains(&name) => {
                let number = value.as_str().and_then(|text| text.parse::<i64>().ok());
                number.map_or(value, |number| format!("+{}", number - base).into())
            }
            // What is left goes on while it is looked at.
            "TTL" => {
                let left = value.as_str().and_then(|text| text.parse::<i64>().ok());
                left.map_or(value, |left| (left.saturating_add(99) / 100 * 100).into())
            }
            // In no order.
            "leases" | "keys" | "alarms" => {
                let mut all = value.as_array().cloned().unwrap_or_default();
                all.sort_by_key(Value::to_string);
                all.into()
            }
            _ => relative(value, base),
        };
        made.insert(name, value);
    }
    made
}

/// A difference that is meant: what it is, and whether this is it.
pub(crate) struct Meant {
    /// As `docs/differences.md` calls it.
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    /// Where it is one.
    of: &'static [Version],
    is: fn(&Asked, theirs: &Outcome, ours: &Outcome) -> bool,
}

use Version::{V34, V35};

/// All of them.
pub(crate) const MEANT: &[Meant] = &[
    Meant {
        name: "open deletion",
        of: &[V34, V35],
        why: "3.4 does not see that an open deletion meets a put of the same transaction, and may die \
              of it; here it is a duplicate key",
        is: |asked, _, ours| {
            asked.puts_below_an_open_deletion() && ours.message().contains("duplicate key")
        },
    },
    Meant {
        name: "failed precondition",
        of: &[V34, V35],
        why: "a condition that does not hold (FailedPrecondition) is 412 in 3.4's gateway, 400 in 3.6's",
        is: |_, theirs, ours| {
            (theirs.status, ours.status) == (412, 400) && theirs.body == ours.body
        },
    },
    Meant {
        name: "unknown path",
        of: &[V34, V35],
        why: "a path that there is not is text in 3.4's gateway, JSON in 3.6's",
        is: |asked, theirs, ours| {
            asked.path == "kv/nonsense" && (theirs.status, ours.status) == (404, 404)
        },
    },
    Meant {
        name: "several faults",
        of: &[V34, V35],
        why: "of several parts that cannot be done 3.4 tells of puts before ranges, 3.6 of the first",
        is: |asked, theirs, ours| {
            let is_of_a_put =
                ["etcdserver: key not found", "etcdserver: requested lease not found"];
            asked.path == "kv/txn"
                && is_of_a_put.contains(&theirs.message())
                && ours.message().starts_with("etcdserver: mvcc: required revision")
        },
    },
    Meant {
        name: "nested puts",
        of: &[V34, V35],
        why: "puts in nested transactions pass the original's alarm NOSPACE; here they count",
        is: |asked, _, ours| {
            asked.puts_in_a_nested_transaction()
                && ours.message() == "etcdserver: mvcc: database space exceeded"
        },
    },
    Meant {
        name: "malformed JSON",
        of: &[V34, V35],
        why: "what is wrong with JSON is said in other words",
        is: |_, theirs, ours| {
            theirs.status == 400
                && ours.status == 400
                && theirs.body["code"] == 3
                && ours.body["code"] == 3
                && !theirs.message().starts_with("etcdserver:")
                && !ours.message().starts_with("etcdserver:")
        },
    },
];

pub(crate) fn meant(
    version: Version,
    asked: &Asked,
    theirs: &Outcome,
    ours: &Outcome,
) -> Option<&'static Meant> {
    let mut all = MEANT.iter().filter(|meant| meant.of.contains(&version));
    all.find(|meant| (meant.is)(asked, theirs, ours))
}
