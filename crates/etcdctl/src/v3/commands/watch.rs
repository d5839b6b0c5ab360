//! `watch`

mod interactive;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStringExt as _,
    process::Stdio,
};

use bytes::Bytes;
use clap::Args;
use client::v3::{Client, Watcher};
use proto::{
    Message as _,
    etcdserverpb::{WatchCreateRequest, WatchResponse},
    mvccpb::{Event, event::EventType},
};
use tokio::process::Command;

use super::Reach;
use crate::{
    failure::{Exit, Failure},
    output::note,
    v3::{
        bad_args,
        cli::Globals,
        connect::connect_for_long,
        go,
        output::{Answer, Printer, Text, json, json::Json},
        refuse,
    },
};

/// Follow the changes of a key, or of a range of keys
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "etcdctl watch [FLAGS] <KEY> [END] [-- PROGRAM [ARGUMENTS]]",
    after_help = "A program is run for each change and finds it in its environment: \
        ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY, ETCD_WATCH_VALUE (all in quotes), \
        ETCD_WATCH_REVISION. It is waited for. Key and end may also come from ETCDCTL_WATCH_KEY and \
        ETCDCTL_WATCH_RANGE_END. When the connection is lost, the watch goes on with what comes \
        next, at whatever endpoint can be reached.\n\n\
        Examples:\n  \
        etcdctl watch message\n  \
        etcdctl watch --prefix services/ --rev 42\n  \
        etcdctl watch message -- sh -c 'echo $ETCD_WATCH_KEY is $ETCD_WATCH_VALUE'"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Watch {
    /// The key, the end of a range, and behind -- a program
    #[arg(value_names = ["KEY", "END"], num_args = 0..)]
    arguments: Vec<OsString>,
    /// Read lines from stdin: watch … as on the command line, or progress
    #[arg(short, long)]
    interactive: bool,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// Begin with this revision, past ones included; 0 is from now on
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int)]
    rev: i64,
    /// Print what the keys were before
    #[arg(long)]
    prev_kv: bool,
    /// Tell now and then how far the watch has come
    #[arg(long)]
    progress_notify: bool,
}

/// What to follow, and what to run.
#[derive(Debug)]
struct Plan {
    what: WatchCreateRequest,
    program: Vec<OsString>,
}

/// Key and end of a range, from the environment.
#[derive(Clone, Debug, Default)]
struct Variables {
    key: OsString,
    end: OsString,
}

impl Variables {
    fn read() -> Result<Self, Failure> {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        let all =
            Self { key: variable("ETCDCTL_WATCH_KEY"), end: variable("ETCDCTL_WATCH_RANGE_END") };
        if all.key.is_empty() && !all.end.is_empty() {
            let end = go::quote(all.end.as_encoded_bytes());
            return bad_args(format!(
                "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={end}"
            ));
        }
        Ok(all)
    }
}

impl Watch {
    pub(crate) async fn run(
        self,
        globals: &Globals,
        separated: Option<usize>,
    ) -> Result<(), Failure> {
        let variables = Variables::read()?;
        let printer = Printer::new::<Told>(globals)?;
        if self.interactive {
            let client = connect_for_long(globals).await?;
            return interactive::run(&client, printer, &variables).await;
        }
        let given = self.given(separated, &variables, From::CommandLine);
        let plan = match given.and_then(|(keys, program)| self.plan(keys, program)) {
            Ok(plan) => plan,
            Err(why) => return bad_args(why),
        };
        let client = connect_for_long(globals).await?;
        follow(&mut plan.watcher(&client), printer, &plan.program).await?;
        refuse(Exit::Interrupted, "watch is canceled by the server")
    }

    /// The keys and the program; an error is about how they are given.
    fn given(
        &self,
        separated: Option<usize>,
        variables: &Variables,
        from: From,
    ) -> Result<(Vec<OsString>, Vec<OsString>), String> {
        let at = separated.unwrap_or(self.arguments.len());
        let (keys, program) = self.arguments.split_at_checked(at).unwrap_or((&self.arguments, &[]));
        if separated.is_some() && program.is_empty() {
            return Err("bad number of arguments (found separator --, but no commands)".to_owned());
        }
        let has_variable = !variables.key.is_empty();
        let is_short = from == From::Line && separated.is_none();
        // In a line with a program the original takes both.
        if !keys.is_empty() && has_variable && (from == From::CommandLine || is_short) {
            return Err("bad number of arguments (found conflicting environment key)".to_owned());
        }
        if is_short && keys.is_empty() && !has_variable {
            return Err("bad number of arguments".to_owned());
        }
        let variables = [&variables.key, &variables.end].into_iter();
        let variables = variables.filter(|word| !word.is_empty());
        Ok((variables.chain(keys).cloned().collect(), program.to_vec()))
    }

    /// What is meant; more than two keys the original takes for one.
    fn plan(&self, keys: Vec<OsString>, program: Vec<OsString>) -> Result<Plan, String> {
        let has_end = keys.len() == 2;
        let mut keys = keys.into_iter().map(|word| Bytes::from(word.into_vec()));
        let Some(key) = keys.next() else {
            return Err("bad number of arguments".to_owned());
        };
        if has_end && self.prefix {
            return Err("`range_end` and `--prefix` are mutually exclusive".to_owned());
        }
        let end = keys.next().filter(|_| has_end);
        let (key, range_end) = Reach { prefix: self.prefix, from_key: false }.range(key, end);
        let what = WatchCreateRequest {
            key,
            range_end,
            start_revision: self.rev,
            progress_notify: self.progress_notify,
            prev_kv: self.prev_kv,
            ..WatchCreateRequest::default()
        };
        Ok(Plan { what, program })
    }
}

/// Where a watch is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    CommandLine,
    /// Of an interactive session.
    Line,
}

impl Plan {
    /// A member without a leader hears nothing: whoever watches it wants to know.
    fn watcher(&self, client: &Client) -> Watcher {
        client.with_leader().watch(self.what.clone())
    }
}

/// Prints what comes, until the server ends the watch.
async fn follow(
    watcher: &mut Watcher,
    printer: Printer,
    program: &[OsString],
) -> Result<(), Failure> {
    loop {
        let told = match watcher.next().await {
            Ok(told) => Told(told),
            Err(error) => {
                note(format_args!("watch was canceled ({error})"));
                printer.print(&End(watcher.end().map(|end| Told(end.clone()))))?;
                return Ok(());
            }
        };
        let revision = told.0.header.as_ref().map_or(0, |header| header.revision);
        if told.0.events.is_empty() {
            crate::output::line(format_args!("progress notify: {revision}"))?;
        }
        printer.print(&told)?;
        if let Some((name, arguments)) = program.split_first() {
            for event in &told.0.events {
                run_program(name, arguments, event, revision).await?;
            }
        }
    }
}

/// Runs the program for one change, and waits for it.
async fn run_program(
    name: &OsStr,
    arguments: &[OsString],
    event: &Event,
    revision: i64,
) -> Result<(), Failure> {
    let kv = event.kv.clone().unwrap_or_default();
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", go::quote(kind(event).as_bytes()))
        .env("ETCD_WATCH_KEY", go::quote(&kv.key))
        .env("ETCD_WATCH_VALUE", go::quote(&kv.value));
    let why = match command.status().await {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => {
            status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
        }
        Err(problem) => format!("{}: {problem}", name.display()),
    };
    let words = std::iter::once(name).chain(arguments.iter().map(OsString::as_os_str));
    let words: Vec<_> = words.map(|word| go::quote(word.as_encoded_bytes())).collect();
    note(format_args!("command [{}] error ({why})", words.join(" ")));
    Err(Failure::silent(Exit::Error as u8))
}

fn kind(event: &Event) -> &'static str {
    match event.r#type() {
        EventType::Put => "PUT",
        EventType::Delete => "DELETE",
    }
}

/// Changes, as an answer.
struct Told(WatchResponse);

impl Answer for Told {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.WatchResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        for event in &self.0.events {
            to.line(kind(event));
            if let Some(before) = &event.prev_kv {
                to.key_value(before);
            }
            to.key_value(&event.kv.clone().unwrap_or_default());
        }
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        for event in &self.0.events {
            to.field("Type", kind(event));
            if let Some(before) = &event.prev_kv {
                to.key_fields("Prev", before);
            }
            to.key_fields("", &event.kv.clone().unwrap_or_default());
        }
    }

    /// The original's own structure, with names of its own.
    fn json(&self, _hex: bool) -> Json {
        let header = self.0.header.unwrap_or_default().encode_to_vec();
        let event = |event: &Event| json::of_message("mvccpb.Event", &event.encode_to_vec());
        let events = self.0.events.iter().map(event).collect();
        Json::object([
            ("Header", json::of_message("etcdserverpb.ResponseHeader", &header)),
            ("Events", Json::List(events)),
            ("CompactRevision", Json::number(self.0.compact_revision)),
            ("Canceled", Json::Bool(self.0.canceled)),
            ("Created", Json::Bool(self.0.created)),
        ])
    }
}

/// The answer that ends a watch, which is one without changes; nobody's where the server has not even
/// taken the watch.
struct End(Option<Told>);

impl End {
    fn response(&self) -> WatchResponse {
        let end = self.0.as_ref().map(|Told(end)| end.clone()).unwrap_or_default();
        let WatchResponse { header, compact_revision, .. } = end;
        let (header, canceled) = (Some(header.unwrap_or_default()), true);
        WatchResponse { header, compact_revision, canceled, ..WatchResponse::default() }
    }
}

impl Answer for End {
    fn message(&self) -> (&'static str, Vec<u8>) {
        Told(self.response()).message()
    }

    fn simple(&self, _: &mut Text) {}

    fn fields(&self, to: &mut Text) {
        Told(self.response()).fields(to);
    }

    fn json(&self, hex: bool) -> Json {
        let mut fields = Told(self.response()).json(hex).into_fields();
        for (name, value) in &mut fields {
            // What Go makes of a list that was never begun.
            if self.0.is_none() && name == "Events" {
                *value = Json::Null;
            }
        }
        Json::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(
        words: &[&str],
        separated: Option<usize>,
        key: &str,
        end: &str,
    ) -> Result<Plan, String> {
        let watch = Watch {
            arguments: words.iter().map(OsString::from).collect(),
            interactive: false,
            prefix: false,
            rev: 0,
            prev_kv: false,
            progress_notify: false,
        };
        let variables = Variables { key: key.into(), end: end.into() };
        let (keys, program) = watch.given(separated, &variables, From::CommandLine)?;
        watch.plan(keys, program)
    }

    #[test]
    fn keys_come_from_the_line_or_the_environment_and_programs_from_behind_the_dashes() {
        let planned = |words: &[&str], separated, key, end| {
            plan(words, separated, key, end).map(|plan| {
                let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                (text(&plan.what.key), text(&plan.what.range_end), plan.program.len())
            })
        };
        let is = |key: &str, end: &str, program| Ok((key.to_owned(), end.to_owned(), program));
        assert_eq!(planned(&["a"], None, "", ""), is("a", "", 0));
        assert_eq!(planned(&["a", "b"], None, "", ""), is("a", "b", 0));
        assert_eq!(planned(&["a", "b", "c"], None, "", ""), is("a", "", 0));
        assert_eq!(planned(&["a", "sh", "-c"], Some(1), "", ""), is("a", "", 2));
        assert_eq!(planned(&[], None, "k", "m"), is("k", "m", 0));
        assert_eq!(planned(&["sh"], Some(0), "k", ""), is("k", "", 1));
    }

    #[test]
    fn a_wrong_number_of_arguments_is_told() {
        let refused =
            |words: &[&str], separated, key| plan(words, separated, key, "").expect_err("refused");
        assert_eq!(refused(&[], None, ""), "bad number of arguments");
        assert_eq!(refused(&["sh"], Some(0), ""), "bad number of arguments");
        assert!(refused(&["a"], Some(1), "").contains("no commands"));
        assert!(refused(&["a"], None, "k").contains("conflicting environment key"));
    }
}
