//! Manual pages, for those who make packages.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap_mangen::Man;

use crate::{Exit, Failure};

/// Writes the pages of all grammars, by their names, to the directory that the only argument names;
/// gives what is to be said of it.
pub fn write(
    grammars: &[(&str, clap::Command)],
    arguments: &[OsString],
) -> Result<String, Failure> {
    let [directory] = arguments else {
        let why = "man-pages needs one argument, the directory to write to";
        return Err(Failure::new(Exit::BadArgs, why));
    };
    let directory = PathBuf::from(directory);
    let mut count = 0;
    for (name, grammar) in grammars {
        count += write_all(grammar, name, &directory).map_err(|problem| {
            let why = format!("write {}: {problem}", directory.display());
            Failure::new(Exit::Error, why)
        })?;
    }
    Ok(format!("{count} pages in {}", directory.display()))
}

/// Writes the page of a command and of those below it; gives their number.
#[allow(clippy::disallowed_methods, reason = "pages are no data of a member")]
fn write_all(command: &clap::Command, name: &str, directory: &Path) -> std::io::Result<usize> {
    let mut page = Vec::new();
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    Man::new(command.clone().name(name)).render(&mut page)?;
    std::fs::write(directory.join(format!("{name}.1")), page)?;
    let mut count = 1;
    let below = command.get_subcommands();
    for below in below.filter(|one| one.get_name() != "help" && !one.is_hide_set()) {
        count += write_all(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(count)
}
