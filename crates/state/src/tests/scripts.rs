//! Golden scripts: commands in, and the whole trace of answers, records and watched events out.
//!
//! A line that begins with `>` is a command; what stands below it is its trace. After a change that
//! is meant, `REWRITE_TESTSCRIPTS=1 cargo test -p state` writes the traces anew: read the diff.

mod auth;
mod v3;

use std::collections::BTreeMap;

use base::{ClusterId, MemberId, version::Minor};
use mvcc::Record;
use proto::command::{ClusterVersion, Compact, Downgrade, Expire, Member, Publish};

use super::*;
use crate::apply::membership_change::Change;

struct Script {
    fixture: Option<Fixture>,
    watches: BTreeMap<String, Watcher>,
    out: String,
}

/// A command's words: those with `=` by name, the others by place.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn at(&self, at: usize) -> &'a str {
        self.0.iter().filter(|word| !word.contains('=')).nth(at).copied().unwrap_or("")
    }

    fn named(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.named(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    }

    fn has(&self, flag: &str) -> bool {
        self.0.contains(&flag)
    }
}

impl Script {
    fn fixture(&mut self) -> &mut Fixture {
        self.fixture.as_mut().unwrap()
    }

    fn say(&mut self, line: impl AsRef<str>) {
        self.out += line.as_ref();
        self.out.push('\n');
    }

    fn run(&mut self, command: &str) {
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap_or("");
        let words = Words(words.collect());
        let revision = self.fixture().state.reader().auth().revision();
        self.fixture().by = auth::by(&words, revision);
        match verb {
            "set" => self.write(KeysMethod::Set, &words),
            "create" => self.write(KeysMethod::Create, &words),
            "post" => self.write(KeysMethod::CreateInOrder, &words),
            "update" => self.write(KeysMethod::Update, &words),
            "cas" => self.write(KeysMethod::CompareAndSwap, &words),
            "rm" => self.write(KeysMethod::Delete, &words),
            "cad" => self.write(KeysMethod::CompareAndDelete, &words),
            "expire" => self.expire(&words),
            "put" | "del" | "txn" | "grant" | "revoke" | "note" | "alarm" => {
                self.v3(v3::op(verb, &words));
            }
            "auth" if words.at(0) == "show" => {
                let lines = auth::show(self.fixture());
                for line in lines {
                    self.say(line);
                }
            }
            "auth" | "user" | "role" | "v2" | "login" => self.v3(auth::op(verb, &words, revision)),
            "may" => {
                let line = auth::may(self.fixture(), &words);
                self.say(line);
            }
            "token" => self.token(&words),
            "range" => self.range(&words),
            "leases" => self.leases(),
            "get" => self.get(&words),
            "ls" => self.list(&words),
            "watch" => self.watch(&words),
            "unwatch" => drop(self.watches.remove(words.at(0))),
            "compact" => self.compact(&words),
            "sweep" => while self.fixture().state.compact_step(1).unwrap() {},
            "reopen" => self.reopen(),
            "stats" => self.stats(),
            "publish" | "version" | "downgrade" | "member" | "members" => {
                self.cluster(verb, &words);
            }
            _ => panic!("what is {command:?}?"),
        }
        self.tell_watches();
    }

    fn write(&mut self, method: KeysMethod, words: &Words<'_>) {
        let flags = ["dir", "recursive", "refresh", "slash"];
        let value = Some(words.at(1)).filter(|value| !flags.contains(value)).unwrap_or("");
        let outcome = self.fixture().apply(Op::Keys(KeysWrite {
            value: value.to_owned().into(),
            dir: words.has("dir"),
            recursive: words.has("recursive"),
            refresh: words.has("refresh"),
            slash: words.has("slash"),
            prev_value: words.named("prev").map(|prev| prev.to_owned().into()),
            prev_index: words.number("at").unwrap_or(0),
            expiry: words.number("ttl").map(|ttl| time(ttl).0),
            ..request(method, words.at(0))
        }));
        match &outcome.response {
            Response::Keys(Ok(event)) => self.say(show_event(event)),
            Response::Keys(Err(failure)) => self.say(show_failure(failure)),
            Response::V3(Err(refused)) => self.say(refused.text()),
            Response::V3(Ok(_))
            | Response::Expired(_)
            | Response::Done
            | Response::Downgrade(_)
            | Response::V2Auth(_)
            | Response::Refused(_) => panic!("{outcome:?}"),
        }
        self.trace(&outcome.commits);
    }

    fn expire(&mut self, words: &Words<'_>) {
        let up_to = time(words.at(0).parse().unwrap()).0;
        let nodes_max = words.number("max").unwrap_or(1_000);
        let outcome = self.fixture().apply(Op::Expire(Expire { up_to, nodes_max }));
        self.say(format!("{:?}", outcome.response));
        self.trace(&outcome.commits);
        let next = self.fixture().state.reader().next_expiry();
        self.say(next.map_or("nothing is left to expire".to_owned(), |next| {
            format!("next at {}s", next.0 / 1_000_000_000 - T0)
        }));
    }

    fn v3(&mut self, op: Op) {
        let outcome = self.fixture().apply(op);
        match &outcome.response {
            Response::V3(Ok(reply)) => self.say(v3::show(reply)),
            Response::V3(Err(refused)) => self.say(refused.text()),
            Response::V2Auth(answer) => self.say(auth::show_v2(answer)),
            Response::Keys(_)
            | Response::Expired(_)
            | Response::Done
            | Response::Downgrade(_)
            | Response::Refused(_) => panic!("{outcome:?}"),
        }
        self.trace(&outcome.commits);
    }

    fn token(&mut self, words: &Words<'_>) {
        let reader = self.fixture().state.reader();
        let now = std::time::Duration::from_secs(1);
        reader.tokens().look(now);
        let found = reader.tokens().find(&reader.auth(), words.at(0), now);
        self.say(found.map_or("nobody's".to_owned(), |by| format!("{}'s", by.user)));
    }

    fn range(&mut self, words: &Words<'_>) {
        let answer = self.fixture().state.reader().range(&v3::range(words));
        match answer {
            Ok(answer) => self.say(v3::show_range(&answer)),
            Err(error) => self.say(error.to_string()),
        }
    }

    fn leases(&mut self) {
        let reader = self.fixture().state.reader();
        for id in reader.leases().ids() {
            let keys: Vec<String> = reader.lease_keys(id).iter().map(v3::text).collect();
            let lease = reader.leases().get(id).unwrap();
            let crate::lease::Lease { ttl, remaining, granted } = lease;
            let keys = keys.join(" ");
            self.say(format!("{id}: {ttl} s, left {remaining}, of entry {granted}: {keys}"));
        }
    }

    fn trace(&mut self, commits: &[Arc<Commit>]) {
        for record in commits.iter().flat_map(|commit| &commit.records) {
            self.say(show_record(record));
        }
    }

    fn get(&mut self, words: &Words<'_>) {
        let line = match self.fixture().get(words.at(0)) {
            Ok(node) => show_node(&node),
            Err(failure) => show_failure(&failure),
        };
        self.say(line);
    }

    fn list(&mut self, words: &Words<'_>) {
        let mut depth = 0;
        for step in self.fixture().list(words.at(0), words.has("recursive")) {
            let indent = "  ".repeat(depth);
            match step {
                Step::Leaf(node) => self.say(indent + &show_node(&node)),
                Step::Enter(node) => {
                    self.say(indent + &show_node(&node));
                    depth += 1;
                }
                Step::Leave => depth -= 1,
            }
        }
    }

    fn watch(&mut self, words: &Words<'_>) {
        let since = words.number("since").unwrap_or(0);
        match self.fixture().watch(words.at(1), words.has("recursive"), since) {
            Ok(watcher) => {
                self.say(format!("from [{}]", watcher.index()));
                self.watches.insert(words.at(0).to_owned(), watcher);
            }
            Err(failure) => self.say(show_failure(&failure)),
        }
    }

    fn tell_watches(&mut self) {
        let mut lines = Vec::new();
        for (name, watcher) in &mut self.watches {
            let events = drain(watcher);
            lines.extend(events.iter().map(|event| format!("{name} hears {}", show_event(event))));
        }
        for line in lines {
            self.say(line);
        }
    }

    fn compact(&mut self, words: &Words<'_>) {
        let revision = words.at(0).parse().unwrap();
        let outcome = self.fixture().apply(Op::Compact(Compact { revision }));
        let Response::V3(answer) = outcome.response else { panic!("{outcome:?}") };
        self.say(answer.map_or_else(|refused| refused.to_string(), |_| "compacted".to_owned()));
    }

    fn reopen(&mut self) {
        self.watches.clear();
        self.fixture = self.fixture.take().map(Fixture::reopen);
    }

    fn stats(&mut self) {
        let text = format!("{:?}", self.fixture().state.reader().key_stats());
        self.say(text);
    }

    fn cluster(&mut self, verb: &str, words: &Words<'_>) {
        let id: u64 = words.number("id").unwrap_or(0);
        let list = |name| {
            let urls = words.named(name).into_iter().flat_map(|urls| urls.split(','));
            urls.map(str::to_owned).collect::<Vec<String>>()
        };
        let name = words.named("name").unwrap_or("").to_owned();
        let fixture = self.fixture.as_mut().unwrap();
        let member = Member { id, name, peer_urls: list("peers"), ..Member::default() };
        let change = match (verb, words.at(0)) {
            ("member", "add") => Change::Add(member),
            ("member", "learn") => Change::AddLearner(member, words.number("most").unwrap_or(1)),
            ("member", "promote") => Change::Promote(MemberId(id)),
            ("member", "update") => Change::Update(member),
            ("member", "remove") => Change::Remove(MemberId(id)),
            ("publish", _) => {
                let version = words.named("version").unwrap_or("").to_owned();
                let client_urls = list("clients");
                let publish = Publish { member: id, name: member.name, client_urls, version };
                let outcome = fixture.apply(Op::Publish(publish));
                return self.say(format!("{:?}", outcome.response));
            }
            ("version", version) => {
                let version = version.to_owned();
                let outcome = fixture.apply(Op::ClusterVersion(ClusterVersion { version }));
                return self.say(format!("{:?}", outcome.response));
            }
            ("downgrade", target) => {
                let target = target.to_owned();
                let outcome = fixture.apply(Op::Downgrade(Downgrade { target }));
                return self.say(format!("{:?}", outcome.response));
            }
            _ => return self.members(),
        };
        let at = fixture.next();
        let conf = Bytes::from(format!("conf at {}", at.index));
        // As whoever applies entries does it.
        let checked = fixture.state.reader().members().check(&change);
        let allowed = checked.is_ok().then_some(change);
        fixture.state.apply_conf_change(at, ClusterId(9), allowed, conf).unwrap();
        let response = match checked {
            Ok(()) => Response::Done,
            Err(refusal) => Response::Refused(refusal.to_string()),
        };
        self.say(format!("{response:?}"));
    }

    fn members(&mut self) {
        let state = &self.fixture().state;
        let (reader, conf) = (state.reader(), state.conf_state().unwrap());
        let members = reader.members();
        for member in members.members.values() {
            self.say(format!("{member:?}"));
        }
        let index = reader.store().revision();
        let version = reader.cluster_version().map(Minor::in_full);
        let removed = &members.removed;
        self.say(format!("removed {removed:?}, version {version:?}, {conf:?}, index {index}"));
    }
}

fn show_record(record: &Record) -> String {
    let Record { kind, name, revision, deleted, value, .. } = record;
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let what = if *deleted { "-" } else { "+" };
    let mut line = format!("  {}.{} {what}{kind:?} {}", revision.main, revision.sub, text(name));
    if !deleted && *kind == Kind::Key {
        line += &format!(" {:?}", text(value));
    }
    line += &format!(" c{} {:?}", record.created_index, record.action);
    if let Some(UnixNanos(expiry)) = record.expiry {
        line += &format!(" {:+}s", expiry / 1_000_000_000 - T0);
    }
    if record.lease != 0 {
        line += &format!(" lease {}", record.lease);
    }
    if !record.told {
        line += " untold";
    }
    line
}

/// Runs the commands of a script, and gives it with their traces.
fn play(script: &str) -> String {
    let mut play =
        Script { fixture: Some(Fixture::new()), watches: BTreeMap::new(), out: String::new() };
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            play.say(line);
            play.run(command);
        } else if line.is_empty() || line.starts_with('#') {
            // Blank lines and remarks stay; traces are made anew.
            play.say(line);
        }
    }
    play.out
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the switch that rewrites, and the scripts themselves"
)]
fn golden_scripts_give_their_traces() {
    let rewrite = std::env::var_os("REWRITE_TESTSCRIPTS").is_some();
    let mut played = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/testscripts")).unwrap() {
        let path = entry.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        let trace = play(&script);
        if rewrite {
            std::fs::write(&path, &trace).unwrap();
        } else if trace != script {
            let differs = |(ours, theirs): &(&str, &str)| ours != theirs;
            let first = trace.lines().zip(script.lines()).find(differs);
            panic!("{} differs, first in {first:#?}; in whole:\n{trace}", path.display());
        }
        played += 1;
    }
    assert!(played > 5, "only {played} scripts were found");
}
