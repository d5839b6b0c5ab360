//! `lease grant`, `revoke`, `timetolive`, `list` and `keep-alive`

use std::ffi::OsString;

use clap::{Args, Subcommand};
use proto::{
    Message as _,
    etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesRequest,
        LeaseLeasesResponse, LeaseRevokeRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
        ResponseHeader,
    },
};

use super::only;
use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::{connect, connect_for_long},
        failed, go,
        output::{Answer, Done, Format, Printer, Text, json, json::Json},
    },
};

/// Leases: keys that hang on one go with it, unless somebody keeps it
#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    Grant(Grant),
    Revoke(Revoke),
    Timetolive(TimeToLive),
    List(List),
    KeepAlive(KeepAlive),
}

impl Lease {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Grant(grant) => grant.run(globals).await,
            Self::Revoke(revoke) => revoke.run(globals).await,
            Self::Timetolive(time_to_live) => time_to_live.run(globals).await,
            Self::List(list) => list.run(globals).await,
            Self::KeepAlive(keep_alive) => keep_alive.run(globals).await,
        }
    }
}

/// Make a lease
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl lease grant <SECONDS>",
    after_help = "Example:\n  etcdctl lease grant 60"
)]
pub(crate) struct Grant {
    /// How long it lives unless it is kept
    #[arg(value_name = "SECONDS", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Grant {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let ttl = only(&self.arguments, "lease grant command needs TTL argument")?;
        let ttl = match go::parse_int(ttl, 10) {
            Ok(ttl) => ttl,
            Err(why) => return bad_args(format!("bad TTL ({why})")),
        };
        let printer = Printer::new::<Granted>(globals)?;
        let client = connect(globals).await?;
        let granted = client.lease_grant(LeaseGrantRequest { ttl, id: 0 }).await;
        let granted = granted.map_err(|error| {
            Failure::of_call(Exit::Error, &format!("failed to grant lease ({error})"), &error)
        })?;
        Ok(printer.print(&Granted(granted))?)
    }
}

/// End a lease, and delete the keys that hang on it
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl lease revoke <ID>",
    after_help = "Example:\n  etcdctl lease revoke 694d81f2a1b2c301"
)]
pub(crate) struct Revoke {
    /// The lease, in hexadecimal
    #[arg(value_name = "ID", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Revoke {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let id = id(only(&self.arguments, "lease revoke command needs 1 argument")?)?;
        let printer = Printer::new::<Done<proto::etcdserverpb::LeaseRevokeResponse>>(globals)?;
        let client = connect(globals).await?;
        let revoked = client.lease_revoke(LeaseRevokeRequest { id }).await;
        let revoked = revoked.map_err(|error| {
            Failure::of_call(Exit::Error, &format!("failed to revoke lease ({error})"), &error)
        })?;
        let said = format!("lease {} revoked", go::hex16(id));
        let name = "etcdserverpb.LeaseRevokeResponse";
        Ok(printer.print(&Done::new(name, revoked, |answer| answer.header, said))?)
    }
}

/// How long a lease still lives
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl lease timetolive [FLAGS] <ID>",
    after_help = "Example:\n  etcdctl lease timetolive 694d81f2a1b2c301 --keys"
)]
pub(crate) struct TimeToLive {
    /// The lease, in hexadecimal
    #[arg(value_name = "ID", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Print the keys that hang on it
    #[arg(long)]
    keys: bool,
}

impl TimeToLive {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let needs = "lease timetolive command needs lease ID as argument";
        let id = id(only(&self.arguments, needs)?)?;
        let printer = Printer::new::<Lives>(globals)?;
        let client = connect(globals).await?;
        let request = LeaseTimeToLiveRequest { id, keys: self.keys };
        let lives = client.lease_time_to_live(request).await;
        let lives = lives.map_err(failed(Exit::BadConnection))?;
        Ok(printer.print(&Lives { answer: lives, keys: self.keys })?)
    }
}

/// Print all leases
#[derive(Args, Debug)]
#[command(override_usage = "etcdctl lease list", after_help = "Example:\n  etcdctl lease list")]
pub(crate) struct List {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<OsString>,
}

impl List {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let printer = Printer::new::<Leases>(globals)?;
        let client = connect(globals).await?;
        let leases = client.lease_leases(LeaseLeasesRequest {}).await;
        Ok(printer.print(&Leases(leases.map_err(failed(Exit::BadConnection))?))?)
    }
}

/// Renew a lease, again and again
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl lease keep-alive [FLAGS] <ID>",
    after_help = "Example:\n  etcdctl lease keep-alive 694d81f2a1b2c301"
)]
pub(crate) struct KeepAlive {
    /// The lease, in hexadecimal
    #[arg(value_name = "ID", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Renew it once
    #[arg(long)]
    once: bool,
}

impl KeepAlive {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let needs = "lease keep-alive command needs lease ID as argument";
        let id = id(only(&self.arguments, needs)?)?;
        let printer = Printer::new::<Kept>(globals)?;
        if self.once {
            let client = connect(globals).await?;
            let kept = client.keep_alive_once(id).await.map_err(failed(Exit::BadConnection))?;
            return Ok(printer.print(&Kept(kept))?);
        }
        let client = connect_for_long(globals).await?;
        let mut keeping = client.keep_alive(id);
        while let Some(kept) = keeping.next().await.map_err(failed(Exit::BadConnection))? {
            printer.print(&Kept(kept))?;
        }
        if printer.is(Format::Simple) {
            crate::output::line(format_args!("lease {} expired or revoked.", go::hex16(id)))?;
        }
        Ok(())
    }
}

/// A lease's id.
pub(super) fn id(argument: &str) -> Result<i64, Failure> {
    match go::parse_int(argument, 16) {
        Ok(id) => Ok(id),
        Err(why) => bad_args(format!("bad lease ID arg ({why}), expecting ID in Hex")),
    }
}

/// The original's own structures have the fields of the header among their own.
fn flat<const N: usize>(header: Option<&ResponseHeader>, fields: [(&str, Json); N]) -> Json {
    let bytes = header.copied().unwrap_or_default().encode_to_vec();
    let mut all = json::of_message("etcdserverpb.ResponseHeader", &bytes).into_fields();
    all.extend(Json::object(fields).into_fields());
    Json::Object(all)
}

struct Granted(LeaseGrantResponse);

impl Answer for Granted {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.LeaseGrantResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        let (id, ttl) = (go::hex16(self.0.id), self.0.ttl);
        to.line(format_args!("lease {id} granted with TTL({ttl}s)"));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        to.lease("ID", self.0.id);
        to.field("TTL", self.0.ttl);
    }

    fn json(&self, _hex: bool) -> Json {
        flat(
            self.0.header.as_ref(),
            [
                ("ID", Json::number(self.0.id)),
                ("TTL", Json::number(self.0.ttl)),
                ("Error", Json::text(&self.0.error)),
            ],
        )
    }
}

struct Kept(LeaseKeepAliveResponse);

impl Answer for Kept {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.LeaseKeepAliveResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        let (id, ttl) = (go::hex16(self.0.id), self.0.ttl);
        to.line(format_args!("lease {id} keepalived with TTL({ttl})"));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        to.lease("ID", self.0.id);
        to.field("TTL", self.0.ttl);
    }

    fn json(&self, _hex: bool) -> Json {
        let fields = [("ID", Json::number(self.0.id)), ("TTL", Json::number(self.0.ttl))];
        flat(self.0.header.as_ref(), fields)
    }
}

struct Lives {
    answer: LeaseTimeToLiveResponse,
    keys: bool,
}

impl Answer for Lives {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.LeaseTimeToLiveResponse", self.answer.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        let LeaseTimeToLiveResponse { id, ttl, granted_ttl, keys, .. } = &self.answer;
        let id = go::hex16(*id);
        if *granted_ttl == 0 && *ttl == -1 {
            return to.line(format_args!("lease {id} already expired"));
        }
        to.add(format_args!("lease {id} granted with TTL({granted_ttl}s), remaining({ttl}s)"));
        if self.keys {
            to.bytes(b", attached keys([");
            to.bytes(&keys.join(&b' '));
            to.bytes(b"])");
        }
        to.line("");
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.answer.header.as_ref());
        to.lease("ID", self.answer.id);
        to.field("TTL", self.answer.ttl);
        to.field("GrantedTTL", self.answer.granted_ttl);
        self.answer.keys.iter().for_each(|key| to.quoted("Key", key));
    }

    fn json(&self, _hex: bool) -> Json {
        let LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys } = &self.answer;
        let list = Json::List(keys.iter().map(|key| Json::bytes(key)).collect());
        flat(
            header.as_ref(),
            [
                ("id", Json::number(id)),
                ("ttl", Json::number(ttl)),
                ("granted-ttl", Json::number(granted_ttl)),
                ("keys", if keys.is_empty() { Json::Null } else { list }),
            ],
        )
    }
}

struct Leases(LeaseLeasesResponse);

impl Answer for Leases {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.LeaseLeasesResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.line(format_args!("found {} leases", self.0.leases.len()));
        self.0.leases.iter().for_each(|lease| to.line(go::hex16(lease.id)));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        self.0.leases.iter().for_each(|lease| to.lease("ID", lease.id));
    }

    fn json(&self, _hex: bool) -> Json {
        let leases =
            self.0.leases.iter().map(|lease| Json::object([("id", Json::number(lease.id))]));
        flat(self.0.header.as_ref(), [("leases", Json::List(leases.collect()))])
    }
}
