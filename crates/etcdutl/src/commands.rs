//! The commands, one file for each group.

mod completion;
mod defrag;
mod hashkv;
mod import;
mod man_pages;
mod migrate;
mod snapshot;
mod version;

use clap::Subcommand;
use commandline::Failure;

use crate::cli::Cli;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    Hashkv(hashkv::HashKv),
    Defrag(defrag::Defrag),
    Migrate(migrate::Migrate),
    Import(import::Import),
    Version(version::Version),
    Completion(completion::Completion),
    ManPages(man_pages::ManPages),
}

/// Carries out a command.
pub(crate) fn run(Cli { globals, command }: Cli) -> Result<(), Failure> {
    match command {
        Command::Snapshot(snapshot) => snapshot.run(&globals),
        Command::Hashkv(hash) => hash.run(&globals),
        Command::Defrag(defrag) => defrag.run(&globals),
        Command::Migrate(migrate) => migrate.run(&globals),
        Command::Import(import) => import.run(),
        Command::Version(_) => version::Version::run(),
        Command::Completion(completion) => completion.run(),
        Command::ManPages(pages) => pages.run(),
    }
}
