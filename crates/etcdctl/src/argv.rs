//! Flags as Go takes them: `-ttl 5`, `--ttl=5`, before and after the arguments alike.
//!
//! [`arrange`] knows every flag from the grammar and puts what it reads into one order: global
//! flags, the command, its flags as `--name=value`, `--`, the arguments. Then nothing is left for
//! clap to guess, and a value may begin with a dash. With API 3 commands may be shortened, and
//! variables stand for flags that are not given.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

use clap::{Arg, Command};

/// Its arguments are another program's from the second one on.
const RUNS_A_PROGRAM: &str = "exec-watch";
/// From its second argument on, what it does not know is another program's.
const RUNS_A_PROGRAM_BY_LOCK: &str = "lock";

/// What variables say, by the long names of flags.
pub(crate) type Environment = Vec<(String, OsString)>;

/// Arguments in an order that clap cannot misread.
#[derive(Debug)]
pub(crate) struct Arranged {
    /// The program's name first.
    pub(crate) words: Vec<OsString>,
    /// Whether a command of the grammar was found, down to its last word.
    pub(crate) is_complete: bool,
    /// Whether the line is about nothing but help.
    pub(crate) wants_help: bool,
    /// Whether there is a flag that nobody knows.
    pub(crate) has_strangers: bool,
    /// How many arguments stood before `--`.
    pub(crate) separated: Option<usize>,
}

/// Arranges arguments of API 2, the program's name first, by a grammar that has been built.
///
/// A flag that nobody knows stays in place, so that clap can name it.
pub(crate) fn arrange(grammar: &Command, arguments: Vec<OsString>) -> Arranged {
    read(Line::new(grammar, Api::V2), arguments).finish()
}

/// Arranges arguments of API 3.
pub(crate) fn arrange_v3(
    grammar: &Command,
    arguments: Vec<OsString>,
    environment: Environment,
) -> Arranged {
    let mut line = read(Line::new(grammar, Api::V3), arguments);
    for (flag, value) in environment {
        line.take_variable(&flag, &value);
    }
    line.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    V2,
    V3,
}

fn read(mut line: Line<'_>, arguments: Vec<OsString>) -> Line<'_> {
    let mut words = arguments.into_iter();
    line.globals.extend(words.next());
    while let Some(word) = words.next() {
        if line.runs_a_program() {
            line.operands.push(word);
        } else if word == "--" {
            line.separated = Some(line.operands.len());
            line.operands.extend(words.by_ref());
        } else if looks_like_flag(&word) {
            line.take_flag(&word, &mut words);
        } else if !line.enter(&word) {
            line.operands.push(word);
            if line.lacks_command() {
                // An unknown command's words mean nothing to us.
                line.operands.extend(words.by_ref());
            }
        }
    }
    line
}

struct Line<'g> {
    root: &'g Command,
    api: Api,
    /// The commands that have been entered, outermost first.
    path: Vec<&'g Command>,
    /// The program's name and the flags that every command has.
    globals: Vec<OsString>,
    flags: Vec<OsString>,
    operands: Vec<OsString>,
    separated: Option<usize>,
    has_strangers: bool,
    /// The flags of every command that were given.
    given: Vec<&'g str>,
}

impl<'g> Line<'g> {
    fn new(root: &'g Command, api: Api) -> Self {
        Self {
            root,
            api,
            path: Vec::new(),
            globals: Vec::new(),
            flags: Vec::new(),
            operands: Vec::new(),
            separated: None,
            has_strangers: false,
            given: Vec::new(),
        }
    }

    fn innermost(&self) -> &'g Command {
        self.path.last().copied().unwrap_or(self.root)
    }

    fn lacks_command(&self) -> bool {
        self.innermost().has_subcommands()
    }

    fn runs_a_program(&self) -> bool {
        self.innermost().get_name() == RUNS_A_PROGRAM && self.operands.len() > 1
    }

    /// Whether what is no flag of ours is another program's.
    fn may_run_a_program(&self) -> bool {
        self.innermost().get_name() == RUNS_A_PROGRAM_BY_LOCK && self.operands.len() > 1
    }

    /// Takes the word as a command's name, if it is one here.
    fn enter(&mut self, word: &OsStr) -> bool {
        let innermost = self.innermost();
        let entered = innermost.find_subcommand(word).or_else(|| {
            let shortened = word.to_str().filter(|_| self.api == Api::V3)?;
            let fits = |command: &&&Command| {
                command.get_name().starts_with(shortened) && !command.is_hide_set()
            };
            let all: Vec<_> = innermost.get_subcommands().collect();
            let mut fitting = all.iter().filter(fits);
            fitting.next().copied().filter(|_| fitting.next().is_none())
        });
        self.path.extend(entered);
        entered.is_some()
    }

    fn find(&self, name: &[u8]) -> Option<(&'g Arg, bool)> {
        let own = self.path.iter().rev().find_map(|command| find_flag(command, name));
        own.map(|flag| (flag, false)).or_else(|| Some((find_flag(self.root, name)?, true)))
    }

    fn take_flag(&mut self, word: &OsStr, words: &mut impl Iterator<Item = OsString>) {
        let (name, value) = split_flag(word);
        let is_short = !word.as_bytes().starts_with(b"--");
        if self.may_run_a_program() && is_short && name.len() > 1 {
            return self.operands.push(word.to_owned());
        }
        if let Some((flag, is_global)) = self.find(name) {
            return self.take(flag, is_global, value, words);
        }
        // `-wjson`
        if let (Api::V3, true, Some((first, rest))) = (self.api, is_short, name.split_at_checked(1))
            && let Some((flag, is_global)) = self.find(first)
            && flag.get_action().takes_values()
            && !rest.is_empty()
        {
            let value = word.as_bytes().get(2..).map(OsStr::from_bytes);
            return self.take(flag, is_global, value, words);
        }
        if self.may_run_a_program() {
            return self.operands.push(word.to_owned());
        }
        self.has_strangers = true;
        self.flags.push(unknown_flag(word, name));
    }

    fn take_variable(&mut self, name: &str, value: &OsStr) {
        // Whoever names endpoints does not want others.
        let replaced = if name == "discovery-srv" { "endpoints" } else { name };
        let flag = find_flag(self.root, name.as_bytes());
        let is_free = !self.given.contains(&name) && !self.given.contains(&replaced);
        if let Some(flag) = flag.filter(|_| is_free) {
            self.take(flag, true, Some(value), &mut std::iter::empty());
        }
    }

    fn take(
        &mut self,
        flag: &'g Arg,
        is_global: bool,
        value: Option<&OsStr>,
        words: &mut impl Iterator<Item = OsString>,
    ) {
        if is_global {
            self.given.extend(flag.get_long());
        }
        let target = if is_global { &mut self.globals } else { &mut self.flags };
        // A boolean that may be false: its value stands behind `=`, if it has one.
        let may_stand_alone = flag.get_num_args().is_some_and(|range| range.min_values() == 0);
        if flag.get_action().takes_values() && may_stand_alone {
            let text = value.map(|value| match parse_bool(value) {
                Some(is) => OsString::from(is.to_string()),
                None => value.to_owned(),
            });
            target.push(spell(flag, text.as_deref()));
            return;
        }
        if flag.get_action().takes_values() {
            let value = value.map(OsStr::to_owned).or_else(|| words.next());
            target.push(spell(flag, value.as_deref()));
            return;
        }
        match value.map(parse_bool) {
            None | Some(Some(true)) => target.push(spell(flag, None)),
            Some(Some(false)) => {}
            // Not a boolean: clap says so.
            Some(None) => target.push(spell(flag, value)),
        }
    }

    fn finish(self) -> Arranged {
        let complete = !self.lacks_command();
        let is_help = self.path.first().is_some_and(|command| command.get_name() == "help");
        let wants_help = self.operands.is_empty() && (is_help || self.path.is_empty());
        let mut words = self.globals;
        words.extend(self.path.iter().map(|command| command.get_name().into()));
        words.extend(self.flags);
        if complete && !self.operands.is_empty() {
            words.push("--".into());
        }
        words.extend(self.operands);
        Arranged {
            words,
            is_complete: complete,
            wants_help,
            has_strangers: self.has_strangers,
            separated: self.separated,
        }
    }
}

/// `-x`, `--x`, but neither `-` nor a negative number.
fn looks_like_flag(word: &OsStr) -> bool {
    match word.as_bytes() {
        [b'-', second, ..] => !second.is_ascii_digit(),
        _ => false,
    }
}

/// With two dashes if it has a long name, so that clap names it whole.
fn unknown_flag(word: &OsStr, name: &[u8]) -> OsString {
    let mut spelled = OsString::new();
    if name.len() > 1 && !word.as_bytes().starts_with(b"--") {
        spelled.push("-");
    }
    spelled.push(word);
    spelled
}

/// `--name=value` as its name and value.
fn split_flag(word: &OsStr) -> (&[u8], Option<&OsStr>) {
    let bytes = word.as_bytes();
    let bytes = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).unwrap_or(bytes);
    let mut parts = bytes.splitn(2, |&byte| byte == b'=');
    (parts.next().unwrap_or_default(), parts.next().map(OsStr::from_bytes))
}

fn find_flag<'g>(command: &'g Command, name: &[u8]) -> Option<&'g Arg> {
    let name = std::str::from_utf8(name).ok()?;
    command.get_arguments().filter(|arg| !arg.is_positional()).find(|arg| {
        let short = arg.get_short().map(String::from);
        arg.get_long() == Some(name) || short.as_deref() == Some(name)
    })
}

fn spell(flag: &Arg, value: Option<&OsStr>) -> OsString {
    let mut word = match (flag.get_long(), flag.get_short()) {
        (Some(long), _) => format!("--{long}").into_bytes(),
        (None, Some(short)) => format!("-{short}").into_bytes(),
        (None, None) => Vec::new(),
    };
    if let Some(value) = value {
        word.push(b'=');
        word.extend_from_slice(value.as_bytes());
    }
    OsString::from_vec(word)
}

/// Go's booleans.
pub(crate) fn parse_bool(text: &OsStr) -> Option<bool> {
    match text.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(line: &str) -> String {
        let words = line.split_whitespace().map(OsString::from).collect();
        let words = arrange(&crate::cli::grammar(), words).words;
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_go_where_they_belong() {
        for (given, wanted) in [
            ("etcdctl", "etcdctl"),
            ("etcdctl ls", "etcdctl ls"),
            ("etcdctl set k v -ttl 5", "etcdctl set --ttl=5 -- k v"),
            ("etcdctl set -ttl=5 k v", "etcdctl set --ttl=5 -- k v"),
            ("etcdctl set k --ttl 5 v", "etcdctl set --ttl=5 -- k v"),
            ("etcdctl get k -o json", "etcdctl --output=json get -- k"),
            ("etcdctl -output json get k", "etcdctl --output=json get -- k"),
            ("etcdctl get k --debug -C http://a:1", "etcdctl --debug --peers=http://a:1 get -- k"),
            ("etcdctl ls -p / --p", "etcdctl ls -p -p -- /"),
            ("etcdctl ls -recursive=true -sort=false /", "etcdctl ls --recursive -- /"),
            ("etcdctl ls --sort=maybe", "etcdctl ls --sort=maybe"),
            ("etcdctl --insecure-discovery ls /", "etcdctl --insecure-discovery ls -- /"),
            ("etcdctl ls -insecure-discovery=0", "etcdctl --insecure-discovery=false ls"),
            ("etcdctl member list -C a", "etcdctl --peers=a member list"),
            ("etcdctl -help", "etcdctl --help"),
            ("etcdctl -v", "etcdctl --version"),
            ("etcdctl get -h", "etcdctl get --help"),
            ("etcdctl help get", "etcdctl help get"),
        ] {
            assert_eq!(arranged(given), wanted, "{given}");
        }
    }

    #[test]
    fn values_may_begin_with_a_dash() {
        for (given, wanted) in [
            ("etcdctl set k -- -v", "etcdctl set -- k -v"),
            ("etcdctl set -- k -v", "etcdctl set -- k -v"),
            ("etcdctl set k -5", "etcdctl set -- k -5"),
            ("etcdctl set k -", "etcdctl set -- k -"),
            ("etcdctl set k v --swap-with-value -x", "etcdctl set --swap-with-value=-x -- k v"),
            ("etcdctl set k -- -- x", "etcdctl set -- k -- x"),
        ] {
            assert_eq!(arranged(given), wanted, "{given}");
        }
    }

    #[test]
    fn the_program_of_exec_watch_keeps_its_own_flags() {
        for given in [
            "etcdctl exec-watch /k -recursive -- sh -c x --recursive",
            "etcdctl exec-watch -recursive /k sh -c x --recursive",
            "etcdctl exec-watch -recursive -- /k sh -c x --recursive",
        ] {
            let wanted = "etcdctl exec-watch --recursive -- /k sh -c x --recursive";
            assert_eq!(arranged(given), wanted, "{given}");
        }
        assert_eq!(arranged("etcdctl exec-watch /k sh -- x"), "etcdctl exec-watch -- /k sh -- x");
    }

    #[test]
    fn what_nobody_knows_is_left_for_clap_to_name() {
        for (given, wanted) in [
            ("etcdctl get -nonsense k", "etcdctl get --nonsense -- k"),
            ("etcdctl nonsense -a b", "etcdctl nonsense -a b"),
            ("etcdctl member nonsense -x y", "etcdctl member nonsense -x y"),
            ("etcdctl set k v --ttl", "etcdctl set --ttl -- k v"),
        ] {
            assert_eq!(arranged(given), wanted, "{given}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_pass() {
        let odd = OsString::from_vec(vec![b'v', 0xff]);
        let mut flag = OsString::from("-swap-with-value=");
        flag.push(&odd);
        let words = vec!["etcdctl".into(), "set".into(), "k".into(), odd.clone(), flag];
        let words = arrange(&crate::cli::grammar(), words).words;
        let mut wanted = OsString::from("--swap-with-value=");
        wanted.push(&odd);
        assert_eq!(words, ["etcdctl".into(), "set".into(), wanted, "--".into(), "k".into(), odd]);
    }

    fn arranged_v3(line: &str, environment: &[(&str, &str)]) -> String {
        let words = line.split_whitespace().map(OsString::from).collect();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(*value));
        let environment = environment.iter().map(owned).collect();
        let words = arrange_v3(&crate::v3::cli::grammar(), words, environment).words;
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn with_api_3_commands_are_shortened_and_flags_written_as_by_its_users() {
        for (given, wanted) in [
            ("etcdctl get k -w json", "etcdctl --write-out=json get -- k"),
            ("etcdctl get -wjson k", "etcdctl --write-out=json get -- k"),
            ("etcdctl get -w=json k", "etcdctl --write-out=json get -- k"),
            ("etcdctl -write-out json get k", "etcdctl --write-out=json get -- k"),
            ("etcdctl compa 5", "etcdctl compaction -- 5"),
            ("etcdctl comp 5", "etcdctl comp 5"),
            ("etcdctl endpoint hea --cluster", "etcdctl endpoint health --cluster"),
            // `put` and nothing else begins with p; `e` might be `elect`.
            ("etcdctl p a b", "etcdctl put -- a b"),
            ("etcdctl e a", "etcdctl e a"),
            ("etcdctl user add u --interactive=F", "etcdctl user add --interactive=false -- u"),
            ("etcdctl user add --interactive u", "etcdctl user add --interactive -- u"),
            ("etcdctl watch k -- sh -c x", "etcdctl watch -- k sh -c x"),
            ("etcdctl lock m --ttl 5 ls -l", "etcdctl lock --ttl=5 -- m ls -l"),
            ("etcdctl lock m ls --ttl 5 -user=x", "etcdctl lock --ttl=5 -- m ls -user=x"),
            ("etcdctl lock m -- ls --ttl 5", "etcdctl lock -- m ls --ttl 5"),
        ] {
            assert_eq!(arranged_v3(given, &[]), wanted, "{given}");
        }
    }

    #[test]
    fn variables_stand_for_flags_that_are_not_given() {
        let environment = [("endpoints", "a:1"), ("hex", "true"), ("debug", "false")];
        for (given, wanted) in [
            ("etcdctl get k", "etcdctl --endpoints=a:1 --hex get -- k"),
            ("etcdctl get k --endpoints b:1", "etcdctl --endpoints=b:1 --hex get -- k"),
        ] {
            assert_eq!(arranged_v3(given, &environment), wanted, "{given}");
        }
    }

    #[test]
    fn where_the_arguments_of_a_program_begin_is_known() {
        let separated = |line: &str| {
            let words = line.split_whitespace().map(OsString::from).collect();
            arrange_v3(&crate::v3::cli::grammar(), words, Vec::new()).separated
        };
        assert_eq!(separated("etcdctl watch a b -- echo x"), Some(2));
        assert_eq!(separated("etcdctl watch -- echo"), Some(0));
        assert_eq!(separated("etcdctl watch a"), None);
    }
}
