//! What the original has carried out by its own rules, where ours are others.

use serde_json::json;

use super::{
    ask, fill,
    place::{Place, json_of},
};

/// Only what forces it writes to the file: all that follows lies in the log.
const ALL_IN_LOG: [&str; 2] = ["--backend-batch-interval=1h", "--backend-batch-limit=1000000"];

/// 70 MB of values that are deleted, and told to whoever deletes them.
#[test]
fn a_deletion_that_told_more_than_an_answer_of_ours_holds_has_happened() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&ALL_IN_LOG);
    for at in 0..70 {
        fill::put(&original, format!("big/{at:02}").as_bytes(), &vec![b'v'; 1_000_000], 0);
    }
    let all =
        json!({"key": fill::text(b"big/"), "range_end": fill::text(b"big0"), "prev_kv": true});
    // The gateway of the original has a bound, but the deletion has happened.
    drop(json_of(&original, "/v3/kv/deleterange", &all));
    let revision = fill::put(&original, b"behind", b"x", 0);
    assert_eq!(ask::keys(&original), ["behind"]);
    original.kill();
    let (ours, summary) = place.imported(&place.path("original"), "ours", &[]);
    assert_eq!(summary["log-entries"], 72, "{summary:?}");
    assert_eq!(ask::keys(&ours), ["behind"]);
    assert_eq!(summary["revision"], revision, "{summary:?}");
}

/// What 3.4 lets pass without space, in a transaction within a transaction.
#[test]
fn a_nested_put_while_there_was_no_space_has_happened() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&ALL_IN_LOG);
    fill::put(&original, b"before", b"x", 0);
    let member = fill::post(&original, "/v3/cluster/member/list", &json!({}));
    let id = member["header"]["member_id"].clone();
    let alarm = |action: &str| {
        let alarm = json!({"action": action, "memberID": id, "alarm": "NOSPACE"});
        fill::post(&original, "/v3/maintenance/alarm", &alarm)
    };
    alarm("ACTIVATE");
    let put = json!({"request_put": {"key": fill::text(b"refused"), "value": fill::text(b"x")}});
    drop(json_of(&original, "/v3/kv/txn", &json!({"success": [put]})).expect(&[429]));
    let put = json!({"request_put": {"key": fill::text(b"nested"), "value": fill::text(b"x")}});
    let nested = json!({"request_txn": {"success": [put]}});
    fill::post(&original, "/v3/kv/txn", &json!({"success": [nested]}));
    alarm("DEACTIVATE");
    let revision = fill::put(&original, b"behind", b"x", 0);
    let expected = ask::v3(&original);
    original.kill();
    let (ours, summary) = place.imported(&place.path("original"), "ours", &[]);
    assert_eq!(ask::keys(&ours), ["before", "behind", "nested"]);
    assert_eq!(summary["revision"], revision, "{summary:?}");
    super::place::same(&ours, &expected, "all");
}
