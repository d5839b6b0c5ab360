//! Why a run failed: what stderr says, and the exit code.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

pub(crate) use commandline::Exit;

/// Wrong arguments, and every failure that has no code of its own.
const BAD_ARGS: u8 = 1;
/// The cluster could not be reached.
const BAD_CONNECTION: u8 = 2;
/// The cluster refused, or failed.
const SERVER: u8 = 4;
/// `cluster-health` found the cluster unhealthy.
const UNHEALTHY: u8 = 5;
/// What a shell reports for a program that died of SIGPIPE, as the original does.
const BROKEN_PIPE: u8 = 141;

/// The end of a run that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    /// Lines for stderr; empty if all has been said.
    text: String,
}

impl Failure {
    /// A problem in words of its own.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { code: BAD_ARGS, text: text.into() + "\n" }
    }

    /// Wrong arguments, in etcdctl's form: `Error:  key required`.
    pub(crate) fn bad_args(text: &str) -> Self {
        Self::plain(format!("Error:  {text}"))
    }

    /// A request that failed once the cluster was there.
    pub(crate) fn server(error: &client::Error) -> Self {
        Self { code: SERVER, text: describe(error) }
    }

    /// A problem of API 3, in etcdctl's form: `Error: key not found`.
    pub(crate) fn v3(exit: Exit, why: impl fmt::Display) -> Self {
        Self { code: exit as u8, text: format!("Error: {why}\n") }
    }

    /// A call of API 3 that failed, in words of its own; then the endpoints that could not be asked.
    pub(crate) fn of_call(exit: Exit, why: &str, error: &client::v3::Error) -> Self {
        let mut text = format!("Error: {why}\n");
        if let client::v3::Error::Deadline { troubles } = error {
            for (number, trouble) in troubles.iter().enumerate() {
                text += &format!("error #{number}: {trouble}\n");
            }
        }
        Self { code: exit as u8, text }
    }

    /// A problem with the code of somebody else, such as a program that we ran.
    pub(crate) fn coded(code: u8, why: impl fmt::Display) -> Self {
        Self { code, text: format!("Error: {why}\n") }
    }

    /// Ends the run with a code, after all has been said.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, text: String::new() }
    }

    /// The same, with a line more.
    pub(crate) fn with(mut self, line: Option<String>) -> Self {
        self.text.extend(line.map(|line| line + "\n"));
        self
    }

    /// The cluster is not there.
    pub(crate) fn connection(error: &client::Error) -> Self {
        Self { code: BAD_CONNECTION, text: describe(error) }
    }

    /// The cluster is not healthy, as stdout has said.
    pub(crate) fn unhealthy() -> Self {
        Self { code: UNHEALTHY, text: String::new() }
    }

    /// Says why, and gives the code to leave with.
    pub(crate) fn report(self) -> ExitCode {
        // Nobody is left to tell if stderr is gone.
        io::stderr().write_all(self.text.as_bytes()).ok();
        ExitCode::from(self.code)
    }
}

/// What both command lines do failed.
impl From<commandline::Failure> for Failure {
    fn from(failure: commandline::Failure) -> Self {
        let commandline::Failure { code, text } = failure;
        Self { code, text }
    }
}

/// Writing the outcome failed.
impl From<io::Error> for Failure {
    fn from(problem: io::Error) -> Self {
        if problem.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read our output has seen enough.
            return Self { code: BROKEN_PIPE, text: String::new() };
        }
        Self::plain(format!("Error:  write the output: {problem}"))
    }
}

fn describe(error: &client::Error) -> String {
    let mut text = format!("Error:  {error}\n");
    if let client::Error::Unavailable(unavailable) = error {
        // The empty line is etcdctl's.
        text += &unavailable.detail();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unavailable_cluster_is_described_by_endpoint() {
        let endpoint = "http://127.0.0.1:1".parse().expect("endpoint");
        let kind = client::AttemptKind::HeaderTimeout;
        let attempts = vec![client::Attempt { endpoint, kind }];
        let failure = Failure::connection(&client::Unavailable { attempts }.into());
        assert_eq!(
            failure.text,
            "Error:  client: etcd cluster is unavailable or misconfigured\n\
             error #0: client: endpoint http://127.0.0.1:1 exceeded header timeout\n\n"
        );
    }

    #[test]
    fn a_broken_pipe_is_quiet() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure, Failure { code: 141, text: String::new() });
    }
}
