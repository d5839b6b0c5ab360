//! What etcd 3.4.23 answers at the edges: forms, escapes, methods, paths, texts of errors.
//!
//! `recorded/edges.jsonl` was recorded from it with raw requests, in order, on an empty keyspace.
//! Numbers in bodies are relative to the first index: `+3`, `0` for a plain 0, `<seq+3>` for the
//! name of an in-order key.

use std::fmt::Write as _;

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::{
    member::Member,
    wire::{Answer, Wire},
};

#[derive(Deserialize)]
struct Edge {
    method: String,
    target: String,
    content_type: Option<String>,
    request: Option<String>,
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Edge {
    fn ask(&self, wire: &mut Wire) -> Answer {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: x\r\n", self.method, self.target);
        if let Some(content_type) = &self.content_type {
            write!(text, "Content-Type: {content_type}\r\n").unwrap();
        }
        if let Some(body) = &self.request {
            write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        text.push_str("\r\n");
        text.push_str(self.request.as_deref().unwrap_or_default());
        wire.send(text);
        wire.answer_to(&self.method)
    }
}

/// All answers come over one connection: after whatever was refused, it is in order.
#[test]
fn the_edges_are_where_etcd_has_them() {
    let member = Member::start();
    let base = member.index();
    let mut wire = member.connect();
    let mut wrong = String::new();
    let edges = include_str!("recorded/edges.jsonl").lines();
    for (at, edge) in edges.enumerate() {
        let edge: Edge = serde_json::from_str(edge).unwrap();
        let answer = edge.ask(&mut wire);
        let got = (answer.status, headers(&answer, base), relative(&answer.text(), base));
        let expected = (edge.status, edge.headers.clone(), edge.body.clone());
        if got != expected {
            let what = (at + 1, &edge.method, &edge.target, &edge.request);
            writeln!(wrong, "{what:?}\n  expected {expected:?}\n  got      {got:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn headers(answer: &Answer, base: u64) -> BTreeMap<String, String> {
    let recorded = ["Allow", "Content-Type", "Location", "X-Etcd-Index"];
    let headers = answer.headers.iter().filter(|(name, _)| recorded.contains(&name.as_str()));
    headers
        .map(|(name, value)| match name.as_str() {
            "X-Etcd-Index" => (name.clone(), relative_number(value.parse().unwrap(), base)),
            _ => (name.clone(), value.clone()),
        })
        .collect()
}

fn relative_number(number: u64, base: u64) -> String {
    if number == 0 { "0".to_owned() } else { format!("+{}", i128::from(number) - i128::from(base)) }
}

/// A body with its indexes relative to `base`, and its times replaced.
fn relative(body: &str, base: u64) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some(end) = rest.find(['/', ':']) {
        let (before, after) = rest.split_at(end + 1);
        out.push_str(before);
        rest = after;
        let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        if before.ends_with("ndex\":") {
            out.push_str(&relative_number(number.parse().unwrap(), base));
            rest = behind;
        } else if before.ends_with('/') && number.len() == 20 {
            let number: u64 = number.parse().unwrap();
            write!(out, "<seq+{}>", number - base).unwrap();
            rest = behind;
        } else if before.ends_with("\"expiration\":") {
            out.push_str("\"<time>\"");
            rest = rest[1..].split_once('"').unwrap().1;
        }
    }
    out.push_str(rest);
    out
}

#[test]
fn numbers_in_bodies_are_made_relative() {
    let body = r#"{"a":"/q/00000000000000000014:7","expiration":"2026-01-01T00:00:00Z","modifiedIndex":12,"index":0}"#;
    let expected = r#"{"a":"/q/<seq+4>:7","expiration":"<time>","modifiedIndex":+2,"index":0}"#;
    assert_eq!(relative(body, 10), expected);
}

/// A difference that stays: etcd takes these characters as they are, hyper wants them escaped.
#[test]
fn what_no_address_may_hold_is_refused() {
    let member = Member::start();
    for target in ["/v2/keys/<a>", "/v2/keys/a?value=<b>", "/v2/keys/a?value=\"b\""] {
        member.ask("PUT", target, None).expect(400);
    }
    member.get("/v2/keys/a").expect(404);
}
