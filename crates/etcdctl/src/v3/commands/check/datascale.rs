//! `check datascale`

use std::{
    ffi::OsString,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::Args;

use super::{Keys, Size, clients, load, load::Load};
use crate::{
    failure::{Exit, Failure},
    output::line,
    v3::{
        cli::Globals,
        connect::{endpoints, http_client},
        progress::Progress,
    },
};

const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 512;
/// The metric that is looked at.
const MEMORY: &str = "process_resident_memory_bytes";

/// How much memory a member takes for many keys
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl check datascale [FLAGS]",
    after_help = "Writes keys and values of 1 KiB together, deletes them, and prints by how much the \
        memory of the first endpoint grew. s: 10,000 by 50 clients; m: 100,000 by 200; l: 1,000,000 \
        by 500; xl: 3,000,000 by 1000.\n\n\
        Example:\n  etcdctl check datascale --load s"
)]
pub(crate) struct Datascale {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<OsString>,
    /// How much: s, m, l or xl
    #[arg(long, value_name = "SIZE", default_value = "s")]
    load: String,
    /// What the keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "/etcdctl-check-datascale/")]
    prefix: String,
    /// Compact afterwards
    #[arg(long)]
    auto_compact: bool,
    /// Defragment afterwards
    #[arg(long)]
    auto_defrag: bool,
}

impl Datascale {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (writes, count) = match Size::named(&self.load)? {
            Size::Small => (10_000, 50),
            Size::Medium => (100_000, 200),
            Size::Large => (1_000_000, 500),
            Size::XLarge => (3_000_000, 1000),
        };
        let keys = Keys {
            prefix: self.prefix.clone(),
            compacts: self.auto_compact,
            defragments: self.auto_defrag,
        };
        let clients = clients(globals, count).await?;
        let Some(first) = clients.first().cloned() else { return Ok(()) };
        keys.check_empty(&first).await?;
        let before = memory(globals, "before").await?;
        line(format_args!(
            "Start data scale check for work load [{writes} key-value pairs, {} bytes per \
             key-value, {count} concurrent clients].",
            KEY_BYTES + VALUE_BYTES
        ))?;
        let load = Load {
            prefix: self.prefix,
            key_bytes: KEY_BYTES,
            value_bytes: VALUE_BYTES,
            rate: None,
            writes_max: writes,
            lasts: Duration::MAX,
        };
        let progress = Arc::new(Progress::of_steps("check datascale", writes));
        let bar = Arc::clone(&progress);
        let never = Arc::new(AtomicBool::new(false));
        let outcome = load::run(clients, load, never, move || bar.add(1)).await;
        drop(progress);
        let after = memory(globals, "after").await?;
        keys.clean_up(&first, globals).await?;
        if !outcome.errors.is_empty() {
            line("FAIL: too many errors")?;
            for (error, times) in &outcome.errors {
                line(format_args!("FAIL: ERROR({error}) -> {times}"))?;
            }
            return Err(Failure::silent(Exit::Error as u8));
        }
        let used = (after - before) / (1024.0 * 1024.0);
        Ok(line(format_args!("PASS: Approximate system memory used : {used:.2} MB."))?)
    }
}

/// The memory of the first endpoint, in bytes.
async fn memory(globals: &Globals, when: &str) -> Result<f64, Failure> {
    let found = match endpoints(globals).await?.first() {
        Some(first) => read(globals, first).await?,
        None => None,
    };
    if let Some(bytes) = found {
        return Ok(bytes);
    }
    line(format_args!("FAIL: Could not read {MEMORY} {when} the put operations."))?;
    Err(Failure::silent(Exit::Error as u8))
}

async fn read(globals: &Globals, endpoint: &str) -> Result<Option<f64>, Failure> {
    let (client, endpoint) = http_client(globals, endpoint)?;
    let page = match client.metrics(&endpoint).await {
        Ok(page) => page,
        Err(error) => {
            line(format_args!("fetch error: {error}"))?;
            return Ok(None);
        }
    };
    let value = page.lines().find_map(|line| line.strip_prefix(MEMORY)?.strip_prefix(' '));
    if value.is_none() {
        line(format_args!("could not find: {MEMORY}"))?;
    }
    Ok(value.and_then(|value| value.trim().parse().ok()))
}
