//! Every flag that any etcd from 2.3 to 3.7 has, each given to a server of its own: on the command
//! line, in the environment, in a file.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::Mutex,
};

use super::process::{ANY_PORTS, Server, etcd, run};

/// A flag of the original, and a value that says something.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    value: &'static str,
}

/// What becomes of a server that is given a flag and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Serves,
    /// It prints something and exits with 0.
    Prints,
    /// As the original refuses it, in a line that holds this.
    Refused(&'static str),
    /// It goes on looking for others, and the log holds this.
    Looks(&'static str),
}

const PAIR: Outcome = Outcome::Refused("must both be present");
const OLD: Outcome = Outcome::Refused("use --initial-cluster");
const TOKEN: Outcome = Outcome::Refused("both --discovery-token and --discovery-endpoints must");

fn outcome(name: &str) -> Outcome {
    match name {
        "version" => Outcome::Prints,
        "cert-file"
        | "key-file"
        | "peer-cert-file"
        | "peer-key-file"
        | "client-cert-file"
        | "client-key-file"
        | "peer-client-cert-file"
        | "peer-client-key-file" => PAIR,
        "peers" | "peers-file" => OLD,
        // Not without a file, which is another flag.
        "enable-log-rotation" => Outcome::Refused("requires a single file path"),
        // The original goes on, and founds a cluster without the data that it was to save.
        "force-new-cluster" => Outcome::Refused("there is no member in"),
        // There is no such file, and these are read at once.
        "peer-trusted-ca-file" | "peer-ca-file" | "peer-crl-file" => {
            Outcome::Refused("cannot read x.pem")
        }
        "discovery-token" | "discovery-endpoints" => TOKEN,
        "discovery" => Outcome::Looks("asking the discovery service at"),
        "discovery-srv" => Outcome::Looks("a.invalid"),
        "proxy" => Outcome::Looks("proxy: listening for client requests on"),
        _ => Outcome::Serves,
    }
}

fn rows() -> Vec<Row> {
    let text = include_str!("../../src/flags/tests/original.txt");
    let rows = text.lines().filter(|row| !row.starts_with('#')).map(|row| {
        let mut fields = row.splitn(3, ' ');
        let name = fields.next().unwrap();
        Row { name, value: fields.nth(1).unwrap_or_default() }
    });
    rows.collect()
}

/// The ports that the system is to choose, but for what this flag says.
fn ports(name: &str) -> Vec<&'static str> {
    let stands_for = match name {
        "addr" => "advertise-client-urls",
        "bind-addr" => "listen-client-urls",
        "peer-addr" => "initial-advertise-peer-urls",
        "peer-bind-addr" => "listen-peer-urls",
        // A list of members, or a way to find them: all ports as usual.
        name => name,
    };
    let flag = format!("--{stands_for}=");
    ANY_PORTS.into_iter().filter(|port| !port.starts_with(&flag)).collect()
}

/// The command comes to the outcome that its flag should have.
fn check(row: Row, mut command: Command) {
    let outcome = outcome(row.name);
    match outcome {
        Outcome::Serves => drop(Server::spawn(&mut command)),
        Outcome::Prints => {
            let ran = run(&mut command);
            assert!(ran.status.success() && !ran.stdout.is_empty(), "{row:?}: {}", ran.stderr);
        }
        Outcome::Refused(why) => {
            let ran = run(&mut command);
            assert!(!ran.status.success() && ran.stderr.contains(why), "{row:?}: {}", ran.stderr);
        }
        Outcome::Looks(words) => {
            let mut looking = Server::launch(&mut command);
            looking.wait_for(words);
        }
    }
}

/// Checks all rows, some at once.
fn for_each(rows: Vec<Row>, check: impl Fn(Row) + Sync) {
    let (left, failed) = (Mutex::new(rows), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(row) = left.lock().unwrap().pop() else { return };
                    if catch_unwind(AssertUnwindSafe(|| check(row))).is_err() {
                        failed.lock().unwrap().push(row);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_flag_of_the_original_starts_the_binary_or_is_refused_as_it_refuses_it() {
    assert!(rows().len() > 150);
    for_each(rows(), |row| {
        let dir = tempfile::tempdir().unwrap();
        // For `--config-file`, which stands alone.
        let file: String = ANY_PORTS
            .map(|port| format!("{}\n", port.trim_start_matches("--").replacen('=', ": ", 1)))
            .concat();
        fs::write(dir.path().join("etcd.yml"), file).unwrap();
        let mut command = etcd(dir.path());
        command.args(ports(row.name));
        let flag = if row.value.is_empty() {
            format!("--{}", row.name)
        } else {
            format!("--{}={}", row.name, row.value)
        };
        command.arg(flag);
        check(row, command);
    });
}

#[test]
fn every_variable_of_the_original_does_so_too() {
    let mut rows = rows();
    // There is none of that name that counts: a script's own ETCD_VERSION is common.
    rows.retain(|row| row.name != "version" && !row.value.is_empty());
    for_each(rows, |row| {
        let dir = tempfile::tempdir().unwrap();
        if row.name == "config-file" {
            return; // It stands alone; see `serving`.
        }
        let mut command = etcd(dir.path());
        let variable = row.name.to_uppercase().replace('-', "_");
        command.args(ports(row.name)).env(format!("ETCD_{variable}"), row.value);
        check(row, command);
    });
}

#[test]
fn every_key_of_a_file_of_the_original_does_so_too() {
    let mut rows = rows();
    // These have a section, or are none of a file's.
    rows.retain(|row| !matches!(row.name, "version" | "config-file") && !row.value.is_empty());
    for_each(rows, |row| {
        let dir = tempfile::tempdir().unwrap();
        let mut file = String::new();
        for port in ports(row.name) {
            file += &format!("{}\n", port.trim_start_matches("--").replacen('=', ": ", 1));
        }
        file += &format!("{}: '{}'\n", row.name, row.value);
        fs::write(dir.path().join("etcd.yml"), file).unwrap();
        let mut command = etcd(dir.path());
        command.arg("--config-file=etcd.yml");
        check(row, command);
    });
}
