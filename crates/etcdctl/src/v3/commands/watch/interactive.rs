//! `watch -i`: lines on stdin that begin watches, or ask how far they have come.

use std::ffi::OsString;

use clap::{FromArgMatches as _, Subcommand, error::ErrorKind};
use client::v3::{Asker, Client};
use commandline::refusal;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    task::JoinSet,
};

use super::{super::txn::words, From, Plan, Variables, Watch, follow};
use crate::{
    argv,
    failure::{Exit, Failure},
    output::note,
    v3::{bad_args, output::Printer, refuse},
};

/// Of one session.
const WATCHES_MAX: usize = 10_000;

/// The grammar of a line.
#[derive(Debug, Subcommand)]
enum Grammar {
    Watch(Watch),
}

/// What a line asks for.
#[derive(Debug)]
enum Line {
    Watch(Plan),
    Progress,
    /// Nothing that can be done, in the original's words.
    Invalid(String),
    /// What ends the session.
    Bad(String),
}

/// Carries out lines until there are no more.
pub(super) async fn run(
    client: &Client,
    printer: Printer,
    variables: &Variables,
) -> Result<(), Failure> {
    let mut lines = BufReader::new(stdin()).lines();
    let mut watches: JoinSet<Result<(), Failure>> = JoinSet::new();
    let mut askers: Vec<Asker> = Vec::new();
    loop {
        tokio::select! {
            Some(ended) = watches.join_next(), if !watches.is_empty() => {
                // A program that failed ends all, as in the original.
                if let Ok(outcome) = ended {
                    outcome?;
                }
            }
            line = lines.next_line() => {
                let line = match line {
                    Ok(Some(line)) => line,
                    Ok(None) => return refuse(Exit::InvalidInput, "error reading watch request line: EOF"),
                    Err(problem) => {
                        let why = format!("error reading watch request line: {problem}");
                        return refuse(Exit::InvalidInput, why);
                    }
                };
                match read(&line, variables) {
                    Line::Progress => askers.iter().for_each(Asker::ask),
                    Line::Watch(_) if watches.len() >= WATCHES_MAX => {
                        note(format_args!("Invalid command {line} (at most {WATCHES_MAX} watches)"));
                    }
                    Line::Watch(plan) => {
                        let mut watcher = plan.watcher(client);
                        askers.push(watcher.asker());
                        watches.spawn(async move { follow(&mut watcher, printer, &plan.program).await });
                    }
                    Line::Invalid(why) => note(format_args!("Invalid command{why}")),
                    Line::Bad(why) => return bad_args(why),
                }
            }
        }
    }
}

/// Reads a line as the original does: who has mistyped is told and may go on, but whoever names a flag
/// that there is not ends the session.
fn read(line: &str, variables: &Variables) -> Line {
    let invalid = |why: &str| Line::Invalid(format!(" {line} ({why})"));
    let words = words(line);
    match words.as_deref() {
        Some([]) => Line::Invalid(format!(": {line} (watch and progress supported)")),
        Some([one]) if one == "watch" && variables.key.is_empty() => {
            invalid("command type or key is not provided")
        }
        Some([first, ..]) if first == "watch" => {
            let given = parse(words.unwrap_or_default()).and_then(|(watch, separated)| {
                let (keys, program) = watch.given(separated, variables, From::Line)?;
                Ok(watch.plan(keys, program))
            });
            match given {
                Ok(Ok(plan)) => Line::Watch(plan),
                Ok(Err(why)) => invalid(&why),
                Err(why) => Line::Bad(why),
            }
        }
        Some([first, ..]) if first == "progress" => Line::Progress,
        Some(_) | None => invalid("only support watch"),
    }
}

/// A watch, and how many arguments stood before its dashes; or what is wrong with a flag.
fn parse(words: Vec<OsString>) -> Result<(Watch, Option<usize>), String> {
    let mut grammar = Grammar::augment_subcommands(clap::Command::new("lines"));
    grammar.build();
    let words = std::iter::once("lines".into()).chain(words).collect();
    let arranged = argv::arrange_v3(&grammar, words, Vec::new());
    let read = grammar.try_get_matches_from(arranged.words);
    let read = read.and_then(|matches| Grammar::from_arg_matches(&matches));
    let Grammar::Watch(watch) = read.map_err(|error| why(&error))?;
    Ok((watch, arranged.separated))
}

fn why(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelp {
        return "pflag: help requested".to_owned();
    }
    let why = refusal("etcdctl", error);
    why.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, line: &str, expected: &str) {
        let variables = Variables { key: key.into(), end: OsString::new() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = match read(line, &variables) {
            Line::Watch(Plan { what, program }) => {
                let (key, end, rev) = (text(&what.key), text(&what.range_end), what.start_revision);
                format!("watch {key:?} {end:?} {rev} {program:?}")
            }
            Line::Progress => "progress".to_owned(),
            Line::Invalid(why) => format!("Invalid command{why}"),
            Line::Bad(why) => format!("Error: {why}"),
        };
        assert_eq!(found, expected, "{line}");
    }

    /// The answers are those of 3.4 and 3.6.
    #[test]
    fn lines_are_read_as_the_original_reads_them() {
        for (line, expected) in [
            ("watch --prefix 'a b' --rev 3 -- sh -c x", r#"watch "a b" "a c" 3 ["sh", "-c", "x"]"#),
            ("watch a b", r#"watch "a" "b" 0 []"#),
            ("watch a b c", r#"watch "a" "" 0 []"#),
            ("\"watch\" a", r#"watch "a" "" 0 []"#),
            ("progress", "progress"),
            ("progress x", "progress"),
            ("watch", "Invalid command watch (command type or key is not provided)"),
            (
                "watch --prefix a b",
                "Invalid command watch --prefix a b (`range_end` and `--prefix` are mutually exclusive)",
            ),
            ("watch -- sh", "Invalid command watch -- sh (bad number of arguments)"),
            ("wat a", "Invalid command wat a (only support watch)"),
            ("frob x", "Invalid command frob x (only support watch)"),
            ("", "Invalid command:  (watch and progress supported)"),
            ("  ", "Invalid command:    (watch and progress supported)"),
            ("watch --prefix", "Error: bad number of arguments"),
            ("watch --nonsense a", "Error: unknown flag: --nonsense"),
            ("watch a --", "Error: bad number of arguments (found separator --, but no commands)"),
            (
                "watch --rev=x a",
                "Error: invalid argument \"x\" for \"--rev\" flag: strconv.ParseInt: parsing \"x\": \
                 invalid syntax",
            ),
            ("watch -h", "Error: pflag: help requested"),
        ] {
            check("", line, expected);
        }
        for (line, expected) in [
            ("watch", r#"watch "k" "" 0 []"#),
            ("watch -- sh", r#"watch "k" "" 0 ["sh"]"#),
            ("watch foo -- sh", r#"watch "k" "foo" 0 ["sh"]"#),
            ("watch a", "Error: bad number of arguments (found conflicting environment key)"),
        ] {
            check("k", line, expected);
        }
    }
}
