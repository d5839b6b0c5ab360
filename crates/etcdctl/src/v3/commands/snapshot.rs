//! `snapshot save`; and `status` and `restore`, which are of `etcdutl`

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use client::v3::Client;
use commandline::snapshot;
use sha2::{Digest as _, Sha256};

use crate::{
    failure::{Exit, Failure},
    output::note,
    v3::{
        bad_args,
        cli::Globals,
        connect::{connect, connect_for_long},
        failed,
        progress::Progress,
        refuse,
    },
};

/// How long the hash at a snapshot's end is.
const HASH_BYTES: usize = 32;
/// The original's files are made of whole blocks of so many bytes, save for the hash.
const BLOCK_BYTES: u64 = 512;

/// Copies of the keyspace
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    Save(Save),
    #[command(
        override_usage = "etcdctl snapshot status <FILE>",
        after_help = "Deprecated, and here for scripts: etcdutl snapshot status is the same.\n\n\
            Example:\n  etcdctl snapshot status backup.db -w table"
    )]
    Status(snapshot::Status),
    #[command(
        override_usage = "etcdctl snapshot restore <FILE> [FLAGS]",
        after_help = "Deprecated, and here for scripts: etcdutl snapshot restore is the same.\n\n\
            Example:\n  etcdctl snapshot restore backup.db --data-dir /var/lib/etcd"
    )]
    Restore(snapshot::Restore),
}

impl Snapshot {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Save(save) => save.run(globals).await,
            Self::Status(status) => {
                note("Deprecated: Use `etcdutl snapshot status` instead.\n");
                Ok(status.run(globals.command_timeout, &globals.write_out)?)
            }
            Self::Restore(restore) => {
                note("Deprecated: Use `etcdutl snapshot restore` instead.\n");
                Ok(restore.run()?)
            }
        }
    }
}

/// Write the keyspace of an endpoint to a file
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl snapshot save <FILE>",
    after_help = "The file is there once it is whole and on disk. etcdutl snapshot restore makes a \
        member of it. It takes as long as it takes, unless --command-timeout is given.\n\n\
        Example:\n  etcdctl snapshot save backup.db"
)]
pub(crate) struct Save {
    /// The file
    #[arg(value_name = "FILE", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Save {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let [path] = &self.arguments[..] else {
            return bad_args("snapshot save expects one argument <filename>");
        };
        let path = Path::new(path);
        let client = if globals.command_timeout_given {
            connect(globals).await?
        } else {
            connect_for_long(globals).await?
        };
        let mut copy = Copy::begin(path)?;
        let version = match copy.take_all(&client).await {
            Ok(version) => version,
            Err(failure) => {
                copy.give_up();
                return Err(failure);
            }
        };
        copy.finish(path)?;
        let mut said = format!("Snapshot saved at {}\n", path.display());
        if !version.is_empty() {
            said += &format!("Server version {version}\n");
        }
        Ok(crate::v3::output::write(said.as_bytes())?)
    }
}

/// A snapshot on its way to disk, under a name of its own.
struct Copy {
    part: PathBuf,
    file: File,
    hash: Sha256,
    /// The last bytes that came: they may be the hash.
    tail: Vec<u8>,
    bytes: u64,
}

impl Copy {
    fn begin(path: &Path) -> Result<Self, Failure> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&part);
        let file = file.map_err(|problem| cannot("could not open", &part, &problem))?;
        Ok(Self { part, file, hash: Sha256::new(), tail: Vec::new(), bytes: 0 })
    }

    /// Writes all parts; gives the server's version.
    async fn take_all(&mut self, client: &Client) -> Result<String, Failure> {
        let mut parts = client.snapshot().await.map_err(failed(Exit::Interrupted))?;
        let progress = Progress::of_bytes("snapshot");
        let mut version = String::new();
        while let Some(part) = parts.next().await.map_err(failed(Exit::Interrupted))? {
            if version.is_empty() {
                version = part.version;
            }
            self.take(&part.blob)?;
            progress.add(part.blob.len() as u64);
            if part.remaining_bytes > 0 {
                progress.set_bytes_left(part.remaining_bytes);
            }
        }
        self.check()?;
        Ok(version)
    }

    fn take(&mut self, blob: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(blob);
        written.map_err(|problem| cannot("write", &self.part, &problem))?;
        self.bytes += blob.len() as u64;
        self.tail.extend_from_slice(blob);
        let hashed = self.tail.len().saturating_sub(HASH_BYTES);
        let rest = self.tail.split_off(hashed);
        self.hash.update(&self.tail);
        self.tail = rest;
        Ok(())
    }

    /// The end of a snapshot is the hash of all before it. One without a hash is none.
    fn check(&self) -> Result<(), Failure> {
        let is = self.hash.clone().finalize();
        if self.tail == is[..] {
            return Ok(());
        }
        let has_hash = self.bytes % BLOCK_BYTES == HASH_BYTES as u64;
        let what = if has_hash {
            "the hash at its end is not that of what came before: it was damaged on the way"
        } else {
            "it ends without a hash: it is not whole"
        };
        refuse(Exit::Interrupted, format!("snapshot of {} bytes: {what}", self.bytes))
    }

    #[allow(clippy::disallowed_methods, reason = "it is the user's directory, no member's")]
    fn finish(self, path: &Path) -> Result<(), Failure> {
        let synced = self.file.sync_all();
        synced.map_err(|problem| cannot("could not fsync", &self.part, &problem))?;
        let renamed = std::fs::rename(&self.part, path);
        renamed.map_err(|problem| cannot("could not rename", &self.part, &problem))?;
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        let directory = directory.unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|problem| cannot("could not fsync", directory, &problem))
    }

    fn give_up(self) {
        // What is left of it is of no use; the failure that led here is told.
        std::fs::remove_file(&self.part).ok();
    }
}

fn cannot(what: &str, path: &Path, problem: &io::Error) -> Failure {
    Failure::v3(Exit::Interrupted, format!("{what} {}: {problem}", path.display()))
}
