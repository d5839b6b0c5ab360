//! `elect`

use std::{ffi::OsString, pin::pin};

use clap::Args;
use client::v3::{Client, Session};
use proto::etcdserverpb::RangeRequest;

use super::{
    get::Found,
    lock::{expired, interrupted},
    text,
};
use crate::{
    failure::{Exit, Failure},
    v3::{bad_args, cli::Globals, connect::connect_for_long, failed, output::Printer, refuse},
};

/// How long a leader may be gone before another one leads.
const TTL_SECONDS: i64 = 60;

/// Lead an election, or follow who leads
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl elect <NAME> <PROPOSAL>\n       etcdctl elect --listen <NAME>",
    after_help = "Whoever leads prints its key and proposal, and leads until interrupted.\n\n\
        Examples:\n  \
        etcdctl elect workers host-1\n  \
        etcdctl elect -l workers"
)]
pub(crate) struct Elect {
    /// The election, and what its leader proclaims
    #[arg(value_names = ["NAME", "PROPOSAL"], num_args = 0..)]
    arguments: Vec<OsString>,
    /// Print each leader and each of its proclamations
    #[arg(short, long)]
    listen: bool,
}

impl Elect {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let printer = Printer::new::<Found>(globals);
        match (&self.arguments[..], self.listen) {
            ([name], true) => {
                let (name, printer) = (text(name)?, printer?);
                let client = connect_for_long(globals).await?;
                listen(&client, name, printer).await
            }
            ([name, proposal], false) => {
                let (name, proposal, printer) = (text(name)?, text(proposal)?, printer?);
                let client = connect_for_long(globals).await?;
                lead(&client, name, proposal, printer).await
            }
            ([_], false) => bad_args("no proposal argument but -l not set"),
            ([_, _], true) => bad_args("proposal given but -l is set"),
            _ => {
                bad_args("elect takes one election name argument and an optional proposal argument")
            }
        }
    }
}

async fn listen(client: &Client, name: &str, printer: Printer) -> Result<(), Failure> {
    let mut leaders = client.leaders(name);
    let follow = async {
        loop {
            printer.print(&Found(leaders.next().await.map_err(failed(Exit::Error))?))?;
        }
    };
    tokio::select! {
        outcome = follow => outcome,
        () = interrupted() => Ok(()),
    }
}

async fn lead(
    client: &Client,
    name: &str,
    proposal: &str,
    printer: Printer,
) -> Result<(), Failure> {
    let session = client.session(TTL_SECONDS).await.map_err(failed(Exit::Error))?;
    let outcome = campaign(&session, client, name, proposal, printer).await;
    // Leadership goes with the lease.
    let ended = session.end().await;
    outcome?;
    ended.map_err(failed(Exit::Error))
}

async fn campaign(
    session: &Session,
    client: &Client,
    name: &str,
    proposal: &str,
    printer: Printer,
) -> Result<(), Failure> {
    let mut interrupted = pin!(interrupted());
    let won = tokio::select! {
        won = session.campaign(name, proposal) => won.map_err(expired("elect"))?,
        () = &mut interrupted => return refuse(Exit::Error, "context canceled"),
    };
    let own = RangeRequest { key: won.key.into(), ..RangeRequest::default() };
    printer.print(&Found(client.range(own).await.map_err(failed(Exit::Error))?))?;
    tokio::select! {
        () = session.expired() => refuse(Exit::Error, "elect: session expired"),
        () = interrupted => Ok(()),
    }
}
