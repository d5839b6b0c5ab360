//! `ls`

use std::ffi::OsString;

use bytes::Bytes;
use clap::Args;

use super::{
    bytes,
    directories::{Child, Reading, prefix_of},
    is_serializable,
};
use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed, go,
        output::{self, Text},
    },
};

/// How keys are read as directories.
#[derive(Args, Debug)]
pub(super) struct How {
    /// What separates the names in a key
    #[arg(long, value_name = "TEXT", default_value = "/")]
    separator: String,
    /// As it was at this revision; 0 is now
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int)]
    rev: i64,
    /// l (linearizable): see every write that was acknowledged before; s (serializable): what the
    /// member that is asked has
    #[arg(long, value_name = "l|s", default_value = "l")]
    consistency: String,
}

impl How {
    /// What is read, and the prefix that the arguments mean.
    pub(super) async fn reading(
        &self,
        globals: &Globals,
        arguments: &[OsString],
        command: &str,
    ) -> Result<(Reading, Bytes), Failure> {
        let mut arguments = bytes(arguments).into_iter();
        let (directory, None) = (arguments.next().unwrap_or_default(), arguments.next()) else {
            return bad_args(format!("{command} command takes at most one argument, a directory"));
        };
        if self.separator.is_empty() {
            return bad_args("--separator needs a text");
        }
        let serializable = is_serializable(&self.consistency)?;
        let client = connect(globals).await?;
        let separator = Bytes::from(self.separator.clone());
        let revision = self.rev.max(0);
        Ok((Reading { client, separator, revision, serializable }, directory))
    }
}

/// List keys as a directory
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl ls [FLAGS] [DIRECTORY]",
    after_help = "Keys are taken for paths; directories end with the separator. However many keys \
        lie below a directory, it is one line.\n\n\
        Examples:\n  \
        ETCDCTL_API=3 etcdctl ls /services\n  \
        ETCDCTL_API=3 etcdctl ls --separator : config"
)]
pub(crate) struct Ls {
    /// The directory; without one, all that there is
    #[arg(value_name = "DIRECTORY", num_args = 0..)]
    arguments: Vec<OsString>,
    #[command(flatten)]
    how: How,
}

impl Ls {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (mut reading, directory) = self.how.reading(globals, &self.arguments, "ls").await?;
        let mut text = Text::new(globals.hex, false);
        let error = failed(Exit::Error);
        if reading.has(&directory).await.map_err(&error)? {
            text.name(&directory);
        }
        let prefix = prefix_of(&directory, &reading.separator);
        for child in reading.children(&prefix).await.map_err(&error)? {
            match child {
                // It has been told.
                Child::Key(key) if key == directory => {}
                Child::Key(name) | Child::Directory(name) => text.name(&name),
            }
        }
        Ok(output::write(&text.into_bytes())?)
    }
}
