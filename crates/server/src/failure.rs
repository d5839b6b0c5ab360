//! Why a member cannot go on, with the chain of causes.

use std::error::Error;

/// Why a member cannot go on: the error's text and those of its causes, outermost first.
#[derive(Clone, Debug)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn new(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Some errors say their cause's text in their own.
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        Self(text)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(&error)
    }
}
