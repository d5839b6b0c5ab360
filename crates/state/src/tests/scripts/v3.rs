//! Commands of v3 in scripts.
//!
//! `~` stands for one zero byte, `-` for nothing. Conditions and operations of a transaction are
//! single words: `txn mod:/a=3 value:/b=x then put:/a:1 get:/b del:/c:/d else ( … )`, the last being
//! a transaction inside.

use proto::{
    command::{LeaseCheckpoint, LeaseNote},
    etcdserverpb::{
        AlarmRequest, AlarmType, Compare, RangeRequest, RangeResponse, ResponseOp, TxnResponse,
        alarm_request::AlarmAction,
        compare::{CompareResult, CompareTarget, TargetUnion},
        response_op,
    },
    mvccpb::KeyValue,
};

use super::*;

pub(super) fn bytes(word: &str) -> Bytes {
    match word {
        "~" => Bytes::from_static(b"\0"),
        "-" => Bytes::new(),
        word => Bytes::copy_from_slice(word.as_bytes()),
    }
}

pub(super) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn op(verb: &str, words: &Words<'_>) -> Op {
    let flag = |word: &str| ["prev", "ignore_value", "ignore_lease"].contains(&word);
    let word = |at| Some(words.at(at)).filter(|word| !flag(word)).unwrap_or("");
    let number = |at| words.at(at).parse::<i64>().unwrap_or_else(|_| panic!("{:?}", words.at(at)));
    match verb {
        "put" => Op::Put(PutRequest {
            key: bytes(word(0)),
            value: bytes(word(1)),
            lease: words.number("lease").unwrap_or(0),
            prev_kv: words.has("prev"),
            ignore_value: words.has("ignore_value"),
            ignore_lease: words.has("ignore_lease"),
        }),
        "del" => Op::DeleteRange(DeleteRangeRequest {
            key: bytes(word(0)),
            range_end: bytes(word(1)),
            prev_kv: words.has("prev"),
        }),
        "txn" => Op::Txn(txn(&mut words.0.iter().copied().filter(|word| !word.starts_with("by=")))),
        "grant" => Op::LeaseGrant(LeaseGrantRequest { id: number(0), ttl: number(1) }),
        "revoke" => Op::LeaseRevoke(LeaseRevoke {
            id: number(0),
            expired: words.has("expired"),
            granted: words.number("granted").unwrap_or(0),
        }),
        "note" => {
            let granted = words.number("granted").unwrap_or(0);
            let note = LeaseNote { id: number(0), remaining: number(1), granted };
            Op::LeaseCheckpoint(LeaseCheckpoint { notes: vec![note] })
        }
        _ => Op::Alarm(AlarmRequest {
            action: match words.at(0) {
                "raise" => AlarmAction::Activate,
                "drop" => AlarmAction::Deactivate,
                _ => AlarmAction::Get,
            }
            .into(),
            member_id: words.number("member").unwrap_or(0),
            alarm: match words.at(1) {
                "nospace" => AlarmType::Nospace,
                "corrupt" => AlarmType::Corrupt,
                _ => AlarmType::None,
            }
            .into(),
        }),
    }
}

/// Up to the closing parenthesis, or to the end.
fn txn<'a>(words: &mut impl Iterator<Item = &'a str>) -> TxnRequest {
    let mut request = TxnRequest::default();
    let mut part = 0;
    while let Some(word) = words.next().filter(|word| *word != ")") {
        let operation = |words: &mut _| {
            let request = if word == "(" { Request::RequestTxn(txn(words)) } else { one(word) };
            RequestOp { request: Some(request) }
        };
        match (word, part) {
            ("then", _) => part = 1,
            ("else", _) => part = 2,
            (word, 0) => request.compare.push(compare(word)),
            (_, 1) => request.success.push(operation(words)),
            _ => request.failure.push(operation(words)),
        }
    }
    request
}

fn one(word: &str) -> Request {
    let parts: Vec<&str> = word.split(':').collect();
    let part = |at| bytes(parts.get(at).copied().unwrap_or("-"));
    match parts[0] {
        "put" => Request::RequestPut(PutRequest {
            key: part(1),
            value: part(2),
            ignore_lease: parts.get(3) == Some(&"ignore_lease"),
            lease: parts.get(3).and_then(|lease| lease.parse().ok()).unwrap_or(0),
            ..PutRequest::default()
        }),
        "del" => Request::RequestDeleteRange(DeleteRangeRequest {
            key: part(1),
            range_end: part(2),
            prev_kv: false,
        }),
        "get" => Request::RequestRange(RangeRequest {
            key: part(1),
            range_end: part(2),
            revision: parts.get(3).and_then(|revision| revision.parse().ok()).unwrap_or(0),
            ..RangeRequest::default()
        }),
        _ => panic!("what is {word:?}?"),
    }
}

/// `TARGET:KEY[:END]=VALUE`, with `<`, `>` or `!` in the place of the sign of equality.
fn compare(word: &str) -> Compare {
    let sign = word.find(['=', '<', '>', '!']).unwrap();
    let (left, value) = (&word[..sign], &word[sign + 1..]);
    let result = match &word[sign..=sign] {
        "=" => CompareResult::Equal,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        _ => CompareResult::NotEqual,
    };
    let parts: Vec<&str> = left.split(':').collect();
    let number = || value.parse().unwrap();
    let (target, union) = match parts[0] {
        "version" => (CompareTarget::Version, TargetUnion::Version(number())),
        "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number())),
        "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number())),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number())),
        _ => (CompareTarget::Value, TargetUnion::Value(bytes(value))),
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: bytes(parts[1]),
        range_end: bytes(parts.get(2).copied().unwrap_or("-")),
        target_union: Some(union),
    }
}

pub(super) fn range(words: &Words<'_>) -> RangeRequest {
    let flag = |word: &str| ["keys_only", "count_only"].contains(&word);
    let number = |name| words.number(name).unwrap_or(0);
    RangeRequest {
        key: bytes(words.at(0)),
        range_end: Some(words.at(1)).filter(|word| !flag(word)).map(bytes).unwrap_or_default(),
        limit: number("limit"),
        revision: number("rev"),
        sort_order: words.number("order").unwrap_or(0),
        sort_target: words.number("target").unwrap_or(0),
        serializable: false,
        keys_only: words.has("keys_only"),
        count_only: words.has("count_only"),
        min_mod_revision: number("min_mod"),
        max_mod_revision: number("max_mod"),
        min_create_revision: number("min_create"),
        max_create_revision: number("max_create"),
    }
}

fn at(header: Option<&proto::etcdserverpb::ResponseHeader>) -> String {
    header.map_or("[-]".to_owned(), |header| format!("[{}]", header.revision))
}

fn show_pair(pair: &KeyValue) -> String {
    let KeyValue { key, create_revision, mod_revision, version, value, lease } = pair;
    let lease = if *lease == 0 { String::new() } else { format!(" lease {lease}") };
    let (key, value) = (text(key), text(value));
    format!("{key} {value:?} m{mod_revision} c{create_revision} v{version}{lease}")
}

fn show_pairs(pairs: &[KeyValue]) -> String {
    pairs.iter().fold(String::new(), |lines, pair| lines + "\n  " + &show_pair(pair))
}

pub(super) fn show_range(answer: &RangeResponse) -> String {
    let more = if answer.more { ", more" } else { "" };
    let pairs = show_pairs(&answer.kvs);
    format!("{} of {}{more}{pairs}", at(answer.header.as_ref()), answer.count)
}

pub(super) fn show(reply: &Reply) -> String {
    match reply {
        Reply::Put(answer) => {
            let prev = answer.prev_kv.as_ref();
            let prev = prev.map_or_else(String::new, |prev| format!(" <- {}", show_pair(prev)));
            format!("{} put{prev}", at(answer.header.as_ref()))
        }
        Reply::DeleteRange(answer) => {
            let (head, prevs) = (at(answer.header.as_ref()), show_pairs(&answer.prev_kvs));
            format!("{head} deleted {}{prevs}", answer.deleted)
        }
        Reply::Txn(answer) => show_txn(answer),
        Reply::Compact(answer) => format!("{} compacted", at(answer.header.as_ref())),
        Reply::LeaseGrant(answer) => {
            format!("{} lease {} of {} s", at(answer.header.as_ref()), answer.id, answer.ttl)
        }
        Reply::LeaseRevoke(answer) => format!("{} revoked", at(answer.header.as_ref())),
        Reply::LeaseCheckpoint(answer) => format!("{} noted", at(answer.header.as_ref())),
        Reply::Alarm(answer) => {
            let alarms = answer.alarms.iter();
            let alarms = alarms.map(|one| format!("{:?} of {}", one.alarm(), one.member_id));
            format!("alarms: {}", alarms.collect::<Vec<_>>().join(", "))
        }
        Reply::Auth => "done".to_owned(),
        Reply::Token(token) => token.clone(),
    }
}

fn show_txn(answer: &TxnResponse) -> String {
    let how = if answer.succeeded { "success" } else { "failure" };
    let parts = answer.responses.iter().map(|op| show_op(op).replace('\n', "\n  "));
    let parts = parts.fold(String::new(), |lines, part| lines + "\n  " + &part);
    format!("{} {how}{parts}", at(answer.header.as_ref()))
}

fn show_op(op: &ResponseOp) -> String {
    use response_op::Response::{ResponseDeleteRange, ResponsePut, ResponseRange, ResponseTxn};
    match op.response.clone() {
        Some(ResponseRange(answer)) => show_range(&answer),
        Some(ResponsePut(answer)) => show(&Reply::Put(answer)),
        Some(ResponseDeleteRange(answer)) => show(&Reply::DeleteRange(answer)),
        Some(ResponseTxn(answer)) => show_txn(&answer),
        None => "nothing".to_owned(),
    }
}
