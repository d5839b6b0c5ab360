//! `put`

use std::{
    ffi::OsString,
    io::{self, Read as _},
};

use clap::Args;
use proto::{
    Message as _,
    etcdserverpb::{PutRequest, PutResponse},
};

use super::bytes;
use crate::{
    failure::{Exit, Failure},
    output::note,
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed, go,
        output::{Answer, Printer, Text},
    },
};

/// More than any server takes; stdin may be endless.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// Write a key
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl put [FLAGS] <KEY> <VALUE>\n       command | etcdctl put [FLAGS] <KEY>",
    after_help = "A key or value that begins with a dash stands behind --.\n\n\
        Examples:\n  \
        etcdctl put message Hello\n  \
        etcdctl put session/1 alive --lease 694d81f2a1b2c301\n  \
        etcdctl put -- offset -5\n  \
        etcdctl put config < config.json"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Put {
    /// The key and its value, which is read from stdin if it is not given
    #[arg(value_names = ["KEY", "VALUE"], num_args = 0..)]
    arguments: Vec<OsString>,
    /// Lease that the key hangs on, in hexadecimal; 0 is none
    #[arg(long, value_name = "ID", default_value = "0")]
    lease: String,
    /// Print what the key was before
    #[arg(long)]
    prev_kv: bool,
    /// Keep the value that the key has
    #[arg(long)]
    ignore_value: bool,
    /// Keep the lease that the key has
    #[arg(long)]
    ignore_lease: bool,
}

impl Put {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let request = self.request()?;
        if let Some(ignored) = self.arguments.get(2) {
            note(format_args!("Warning: ignored what follows the value: {}", ignored.display()));
        }
        let printer = Printer::new::<Written>(globals)?;
        let client = connect(globals).await?;
        let answer = client.put(request).await.map_err(failed(Exit::Error))?;
        Ok(printer.print(&Written(answer))?)
    }

    pub(super) fn request(&self) -> Result<PutRequest, Failure> {
        let needs = "put command needs 1 argument and input from stdin or 2 arguments";
        let mut arguments = bytes(&self.arguments).into_iter();
        let Some(key) = arguments.next() else { return bad_args(needs) };
        let value = match (self.ignore_value, arguments.next()) {
            (true, Some(_)) => {
                return bad_args("put command needs only 1 argument when 'ignore-value' is set");
            }
            (true, None) => bytes::Bytes::new(),
            (false, Some(value)) => value,
            (false, None) => match read_stdin() {
                Some(value) => value.into(),
                None => return bad_args(needs),
            },
        };
        let lease = match go::parse_int(&self.lease, 16) {
            Ok(lease) => lease,
            Err(why) => return bad_args(format!("bad lease ID ({why}), expecting ID in Hex")),
        };
        Ok(PutRequest {
            key,
            value,
            lease,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }
}

/// All of stdin; nothing if there is none.
fn read_stdin() -> Option<Vec<u8>> {
    let mut value = Vec::new();
    io::stdin().lock().take(STDIN_BYTES_MAX).read_to_end(&mut value).ok()?;
    Some(value).filter(|value| !value.is_empty())
}

/// A put, as an answer.
pub(super) struct Written(pub(super) PutResponse);

impl Answer for Written {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.PutResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.line("OK");
        if let Some(before) = &self.0.prev_kv {
            to.key_value(before);
        }
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        if let Some(before) = &self.0.prev_kv {
            to.key_fields("Prev", before);
        }
    }
}
