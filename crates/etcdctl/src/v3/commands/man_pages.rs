//! `man-pages`, for those who make packages.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Args;
use clap_mangen::Man;

use crate::{
    failure::{Exit, Failure},
    output,
    v3::{bad_args, cli, refuse},
};

/// Write the manual pages to a directory
#[derive(Args, Debug)]
#[command(
    hide = true,
    override_usage = "etcdctl man-pages <DIRECTORY>",
    after_help = "Example:\n  etcdctl man-pages /usr/share/man/man1"
)]
pub(crate) struct ManPages {
    /// Where to
    #[arg(value_name = "DIRECTORY", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl ManPages {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let [directory] = &self.arguments[..] else {
            return bad_args("man-pages needs one argument, the directory to write to");
        };
        let directory = PathBuf::from(directory);
        let written = write(&cli::grammar(), "etcdctl", &directory)
            .and_then(|v3| Ok(v3 + write(&crate::cli::grammar(), "etcdctl-v2", &directory)?));
        match written {
            Ok(count) => {
                Ok(output::line(format_args!("{count} pages in {}", directory.display()))?)
            }
            Err(problem) => {
                refuse(Exit::Error, format!("write {}: {problem}", directory.display()))
            }
        }
    }
}

/// Writes the page of a command and of those below it; gives their number.
#[allow(clippy::disallowed_methods, reason = "pages are no data of a member")]
fn write(command: &clap::Command, name: &str, directory: &Path) -> std::io::Result<usize> {
    let mut page = Vec::new();
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    Man::new(command.clone().name(name)).render(&mut page)?;
    std::fs::write(directory.join(format!("{name}.1")), page)?;
    let mut count = 1;
    let below = command.get_subcommands();
    for below in below.filter(|one| one.get_name() != "help" && !one.is_hide_set()) {
        count += write(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(count)
}
