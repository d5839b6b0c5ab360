//! `watch -i`: lines on stdin that begin watches, or ask how far they have come.

use clap::{FromArgMatches as _, Subcommand};
use client::v3::{Asker, Client};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    task::JoinSet,
};

use super::{super::txn::words, Variables, Watch, follow};
use crate::{
    argv,
    failure::{Exit, Failure},
    output::note,
    v3::{bad_args, output::Printer, refuse},
};

/// Of one session.
const WATCHES_MAX: usize = 10_000;

/// What a line may be.
#[derive(Debug, Subcommand)]
enum Line {
    Watch(Watch),
    Progress,
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
                match read(&line) {
                    Some((Line::Progress, _)) => askers.iter().for_each(Asker::ask),
                    Some((Line::Watch(_), _)) if watches.len() >= WATCHES_MAX => {
                        note(format_args!("Invalid command {line} (at most {WATCHES_MAX} watches)"));
                    }
                    Some((Line::Watch(watch), separated)) => {
                        let plan = match watch.plan(separated, variables) {
                            Ok(plan) => plan,
                            Err(why) => return bad_args(why),
                        };
                        let mut watcher = plan.watcher(client);
                        askers.push(watcher.asker());
                        watches.spawn(async move { follow(&mut watcher, printer, &plan.program).await });
                    }
                    None if line.trim().is_empty() => {
                        note(format_args!("Invalid command: {line} (watch and progress supported)"));
                    }
                    None => note(format_args!("Invalid command {line} (only support watch)")),
                }
            }
        }
    }
}

/// A line, and how many arguments stood before its dashes.
fn read(line: &str) -> Option<(Line, Option<usize>)> {
    let mut grammar = Line::augment_subcommands(clap::Command::new("lines"));
    grammar.build();
    let words = std::iter::once("lines".into()).chain(words(line)?).collect();
    let arranged = argv::arrange_v3(&grammar, words, Vec::new());
    let matches = grammar.try_get_matches_from(arranged.words).ok()?;
    Some((Line::from_arg_matches(&matches).ok()?, arranged.separated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_command_line_is() {
        let read = |line| read(line).map(|(line, separated)| (format!("{line:?}"), separated));
        let (watch, separated) = read("watch --prefix 'a b' --rev 3 -- sh -c x").expect("reads");
        assert!(watch.contains("prefix: true") && watch.contains("rev: 3"), "{watch}");
        assert_eq!(separated, Some(1));
        assert!(read("progress").is_some());
        assert!(read("frob").is_none() && read("").is_none() && read("watch --nonsense").is_none());
    }
}
