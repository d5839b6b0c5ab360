//! SIGTERM and SIGINT: the first one asks for an orderly end, a second one ends at once.

use std::{
    io,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag, low_level,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a server.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn install() -> io::Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        for number in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag down and puts it up, and the next one
            // acts as if nobody listened, however stuck this process may be.
            flag::register_conditional_default(number, Arc::clone(&seen))?;
            flag::register(number, Arc::clone(&seen))?;
        }
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Resolves to the number of the first signal.
    pub(crate) async fn first(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SIGTERM,
            _ = self.interrupt.recv() => SIGINT,
        }
    }
}

/// Ends the process by the signal that it was asked to end by, as the original does: a shell sees
/// 143 or 130.
pub(crate) fn end_by(signal: i32) -> ExitCode {
    // The kernel does not let the first process of a container die of a signal.
    if std::process::id() != 1 && low_level::emulate_default_handler(signal).is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
