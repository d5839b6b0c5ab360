//! `cluster-health`

use std::{ffi::OsString, time::Duration};

use clap::Args;
use client::{Client, Endpoint, Member};

use super::watch::until_interrupted;
use crate::{cli::Globals, connect::connect_without_sync, failure::Failure, output};

const PAUSE: Duration = Duration::from_secs(10);

/// Ask each member for its health
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl cluster-health [--forever]",
    after_help = "The cluster is healthy if one of its members says so: it has a leader then. \
        Exit code 5 if it is not.\n\n\
        Example:\n  etcdctl cluster-health"
)]
pub(crate) struct ClusterHealth {
    /// Ask again every 10 seconds, until Ctrl-C
    #[arg(long)]
    forever: bool,
    /// The original ignores arguments
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

impl ClusterHealth {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let check = async {
            let client = connect_without_sync(globals).await?;
            let members = list(&client).await?;
            loop {
                let healthy = report(&client, &members).await?;
                if !self.forever {
                    return if healthy { Ok(()) } else { Err(Failure::unhealthy()) };
                }
                output::line("\nnext check after 10 second...\n")?;
                tokio::time::sleep(PAUSE).await;
            }
        };
        if self.forever { until_interrupted(check).await } else { check.await }
    }
}

async fn list(client: &Client) -> Result<Vec<Member>, Failure> {
    match client.members().await {
        Ok(members) => Ok(members),
        Err(error) => {
            output::line("cluster may be unhealthy: failed to list members")?;
            Err(Failure::server(&error))
        }
    }
}

/// Prints a line for each member and one for all; whether the cluster is healthy.
async fn report(client: &Client, members: &[Member]) -> Result<bool, Failure> {
    let mut healthy = false;
    for member in members {
        healthy |= report_member(client, member).await?;
    }
    output::line(if healthy { "cluster is healthy" } else { "cluster is unhealthy" })?;
    Ok(healthy)
}

/// Takes the first of the member's URLs that answers.
async fn report_member(client: &Client, member: &Member) -> Result<bool, Failure> {
    let Member { id, client_urls, .. } = member;
    if client_urls.is_empty() {
        output::line(format_args!(
            "member {id} is unreachable: no available published client urls"
        ))?;
        return Ok(false);
    }
    for url in client_urls {
        match ask(client, url).await {
            Ok(true) => {
                output::line(format_args!(
                    "member {id} is healthy: got healthy result from {url}"
                ))?;
                return Ok(true);
            }
            Ok(false) => {
                output::line(format_args!(
                    "member {id} is unhealthy: got unhealthy result from {url}"
                ))?;
                return Ok(false);
            }
            Err(reason) => output::line(format_args!(
                "failed to check the health of member {id} on {url}: {reason}"
            ))?,
        }
    }
    output::line(format_args!(
        "member {id} is unreachable: [{}] are all unreachable",
        client_urls.join(" ")
    ))?;
    Ok(false)
}

async fn ask(client: &Client, url: &str) -> Result<bool, String> {
    let endpoint: Endpoint =
        url.parse().map_err(|problem: client::BadEndpoint| problem.to_string())?;
    let outcome = client.health(&endpoint).await;
    outcome.map_err(|error| {
        let client::Error::Unavailable(client::Unavailable { attempts }) = &error else {
            return error.to_string();
        };
        let reasons: Vec<String> = attempts.iter().map(ToString::to_string).collect();
        format!("Get \"{endpoint}/health\": {}", reasons.join("; "))
    })
}
