//! Golden scripts: commands to a core, and the trace of its effects.
//!
//! A script in `testscripts/` is a list of blocks: a line that begins with `>` is a command, the
//! lines below it are what the core wanted done. `REWRITE=1 cargo test -p member` writes them anew.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_arguments,
    reason = "tests read their scripts from files"
)]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use backend::Applied;
use base::{Index, MemberId, Term};
use bytes::Bytes;
use prost::Message as _;
use proto::command::{self, KeysWrite, Op};
use raft::eraftpb::{ConfState, Entry as RaftEntry, HardState, Message, MessageType};
use state::apply::membership_change::Change;
use wal::Entry;

use crate::{
    Bootstrap, Config, Core, Effects, PeerMessage, Progress, Proposal, Read, Ticket,
    conf::{self, Configuration, Switched},
    core::from_wal,
    window::Window,
};

#[test]
fn scripts_tell_what_they_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let mut ran = 0;
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let script = fs::read_to_string(&path).unwrap();
        let trace = run(&script);
        if std::env::var("REWRITE").is_ok() {
            fs::write(&path, trace).unwrap();
        } else {
            assert!(script == trace, "{} tells now:\n{trace}", path.display());
        }
        ran += 1;
    }
    assert!(ran >= 5, "only {ran} scripts found");
}

/// A member that only answers reads writes nothing, and hears of nothing that is on disk.
#[test]
fn reads_without_a_write_leave_nothing_behind() {
    if !is_alone("script_tests::reads_without_a_write_leave_nothing_behind") {
        return;
    }
    let mut stage = Stage::new();
    stage.command("bootstrap id=1 members=1");
    for command in ["applied 1", "persisted", "applied 2", "state"] {
        stage.command(command);
    }
    assert!(stage.trace.contains("reads-at-once=true"), "{}", stage.trace);
    let before = resident_kib();
    for number in 0..2_000_000 {
        let core = stage.core();
        core.read(Read(number));
        while core.step().is_some() {}
    }
    // Raft's record of each would be 56 bytes.
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB");
}

/// Whether this process runs one test only, whose memory is all that it has; if not, one is started
/// that does, and passes.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "RETCD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let ran = alone.args(["--exact", test]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
    false
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

/// The script with the trace as it is now.
fn run(script: &str) -> String {
    let mut stage = Stage::new();
    let mut out = String::new();
    for line in script.lines() {
        if line.starts_with('#') || line.is_empty() {
            writeln!(out, "{line}").unwrap();
        } else if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            stage.trace = String::new();
            stage.command(command);
            out.push_str(&stage.trace);
        }
    }
    out
}

/// A core, and the little that a shell must remember.
struct Stage {
    core: Option<Core>,
    configuration: Option<Configuration>,
    committed: BTreeMap<u64, Entry>,
    applied: u64,
    last_append: Ticket,
    trace: String,
}

/// `key=value` words of a command.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn number(&self, key: &str) -> u64 {
        self.0.get(key).map_or(0, |value| value.parse().unwrap())
    }

    fn numbers(&self, key: &str) -> Vec<u64> {
        let list = self.0.get(key).copied().unwrap_or_default();
        list.split(',').filter(|item| !item.is_empty()).map(|item| item.parse().unwrap()).collect()
    }

    /// `index/term` pairs.
    fn position(&self, key: &str) -> (u64, u64) {
        self.0.get(key).map_or((0, 0), |value| position(value))
    }

    fn list(&self, key: &str) -> Vec<&'a str> {
        let list = self.0.get(key).copied().unwrap_or_default();
        list.split(',').filter(|item| !item.is_empty()).collect()
    }
}

fn position(text: &str) -> (u64, u64) {
    let (index, term) = text.split_once('/').unwrap();
    (index.parse().unwrap(), term.parse().unwrap())
}

impl Stage {
    fn new() -> Self {
        Self {
            core: None,
            configuration: None,
            committed: BTreeMap::new(),
            applied: 0,
            last_append: Ticket(0),
            trace: String::new(),
        }
    }

    fn command(&mut self, command: &str) {
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        let named = Words(rest.iter().filter_map(|word| word.split_once('=')).collect());
        let number = rest.first().and_then(|word| word.parse::<u64>().ok());
        match verb {
            "bootstrap" => self.bootstrap(&named),
            "open" => self.open(&named),
            "tick" => (0..number.unwrap_or(1)).for_each(|_| self.core().tick()),
            "campaign" => self.core().node.campaign().unwrap(),
            "hand-over" => {
                let to = self.core().transfer_leadership(number.map(MemberId));
                writeln!(self.trace, "to {to:?}").unwrap();
            }
            "propose" => self.propose(&rest),
            "change" => self.change(rest.first().unwrap(), named.number("member")),
            "persisted" => {
                let ticket = number.map_or(self.last_append, Ticket);
                self.core().persisted(ticket).unwrap();
            }
            "lags" => self.core().set_lags(number == Some(1)),
            "applied" => self.apply(number.unwrap()),
            "read" => self.core().read(Read(number.unwrap())),
            "receive" => self.receive(rest.first().unwrap(), &named),
            "state" => self.state(),
            _ => panic!("no such command: {command}"),
        }
        self.step();
    }

    fn core(&mut self) -> &mut Core {
        self.core.as_mut().unwrap()
    }

    /// A founded cluster, opened for the first time.
    fn bootstrap(&mut self, words: &Words<'_>) {
        let member = |id| command::Member { id, ..Default::default() };
        let bootstrap = Bootstrap {
            identity: wal::Identity {
                cluster: base::ClusterId(9),
                member: MemberId(words.number("id")),
            },
            members: words.numbers("members").into_iter().map(member).collect(),
        };
        let (state, entries) = bootstrap.log();
        let state = HardState { term: state.term.0, vote: state.vote.0, commit: state.commit.0 };
        self.start(words.number("id"), state, ConfState::default(), (0, 0), entries);
    }

    fn open(&mut self, words: &Words<'_>) {
        let state = HardState {
            term: words.number("term"),
            vote: words.number("vote"),
            commit: words.number("commit"),
        };
        let conf = ConfState::from((words.numbers("voters"), words.numbers("learners")));
        *self = Self { applied: words.number("applied"), ..Self::new() };
        let entries = words.list("log").into_iter().map(entry).collect();
        self.start(words.number("id"), state, conf, words.position("before"), entries);
    }

    fn start(
        &mut self,
        id: u64,
        state: HardState,
        conf: ConfState,
        before: (u64, u64),
        entries: Vec<Entry>,
    ) {
        let config = Config {
            build: base::version::THIS,
            name: "test".to_owned(),
            client_urls: Vec::new(),
            election_ticks: 10,
            heartbeat_ticks: 1,
            answer_ticks: 70,
            run: 1,
            quota_bytes: 0,
            compacts: true,
            lease_grace: std::time::Duration::from_secs(1),
            lease_checkpoints: base::limits::LEASE_CHECKPOINT_INTERVAL,
            catch_up_entries: 5_000,
            catch_up_bytes: base::limits::CATCH_UP_BYTES_MAX,
        };
        self.configuration =
            Some(Configuration::decode(Some(&conf.encode_to_vec().into())).unwrap());
        let entries = entries.into_iter().map(from_wal).collect();
        let window = Window::new(state, conf, before, entries, self.applied);
        self.core = Some(Core::new(MemberId(id), config, window, Index(self.applied)).unwrap());
    }

    /// `id:text` each.
    fn propose(&mut self, words: &[&str]) {
        let proposals = words.iter().map(|word| {
            let (id, text) = word.split_once(':').unwrap();
            let (id, value) = (id.parse().unwrap(), text.to_owned().into());
            let op = Op::Keys(KeysWrite { value, ..KeysWrite::default() });
            Proposal { id, data: command::Command::new(id, op).encode_to_vec().into() }
        });
        let proposals = proposals.collect();
        self.core().propose(proposals);
    }

    fn change(&mut self, kind: &str, id: u64) {
        let member = command::Member { id, ..Default::default() };
        let change = match kind {
            "add" => Change::Add(member),
            "learn" => Change::AddLearner(member, 1),
            "promote" => Change::Promote(MemberId(id)),
            "remove" => Change::Remove(MemberId(id)),
            _ => panic!("no such change: {kind}"),
        };
        if let Err(why) = self.core().propose_change(9, &change) {
            writeln!(self.trace, "not proposed: {why:?}").unwrap();
        }
    }

    fn apply(&mut self, up_to: u64) {
        let mut switched = Vec::new();
        let configuration = self.configuration.as_mut().unwrap();
        for (_, entry) in self.committed.range(self.applied + 1..=up_to) {
            if entry.kind != 0 {
                let change = conf::decode(entry).unwrap();
                configuration.apply(entry.index.0, &change).unwrap();
                let state = configuration.state();
                switched.push((entry.index, Switched { change, state }));
            }
        }
        self.applied = up_to;
        let term = self.committed.get(&up_to).map_or(Term(0), |entry| entry.term);
        let applied = Applied { index: Index(up_to), term };
        let result = self.core().applied(Progress { applied, switched });
        if let Err(error) = result {
            writeln!(self.trace, "FATAL {error}").unwrap();
        }
    }

    fn receive(&mut self, kind: &str, words: &Words<'_>) {
        let id = self.core().id().0;
        let (index, log_term) = words.position("prev");
        let mut message = Message {
            from: words.number("from"),
            to: if words.0.contains_key("to") { words.number("to") } else { id },
            term: words.number("term"),
            index,
            log_term,
            commit: words.number("commit"),
            reject: words.number("reject") == 1,
            context: words
                .0
                .get("context")
                .map_or_else(Default::default, |text| (*text).to_owned().into_bytes().into()),
            entries: words.list("entries").into_iter().map(|text| from_wal(entry(text))).collect(),
            ..Message::default()
        };
        message
            .entries
            .extend(words.list("changes").into_iter().map(|text| from_wal(change(text))));
        if words.0.contains_key("round") {
            // An answer to this member, in this run.
            let asker = [self.core().id().0.to_be_bytes(), 1_u64.to_be_bytes()].concat();
            let data = [asker, words.number("round").to_be_bytes().to_vec()].concat().into();
            message.entries = vec![RaftEntry { data, ..RaftEntry::default() }];
        }
        let kinds = (0..=18).map(|number| MessageType::try_from(number).unwrap());
        message.set_msg_type(kinds.into_iter().find(|one| format!("{one:?}") == kind).unwrap());
        if let Err(refusal) = self.core().receive(PeerMessage(message)) {
            writeln!(self.trace, "refused: {refusal}").unwrap();
        }
    }

    fn state(&mut self) {
        let core = self.core();
        let raft = &core.node.raft;
        let text = format!(
            "{:?} term={} leader={} committed={} alone={} reads-at-once={} awaits={:?}",
            raft.state,
            raft.term,
            raft.leader_id,
            raft.raft_log.committed,
            core.is_alone(),
            core.reads_at_once(),
            core.awaits().map(|index| index.0),
        );
        writeln!(self.trace, "{text}").unwrap();
    }

    fn step(&mut self) {
        if let Some(Err(error)) = self.core.as_mut().map(Core::farewell) {
            writeln!(self.trace, "FATAL {error}").unwrap();
        }
        while let Some(effects) = self.core.as_mut().and_then(Core::step) {
            self.tell(&effects);
            let Effects { append, apply, .. } = effects;
            self.committed.extend(apply.into_iter().map(|entry| (entry.index.0, entry)));
            self.last_append = append.map_or(self.last_append, |append| append.ticket);
        }
    }

    fn tell(&mut self, effects: &Effects) {
        let out = &mut self.trace;
        if let Some(role) = effects.role {
            let leader = role.leader.map_or_else(|| "nobody".to_owned(), |id| id.to_string());
            writeln!(out, "role: {leader} leads in term {}", role.term).unwrap();
        }
        for message in &effects.send {
            writeln!(out, "send {}", show_message(&message.0)).unwrap();
        }
        for entry in &effects.apply {
            writeln!(out, "apply {}", show_entry(&from_wal(entry.clone()))).unwrap();
        }
        if let Some(append) = &effects.append {
            write!(out, "append #{}", append.ticket.0).unwrap();
            if let Some(state) = append.hard_state {
                write!(out, " term={} vote={} commit={}", state.term, state.vote, state.commit)
                    .unwrap();
            }
            for entry in &append.entries {
                write!(out, " {}", show_entry(&from_wal(entry.clone()))).unwrap();
            }
            out.push('\n');
        }
        for (index, reads) in &effects.reads {
            let reads: Vec<u64> = reads.iter().map(|read| read.0).collect();
            writeln!(out, "reads {reads:?} at {index}").unwrap();
        }
        if effects.removed {
            writeln!(out, "leave").unwrap();
        }
        if !effects.dropped.is_empty() {
            writeln!(out, "dropped {:?}", effects.dropped).unwrap();
        }
        if !effects.again.is_empty() {
            let ids: Vec<u64> = effects.again.iter().map(|proposal| proposal.id).collect();
            writeln!(out, "again {ids:?}").unwrap();
        }
    }
}

/// `index/term:remove:member`.
fn change(text: &str) -> Entry {
    let (place, member) = text.split_once(":remove:").unwrap();
    let data = conf::encode(0, &Change::Remove(MemberId(member.parse().unwrap())));
    Entry { kind: 1, data, ..entry(&format!("{place}:")) }
}

/// `index/term:text`.
fn entry(text: &str) -> Entry {
    let (place, data) = text.split_once(':').unwrap();
    let (index, term) = position(place);
    let data = data.to_owned().into();
    Entry { index: Index(index), term: Term(term), kind: 0, data, context: Bytes::default() }
}

fn show_entry(entry: &RaftEntry) -> String {
    let place = format!("{}/{}", entry.index, entry.term);
    if entry.entry_type == 0 {
        return format!("{place}:{}", show_data(&entry.data));
    }
    let change = raft::eraftpb::ConfChange::decode(&*entry.data).unwrap();
    format!("{place}:{:?}({})", change.change_type(), change.node_id)
}

/// What was proposed; or what came from others, who send no commands here.
fn show_data(data: &Bytes) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match command::Command::decode(&**data).ok().and_then(|command| command.op) {
        Some(Op::Keys(write)) => text(&write.value),
        _ => text(data),
    }
}

fn show_message(message: &Message) -> String {
    let kind = format!("{:?}", message.msg_type());
    let mut text = format!("{kind} to={} term={}", message.to, message.term);
    let place = (message.index, message.log_term);
    if place != (0, 0) {
        write!(text, " at={}/{}", place.0, place.1).unwrap();
    }
    if message.commit != 0 {
        write!(text, " commit={}", message.commit).unwrap();
    }
    if message.reject {
        write!(text, " reject hint={}", message.reject_hint).unwrap();
    }
    if message.msg_type() == MessageType::MsgReadIndex {
        // Behind who asks.
        let context = &message.entries[0].data;
        let round = u64::from_be_bytes(context[16..].try_into().unwrap());
        write!(text, " round={round}").unwrap();
        return text;
    }
    for entry in &message.entries {
        write!(text, " {}", show_entry(entry)).unwrap();
    }
    text
}
