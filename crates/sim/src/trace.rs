//! What happened, for whoever replays a seed.

use std::fmt::Display;

/// Prints each step, or nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    on: bool,
}

impl Trace {
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    #[allow(clippy::print_stdout, reason = "printing is what a trace is for")]
    pub(crate) fn tell(self, what: impl FnOnce() -> String) {
        if self.on {
            println!("{}", what());
        }
    }

    pub(crate) fn step(self, name: &str, detail: impl Display) {
        self.tell(|| format!("{name:<10} {detail}"));
    }
}
