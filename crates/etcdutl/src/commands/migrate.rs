//! `migrate`

use std::path::PathBuf;

use base::version::Minor;
use clap::Args;
use commandline::{Exit, Failure, go, keyspace, output::note};

use crate::cli::Globals;

/// The oldest version that the original migrates to.
const OLDEST: Minor = Minor::new(3, 5);

/// Check that the data of a member is of a version
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdutl migrate --data-dir <DIR> --target-version <X.Y>",
    after_help = "Data goes from version to version with its cluster (etcdctl downgrade), so there is \
        nothing to migrate: it succeeds where the data is of that version already.\n\n\
        Example:\n  etcdutl migrate --data-dir /var/lib/etcd --target-version 3.6"
)]
pub(crate) struct Migrate {
    /// The data directory of the member, which must not run
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The version, as 3.6
    #[arg(long, value_name = "X.Y", allow_hyphen_values = true)]
    target_version: String,
    /// Changes nothing: no version is written that the data is not of
    #[arg(long, value_name = "true|false", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set,
        hide_default_value = true, value_parser = go::flag_bool)]
    force: bool,
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<std::ffi::OsString>,
}

impl Migrate {
    pub(crate) fn run(self, globals: &Globals) -> Result<(), Failure> {
        let target = target(&self.target_version);
        let target = target.map_err(|why| Failure::new(Exit::BadArgs, why))?;
        let found = keyspace::find(&self.data_dir, globals.timeout, "");
        let status = found.and_then(|kept| kept.status());
        let status = status.map_err(|error| Failure::new(Exit::Error, error))?;
        match status.version {
            Some(current) if current == target => {
                note(format_args!("storage version up-to-date: {current}"));
                Ok(())
            }
            Some(current) => {
                let forced = if self.force { "; --force does not change that" } else { "" };
                let why = format!(
                    "cannot migrate storage from {current} to {target}: data goes from version to \
                     version with its cluster, see etcdctl downgrade{forced}"
                );
                Err(Failure::new(Exit::Error, why))
            }
            None => {
                let why = "cannot detect storage schema version: the members of this cluster have \
                           not agreed on one yet";
                Err(Failure::new(Exit::Error, why))
            }
        }
    }
}

fn target(text: &str) -> Result<Minor, String> {
    if text.matches('.').count() != 1 {
        let text = go::quote(text.as_bytes());
        return Err(format!("wrong target version format, expected \"X.Y\", got {text}"));
    }
    let parsed = Minor::parse(text).ok_or_else(|| {
        format!("failed to parse target version: {text}.0 is not in dotted-tri format")
    })?;
    if parsed < OLDEST {
        return Err(format!("target version \"{parsed}\" not supported. Minimal \"{OLDEST}\""));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_target_is_told_as_by_the_original() {
        assert_eq!(target("3.6"), Ok(Minor::new(3, 6)));
        for (text, said) in [
            ("3", "wrong target version format, expected \"X.Y\", got \"3\""),
            ("3.6.0", "wrong target version format, expected \"X.Y\", got \"3.6.0\""),
            ("3.x", "failed to parse target version: 3.x.0 is not in dotted-tri format"),
            ("3.4", "target version \"3.4\" not supported. Minimal \"3.5\""),
        ] {
            assert_eq!(target(text), Err(said.to_owned()));
        }
    }
}
