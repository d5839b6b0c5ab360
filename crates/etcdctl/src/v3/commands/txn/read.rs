//! A transaction as it is written on stdin.

use std::{
    ffi::OsString,
    io::{self, BufRead},
    os::unix::ffi::OsStringExt as _,
};

use bytes::Bytes;
use clap::{FromArgMatches as _, Subcommand};
use proto::etcdserverpb::{
    Compare, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
};

use super::super::{del::Del, get::Get, put::Put};
use crate::{
    argv,
    failure::{Exit, Failure},
    v3::{go, refuse},
};

/// Of one line.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Reads the three blocks; `prompt` is told which one comes.
pub(super) fn from(
    input: &mut impl BufRead,
    prompt: impl Fn(&str) -> io::Result<()>,
) -> Result<TxnRequest, Failure> {
    prompt("compares:")?;
    let compare = block(input, compare)?;
    prompt("success requests (get, put, del):")?;
    let success = block(input, operation)?;
    prompt("failure requests (get, put, del):")?;
    let failure = block(input, operation)?;
    Ok(TxnRequest { compare, success, failure })
}

/// Lines up to an empty one.
fn block<T>(
    input: &mut impl BufRead,
    read: impl Fn(&str) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut block = Vec::new();
    loop {
        let mut line = Vec::new();
        let got = io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut line);
        match got {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) => return refuse(Exit::InvalidInput, "EOF"),
            Err(problem) => return refuse(Exit::InvalidInput, problem),
        }
        let line = String::from_utf8_lossy(&line);
        match line.trim() {
            "" => return Ok(block),
            line => block.push(read(line)?),
        }
    }
}

/// `value("key") = "value"`
fn compare(line: &str) -> Result<Compare, Failure> {
    let malformed =
        |more: &str| refuse(Exit::InvalidInput, format!("malformed comparison: {line}{more}"));
    let Some((target, rest)) = line.split_once('(') else { return malformed("") };
    let Some((key, result, value)) = parts(rest) else {
        return malformed("; write it as value(\"key\") = \"value\"");
    };
    let result = match result {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => return malformed(&format!(" (unknown comparison {other}; there are = != > <)")),
    };
    let value_text = String::from_utf8_lossy(&value).into_owned();
    let number = |radix| match go::parse_int(&value_text, radix) {
        Ok(number) => Ok(number),
        Err(why) => {
            refuse(Exit::InvalidInput, format!("invalid txn compare request: {line} ({why})"))
        }
    };
    let (target, union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(10)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.into())),
        // In hexadecimal digits, as leases are shown; 0: none. (As 3.8; before, the original panics.)
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        other => return malformed(&format!(" (unknown target {other})")),
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: Bytes::from(key),
        target_union: Some(union),
        range_end: Bytes::new(),
    })
}

/// What follows the bracket: `"key") = "value"`.
fn parts(rest: &str) -> Option<(Vec<u8>, &str, Vec<u8>)> {
    let (key, rest) = go::unquote(rest.trim_start())?;
    let rest = rest.trim_start().strip_prefix(')')?.trim_start();
    let end = rest.find([' ', '\t', '"'])?;
    let (result, rest) = rest.split_at_checked(end)?;
    let (value, _) = go::unquote(rest.trim_start())?;
    Some((key, result, value))
}

/// `get`, `put` or `del`, as on the command line.
fn operation(line: &str) -> Result<RequestOp, Failure> {
    let Some(words) = words(line) else {
        return refuse(Exit::InvalidInput, format!("invalid txn request: {line}"));
    };
    if words.len() < 2 {
        return refuse(Exit::InvalidInput, format!("invalid txn compare request: {line}"));
    }
    let request = match read_operation(words) {
        Some(Operation::Get(get)) => Request::RequestRange(get.request()?),
        Some(Operation::Put(put)) => Request::RequestPut(put.request()?),
        Some(Operation::Del(del)) => Request::RequestDeleteRange(del.request()?),
        None => return refuse(Exit::InvalidInput, format!("invalid txn request: {line}")),
    };
    Ok(RequestOp { request: Some(request) })
}

/// The grammar of a line.
#[derive(Debug, Subcommand)]
enum Operation {
    Get(Get),
    Put(Put),
    Del(Del),
}

fn read_operation(words: Vec<OsString>) -> Option<Operation> {
    let mut grammar = Operation::augment_subcommands(clap::Command::new("txn"));
    grammar.build();
    let words = std::iter::once("txn".into()).chain(words).collect();
    let words = argv::arrange_v3(&grammar, words, Vec::new()).words;
    Operation::from_arg_matches(&grammar.try_get_matches_from(words).ok()?).ok()
}

/// The words of a line, which may be in quotes. `None`: a quote has no end.
pub(in super::super) fn words(line: &str) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' => {
                let (word, after) = go::unquote(rest)?;
                (OsString::from_vec(word), after)
            }
            '\'' => {
                let (word, after) = rest.get(1..)?.split_once('\'')?;
                (word.into(), after)
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let (word, after) = rest.split_at_checked(end)?;
                (word.into(), after)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TxnRequest, Failure> {
        from(&mut text.as_bytes(), |_| Ok(()))
    }

    #[test]
    fn three_blocks_make_a_transaction() {
        let txn = read(
            "value(\"k 1\") = \"v\\\"3\"\nmod(\"k\")>\"0\"\n\nput r1 'two words'\nget --prefix k\n\n\
             del \"a\" b --range\n\n",
        )
        .expect("reads");
        assert_eq!((txn.compare.len(), txn.success.len(), txn.failure.len()), (2, 2, 1));
        let first = txn.compare.first().expect("a compare");
        assert_eq!((&first.key[..], first.result()), (&b"k 1"[..], CompareResult::Equal));
        assert_eq!(first.target_union, Some(TargetUnion::Value("v\"3".into())));
        let Some(Request::RequestPut(put)) = txn.success[0].request.clone() else {
            panic!("{txn:?}")
        };
        assert_eq!((&put.key[..], &put.value[..]), (&b"r1"[..], &b"two words"[..]));
        let Some(Request::RequestRange(get)) = txn.success[1].request.clone() else {
            panic!("{txn:?}")
        };
        assert_eq!((&get.key[..], &get.range_end[..]), (&b"k"[..], &b"l"[..]));
        let Some(Request::RequestDeleteRange(del)) = txn.failure[0].request.clone() else {
            panic!("{txn:?}")
        };
        assert_eq!((&del.key[..], &del.range_end[..]), (&b"a"[..], &b"b"[..]));
    }

    #[test]
    fn leases_are_compared_as_they_are_shown() {
        for (line, result, lease) in [
            ("lease(\"k\") = \"694d77aa9e38260f\"", CompareResult::Equal, 0x694d_77aa_9e38_260f),
            ("lease(\"k\") != \"0\"", CompareResult::NotEqual, 0),
            ("lease(\"k\") > \"10\"", CompareResult::Greater, 16),
            ("lease(\"k\") < \"-1\"", CompareResult::Less, -1),
        ] {
            let compare = compare(line).expect(line);
            assert_eq!(
                (compare.target(), compare.result()),
                (CompareTarget::Lease, result),
                "{line}"
            );
            assert_eq!(compare.target_union, Some(TargetUnion::Lease(lease)), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_shown() {
        for (text, said) in [
            ("nonsense\n", "malformed comparison: nonsense"),
            ("value(k) = 1\n", "malformed comparison: value(k) = 1; write it as"),
            ("value(\"k\") ~ \"1\"\n", "unknown comparison ~"),
            ("size(\"k\") = \"1\"\n", "unknown target size"),
            ("lease(\"k\") = \"xyz\"\n", "invalid txn compare request: lease(\"k\") = \"xyz\""),
            ("mod(\"k\") = \"x\"\n", "invalid txn compare request: mod(\"k\") = \"x\""),
            ("\nput\n", "invalid txn compare request: put"),
            ("\nfrob a b\n", "invalid txn request: frob a b"),
            ("\nput a \"b\n", "invalid txn request: put a \"b"),
            ("\nput a b --nonsense\n", "invalid txn request: put a b --nonsense"),
            ("\nput a b", "EOF"),
        ] {
            let failure = format!("{:?}", read(text).expect_err(text));
            let said = format!("{said:?}");
            assert!(failure.contains("code: 3"), "{failure}");
            assert!(failure.contains(said.trim_matches('"')), "{said}: {failure}");
        }
    }
}
