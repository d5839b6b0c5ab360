//! The steps that were recorded from real etcd, without HTTP: what is about its forms is left out.

use serde_json::{Value, json};

use super::*;

/// One scenario's run.
struct Run {
    fixture: Fixture,
    root: String,
    base: u64,
}

/// A step's parameters, parsed as the API does.
struct Form(Vec<(String, String)>);

impl Form {
    fn of(step: &Value) -> Self {
        // The body goes before the query.
        let parts = ["form", "query"].into_iter().flat_map(|part| step[part].as_array().unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self(parts.map(|pair| (text(&pair[0]), text(&pair[1]))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "true" | "t" | "1"))
    }

    fn index(&self, name: &str, base: u64) -> u64 {
        let Some(text) = self.get(name) else { return 0 };
        match text.strip_prefix('+') {
            Some(relative) => base + relative.parse::<u64>().unwrap(),
            None => text.parse().unwrap(),
        }
    }
}

/// What a step is about at this level; `None`: HTTP and forms alone.
fn is_about_keys(step: &Value) -> bool {
    let expect = &step["expect"];
    let code = expect["body"]["errorCode"].as_u64().unwrap_or(0);
    let method = step["method"].as_str().unwrap();
    !matches!(method, "OPTIONS" | "PATCH")
        && expect["status"] != 301
        && !(200..=299).contains(&code)
}

impl Run {
    fn new(scenario: u64) -> Self {
        let mut fixture = Fixture::new();
        let root = format!("/scenario{scenario}");
        let base = fixture.write(mkdir(&root)).unwrap().index;
        Self { fixture, root, base }
    }

    fn step(&mut self, step: &Value) -> Value {
        let path = step["key"].as_str().unwrap().replace("<root>", &self.root);
        let path = String::from_utf8(keys::clean(path.as_bytes()).to_vec()).unwrap();
        let form = Form::of(step);
        let bare = form.flag("noValueOnSuccess");
        match step["method"].as_str().unwrap() {
            "GET" if form.flag("wait") && !form.flag("quorum") => self.watch(&path, &form),
            "GET" | "HEAD" => self.get(&path, form.flag("recursive")),
            method => {
                let request = self.request(method, &path, &form);
                match self.fixture.write(request) {
                    Ok(event) => self.event(&event, bare, 0),
                    Err(failure) => self.failure(&failure),
                }
            }
        }
    }

    fn request(&self, method: &str, path: &str, form: &Form) -> KeysWrite {
        let prev_value =
            form.get("prevValue").map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let prev_index = form.index("prevIndex", self.base);
        let compares = prev_value.is_some() || prev_index != 0;
        let method = match (method, form.get("prevExist")) {
            ("POST", _) => KeysMethod::CreateInOrder,
            ("DELETE", _) if compares => KeysMethod::CompareAndDelete,
            ("DELETE", _) => KeysMethod::Delete,
            (_, Some("false")) => KeysMethod::Create,
            _ if compares => KeysMethod::CompareAndSwap,
            (_, Some(_)) => KeysMethod::Update,
            (_, None) => KeysMethod::Set,
        };
        let ttl = form.get("ttl").filter(|ttl| !ttl.is_empty());
        KeysWrite {
            value: form.get("value").unwrap_or("").to_owned().into(),
            dir: form.flag("dir"),
            recursive: form.flag("recursive"),
            prev_value,
            prev_index,
            expiry: ttl.map(|ttl| time(ttl.parse().unwrap()).0),
            refresh: form.flag("refresh"),
            ..request(method, path)
        }
    }

    fn get(&self, path: &str, recursive: bool) -> Value {
        let path = Bytes::copy_from_slice(path.as_bytes());
        match refused(keys::get(&self.fixture.store(), &path, recursive)) {
            Err(failure) => self.failure(&failure),
            Ok(found) => {
                let mut node = self.node(&found.node);
                if let Some(mut listing) = found.listing {
                    let nodes = self.nodes(&mut listing);
                    if !nodes.is_empty() {
                        node["nodes"] = nodes.into();
                    }
                }
                let body = json!({"action": "get", "node": node});
                json!({"status": 200, "index": self.relative(found.index), "body": body})
            }
        }
    }

    fn nodes(&self, listing: &mut keys::Listing) -> Vec<Value> {
        let mut nodes = Vec::new();
        loop {
            match listing.next_step().unwrap() {
                None | Some(Step::Leave) => return nodes,
                Some(Step::Leaf(node)) => nodes.push(self.node(&node)),
                Some(Step::Enter(node)) => {
                    let mut node = self.node(&node);
                    let inner = self.nodes(listing);
                    if !inner.is_empty() {
                        node["nodes"] = inner.into();
                    }
                    nodes.push(node);
                }
            }
        }
    }

    fn watch(&self, path: &str, form: &Form) -> Value {
        let since = form.index("waitIndex", self.base);
        match self.fixture.watch(path, form.flag("recursive"), since) {
            Err(failure) => self.failure(&failure),
            Ok(mut watcher) => match drain(&mut watcher).first() {
                None => json!({"blocks": true}),
                Some(event) => self.event(event, false, watcher.index()),
            },
        }
    }

    /// `index` is the one of the header, if it is not the event's.
    fn event(&self, event: &Event, bare: bool, index: u64) -> Value {
        let action = match event.action {
            Action::None => panic!("an event has an action"),
            Action::Set => "set",
            Action::Create => "create",
            Action::Update => "update",
            Action::CompareAndSwap => "compareAndSwap",
            Action::CompareAndDelete => "compareAndDelete",
            Action::Delete => "delete",
            Action::Expire => "expire",
        };
        let mut body = json!({"action": action});
        if !bare {
            body["node"] = self.node(&event.node);
            if let Some(prev) = &event.prev_node {
                body["prevNode"] = self.node(prev);
            }
        }
        let status = if event.created && index == 0 { 201 } else { 200 };
        let index = if index == 0 { event.index } else { index };
        json!({"status": status, "index": self.relative(index), "body": body})
    }

    fn failure(&self, failure: &Failure) -> Value {
        let cause = failure.cause.replace(&self.root, "<root>");
        let mut body = json!({
            "errorCode": failure.code.number(),
            "message": failure.code.message(),
            "cause": cause,
            "index": self.relative(failure.index),
        });
        if failure.code.number() == 101 {
            body["cause"] = self.relative_cause(&cause).into();
        }
        json!({
            "status": failure.code.http_status(),
            "index": self.relative(failure.index),
            "body": body,
        })
    }

    /// The indexes in `[1 != 2]`; a value there can look like one, so only what can be one counts.
    fn relative_cause(&self, cause: &str) -> String {
        let part = |part: &str| match part.parse::<u64>() {
            Ok(index) if index >= self.base => self.relative(index),
            _ => part.to_owned(),
        };
        let pair = |pair: &str| pair.split(" != ").map(part).collect::<Vec<_>>().join(" != ");
        let pairs = cause.trim_matches(['[', ']']).split("] [").map(pair);
        format!("[{}]", pairs.collect::<Vec<_>>().join("] ["))
    }

    fn node(&self, node: &Node) -> Value {
        let key = String::from_utf8(node.key.to_vec()).unwrap().replace(&self.root, "<root>");
        let mut shown = json!({"key": self.in_order(&key)});
        if let Some(value) = &node.value {
            shown["value"] = String::from_utf8(value.to_vec()).unwrap().into();
        }
        if node.dir {
            shown["dir"] = true.into();
        }
        if let Some(UnixNanos(expiry)) = node.expiry {
            shown["expiration"] = "<time>".into();
            shown["ttl"] = (expiry / 1_000_000_000 - T0).into();
        }
        shown["modifiedIndex"] = self.relative(node.modified_index).into();
        shown["createdIndex"] = self.relative(node.created_index).into();
        shown
    }

    fn in_order(&self, key: &str) -> String {
        let segment = |segment: &str| match segment.parse::<u64>() {
            Ok(index) if segment.len() == 20 => format!("<seq{}>", self.relative(index)),
            _ => segment.to_owned(),
        };
        key.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    fn relative(&self, index: u64) -> String {
        if index < self.base { "old".to_owned() } else { format!("+{}", index - self.base) }
    }
}

/// The recorded answer in the form of ours.
fn expected(step: &Value) -> Value {
    let expect = &step["expect"];
    if expect["blocks"] == true {
        return json!({"blocks": true});
    }
    let index = &expect["headers"]["X-Etcd-Index"];
    json!({"status": expect["status"], "index": index, "body": expect["body"]})
}

/// `V2_RECORDS` names a file with other records, of the same form.
#[test]
#[allow(clippy::disallowed_methods, reason = "which records to play")]
fn every_recorded_answer_is_ours() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/conformance/v2-keys.jsonl");
    let file = std::env::var("V2_RECORDS").unwrap_or_else(|_| here.to_owned());
    let text = std::fs::read_to_string(file).unwrap();
    let mut steps = 0;
    for line in text.lines() {
        let scenario: Value = serde_json::from_str(line).unwrap();
        let mut run = Run::new(scenario["scenario"].as_u64().unwrap());
        for (at, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            if !is_about_keys(step) {
                continue;
            }
            let (mut ours, theirs) = (run.step(step), expected(step));
            if step["method"] == "HEAD" {
                ours["body"] = theirs["body"].clone();
            }
            let number = &scenario["scenario"];
            assert_eq!(ours, theirs, "scenario {number}, step {at}: {step:#}");
            steps += 1;
        }
    }
    assert!(steps > 1_800, "only {steps} steps were about keys");
}
