//! `txn`

mod read;

pub(super) use read::words;

use std::ffi::OsString;

use clap::Args;
use proto::{
    Message as _,
    etcdserverpb::{TxnResponse, response_op::Response},
};

use super::{del::Deleted, get::Found, put::Written};
use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed,
        output::{Answer, Printer, Text},
    },
};

/// Carry out several requests at once, read from stdin
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl txn [FLAGS] < FILE",
    after_help = "Three blocks, each ended by an empty line: what must hold, what to do if all of it \
        does, what to do otherwise.\n\n  \
        value(\"KEY\") = \"VALUE\"     also version, create, mod, lease; also != > <\n  \
        get, put and del as on the command line\n\n\
        Example:\n  \
        etcdctl txn <<'END'\n  \
        mod(\"config\") < \"42\"\n  \
        \n  \
        put config new\n  \
        \n  \
        get config\n  \
        \n  \
        END"
)]
pub(crate) struct Txn {
    #[arg(hide = true, num_args = 0..)]
    arguments: Vec<OsString>,
    /// Say what is being waited for
    #[arg(short, long)]
    interactive: bool,
}

impl Txn {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        if !self.arguments.is_empty() {
            return bad_args("txn command does not accept argument");
        }
        let printer = Printer::new::<Answered>(globals)?;
        let request = read::from(&mut std::io::stdin().lock(), |prompt| {
            if self.interactive { crate::output::line(prompt) } else { Ok(()) }
        })?;
        let client = connect(globals).await?;
        let answer = client.txn(request).await.map_err(failed(Exit::Error))?;
        Ok(printer.print(&Answered(answer))?)
    }
}

/// A transaction, as an answer.
struct Answered(TxnResponse);

impl Answer for Answered {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.TxnResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.line(if self.0.succeeded { "SUCCESS" } else { "FAILURE" });
        for response in self.0.responses.iter().filter_map(|op| op.response.clone()) {
            to.line("");
            match response {
                Response::ResponseRange(range) => Found(range).simple(to),
                Response::ResponsePut(put) => Written(put).simple(to),
                Response::ResponseDeleteRange(deleted) => Deleted(deleted).simple(to),
                Response::ResponseTxn(txn) => Self(txn).simple(to),
            }
        }
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        to.field("Succeeded", self.0.succeeded);
        for response in self.0.responses.iter().filter_map(|op| op.response.clone()) {
            match response {
                Response::ResponseRange(range) => Found(range).fields(to),
                Response::ResponsePut(put) => Written(put).fields(to),
                Response::ResponseDeleteRange(deleted) => Deleted(deleted).fields(to),
                Response::ResponseTxn(txn) => Self(txn).fields(to),
            }
        }
    }
}
