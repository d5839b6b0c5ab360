//! The same reads and changes through API 3, as its gateway takes them: ranges, puts, deletions, and
//! transactions that compare.

use linearizable::{Before, Change, Expected, Found, Outcome, Refusal};
use serde_json::{Value, json};

use super::NoQuorum;
use crate::{Answer, Request, v3};

pub(super) fn request(key: &str, change: &Change) -> Request {
    let key = v3::bytes(key);
    let put = |value: &str| json!({ "key": key, "value": v3::bytes(value), "prev_kv": true });
    let delete = json!({ "key": key, "prev_kv": true });
    let compare = |expected: &Expected| match (&expected.value, expected.index) {
        (Some(value), _) => {
            json!({ "key": key, "target": "VALUE", "result": "EQUAL", "value": v3::bytes(value) })
        }
        (None, index) => {
            let index = index.expect("a value or an index").to_string();
            json!({ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": index })
        }
    };
    let only_if = |compare: Value, then: Value| {
        let otherwise = [json!({ "request_range": { "key": key } })];
        let txn = json!({ "compare": [compare], "success": [then], "failure": otherwise });
        ("txn", txn)
    };
    let (method, body) = match change {
        Change::Write(value) => ("put", put(value)),
        Change::Delete => ("deleterange", delete),
        Change::Create(value) => {
            let none = json!({
                "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"
            });
            only_if(none, json!({ "request_put": put(value) }))
        }
        Change::Swap(expected, value) => {
            only_if(compare(expected), json!({ "request_put": put(value) }))
        }
        Change::DeleteIf(expected) => {
            only_if(compare(expected), json!({ "request_delete_range": delete }))
        }
    };
    Request::json("POST", &format!("/v3/kv/{method}"), &body.to_string())
}

/// A linearizable read, as ranges are unless they say otherwise.
pub(super) fn read(key: &str) -> Request {
    Request::json("POST", "/v3/kv/range", &json!({ "key": v3::bytes(key) }).to_string())
}

/// What a read found.
pub(super) fn read_outcome(answer: &Answer) -> Result<Option<Found>, NoQuorum> {
    match answer.status {
        200 => Ok(found(&answer.json()["kvs"][0])),
        429 | 500.. => Err(NoQuorum),
        _ => panic!("a read has the answer {answer:?}"),
    }
}

/// What an answer says of a change. What it does not clearly say is unknown.
pub(super) fn outcome(change: &Change, answer: &Answer) -> Outcome {
    match answer.status {
        200 => {}
        429 | 500.. => return Outcome::Unknown,
        _ => panic!("{change:?} has the answer {answer:?}"),
    }
    let told = answer.json();
    let index = u64::try_from(v3::number(&told["header"]["revision"])).ok();
    let done = |before| Outcome::Done { index, before };
    let part = &told["responses"][0];
    match change {
        Change::Write(_) => done(found(&told["prev_kv"]).map_or(Before::Absent, Before::Present)),
        Change::Delete => match found(&told["prev_kvs"][0]) {
            Some(found) => done(Before::Present(found)),
            None => Outcome::Refused(Refusal::NotFound),
        },
        Change::Create(_) if told["succeeded"] == true => done(Before::Untold),
        Change::Create(_) => Outcome::Refused(Refusal::Exists),
        Change::Swap(..) | Change::DeleteIf(_) if told["succeeded"] == true => {
            let before =
                [&part["response_put"]["prev_kv"], &part["response_delete_range"]["prev_kvs"][0]];
            let before = before.into_iter().find_map(found);
            done(Before::Present(before.expect("what was compared is told")))
        }
        Change::Swap(expected, _) | Change::DeleteIf(expected) => {
            Outcome::Refused(match found(&part["response_range"]["kvs"][0]) {
                None => Refusal::NotFound,
                Some(met) => Refusal::Compare { found: expected.value.as_ref().map(|_| met.value) },
            })
        }
    }
}

fn found(pair: &Value) -> Option<Found> {
    let value = pair.get("key").map(|_| v3::text(&pair["value"]))?;
    let index = u64::try_from(v3::number(&pair["mod_revision"])).ok();
    Some(Found { value, index })
}
