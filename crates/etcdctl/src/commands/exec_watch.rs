//! `exec-watch`

use std::{
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    os::unix::ffi::OsStringExt as _,
};

use clap::Args;
use client::Response;
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};

use super::watch::{Scope, until_interrupted};
use crate::{cli::Globals, connect::connect, failure::Failure, output};

/// Programs that run at a time; events beyond wait on the server, which keeps them.
const PROGRAMS_MAX: usize = 64;

/// Run a program each time a key changes
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl exec-watch [FLAGS] <KEY> -- <PROGRAM> [ARGUMENTS]",
    after_help = "The program finds the change in its environment: ETCD_WATCH_ACTION, \
        ETCD_WATCH_KEY, ETCD_WATCH_VALUE, ETCD_WATCH_MODIFIED_INDEX. It is not waited for: \
        changes in quick succession run it several times at once. Ctrl-C ends the watch with exit \
        code 0.\n\n\
        Example:\n  \
        etcdctl exec-watch --recursive /services -- sh -c 'echo $ETCD_WATCH_KEY changed'"
)]
pub(crate) struct ExecWatch {
    /// The key
    key: Option<OsString>,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM")]
    program: Vec<OsString>,
    #[command(flatten)]
    scope: Scope,
}

impl ExecWatch {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (Some(key), Some((program, arguments))) = (self.key, self.program.split_first()) else {
            return Err(Failure::bad_args("key and command to exec required"));
        };
        until_interrupted(async {
            let mut events = self.scope.follow(&connect(globals).await?, &key.into_vec());
            let mut running = JoinSet::new();
            loop {
                let event = events.next().await?;
                if event.node.dir {
                    output::note(format_args!("Ignored dir {} change", event.node.key));
                    continue;
                }
                while running.try_join_next().is_some() {}
                while running.len() >= PROGRAMS_MAX {
                    running.join_next().await;
                }
                if let Some(mut child) = start(program, arguments, &event)? {
                    running.spawn(async move { child.wait().await });
                }
            }
        })
        .await
    }
}

/// Starts the program. An event that no environment can hold (a value with a zero byte, or too
/// long a one) is passed over; a program that cannot be run ends the watch.
fn start(
    program: &OsStr,
    arguments: &[OsString],
    event: &Response,
) -> Result<Option<Child>, Failure> {
    let value = event.node.value.as_deref().unwrap_or_default();
    let child = Command::new(program)
        .args(arguments)
        .env("ETCD_WATCH_ACTION", &event.action)
        .env("ETCD_WATCH_MODIFIED_INDEX", event.node.modified_index.to_string())
        .env("ETCD_WATCH_KEY", &event.node.key)
        .env("ETCD_WATCH_VALUE", value)
        .spawn();
    let name = program.display();
    match child {
        Ok(child) => Ok(Some(child)),
        Err(problem) if is_about_the_event(&problem) => {
            let key = &event.node.key;
            output::note(format_args!("Error:  run {name} for the change of {key}: {problem}"));
            Ok(None)
        }
        Err(problem) => Err(Failure::plain(format!("Error:  run {name}: {problem}"))),
    }
}

fn is_about_the_event(problem: &io::Error) -> bool {
    matches!(problem.kind(), ErrorKind::InvalidInput | ErrorKind::ArgumentListTooLong)
}
