//! `get`

use std::ffi::OsString;

use clap::Args;
use proto::{
    Message as _,
    etcdserverpb::{
        RangeRequest, RangeResponse,
        range_request::{SortOrder, SortTarget},
    },
};

use super::{Reach, bytes, is_serializable};
use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed, go,
        output::{Answer, Format, Printer, Text},
        refuse,
    },
};

/// Print a key, or a range of keys
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl get [FLAGS] <KEY> [END]",
    after_help = "END is the first key that does not belong to the range.\n\n\
        Examples:\n  \
        etcdctl get message\n  \
        etcdctl get --prefix services/ --keys-only\n  \
        etcdctl get --from-key '' --limit 10 -w json\n  \
        etcdctl get message --rev 42"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Get {
    /// The key, and the end of a range; further arguments are ignored as by the original
    #[arg(value_names = ["KEY", "END"], num_args = 0..)]
    arguments: Vec<OsString>,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// All keys from KEY on
    #[arg(long)]
    from_key: bool,
    /// At most so many keys; 0 is all
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = go::flag_int)]
    limit: i64,
    /// As it was at this revision; 0 is now
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int)]
    rev: i64,
    /// ASCEND or DESCEND
    #[arg(long, value_name = "ORDER", default_value = "", hide_default_value = true)]
    order: String,
    /// CREATE, KEY, MODIFY, VALUE or VERSION
    #[arg(long, value_name = "TARGET", default_value = "", hide_default_value = true)]
    sort_by: String,
    /// Keys without their values
    #[arg(long)]
    keys_only: bool,
    /// How many there are, with --write-out=fields
    #[arg(long)]
    count_only: bool,
    /// Values without their keys
    #[arg(long)]
    print_value_only: bool,
    /// l (linearizable): see every write that was acknowledged before; s (serializable): what the
    /// member that is asked has
    #[arg(long, value_name = "l|s", default_value = "l")]
    consistency: String,
    /// Only keys that were made at or after this revision
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int)]
    min_create_rev: i64,
    /// Only keys that were made at or before this revision
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int)]
    max_create_rev: i64,
    /// Only keys that were written last at or after this revision
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int)]
    min_mod_rev: i64,
    /// Only keys that were written last at or before this revision
    #[arg(long, value_name = "REVISION", default_value = "0", value_parser = go::flag_int)]
    max_mod_rev: i64,
    /// Have the server send a large range in parts
    #[arg(long)]
    stream: bool,
}

impl Get {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let request = self.request()?;
        let printer = self.printer(globals)?;
        let client = connect(globals).await?;
        if self.stream {
            return self.run_in_parts(&client, request, printer).await;
        }
        let range = client.range(request).await.map_err(failed(Exit::Error))?;
        Ok(printer.print(&Found(range))?)
    }

    fn printer(&self, globals: &Globals) -> Result<Printer, Failure> {
        let printer = Printer::new::<Found>(globals)?;
        if self.count_only && !printer.is(Format::Fields) {
            return bad_args("--count-only is only for `--write-out=fields`");
        }
        if !self.print_value_only {
            return Ok(printer);
        }
        if !printer.is(Format::Simple) {
            return bad_args("print-value-only is only for `--write-out=simple`");
        }
        Ok(printer.values_only())
    }

    /// For people each part is printed as it comes, so that a range of any size takes little memory.
    async fn run_in_parts(
        &self,
        client: &client::v3::Client,
        request: RangeRequest,
        printer: Printer,
    ) -> Result<(), Failure> {
        let mut parts = client.range_stream(request).await.map_err(failed(Exit::Error))?;
        let mut whole = RangeResponse::default();
        while let Some(part) = parts.next().await.map_err(failed(Exit::Error))? {
            if printer.is(Format::Simple) {
                printer.print(&Found(part))?;
                continue;
            }
            whole.header = part.header.or(whole.header);
            whole.kvs.extend(part.kvs);
            whole.more |= part.more;
            whole.count = whole.count.max(part.count);
        }
        if printer.is(Format::Simple) { Ok(()) } else { Ok(printer.print(&Found(whole))?) }
    }

    /// What to ask the server, once the arguments make sense.
    pub(super) fn request(&self) -> Result<RangeRequest, Failure> {
        let reach = Reach { prefix: self.prefix, from_key: self.from_key };
        let mut arguments = bytes(&self.arguments).into_iter();
        let Some(key) = arguments.next() else {
            return bad_args(
                "get command needs one argument as key and an optional argument as range_end",
            );
        };
        reach.check()?;
        if self.keys_only && self.count_only {
            return bad_args(
                "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
            );
        }
        let serializable = is_serializable(&self.consistency)?;
        let end = arguments.next();
        reach.check_end(end.as_ref())?;
        let (sort_order, sort_target) = (self.sort_order()?, self.sort_target()?);
        check_bounds("CreateRev", self.min_create_rev, self.max_create_rev)?;
        check_bounds("ModRev", self.min_mod_rev, self.max_mod_rev)?;
        let (key, range_end) = reach.range(key, end);
        Ok(RangeRequest {
            key,
            range_end,
            limit: self.limit,
            revision: self.rev.max(0),
            sort_order: sort_order.into(),
            sort_target: sort_target.into(),
            serializable,
            keys_only: self.keys_only,
            count_only: self.count_only,
            min_mod_revision: self.min_mod_rev.max(0),
            max_mod_revision: self.max_mod_rev.max(0),
            min_create_revision: self.min_create_rev.max(0),
            max_create_revision: self.max_create_rev.max(0),
        })
    }

    /// Sorting upwards by the key is no sorting: keys come so.
    fn sort_order(&self) -> Result<SortOrder, Failure> {
        match self.order.to_uppercase().as_str() {
            "" => Ok(SortOrder::None),
            "ASCEND" if matches!(self.sort_target(), Ok(SortTarget::Key)) => Ok(SortOrder::None),
            "ASCEND" => Ok(SortOrder::Ascend),
            "DESCEND" => Ok(SortOrder::Descend),
            _ => refuse(Exit::BadFeature, format!("bad sort order {}", self.order)),
        }
    }

    fn sort_target(&self) -> Result<SortTarget, Failure> {
        match self.sort_by.to_uppercase().as_str() {
            "" | "KEY" => Ok(SortTarget::Key),
            "CREATE" => Ok(SortTarget::Create),
            "MODIFY" => Ok(SortTarget::Mod),
            "VALUE" => Ok(SortTarget::Value),
            "VERSION" => Ok(SortTarget::Version),
            _ => refuse(Exit::BadFeature, format!("bad sort target {}", self.sort_by)),
        }
    }
}

fn check_bounds(of: &str, min: i64, max: i64) -> Result<(), Failure> {
    if max > 0 && min > max {
        let why = format!("getMin{of}(={min}) > getMax{of}(={max})");
        return refuse(Exit::BadFeature, why);
    }
    Ok(())
}

/// A range, as an answer.
pub(super) struct Found(pub(super) RangeResponse);

impl Answer for Found {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.RangeResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        self.0.kvs.iter().for_each(|kv| to.key_value(kv));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        self.0.kvs.iter().for_each(|kv| to.key_fields("", kv));
        to.field("More", self.0.more);
        to.field("Count", self.0.count);
    }
}
