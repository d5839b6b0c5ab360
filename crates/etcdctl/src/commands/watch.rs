//! `watch`, and what it shares with `exec-watch`.

use std::{ffi::OsString, time::Duration};

use clap::Args;
use client::{Client, Response, Watcher};

use super::required_key;
use crate::{cli::Globals, connect::connect, failure::Failure, number, output};

/// How long to look for a cluster that has gone away: a member that restarts is back by then.
const OUTAGE_MAX: Duration = Duration::from_mins(1);
/// The code of "the event in requested index is outdated and cleared".
const CLEARED: u16 = 401;

/// Wait for a key to change, and print its new value
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl watch [FLAGS] <KEY>",
    after_help = "Sees changes of values; directories made and removed are passed over. \
        Ctrl-C ends it with exit code 0.\n\n\
        Examples:\n  \
        etcdctl watch /message\n  \
        etcdctl watch --forever --recursive /services\n  \
        etcdctl watch --after-index 42 /message"
)]
pub(crate) struct Watch {
    /// The key
    key: Option<OsString>,
    /// Go on after the first change
    #[arg(short, long)]
    forever: bool,
    #[command(flatten)]
    scope: Scope,
    /// The original ignores further arguments
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

/// Which events, and from where on.
#[derive(Args, Debug)]
pub(super) struct Scope {
    /// Begin with the first change after this index, past ones included; 0 is from now on
    #[arg(long, value_name = "INDEX", default_value = "0", value_parser = number::parse)]
    after_index: u64,
    /// All keys below it too
    #[arg(short, long)]
    pub(super) recursive: bool,
}

impl Watch {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let key = required_key(self.key.clone())?;
        until_interrupted(async {
            let mut events = self.scope.follow(&connect(globals).await?, &key);
            loop {
                let event = events.next().await?;
                if event.node.dir {
                    continue;
                }
                if self.scope.recursive {
                    output::line(format_args!("[{}] {}", event.action, event.node.key))?;
                }
                output::response(&event, &globals.output)?;
                if !self.forever {
                    return Ok(());
                }
            }
        })
        .await
    }
}

impl Scope {
    pub(super) fn follow(&self, client: &Client, key: &[u8]) -> Events {
        let how = client::Watch {
            after_index: Some(self.after_index).filter(|index| *index > 0),
            recursive: self.recursive,
            outage_max: OUTAGE_MAX,
        };
        Events { watcher: client.watch(key, how), any: false }
    }
}

/// The events of a watch.
pub(super) struct Events {
    watcher: Watcher,
    any: bool,
}

impl Events {
    /// The next event. What was asked for and is forgotten is an error, as in the original; what
    /// is forgotten later, while the cluster was away, costs a warning.
    pub(super) async fn next(&mut self) -> Result<Response, Failure> {
        loop {
            match self.watcher.next().await {
                Ok(event) => {
                    self.any = true;
                    return Ok(event);
                }
                Err(client::Error::Etcd(refusal)) if self.any && refusal.code == CLEARED => {
                    output::note(format_args!("Warning:  events may be missing: {refusal}"));
                }
                Err(error) => return Err(Failure::server(&error)),
            }
        }
    }
}

/// Carries out `work`, which Ctrl-C ends in good order.
pub(super) async fn until_interrupted(
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
