//! `endpoint health`, `status` and `hashkv`

mod health;
mod status;

use std::ffi::OsString;

use clap::{Args, Subcommand};
use proto::{
    Message as _,
    etcdserverpb::{HashKvRequest, HashKvResponse, MemberListRequest},
};
use tokio::task::JoinSet;

use crate::{
    failure::{Exit, Failure},
    output::note,
    v3::{
        cli::Globals,
        connect::{connect, connect_to, endpoints},
        failed, go,
        output::{Answer, Format, Printer, Text, json, json::Json, table::Table},
    },
};

/// What each endpoint says of itself
#[derive(Debug, Subcommand)]
pub(crate) enum Endpoint {
    Health(health::Health),
    Status(status::Status),
    Hashkv(HashKv),
}

impl Endpoint {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Health(health) => health.run(globals).await,
            Self::Status(status) => status.run(globals).await,
            Self::Hashkv(hash) => hash.run(globals).await,
        }
    }
}

/// Which endpoints are asked.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Which {
    /// All client URLs that the cluster's members publish, instead of --endpoints
    #[arg(long, env = "ETCDCTL_CLUSTER", hide_env = true)]
    cluster: bool,
}

impl Which {
    pub(super) async fn endpoints(self, globals: &Globals) -> Result<Vec<String>, Failure> {
        if !self.cluster {
            return endpoints(globals).await;
        }
        let client = connect(globals).await?;
        let listed = client.member_list(MemberListRequest { linearizable: true }).await;
        let listed = listed.map_err(|error| {
            let why = format!("failed to fetch endpoints from etcd cluster member list: {error}");
            Failure::of_call(Exit::Error, &why, &error)
        })?;
        Ok(listed.members.into_iter().flat_map(|member| member.client_ur_ls).collect())
    }
}

/// Asks all endpoints at once; the answers come in the order of the endpoints.
async fn ask_all<A, F>(
    globals: &Globals,
    endpoints: Vec<String>,
    ask: impl Fn(Globals, String) -> F,
) -> Vec<(String, A)>
where
    A: Send + 'static,
    F: Future<Output = A> + Send + 'static,
{
    let mut asked = JoinSet::new();
    for (at, endpoint) in endpoints.into_iter().enumerate() {
        let answer = ask(globals.clone(), endpoint.clone());
        asked.spawn(async move { (at, endpoint, answer.await) });
    }
    let mut answers: Vec<_> = asked.join_all().await;
    answers.sort_by_key(|(at, ..)| *at);
    answers.into_iter().map(|(_, endpoint, answer)| (endpoint, answer)).collect()
}

/// Print a hash of the history of each endpoint
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl endpoint hashkv [FLAGS]",
    after_help = "Members that hold the same have the same hash at the same revision.\n\n\
        Example:\n  etcdctl endpoint hashkv --cluster --rev 42"
)]
pub(crate) struct HashKv {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<OsString>,
    #[command(flatten)]
    which: Which,
    /// Up to this revision; 0 is all
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int)]
    rev: i64,
}

impl HashKv {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let printer = Printer::new::<Hashes>(globals)?;
        let endpoints = self.which.endpoints(globals).await?;
        let revision = self.rev;
        let answers = ask_all(globals, endpoints, move |globals, endpoint| async move {
            let client = connect_to(&globals, &endpoint).await?;
            Ok::<_, Failure>(client.hash_kv(HashKvRequest { revision }).await)
        })
        .await;
        let mut failure = None;
        let mut hashes = Vec::new();
        for (endpoint, answer) in answers {
            match answer? {
                Ok(hash) => hashes.push((endpoint, hash)),
                Err(error) => {
                    note(format_args!("Failed to get the hash of endpoint {endpoint} ({error})"));
                    failure = Some(error);
                }
            }
        }
        printer.print(&Hashes(hashes))?;
        failure.map_or(Ok(()), |error| Err(failed(Exit::Error)(error)))
    }
}

struct Hashes(Vec<(String, HashKvResponse)>);

impl Hashes {
    fn rows(&self) -> Table {
        let row = |(endpoint, hash): &(String, HashKvResponse)| {
            vec![endpoint.clone(), hash.hash.to_string(), hash.hash_revision.to_string()]
        };
        Table::new(&["endpoint", "hash", "hash_revision"], self.0.iter().map(row).collect())
    }
}

impl Answer for Hashes {
    const FORMATS: &[Format] = &[Format::Simple, Format::Fields, Format::Json, Format::Table];

    /// Several answers are no message.
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("", Vec::new())
    }

    fn simple(&self, to: &mut Text) {
        to.add(self.rows().lines());
    }

    fn fields(&self, to: &mut Text) {
        for (endpoint, hash) in &self.0 {
            to.header(hash.header.as_ref());
            to.quoted("Endpoint", endpoint.as_bytes());
            to.field("Hash", hash.hash);
            to.field("HashRevision", hash.hash_revision);
            to.line("");
        }
    }

    fn json(&self, _hex: bool) -> Json {
        let one = |(endpoint, hash): &(String, HashKvResponse)| {
            let hash = json::of_message("etcdserverpb.HashKVResponse", &hash.encode_to_vec());
            Json::object([("Endpoint", Json::text(endpoint)), ("HashKV", hash)])
        };
        list(self.0.iter().map(one).collect())
    }

    fn table(&self) -> Option<Table> {
        Some(self.rows())
    }
}

/// Go writes a list without elements as null.
fn list(all: Vec<Json>) -> Json {
    if all.is_empty() { Json::Null } else { Json::List(all) }
}
