//! Bars for work that takes long: on a terminal, and nowhere else.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far some work has come, shown on stderr if it is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of so many steps.
    pub(crate) fn of_steps(what: &str, steps: u64) -> Self {
        Self::new(what, Some(steps), "{msg} [{bar:40}] {pos}/{len} {eta}")
    }

    /// Of bytes; how many is not known at first.
    pub(crate) fn of_bytes(what: &str) -> Self {
        Self::new(what, None, "{msg} {spinner} {bytes} {bytes_per_sec}")
    }

    /// Of things without an end.
    pub(crate) fn endless(what: &str) -> Self {
        Self::new(what, None, "{msg} {spinner} {pos} {per_sec}")
    }

    fn new(what: &str, length: Option<u64>, template: &str) -> Self {
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::no_length(),
        };
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        Self(bar)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.inc(more);
    }

    /// So many are to come, now that it is known.
    pub(crate) fn set_bytes_left(&self, left: u64) {
        let total = self.0.position().saturating_add(left);
        if self.0.length() != Some(total) {
            if let Ok(style) = ProgressStyle::with_template(
                "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            ) {
                self.0.set_style(style.progress_chars("=> "));
            }
            self.0.set_length(total);
        }
    }
}

impl Drop for Progress {
    /// It leaves no trace.
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
