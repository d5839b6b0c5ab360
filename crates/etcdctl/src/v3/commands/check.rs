//! `check perf` and `check datascale`

mod datascale;
mod load;
mod perf;

use std::time::Duration;

use clap::Subcommand;
use client::v3::{Client, prefix_end};
use proto::etcdserverpb::{CompactionRequest, DefragmentRequest, DeleteRangeRequest, RangeRequest};

use crate::{
    failure::{Exit, Failure},
    output::line,
    v3::{
        cli::Globals,
        connect::{connect, connect_to, endpoints},
        failed, refuse,
    },
};

/// How long cleaning up may take, step by step.
const CLEANUP: Duration = Duration::from_secs(30);

/// What a cluster can do
#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    Perf(perf::Perf),
    Datascale(datascale::Datascale),
}

impl Check {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Perf(perf) => perf.run(globals).await,
            Self::Datascale(datascale) => datascale.run(globals).await,
        }
    }
}

/// How much is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Medium,
    Large,
    XLarge,
}

impl Size {
    fn named(name: &str) -> Result<Self, Failure> {
        Ok(match name {
            "s" | "small" => Self::Small,
            "m" | "medium" => Self::Medium,
            "l" | "large" => Self::Large,
            "xl" | "xLarge" => Self::XLarge,
            _ => return refuse(Exit::BadFeature, format!("unknown load option {name}")),
        })
    }
}

/// The keys of a check, and what becomes of them.
struct Keys {
    prefix: String,
    compacts: bool,
    defragments: bool,
}

impl Keys {
    /// Refuses to mix with keys that somebody else has made.
    async fn check_empty(&self, client: &Client) -> Result<(), Failure> {
        let prefix = &self.prefix;
        let request = RangeRequest {
            key: prefix.clone().into(),
            range_end: prefix_end(prefix.as_bytes()),
            limit: 1,
            ..RangeRequest::default()
        };
        let found = client.range(request).await.map_err(failed(Exit::Error))?;
        if found.kvs.is_empty() {
            return Ok(());
        }
        refuse(
            Exit::InvalidInput,
            format!(
                "prefix {prefix:?} has keys. Delete with 'etcdctl del --prefix {prefix}' first"
            ),
        )
    }

    /// Deletes the keys, and what the flags want besides.
    async fn clean_up(&self, client: &Client, globals: &Globals) -> Result<(), Failure> {
        let request = DeleteRangeRequest {
            key: self.prefix.clone().into(),
            range_end: prefix_end(self.prefix.as_bytes()),
            prev_kv: false,
        };
        let deleted = match client.within(CLEANUP).delete_range(request).await {
            Ok(deleted) => deleted,
            Err(error) => {
                line(format_args!("FAIL: Cleanup failed during key deletion: ERROR({error})"))?;
                return Ok(());
            }
        };
        if self.compacts {
            let revision = deleted.header.map_or(0, |header| header.revision);
            line(format_args!("Compacting with revision {revision}"))?;
            let request = CompactionRequest { revision, physical: true };
            client.within(CLEANUP).compact(request).await.map_err(failed(Exit::Error))?;
            line(format_args!("Compacted with revision {revision}"))?;
        }
        if self.defragments {
            for endpoint in endpoints(globals).await? {
                line(format_args!("Defragmenting {endpoint:?}"))?;
                let client = connect_to(globals, &endpoint).await?.within(CLEANUP);
                client.defragment(DefragmentRequest {}).await.map_err(failed(Exit::Error))?;
                line(format_args!("Defragmented {endpoint:?}"))?;
            }
        }
        Ok(())
    }
}

/// So many clients, each with a connection of its own, as the workloads want them.
async fn clients(globals: &Globals, count: usize) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(connect(globals).await?);
    }
    Ok(clients)
}
