//! `del`

use std::{ffi::OsString, time::Duration};

use clap::Args;
use proto::{
    Message as _,
    etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse},
};

use super::{Reach, bytes};
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

/// How long there is to think about a range.
const PAUSE: Duration = Duration::from_secs(2);

/// Delete a key, or a range of keys
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl del [FLAGS] <KEY> [END]",
    after_help = "END is the first key that stays.\n\n\
        Examples:\n  \
        etcdctl del message\n  \
        etcdctl del --prefix services/\n  \
        etcdctl del --range a b"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Del {
    /// The key, and the end of a range
    #[arg(value_names = ["KEY", "END"], num_args = 0..)]
    arguments: Vec<OsString>,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// All keys from KEY on
    #[arg(long)]
    from_key: bool,
    /// Print what the keys were
    #[arg(long)]
    prev_kv: bool,
    /// Delete from KEY to END without a pause to think about it
    #[arg(long)]
    range: bool,
}

impl Del {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let request = self.request()?;
        let printer = Printer::new::<Deleted>(globals)?;
        self.pause().await;
        let client = connect(globals).await?;
        let answer = client.delete_range(request).await.map_err(failed(Exit::Error))?;
        Ok(printer.print(&Deleted(answer))?)
    }

    async fn pause(&self) {
        let [from, to] = &self.arguments[..] else { return };
        if self.range {
            return;
        }
        let quoted = |word: &OsString| go::quote(word.as_encoded_bytes());
        note(format_args!(
            "Warning: Keys between {} and {} will be deleted. Please interrupt the command within \
             next 2 seconds to cancel. You can provide `--range` flag to avoid the delay.",
            quoted(from),
            quoted(to)
        ));
        tokio::time::sleep(PAUSE).await;
    }

    pub(super) fn request(&self) -> Result<DeleteRangeRequest, Failure> {
        let reach = Reach { prefix: self.prefix, from_key: self.from_key };
        let mut arguments = bytes(&self.arguments).into_iter();
        let (Some(key), end, None) = (arguments.next(), arguments.next(), arguments.next()) else {
            return bad_args(
                "del command needs one argument as key and an optional argument as range_end",
            );
        };
        reach.check()?;
        reach.check_end(end.as_ref())?;
        let (key, range_end) = reach.range(key, end);
        Ok(DeleteRangeRequest { key, range_end, prev_kv: self.prev_kv })
    }
}

/// A deletion, as an answer.
pub(super) struct Deleted(pub(super) DeleteRangeResponse);

impl Answer for Deleted {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.DeleteRangeResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.line(self.0.deleted);
        self.0.prev_kvs.iter().for_each(|kv| to.key_value(kv));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        to.field("Deleted", self.0.deleted);
        self.0.prev_kvs.iter().for_each(|kv| to.key_fields("Prev", kv));
    }
}
