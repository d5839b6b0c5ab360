//! Something made of files, made again when one of them changes.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    Error,
    files::{self, Stamp},
};

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

type Make<T> = Box<dyn Fn() -> Result<T, Error> + Send + Sync>;

/// What was made last of files that could be used, and when they are to be looked at again.
pub(crate) struct Live<T> {
    now: ArcSwap<T>,
    make: Make<T>,
    files: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Before any runtime runs there is no look.
    looked: Option<Instant>,
    stamps: Vec<Stamp>,
    /// The files are other ones than those in force, and this is why they cannot be used.
    broken: Option<String>,
}

impl<T> Live<T> {
    /// Makes it for the first time: here what cannot be used is an error.
    pub(crate) fn new(files: Vec<PathBuf>, make: Make<T>) -> Result<Self, Error> {
        // Stamps first: what changes while it is read is read again.
        let stamps = stamps(&files);
        let now = ArcSwap::from_pointee(make()?);
        let seen = Mutex::new(Seen { looked: None, stamps, broken: None });
        Ok(Self { now, make, files, seen })
    }

    /// As the files are now, or were a second ago.
    pub(crate) fn get(&self) -> Arc<T> {
        // Whoever finds the lock taken goes on with what is there.
        if let Some(mut seen) = self.seen.try_lock() {
            let now = Instant::now();
            if seen.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK) {
                seen.looked = Some(now);
                self.look(&mut seen);
            }
        }
        self.now.load_full()
    }

    fn look(&self, seen: &mut Seen) {
        let stamps = stamps(&self.files);
        if stamps == seen.stamps {
            seen.broken = None;
            return;
        }
        match (self.make)() {
            Ok(made) => {
                self.now.store(Arc::new(made));
                tracing::info!(files = %self.shown(), "took the files of TLS anew: one has changed");
                (seen.stamps, seen.broken) = (stamps, None);
            }
            Err(error) => {
                // A key may come after its certificate: the stamps stay, and so the next look tries
                // again.
                let why = error.to_string();
                if seen.broken.as_ref() != Some(&why) {
                    tracing::warn!(
                        "cannot use the files of TLS that have changed, go on with the old: {why}"
                    );
                }
                seen.broken = Some(why);
            }
        }
    }

    fn shown(&self) -> String {
        let shown: Vec<_> = self.files.iter().map(|path| path.display().to_string()).collect();
        shown.join(", ")
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|path| files::stamp(path)).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write the files that operators do")]
mod tests {
    use std::fs;

    use super::*;

    /// Whatever is wrong with the files now, and is not what was wrong before, is worth a line.
    #[test]
    fn each_reason_not_to_take_files_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let [file, away] = ["crl", "away"].map(|name| directory.path().join(name));
        fs::write(&file, "good").unwrap();
        let make = {
            let path = file.clone();
            move || {
                let broken = |why| Error::File { path: path.clone(), why };
                let text = fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
                if text == "good" { Ok(()) } else { Err(broken(text)) }
            }
        };
        let live = Live::new(vec![file.clone()], Box::new(make)).unwrap();
        let broken = || {
            let mut seen = live.seen.lock();
            live.look(&mut seen);
            seen.broken.clone()
        };
        assert_eq!(broken(), None);
        fs::rename(&file, &away).unwrap();
        let first = broken().expect("it is gone");
        fs::rename(&away, &file).unwrap();
        assert_eq!(broken(), None, "it is the one in force again");
        fs::rename(&file, &away).unwrap();
        assert_eq!(broken(), Some(first));
        fs::write(&file, "garbage, and longer").unwrap();
        assert!(broken().expect("it is another one").contains("garbage"));
    }
}
