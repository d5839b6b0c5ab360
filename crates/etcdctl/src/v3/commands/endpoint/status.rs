//! `endpoint status`

use std::ffi::OsString;

use clap::Args;
use proto::{
    Message as _,
    etcdserverpb::{StatusRequest, StatusResponse},
};

use super::{Which, ask_all, list};
use crate::{
    failure::{Exit, Failure},
    output::note,
    v3::{
        cli::Globals,
        connect::connect_to,
        go,
        output::{Answer, Format, Printer, Text, json, json::Json, table::Table},
    },
};

const HEAD: [&str; 16] = [
    "endpoint",
    "ID",
    "version",
    "storage version",
    "db size",
    "in use",
    "percentage not in use",
    "quota",
    "is leader",
    "is learner",
    "raft term",
    "raft index",
    "raft applied index",
    "errors",
    "downgrade target version",
    "downgrade enabled",
];

/// Print the state of each endpoint
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl endpoint status [FLAGS]",
    after_help = "A line has what -w table shows, separated by commas.\n\n\
        Example:\n  etcdctl endpoint status --cluster -w table"
)]
pub(crate) struct Status {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<OsString>,
    #[command(flatten)]
    which: Which,
}

impl Status {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let printer = Printer::new::<All>(globals)?;
        let endpoints = self.which.endpoints(globals).await?;
        let answers = ask_all(globals, endpoints, |globals, endpoint| async move {
            let client = connect_to(&globals, &endpoint).await?;
            Ok::<_, Failure>(client.status(StatusRequest {}).await)
        })
        .await;
        let (mut all, mut failed) = (Vec::new(), false);
        for (endpoint, answer) in answers {
            match answer? {
                Ok(status) => all.push((endpoint, status)),
                Err(error) => {
                    note(format_args!("Failed to get the status of endpoint {endpoint} ({error})"));
                    if let client::v3::Error::Deadline { troubles } = &error {
                        for trouble in troubles {
                            note(trouble);
                        }
                    }
                    failed = true;
                }
            }
        }
        printer.print(&All(all))?;
        if failed { Err(Failure::silent(Exit::Error as u8)) } else { Ok(()) }
    }
}

struct All(Vec<(String, StatusResponse)>);

impl All {
    fn rows(&self) -> Table {
        let row = |(endpoint, status): &(String, StatusResponse)| row(endpoint, status);
        Table::new(&HEAD, self.0.iter().map(row).collect())
    }
}

fn row(endpoint: &str, status: &StatusResponse) -> Vec<String> {
    let member = status.header.as_ref().map_or(0, |header| header.member_id);
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    let size = |bytes: i64| go::size(bytes.max(0).unsigned_abs());
    let used = (status.db_size_in_use * 100).checked_div(status.db_size).unwrap_or(100);
    vec![
        endpoint.to_owned(),
        format!("{member:x}"),
        status.version.clone(),
        status.storage_version.clone(),
        size(status.db_size),
        size(status.db_size_in_use),
        format!("{}%", 100 - used),
        size(status.db_size_quota),
        (status.leader == member).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

impl Answer for All {
    const FORMATS: &[Format] = &[Format::Simple, Format::Fields, Format::Json, Format::Table];

    /// Several answers are no message.
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("", Vec::new())
    }

    fn simple(&self, to: &mut Text) {
        to.add(self.rows().lines());
    }

    fn fields(&self, to: &mut Text) {
        for (endpoint, status) in &self.0 {
            let downgrade = status.downgrade_info.clone().unwrap_or_default();
            to.header(status.header.as_ref());
            to.quoted("Version", status.version.as_bytes());
            to.quoted("StorageVersion", status.storage_version.as_bytes());
            to.field("DBSize", status.db_size);
            to.field("DBSizeInUse", status.db_size_in_use);
            to.field("DBSizeQuota", status.db_size_quota);
            to.field("Leader", status.leader);
            to.field("IsLearner", status.is_learner);
            to.field("RaftIndex", status.raft_index);
            to.field("RaftTerm", status.raft_term);
            to.field("RaftAppliedIndex", status.raft_applied_index);
            to.field("Errors", format_args!("[{}]", status.errors.join(" ")));
            to.quoted("Endpoint", endpoint.as_bytes());
            to.quoted("DowngradeTargetVersion", downgrade.target_version.as_bytes());
            to.field("DowngradeEnabled", downgrade.enabled);
            to.line("");
        }
    }

    fn json(&self, _hex: bool) -> Json {
        let one = |(endpoint, status): &(String, StatusResponse)| {
            let status = json::of_message("etcdserverpb.StatusResponse", &status.encode_to_vec());
            Json::object([("Endpoint", Json::text(endpoint)), ("Status", status)])
        };
        list(self.0.iter().map(one).collect())
    }

    fn table(&self) -> Option<Table> {
        Some(self.rows())
    }
}
