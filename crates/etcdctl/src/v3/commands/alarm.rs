//! `alarm list` and `disarm`

use std::ffi::OsString;

use clap::{Args, Subcommand};
use proto::{
    Message as _,
    etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmResponse, AlarmType, alarm_request::AlarmAction,
    },
};

use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed,
        output::{Answer, Printer, Text},
    },
};

/// Alarms: no space is left, or members differ
#[derive(Debug, Subcommand)]
pub(crate) enum Alarm {
    /// Print all alarms
    #[command(override_usage = "etcdctl alarm list", after_help = "Example:\n  etcdctl alarm list")]
    List(Nothing),
    /// Take all alarms back, once their reason is gone
    #[command(
        override_usage = "etcdctl alarm disarm",
        after_help = "Example:\n  etcdctl alarm disarm"
    )]
    Disarm(Nothing),
}

#[derive(Args, Debug)]
pub(crate) struct Nothing {
    #[arg(hide = true, num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Alarm {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (nothing, name, action) = match &self {
            Self::List(nothing) => (nothing, "list", AlarmAction::Get),
            Self::Disarm(nothing) => (nothing, "disarm", AlarmAction::Deactivate),
        };
        if !nothing.arguments.is_empty() {
            return bad_args(format!("alarm {name} command accepts no arguments"));
        }
        let printer = Printer::new::<Alarms>(globals)?;
        let client = connect(globals).await?;
        let ask = |action: AlarmAction, one: AlarmMember| {
            let request =
                AlarmRequest { action: action.into(), member_id: one.member_id, alarm: one.alarm };
            let client = client.clone();
            async move { client.alarm(request).await.map_err(failed(Exit::Error)) }
        };
        let mut alarms = ask(AlarmAction::Get, AlarmMember::default()).await?;
        if action == AlarmAction::Deactivate {
            // One by one, as the protocol wants it.
            let mut disarmed = Vec::new();
            for one in std::mem::take(&mut alarms.alarms) {
                let answer = ask(action, one).await?;
                alarms.header = answer.header;
                disarmed.extend(answer.alarms);
            }
            alarms.alarms = disarmed;
        }
        Ok(printer.print(&Alarms(alarms))?)
    }
}

struct Alarms(AlarmResponse);

impl Answer for Alarms {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.AlarmResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        for alarm in &self.0.alarms {
            // As Go shows a message: what is zero is left out, and a space follows each.
            if alarm.member_id != 0 {
                to.add(format_args!("memberID:{} ", alarm.member_id));
            }
            if alarm.alarm() != AlarmType::None {
                to.add(format_args!("alarm:{} ", alarm.alarm().as_str_name()));
            }
            to.line("");
        }
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        for alarm in &self.0.alarms {
            to.id("MemberID", alarm.member_id);
            to.field("AlarmType", alarm.alarm().as_str_name());
            to.line("");
        }
    }
}
