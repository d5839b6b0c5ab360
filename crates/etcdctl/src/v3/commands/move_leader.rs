//! `move-leader`

use std::ffi::OsString;

use clap::Args;
use proto::etcdserverpb::{MoveLeaderRequest, MoveLeaderResponse, StatusRequest};

use super::only;
use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::{connect_to, endpoints},
        failed, go,
        output::{Done, Printer},
    },
};

/// Hand leadership over to another member
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl move-leader <ID>",
    after_help = "The leader must be among the endpoints.\n\n\
        Example:\n  etcdctl --endpoints a:2379,b:2379,c:2379 move-leader 8e9e05c52164694d"
)]
pub(crate) struct MoveLeader {
    /// The member that is to lead, in hexadecimal
    #[arg(value_name = "ID", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl MoveLeader {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let target = only(&self.arguments, "move-leader command needs 1 argument")?;
        let target_id = match go::parse_uint(target, 16) {
            Ok(id) => id,
            Err(why) => return bad_args(why),
        };
        let printer = Printer::new::<Done<MoveLeaderResponse>>(globals)?;
        let endpoints = endpoints(globals).await?;
        for endpoint in &endpoints {
            let client = connect_to(globals, endpoint).await?;
            let status = client.status(StatusRequest {}).await.map_err(failed(Exit::Error))?;
            let leader = status.leader;
            if status.header.is_none_or(|header| header.member_id != leader) {
                continue;
            }
            let moved = client.move_leader(MoveLeaderRequest { target_id }).await;
            let moved = moved.map_err(failed(Exit::Error))?;
            let said = format!("Leadership transferred from {leader:x} to {target_id:x}");
            let name = "etcdserverpb.MoveLeaderResponse";
            return Ok(printer.print(&Done::new(name, moved, |answer| answer.header, said))?);
        }
        bad_args(format!("no leader endpoint given at [{}]", endpoints.join(" ")))
    }
}
