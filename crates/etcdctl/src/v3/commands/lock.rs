//! `lock`

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    pin::pin,
    process::{ExitStatus, Stdio},
};

use clap::Args;
use client::v3::{Error, Lock as Held, Session};
use proto::etcdserverpb::RangeRequest;
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

use super::{get::Found, text};
use crate::{
    failure::{Exit, Failure},
    v3::{bad_args, cli::Globals, connect::connect_for_long, failed, go, output::Printer, refuse},
};

/// Hold a lock until interrupted, or while a program runs
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl lock [FLAGS] <NAME> [-- PROGRAM [ARGUMENTS]]",
    after_help = "Prints the key that stands for the lock once it is held. A program finds it in \
        its environment, with a number that grows from owner to owner: ETCD_LOCK_KEY, ETCD_LOCK_REV. \
        The exit code is the program's.\n\n\
        Examples:\n  \
        etcdctl lock deployment\n  \
        etcdctl lock deployment -- ./deploy.sh --all"
)]
pub(crate) struct Lock {
    /// The lock, and a program
    #[arg(value_names = ["NAME", "PROGRAM"], num_args = 0..)]
    arguments: Vec<OsString>,
    /// Seconds after which the lock is lost when its owner is gone
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = go::flag_int)]
    ttl: i64,
}

impl Lock {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let Some((name, program)) = self.arguments.split_first() else {
            return bad_args("lock takes a lock name argument and an optional command to execute");
        };
        let name = text(name)?;
        let printer = Printer::new::<Found>(globals)?;
        let client = connect_for_long(globals).await?;
        let session = client.session(self.ttl).await.map_err(failed(Exit::Error))?;
        let outcome = hold(&session, &client, name, program, printer).await;
        // The lock goes with its lease, whatever state it is in.
        let ended = session.end().await;
        outcome?;
        ended.map_err(failed(Exit::Error))
    }
}

/// Until the program has ended, or a signal comes. Whoever interrupts a program that has the lock
/// waits until it has ended: it may go on for a while, and nobody else may hold the lock meanwhile.
async fn hold(
    session: &Session,
    client: &client::v3::Client,
    name: &str,
    program: &[OsString],
    printer: Printer,
) -> Result<(), Failure> {
    let mut interrupted = pin!(interrupted());
    let held = tokio::select! {
        held = session.lock(name) => held.map_err(failed(Exit::Error))?,
        () = &mut interrupted => return refuse(Exit::Error, "context canceled"),
    };
    if !program.is_empty() {
        let status = run(program, &held).await?;
        session.unlock(&held).await.map_err(failed(Exit::Error))?;
        return told(status);
    }
    let own = RangeRequest { key: held.key.clone().into(), ..RangeRequest::default() };
    let own = client.range(own).await.map_err(failed(Exit::Error))?;
    if own.kvs.is_empty() {
        return refuse(Exit::Error, "lock lost on init");
    }
    printer.print(&Found(own))?;
    tokio::select! {
        () = session.expired() => refuse(Exit::Error, "session expired"),
        () = interrupted => Ok(()),
    }
}

async fn run(program: &[OsString], held: &Held) -> Result<ExitStatus, Failure> {
    let Some((name, arguments)) = program.split_first() else { return Ok(ExitStatus::default()) };
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null());
    command.env("ETCD_LOCK_KEY", &held.key).env("ETCD_LOCK_REV", held.revision.to_string());
    match command.status().await {
        Ok(status) => Ok(status),
        Err(problem) => refuse(Exit::Error, format!("run {}: {problem}", name.display())),
    }
}

/// A program's end is ours.
fn told(status: ExitStatus) -> Result<(), Failure> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => {
            Err(Failure::coded(u8::try_from(code).unwrap_or(1), format!("exit status {code}")))
        }
        // The original's -1.
        (None, signal) => {
            Err(Failure::coded(255, format!("signal: {}", signal.unwrap_or_default())))
        }
    }
}

/// Until Ctrl-C, or a kind kill, comes after this call: neither ends the process by itself any more.
pub(super) fn interrupted() -> impl Future<Output = ()> {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok());
    async move {
        let [terminate, interrupt] = signals.map(|signal| async {
            match signal {
                Some(mut signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        });
        tokio::select! {
            () = terminate => {}
            () = interrupt => {}
        }
    }
}

/// What an error of a session means to its user.
pub(super) fn expired(what: &str) -> impl Fn(Error) -> Failure {
    move |error| {
        if matches!(error, Error::SessionExpired { .. }) {
            return Failure::v3(Exit::Error, format!("{what}: session expired"));
        }
        failed(Exit::Error)(error)
    }
}
