//! `hashkv`

use std::ffi::OsString;

use clap::Args;
use commandline::{Exit, Failure, go, keyspace};

use crate::cli::Globals;

/// Print a hash of the history in a file
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdutl hashkv <FILE> [FLAGS]",
    after_help = "The file is a snapshot, or the keyspace of a member that does not run, or its data \
        directory. It has the hash that etcdctl endpoint hashkv shows at the same revision.\n\n\
        Example:\n  etcdutl hashkv backup.db --rev 42"
)]
pub(crate) struct HashKv {
    /// The file
    #[arg(value_name = "FILE", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Up to this revision; 0 is all
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int,
        allow_hyphen_values = true)]
    rev: i64,
}

impl HashKv {
    pub(crate) fn run(self, globals: &Globals) -> Result<(), Failure> {
        let [file] = &self.arguments[..] else {
            let count = self.arguments.len();
            let why = format!("accepts 1 arg(s), received {count}");
            return Err(Failure::new(Exit::Error, why));
        };
        keyspace::hash(file.as_ref(), self.rev, (globals.timeout, &globals.write_out))
    }
}
