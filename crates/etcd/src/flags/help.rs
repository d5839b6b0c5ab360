//! What `--help` prints.

use super::{Fate, Flag, GROUPS, Group, all};

/// Columns of a terminal.
const WIDTH: usize = 80;

const OPENING: &str = "\
etcd: a distributed key-value store for shared configuration and service discovery

Usage:

  etcd [flags]                start a member
  etcd --config-file FILE     start a member as a YAML file says, and nothing else
  etcd --version              print the version
  etcd gateway start [flags]  forward TCP connections to members ('etcd gateway --help')
  etcd --help                 print this help

Without flags a member starts that serves clients on http://localhost:2379 and keeps its
data in ./default.etcd.

Each flag can also be given as an environment variable: --data-dir as ETCD_DATA_DIR. The
command line goes before. One dash is as good as two: -name x, --name x, --name=x.
";

/// The whole help text.
pub(crate) fn help() -> String {
    let mut text = OPENING.to_owned();
    for group in GROUPS {
        write_group(&mut text, group);
    }
    list(&mut text, "Accepted, without effect (the log says why)", |fate| {
        matches!(fate, Fate::Idle(_) | Fate::Past)
    });
    list(&mut text, "Not supported yet, refused", |fate| matches!(fate, Fate::Later(_)));
    let renamed = all().filter_map(|flag| match flag.fate {
        Fate::Renamed(to) => Some(format!("  --{}: use --{to}\n", flag.name)),
        Fate::Gone(advice) => Some(format!("  --{}: {advice}\n", flag.name)),
        Fate::Used(_) | Fate::Idle(_) | Fate::Later(_) | Fate::Past => None,
    });
    text += "\nRenamed or gone:\n";
    text.extend(renamed);
    text
}

pub(super) fn write_group(text: &mut String, group: &Group) {
    let used: Vec<_> = group.flags.iter().filter_map(help_of).collect();
    if used.is_empty() {
        return;
    }
    *text += &format!("\n{}:\n", group.title);
    for (flag, help) in used {
        let is_long = flag.name.len() + flag.default.len() > WIDTH;
        let between = if is_long { "\n      " } else { " " };
        *text += &format!("  --{}{between}'{}'\n", flag.name, flag.default);
        wrap(text, help, "      ");
    }
}

fn help_of(flag: &Flag) -> Option<(&Flag, &'static str)> {
    match flag.fate {
        Fate::Used(help) => Some((flag, help)),
        Fate::Idle(_) | Fate::Later(_) | Fate::Renamed(_) | Fate::Gone(_) | Fate::Past => None,
    }
}

fn list(text: &mut String, title: &str, wanted: impl Fn(&Fate) -> bool) {
    let names = all().filter(|flag| wanted(&flag.fate)).map(|flag| format!("--{}", flag.name));
    *text += &format!("\n{title}:\n");
    wrap(text, &names.collect::<Vec<_>>().join(" "), "  ");
}

fn wrap(text: &mut String, words: &str, indent: &str) {
    let mut line = indent.to_owned();
    for word in words.split(' ') {
        if line.len() + word.len() + 1 > WIDTH && line.len() > indent.len() {
            *text += &format!("{}\n", line.trim_end());
            indent.clone_into(&mut line);
        }
        line += word;
        line.push(' ');
    }
    *text += &format!("{}\n", line.trim_end());
}
