//! Golden scripts: commands in, a trace of everything that followed out.
//!
//! `crates/mvcc/testscripts/*.txt`: a line that begins with `>` is a command, what stands below it
//! is the expected trace. `REWRITE=1 cargo test -p mvcc scripts` writes what really follows.

#![allow(clippy::disallowed_methods, reason = "reads and rewrites files of the source tree")]

use std::{fmt::Write as _, fs, path::PathBuf, task::Context, task::Poll, task::Waker};

use base::UnixNanos;
use bytes::Bytes;

use super::{Fixture, put, searching::found};
use crate::{Action, Child, Interest, Kind, Record, Search, Watcher, store::Put};

type Outcome = Result<String, String>;

struct Script {
    fixture: Option<Fixture>,
    watchers: Vec<(String, Watcher)>,
}

#[test]
fn every_script_leaves_its_trace() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let mut scripts: Vec<_> =
        fs::read_dir(dir).unwrap().map(|script| script.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 5, "{scripts:?}");
    for path in scripts {
        let before = fs::read_to_string(&path).unwrap();
        let after = run(&before);
        if rewrite() {
            fs::write(&path, after).unwrap();
        } else {
            assert_eq!(after, before, "{}", path.display());
        }
    }
}

fn rewrite() -> bool {
    std::env::var("REWRITE").is_ok()
}

/// The script with the trace that really follows each command.
fn run(script: &str) -> String {
    let mut state = Script { fixture: Some(Fixture::new()), watchers: Vec::new() };
    let mut out = String::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            let words: Vec<&str> = command.split_whitespace().collect();
            match state.run(&words) {
                Ok(trace) => out.push_str(&trace),
                Err(error) => writeln!(out, "error: {error}").unwrap(),
            }
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

impl Script {
    fn fixture(&mut self) -> &mut Fixture {
        self.fixture.as_mut().unwrap()
    }

    fn run(&mut self, words: &[&str]) -> Outcome {
        let (command, words) = words.split_first().unwrap();
        let trace = match *command {
            "txn" => self.txn(words),
            "get" => self.get(words),
            "range" => self.range(words),
            "ls" => self.ls(words),
            "history" => self.history(words),
            "watch" => self.watch(words),
            "compact" => self.fixture().compact(number(words[0])).map(|()| String::new()),
            "step" => self.step(words),
            "usage" => Ok(format!("{:?}\n", self.fixture().store().usage())),
            "reopen" => Ok(self.reopen()),
            command => panic!("no such command: {command}"),
        };
        let mut trace = trace.map_err(|error| error.to_string())?;
        trace.push_str(&self.told());
        Ok(trace)
    }

    /// `put NAME VALUE [dir] [new] [untold] [ttl=N]`, `del NAME [dir] [untold]`, with `;` between.
    fn txn(&mut self, words: &[&str]) -> Result<String, crate::ReadError> {
        let fixture = self.fixture();
        let mut txn = fixture.writer.begin();
        for write in words.split(|word| *word == ";") {
            let has = |flag| write.contains(&flag);
            let kind = if has("dir") { Kind::Dir } else { Kind::Key };
            match write[0] {
                "put" => txn.put(Put {
                    new_node: has("new"),
                    told: !has("untold"),
                    expiry: write
                        .iter()
                        .find_map(|word| word.strip_prefix("ttl="))
                        .map(|at| UnixNanos(number(at))),
                    ..put(kind, write[1], write[2])
                }),
                "del" => txn.delete(kind, write[1].as_bytes(), Action::Delete, !has("untold")),
                write => panic!("no such write: {write}"),
            }
        }
        let commit = txn.commit()?.unwrap();
        fixture.finish();
        let mut trace = format!("revision {}\n", commit.main);
        for record in &commit.records {
            trace.push_str(&show(record));
        }
        fixture.store().publish(&[commit]);
        Ok(trace)
    }

    /// `get NAME [AT] [dir]`
    fn get(&mut self, words: &[&str]) -> Result<String, crate::ReadError> {
        let kind = if words.contains(&"dir") { Kind::Dir } else { Kind::Key };
        let at = words.get(1).filter(|word| **word != "dir").map_or(0, |at| number(at));
        let found = self.fixture().store().get(kind, words[0].as_bytes(), at)?;
        Ok(found.map_or("nothing\n".to_owned(), |record| show(&record)))
    }

    /// `range FROM TO [AT]`
    fn range(&mut self, words: &[&str]) -> Result<String, crate::ReadError> {
        let at = words.get(2).map_or(0, |at| number(at));
        let (from, to) = (words[0].as_bytes(), Some(words[1].as_bytes()));
        let found = self.fixture().store().range(from, to, at, 100)?;
        Ok(found.iter().fold(String::new(), |mut trace, (name, revision)| {
            writeln!(trace, "{} at {}", text(name), revision.main).unwrap();
            trace
        }))
    }

    /// `ls DIR [AT]`
    fn ls(&mut self, words: &[&str]) -> Result<String, crate::ReadError> {
        let at = words.get(1).map_or(0, |at| number(at));
        let found = self.fixture().store().children(words[0].as_bytes(), at, None, 100)?;
        Ok(found.iter().fold(String::new(), |mut trace, child: &Child| {
            let at = child.revision.map_or("implied".to_owned(), |at| format!("at {}", at.main));
            writeln!(trace, "{:?} {} {at}", child.kind, text(&child.name)).unwrap();
            trace
        }))
    }

    /// `history INTEREST FROM TO`
    fn history(&mut self, words: &[&str]) -> Result<String, crate::ReadError> {
        let (from, to) = (number(words[1]), number(words[2]));
        let search = || Search::revisions(interest(words[0]), from, to, 100);
        let found = found(&self.fixture().store(), search)?;
        Ok(format!("{found:?}\n"))
    }

    /// `watch INTEREST SINCE`
    fn watch(&mut self, words: &[&str]) -> Result<String, crate::ReadError> {
        let watcher = self.fixture().store().watch(interest(words[0]), number(words[1]))?;
        self.watchers.push((words[0].to_owned(), watcher));
        Ok(String::new())
    }

    /// `step ROWS`
    fn step(&mut self, words: &[&str]) -> Result<String, crate::ReadError> {
        let rows = usize::try_from(number(words[0])).unwrap();
        let more = self.fixture().writer.compact_step(rows)?;
        Ok(format!("more to do: {more}\n"))
    }

    fn reopen(&mut self) -> String {
        self.watchers.clear();
        self.fixture = self.fixture.take().map(Fixture::reopen);
        let store = self.fixture().store();
        format!("revision {}, compacted {}\n", store.revision(), store.compacted())
    }

    /// What the watchers say after a command.
    fn told(&mut self) -> String {
        let mut trace = String::new();
        let mut cx = Context::from_waker(Waker::noop());
        self.watchers.retain_mut(|(name, watcher)| {
            loop {
                match watcher.poll_next(&mut cx) {
                    Poll::Ready(Ok(commit)) => {
                        writeln!(trace, "  {name} hears of {}", commit.main).unwrap();
                    }
                    Poll::Ready(Err(error)) => {
                        writeln!(trace, "  {name} ends: {error}").unwrap();
                        return false;
                    }
                    Poll::Pending => return true,
                }
            }
        });
        trace
    }
}

/// `/a`: exact, `/a/...`: recursive, `/a..` and `/a..b`: keys.
fn interest(word: &str) -> Interest {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    if let Some(path) = word.strip_suffix("/...") {
        let path = bytes(if path.is_empty() { "/" } else { path });
        return Interest::Path { path, recursive: true };
    }
    match word.split_once("..") {
        Some((from, to)) => {
            let to = (!to.is_empty()).then(|| bytes(to));
            Interest::Keys { from: bytes(from), to }
        }
        None => Interest::Path { path: bytes(word), recursive: false },
    }
}

fn number(word: &str) -> i64 {
    word.parse().unwrap()
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn show(record: &Record) -> String {
    let base::Revision { main, sub } = record.revision;
    let mut line = format!("{main}.{sub} {:?} {}", record.kind, text(&record.name));
    if record.deleted {
        write!(line, " deleted").unwrap();
    } else {
        write!(line, " = {:?}", text(&record.value)).unwrap();
        write!(line, ", create {} version {}", record.create_revision, record.version).unwrap();
    }
    write!(line, ", created index {}", record.created_index).unwrap();
    if let Some(UnixNanos(expiry)) = record.expiry {
        write!(line, ", expires at {expiry}").unwrap();
    }
    if !record.told {
        write!(line, ", untold").unwrap();
    }
    line.push('\n');
    line
}
