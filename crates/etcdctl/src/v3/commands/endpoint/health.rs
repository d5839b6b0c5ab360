//! `endpoint health`

use std::{ffi::OsString, time::Duration};

use base::Refused;
use clap::Args;
use client::v3::{Client, Error};
use proto::etcdserverpb::{AlarmRequest, AlarmType, RangeRequest, alarm_request::AlarmAction};
use tokio::time::Instant;

use super::{Which, ask_all, list};
use crate::{
    failure::{Exit, Failure},
    output::note,
    v3::{
        cli::Globals,
        connect::connect_to,
        go,
        output::{Answer, Format, Printer, Text, json::Json, table::Table},
        refuse,
    },
};

/// Whether each endpoint can read what the cluster has agreed on, and no alarm is raised
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl endpoint health [FLAGS]",
    after_help = "Example:\n  etcdctl endpoint health --cluster"
)]
pub(crate) struct Health {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<OsString>,
    #[command(flatten)]
    which: Which,
}

impl Health {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let printer = Printer::new::<All>(globals)?;
        let endpoints = self.which.endpoints(globals).await?;
        let answers = ask_all(globals, endpoints, |globals, endpoint| async move {
            let client = connect_to(&globals, &endpoint).await?;
            Ok::<_, Failure>(ask(&client, endpoint).await)
        })
        .await;
        let all: Result<Vec<_>, _> = answers.into_iter().map(|(_, health)| health).collect();
        let all = All(all?);
        printer.print(&all)?;
        let sick: Vec<_> = all.0.iter().filter(|one| !one.error.is_empty()).collect();
        for one in &sick {
            if printer.is(Format::Simple) {
                let (endpoint, error) = (&one.endpoint, &one.error);
                note(format_args!("{endpoint} is unhealthy: failed to commit proposal: {error}"));
            }
            one.troubles.iter().for_each(note);
        }
        if sick.is_empty() { Ok(()) } else { refuse(Exit::Error, "unhealthy cluster") }
    }
}

/// How one endpoint is.
struct One {
    endpoint: String,
    took: Duration,
    /// Empty if it is well.
    error: String,
    /// Why it could not be asked.
    troubles: Vec<String>,
}

async fn ask(client: &Client, endpoint: String) -> One {
    let began = Instant::now();
    let read = client.range(RangeRequest { key: "health".into(), ..Default::default() }).await;
    let took = began.elapsed();
    let (error, troubles) = match read {
        // To be refused takes agreement as well.
        Ok(_) => (alarms(client).await, Vec::new()),
        Err(error) if error.is(Refused::PermissionDenied) => (alarms(client).await, Vec::new()),
        Err(error) => {
            let text = error.to_string();
            let troubles =
                if let Error::Deadline { troubles } = error { troubles } else { Vec::new() };
            (text, troubles)
        }
    };
    One { endpoint, took, error, troubles }
}

/// What is wrong although the endpoint answers.
async fn alarms(client: &Client) -> String {
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
    match client.alarm(request).await {
        Ok(answer) if answer.alarms.is_empty() => String::new(),
        Ok(answer) => {
            let names = answer.alarms.iter().map(|alarm| match alarm.alarm() {
                AlarmType::Nospace => "NOSPACE ",
                AlarmType::Corrupt => "CORRUPT ",
                AlarmType::None => "UNKNOWN ",
            });
            format!("Active Alarm(s): {}", names.collect::<String>())
        }
        Err(_) => "Unable to fetch the alarm list".to_owned(),
    }
}

struct All(Vec<One>);

impl Answer for All {
    const FORMATS: &[Format] = &[Format::Simple, Format::Fields, Format::Json, Format::Table];

    /// Several answers are no message.
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("", Vec::new())
    }

    fn simple(&self, to: &mut Text) {
        for One { endpoint, took, .. } in self.0.iter().filter(|one| one.error.is_empty()) {
            let took = go::duration(*took);
            to.line(format_args!(
                "{endpoint} is healthy: successfully committed proposal: took = {took}"
            ));
        }
    }

    fn fields(&self, to: &mut Text) {
        for One { endpoint, took, error, .. } in &self.0 {
            to.quoted("Endpoint", endpoint.as_bytes());
            to.field("Health", error.is_empty());
            to.field("Took", go::duration(*took));
            to.field("Error", error);
            to.line("");
        }
    }

    fn json(&self, _hex: bool) -> Json {
        let one = |One { endpoint, took, error, .. }: &One| {
            let mut fields = Json::object([
                ("endpoint", Json::text(endpoint)),
                ("health", Json::Bool(error.is_empty())),
                ("took", Json::text(go::duration(*took))),
            ])
            .into_fields();
            if !error.is_empty() {
                fields.push(("error".to_owned(), Json::text(error)));
            }
            Json::Object(fields)
        };
        list(self.0.iter().map(one).collect())
    }

    fn table(&self) -> Option<Table> {
        let row = |One { endpoint, took, error, .. }: &One| {
            let health = error.is_empty().to_string();
            vec![endpoint.clone(), health, go::duration(*took), error.clone()]
        };
        let head = ["endpoint", "health", "took", "error"];
        Some(Table::new(&head, self.0.iter().map(row).collect()))
    }
}
