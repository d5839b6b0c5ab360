//! `member add`, `remove`, `update`, `list` and `promote`

use std::ffi::OsString;

use base::url::shown;
use clap::{Args, Subcommand};
use proto::{
    Message,
    etcdserverpb::{
        Member as One, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest, ResponseHeader,
    },
};

use super::{cluster_id, is_serializable, only, text};
use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed, go,
        output::{Answer, Format, Printer, Text, json, json::Json, table::Table},
        refuse,
    },
};

/// The members of the cluster
#[derive(Debug, Subcommand)]
pub(crate) enum Member {
    Add(Add),
    Remove(Remove),
    Update(Update),
    List(List),
    Promote(Promote),
}

impl Member {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(globals).await,
            Self::Remove(remove) => remove.run(globals).await,
            Self::Update(update) => update.run(globals).await,
            Self::List(list) => list.run(globals).await,
            Self::Promote(promote) => promote.run(globals).await,
        }
    }
}

/// Add a member, which is then to be started
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member add <NAME> --peer-urls <URLS> [--learner]",
    after_help = "Prints what the new member is to be started with.\n\n\
        Example:\n  etcdctl member add infra3 --peer-urls=http://10.0.0.3:2380"
)]
pub(crate) struct Add {
    /// The new member's name
    #[arg(value_name = "NAME", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Where the others reach it, separated by commas
    #[arg(long, value_name = "URLS", default_value = "", hide_default_value = true)]
    peer_urls: String,
    /// As one that does not vote, until it is promoted
    #[arg(long)]
    learner: bool,
}

impl Add {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = self.name()?;
        let peer_urls = peer_urls(&self.peer_urls)?;
        let printer = Printer::new::<Changed<MemberAddResponse>>(globals)?;
        let client = connect(globals).await?;
        let request = MemberAddRequest { peer_ur_ls: peer_urls, is_learner: self.learner };
        let answer = client.member_add(request).await.map_err(failed(Exit::Error))?;
        let added = answer.member.clone().unwrap_or_default();
        let how = if added.is_learner { " as learner " } else { " " };
        let cluster = cluster_id(answer.header.as_ref());
        let said = format!("Member {:16x} added{how}to cluster {cluster:16x}", added.id);
        printer.print(&Changed {
            name: "etcdserverpb.MemberAddResponse",
            header: answer.header,
            members: answer.members.clone(),
            said,
            answer: answer.clone(),
        })?;
        if printer.is(Format::Simple) {
            crate::output::line(self.environment(name, &added, &answer.members))?;
        }
        Ok(())
    }

    fn name(&self) -> Result<&str, Failure> {
        match &self.arguments[..] {
            [] => bad_args("member name not provided"),
            [name] => text(name),
            many => {
                let urls = many.iter().filter_map(|word| word.to_str());
                let urls = urls.filter(|word| word.to_lowercase().starts_with("http"));
                let meant = urls.map(|url| format!(", did you mean --peer-urls={url}"));
                bad_args(format!("too many arguments{}", meant.collect::<String>()))
            }
        }
    }

    /// What the new member is started with.
    fn environment(&self, name: &str, added: &One, members: &[One]) -> String {
        let entries = members.iter().flat_map(|member| {
            let name = if member.id == added.id { name } else { &member.name };
            member.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
        });
        let cluster = entries.collect::<Vec<_>>().join(",");
        format!(
            "\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_ADVERTISE_PEER_URLS={}\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"",
            go::quote(name.as_bytes()),
            go::quote(cluster.as_bytes()),
            go::quote(self.peer_urls.as_bytes()),
        )
    }
}

/// Remove a member for good
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member remove <ID>",
    after_help = "Example:\n  etcdctl member remove 8e9e05c52164694d"
)]
pub(crate) struct Remove {
    /// The member, in hexadecimal
    #[arg(value_name = "ID", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Remove {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let id = id(&self.arguments)?;
        let printer = Printer::new::<Changed<proto::etcdserverpb::MemberRemoveResponse>>(globals)?;
        let client = connect(globals).await?;
        let answer = client.member_remove(MemberRemoveRequest { id }).await;
        let answer = answer.map_err(failed(Exit::Error))?;
        let cluster = cluster_id(answer.header.as_ref());
        Ok(printer.print(&Changed {
            name: "etcdserverpb.MemberRemoveResponse",
            header: answer.header,
            members: answer.members.clone(),
            said: format!("Member {id:16x} removed from cluster {cluster:16x}"),
            answer,
        })?)
    }
}

/// Give a member other peer URLs
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member update <ID> --peer-urls <URLS>",
    after_help = "Example:\n  \
        etcdctl member update 8e9e05c52164694d --peer-urls=http://10.0.0.9:2380"
)]
pub(crate) struct Update {
    /// The member, in hexadecimal
    #[arg(value_name = "ID", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Where the others reach it, separated by commas
    #[arg(long, value_name = "URLS", default_value = "", hide_default_value = true)]
    peer_urls: String,
}

impl Update {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let id = id(&self.arguments)?;
        let peer_ur_ls = peer_urls(&self.peer_urls)?;
        let printer = Printer::new::<Changed<proto::etcdserverpb::MemberUpdateResponse>>(globals)?;
        let client = connect(globals).await?;
        let answer = client.member_update(MemberUpdateRequest { id, peer_ur_ls }).await;
        let answer = answer.map_err(failed(Exit::Error))?;
        let cluster = cluster_id(answer.header.as_ref());
        Ok(printer.print(&Changed {
            name: "etcdserverpb.MemberUpdateResponse",
            header: answer.header,
            members: answer.members.clone(),
            said: format!("Member {id:16x} updated in cluster {cluster:16x}"),
            answer,
        })?)
    }
}

/// Print all members
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member list [FLAGS]",
    after_help = "A line has id, status, name, peer URLs, client URLs, and whether the member is a \
        learner.\n\n\
        Example:\n  etcdctl member list -w table"
)]
pub(crate) struct List {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<OsString>,
    /// l (linearizable): what the cluster has agreed on; s (serializable): what the member that is
    /// asked knows
    #[arg(long, value_name = "l|s", default_value = "l")]
    consistency: String,
}

impl List {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let linearizable = !is_serializable(&self.consistency)?;
        let printer = Printer::new::<Listed>(globals)?;
        let client = connect(globals).await?;
        let listed = client.member_list(MemberListRequest { linearizable }).await;
        Ok(printer.print(&Listed(listed.map_err(failed(Exit::Error))?))?)
    }
}

/// Let a learner vote
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member promote <ID>",
    after_help = "Example:\n  etcdctl member promote 8e9e05c52164694d"
)]
pub(crate) struct Promote {
    /// The member, in hexadecimal
    #[arg(value_name = "ID", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Promote {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let id = id(&self.arguments)?;
        let printer = Printer::new::<Changed<proto::etcdserverpb::MemberPromoteResponse>>(globals)?;
        let client = connect(globals).await?;
        let answer = client.member_promote(MemberPromoteRequest { id }).await;
        let answer = answer.map_err(failed(Exit::Error))?;
        let cluster = cluster_id(answer.header.as_ref());
        Ok(printer.print(&Changed {
            name: "etcdserverpb.MemberPromoteResponse",
            header: answer.header,
            members: answer.members.clone(),
            said: format!("Member {id:16x} promoted in cluster {cluster:16x}"),
            answer,
        })?)
    }
}

fn id(arguments: &[OsString]) -> Result<u64, Failure> {
    match go::parse_uint(only(arguments, "member ID is not provided")?, 16) {
        Ok(id) => Ok(id),
        Err(why) => bad_args(format!("bad member ID arg ({why}), expecting ID in Hex")),
    }
}

/// Checks what the server would refuse less clearly.
fn peer_urls(list: &str) -> Result<Vec<String>, Failure> {
    if list.is_empty() {
        return bad_args("member peer urls not provided");
    }
    let mut urls = Vec::new();
    for url in list.split(',').map(str::trim) {
        // The part that is wrong may be one of a password.
        let told = if shown(list) == list { url.to_owned() } else { shown(list) };
        let wrong = |what: &str| refuse(Exit::Error, format!("{what}: {told}"));
        let Some((scheme, address)) = url.split_once("://") else {
            return wrong("URL scheme must be http, https, unix, or unixs");
        };
        match scheme {
            "unix" | "unixs" => {}
            "http" | "https" => {
                let (authority, path) = address.split_once('/').unwrap_or((address, ""));
                let port =
                    authority.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                if port.is_none() {
                    return wrong("URL address does not have the form \"host:port\"");
                }
                if !path.is_empty() {
                    return wrong("URL must not contain a path");
                }
            }
            _ => return wrong("URL scheme must be http, https, unix, or unixs"),
        }
        urls.push(url.to_owned());
    }
    Ok(urls)
}

/// A change of the members, as an answer.
struct Changed<M> {
    name: &'static str,
    header: Option<ResponseHeader>,
    members: Vec<One>,
    said: String,
    answer: M,
}

impl<M: Message> Answer for Changed<M> {
    fn message(&self) -> (&'static str, Vec<u8>) {
        (self.name, self.answer.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.line(&self.said);
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.header.as_ref());
        member_fields(&self.members, to);
    }

    fn json(&self, hex: bool) -> Json {
        let (name, bytes) = self.message();
        in_hex(json::of_message(name, &bytes), hex)
    }
}

/// All members, as an answer.
struct Listed(MemberListResponse);

impl Answer for Listed {
    const FORMATS: &[Format] =
        &[Format::Simple, Format::Fields, Format::Json, Format::Protobuf, Format::Table];

    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.MemberListResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.add(rows(&self.0.members).lines());
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        member_fields(&self.0.members, to);
    }

    fn json(&self, hex: bool) -> Json {
        let (name, bytes) = self.message();
        in_hex(json::of_message(name, &bytes), hex)
    }

    fn table(&self) -> Option<Table> {
        Some(rows(&self.0.members))
    }
}

fn rows(members: &[One]) -> Table {
    let row = |member: &One| {
        let status = if member.name.is_empty() { "unstarted" } else { "started" };
        vec![
            format!("{:x}", member.id),
            status.to_owned(),
            member.name.clone(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
            member.is_learner.to_string(),
        ]
    };
    let head = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];
    Table::new(&head, members.iter().map(row).collect())
}

fn member_fields(members: &[One], to: &mut Text) {
    for member in members {
        to.id("ID", member.id);
        to.quoted("Name", member.name.as_bytes());
        member.peer_ur_ls.iter().for_each(|url| to.quoted("PeerURL", url.as_bytes()));
        member.client_ur_ls.iter().for_each(|url| to.quoted("ClientURL", url.as_bytes()));
        to.field("IsLearner", member.is_learner);
        to.line("");
    }
}

/// With `--hex` the ids of members and of the cluster are texts.
fn in_hex(json: Json, hex: bool) -> Json {
    const IDS: [&str; 3] = ["ID", "cluster_id", "member_id"];
    let id = |number: &str| number.parse().map(|id: u64| Json::text(format_args!("{id:x}")));
    if !hex {
        return json;
    }
    let field = |(name, value): (String, Json)| {
        if let Json::Number(number) = &value
            && IDS.contains(&name.as_str())
        {
            let text = id(number).unwrap_or(Json::Null);
            return (name, text);
        }
        (name, in_hex(value, hex))
    };
    match json {
        Json::Object(fields) => Json::Object(fields.into_iter().map(field).collect()),
        Json::List(list) => Json::List(list.into_iter().map(|one| in_hex(one, hex)).collect()),
        plain @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_)) => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_checked_before_anybody_is_asked() {
        assert_eq!(peer_urls("http://a:1, https://b:2/").ok().map(|urls| urls.len()), Some(2));
        for (list, said) in [
            ("nonsense", "Error: URL scheme must be http, https, unix, or unixs: nonsense\\n"),
            ("ftp://a:1", "Error: URL scheme must be http, https, unix, or unixs: ftp://a:1\\n"),
            ("http://a", "form \\\\\\\"host:port\\\\\\\": http://a\\n"),
            ("http://b:1,http://me:pa/s,s@a:1", "http://b:1,http://me:xxxxx@a:1\\n"),
            ("http://a:1/x", "Error: URL must not contain a path: http://a:1/x\\n"),
        ] {
            let failure = format!("{:?}", peer_urls(list).expect_err(list));
            assert!(failure.contains(&said.replace("\\\\\\\"", "\\\"")), "{said} in {failure}");
        }
    }

    #[test]
    fn ids_become_texts_in_hexadecimal() {
        let json = Json::object([
            (
                "header",
                Json::object([("cluster_id", Json::number(255)), ("raft_term", Json::number(16))]),
            ),
            ("members", Json::List(vec![Json::object([("ID", Json::number(16))])])),
        ]);
        assert_eq!(
            in_hex(json, true).to_string(),
            r#"{"header":{"cluster_id":"ff","raft_term":16},"members":[{"ID":"10"}]}"#
        );
    }
}
