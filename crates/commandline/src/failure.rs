//! Why a run failed: what stderr says, and the exit code.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

/// What a shell reports for a program that died of SIGPIPE, as the original does.
const BROKEN_PIPE: u8 = 141;

/// The codes of the original, from 3.0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Refused, or failed.
    Error = 1,
    /// The cluster could not be reached, or does not let us in.
    BadConnection = 2,
    /// What was read cannot be made sense of.
    InvalidInput = 3,
    /// A flag does not have that value.
    BadFeature = 4,
    Interrupted = 5,
    BadArgs = 128,
}

/// The end of a run that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    /// Lines for stderr; empty if all has been said.
    pub text: String,
}

impl Failure {
    /// In the original's form: `Error: snapshot restore requires exactly one argument`.
    pub fn new(exit: Exit, why: impl fmt::Display) -> Self {
        Self { code: exit as u8, text: format!("Error: {why}\n") }
    }

    /// Says why, and gives the code to leave with.
    pub fn report(self) -> ExitCode {
        // Nobody is left to tell if stderr is gone.
        io::stderr().write_all(self.text.as_bytes()).ok();
        ExitCode::from(self.code)
    }
}

/// Writing the outcome failed.
impl From<io::Error> for Failure {
    fn from(problem: io::Error) -> Self {
        if problem.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read our output has seen enough.
            return Self { code: BROKEN_PIPE, text: String::new() };
        }
        Self::new(Exit::Error, format_args!("write the output: {problem}"))
    }
}
