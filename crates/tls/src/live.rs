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
    /// The files are other ones than those in force, which cannot be used.
    is_broken: bool,
}

impl<T> Live<T> {
    /// Makes it for the first time: here what cannot be used is an error.
    pub(crate) fn new(files: Vec<PathBuf>, make: Make<T>) -> Result<Self, Error> {
        // Stamps first: what changes while it is read is read again.
        let stamps = stamps(&files);
        let now = ArcSwap::from_pointee(make()?);
        let seen = Mutex::new(Seen { looked: None, stamps, is_broken: false });
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
            return;
        }
        match (self.make)() {
            Ok(made) => {
                self.now.store(Arc::new(made));
                tracing::info!(files = %self.shown(), "took the files of TLS anew: one has changed");
                (seen.stamps, seen.is_broken) = (stamps, false);
            }
            Err(error) => {
                // A key may come after its certificate: the stamps stay, and so the next look tries
                // again.
                if !seen.is_broken {
                    tracing::warn!(
                        "cannot use the files of TLS that have changed, go on with the old: {error}"
                    );
                }
                seen.is_broken = true;
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
