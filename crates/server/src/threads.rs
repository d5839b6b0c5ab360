//! The threads that carry out what the core decides.

pub(crate) mod apply;
pub(crate) mod catch_up;
pub(crate) mod flusher;
pub(crate) mod log;
pub(crate) mod raft;
pub(crate) mod saves;
pub(crate) mod snapshots;

use std::{
    io,
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use crate::{failure::Failure, shared::Shared};

/// Starts a named thread. If its body fails, or panics, the member fails.
pub(crate) fn spawn(
    name: &'static str,
    shared: &Arc<Shared>,
    body: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let guard = Guard::new(name, shared);
    Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(failure) = body() {
            guard.shared.fail(failure);
        }
        drop(guard);
    })
}

/// Notices a panic. (A release build aborts instead.)
pub(crate) struct Guard {
    name: &'static str,
    shared: Arc<Shared>,
}

impl Guard {
    pub(crate) fn new(name: &'static str, shared: &Arc<Shared>) -> Self {
        Self { name, shared: Arc::clone(shared) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(Failure(format!("thread {} panicked", self.name)));
        }
    }
}
