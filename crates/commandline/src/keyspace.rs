//! Looking at a keyspace where it is kept: a saved snapshot, or the data of a member that does not
//! run.

use std::{path::Path, sync::Arc, time::Duration};

use base::{Clock as _, Disk, OsClock, OsDisk, version::Minor};
use member::{Kept, KeptError, Status};

use crate::{
    Exit, Failure, go,
    output::{Facts, Format, note, write},
};

/// Asked again after so long.
const PAUSE: Duration = Duration::from_millis(50);
/// Then it is said what is waited for.
const QUIET: Duration = Duration::from_secs(1);

/// Finds the keyspace at a path. If a member has it, waits so long for it to stop (zero is for ever),
/// and says so, with a hint.
pub fn find(path: &Path, timeout: Duration, hint: &str) -> Result<Kept, KeptError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let clock = OsClock::new();
    let mut has_told = false;
    loop {
        let error = match Kept::find(&disk, path) {
            Err(error @ KeptError::Runs { .. }) => error,
            found => return found,
        };
        if timeout > Duration::ZERO && clock.monotonic() >= timeout {
            return Err(error);
        }
        if clock.monotonic() >= QUIET && !has_told {
            has_told = true;
            let path = go::quote(path.as_os_str().as_encoded_bytes());
            note(format_args!("waiting for etcd to close and release its lock on {path}.{hint}"));
        }
        pause();
    }
}

#[allow(clippy::disallowed_methods, reason = "somebody waits at a terminal; nothing is simulated")]
fn pause() {
    std::thread::sleep(PAUSE);
}

pub(crate) fn status(path: &Path, timeout: Duration, write_out: &str) -> Result<(), Failure> {
    let format = Format::named(write_out)?;
    let status = find(path, timeout, "").and_then(|kept| kept.status()).map_err(failed)?;
    Ok(write(format.text(of_status(&status)).as_bytes())?)
}

/// Prints the hash of the history up to a revision; 0 is all.
pub fn hash(
    path: &Path,
    revision: i64,
    (timeout, write_out): (Duration, &str),
) -> Result<(), Failure> {
    let format = Format::named(write_out)?;
    let kept = find(path, timeout, "").map_err(failed)?;
    let scratch = tempfile::tempdir();
    let scratch = scratch.map_err(|problem| {
        let dir = std::env::temp_dir();
        let why = format!("make a directory in {}: {problem}", dir.display());
        Failure::new(Exit::Error, why)
    })?;
    let hash = kept.hash(revision, scratch.path()).map_err(failed)?;
    let member::KeysHash { hash, compacted, revision, .. } = hash;
    let values = [hash.to_string(), revision.to_string(), compacted.to_string()];
    let named = |names: [&'static str; 3]| names.into_iter().zip(values.clone()).collect();
    let facts = Facts {
        row: named(["hash", "hash revision", "compact revision"]),
        fields: named(["Hash", "Hash revision", "Compact revision"]),
        json: named(["hash", "hashRevision", "compactRevision"]),
    };
    Ok(write(format.text(facts).as_bytes())?)
}

fn of_status(status: &Status) -> Facts {
    let Status { hash, revision, keys, size, version } = *status;
    let version = version.map(Minor::in_full).unwrap_or_default();
    let numbers = [hash.to_string(), revision.to_string(), keys.to_string(), size.to_string()];
    let shown = [format!("{hash:x}"), revision.to_string(), keys.to_string(), go::size(size)];
    let named = |names: [&'static str; 5], values: &[String], version: String| {
        names.into_iter().zip(values.iter().cloned().chain([version])).collect()
    };
    Facts {
        row: named(
            ["hash", "revision", "total keys", "total size", "version"],
            &shown,
            version.clone(),
        ),
        fields: named(["Hash", "Revision", "Keys", "Size", "Version"], &numbers, version.clone()),
        json: named(
            ["hash", "revision", "totalKey", "totalSize", "version"],
            &numbers,
            format!("\"{version}\""),
        ),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: KeptError) -> Failure {
    let text = error.to_string();
    // The server's part of the text is for clients.
    Failure::new(Exit::Error, text.strip_prefix("etcdserver: ").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As etcdutl 3.6.0 shows them.
    #[test]
    fn a_status_is_shown_as_by_the_original() {
        let status = Status {
            hash: 0xfe01_cf57,
            revision: 10,
            keys: 7,
            size: 2_101_248,
            version: Some(Minor::new(3, 6)),
        };
        let shown = |name| Format::named(name).unwrap().text(of_status(&status));
        assert_eq!(shown("simple"), "fe01cf57, 10, 7, 2.1 MB, 3.6.0\n");
        assert_eq!(
            shown("fields"),
            "\"Hash\" : 4261531479\n\"Revision\" : 10\n\"Keys\" : 7\n\"Size\" : 2101248\n\
             \"Version\" : 3.6.0\n"
        );
        assert_eq!(
            shown("json"),
            "{\"hash\":4261531479,\"revision\":10,\"totalKey\":7,\"totalSize\":2101248,\
             \"version\":\"3.6.0\"}\n"
        );
        assert_eq!(
            shown("table"),
            "+----------+----------+------------+------------+---------+\n\
             |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |\n\
             +----------+----------+------------+------------+---------+\n\
             | fe01cf57 |       10 |          7 |     2.1 MB |   3.6.0 |\n\
             +----------+----------+------------+------------+---------+\n"
        );
        for (name, said) in [
            ("protobuf", "Error: protobuf not supported as output format\n"),
            ("yaml", "Error: unsupported output format\n"),
        ] {
            let failure = Format::named(name).expect_err(name);
            assert_eq!((failure.code, &*failure.text), (4, said));
        }
    }
}
