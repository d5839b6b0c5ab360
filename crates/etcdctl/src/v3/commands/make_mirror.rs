//! `make-mirror`

mod copy;

use std::{ffi::OsString, io::IsTerminal as _, time::Duration};

use bytes::Bytes;
use clap::{ArgAction, Args};
use client::v3::Client;

use self::copy::Copy;
use super::text;
use crate::{
    failure::Failure,
    v3::{
        bad_args,
        cli::Globals,
        connect::{self, Files, Waiting, connect_for_long},
    },
};

/// Between two numbers on stdout.
const TELLS: Duration = Duration::from_secs(30);

/// Copy keys to another cluster, and go on with what changes
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl make-mirror [FLAGS] <DESTINATION>",
    after_help = "Prints the number of keys copied every 30 seconds.\n\n\
        Examples:\n  \
        etcdctl make-mirror 10.0.1.1:2379\n  \
        etcdctl make-mirror --prefix services/ --dest-prefix copy/ https://other:2379 --dest-cacert ca.crt"
)]
pub(crate) struct MakeMirror {
    /// An endpoint of the other cluster
    #[arg(value_name = "DESTINATION", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Begin with the changes of this revision instead of copying all; 0 copies all
    #[arg(long, value_name = "REVISION", default_value = "0",
        value_parser = crate::v3::go::flag_int)]
    rev: i64,
    /// What the prefix becomes in the other cluster [default: the same]
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    dest_prefix: String,
    /// Take the prefix away in the other cluster
    #[arg(long)]
    no_dest_prefix: bool,
    /// The most writes in one transaction
    #[arg(long, value_name = "COUNT", default_value = "128")]
    max_txn_ops: u32,
    /// Client certificate for the other cluster
    #[arg(long, value_name = "FILE")]
    dest_cert: Option<String>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE")]
    dest_key: Option<String>,
    /// Certificates of authorities to trust for the other cluster
    #[arg(long, value_name = "FILE")]
    dest_cacert: Option<String>,
    /// Without TLS to the other cluster
    #[arg(long, value_name = "true|false", default_value = "true", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_possible_values = true)]
    dest_insecure_transport: bool,
    /// User to act as in the other cluster
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    dest_user: Option<String>,
    /// That user's password
    #[arg(long, value_name = "PASSWORD")]
    dest_password: Option<String>,
}

impl MakeMirror {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let [destination] = &self.arguments[..] else {
            return bad_args("make-mirror takes one destination argument");
        };
        if self.no_dest_prefix && !self.dest_prefix.is_empty() {
            return bad_args(
                "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
            );
        }
        if self.max_txn_ops == 0 {
            return bad_args("--max-txn-ops must be more than 0");
        }
        let to = self.destination(globals, text(destination)?)?;
        to.within(globals.command_timeout)
            .log_in()
            .await
            .map_err(crate::v3::failed(crate::failure::Exit::BadConnection))?;
        let from = connect_for_long(globals).await?;
        let mut copy = Copy::new(
            from,
            to,
            Bytes::from(self.prefix.clone()),
            Bytes::from(self.new_prefix().to_owned()),
            self.max_txn_ops as usize,
        );
        let counter = copy.counter();
        let tells = !(std::io::stderr().is_terminal() && std::io::stdout().is_terminal());
        let tell = async {
            loop {
                tokio::time::sleep(TELLS).await;
                if tells {
                    crate::output::line(counter.get())?;
                }
            }
        };
        tokio::select! {
            outcome = copy.run(self.rev) => outcome,
            outcome = tell => outcome,
        }
    }

    fn new_prefix(&self) -> &str {
        match (self.no_dest_prefix, self.dest_prefix.as_str()) {
            (true, _) => "",
            (false, "") => &self.prefix,
            (false, other) => other,
        }
    }

    fn destination(&self, globals: &Globals, endpoint: &str) -> Result<Client, Failure> {
        let files = Files {
            cert: self.dest_cert.as_deref(),
            key: self.dest_key.as_deref(),
            cacert: self.dest_cacert.as_deref(),
        };
        let credentials = connect::credentials_of(
            self.dest_user.as_deref(),
            self.dest_password.as_deref(),
            "Destination Password: ",
        )?;
        let config = client::v3::Config {
            tls: files.settings("--dest-", self.dest_insecure_transport, false)?,
            credentials,
            ..connect::config(globals, Waiting::ForLong)?
        };
        connect::make(&[endpoint.to_owned()], config)
    }
}
