//! What the process says by its exit code, after sysexits where they fit.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Error;
use longshore_core::config;

use crate::client::{Refused, Unreachable};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As it should.
    Fine = 0,
    /// The operation ended with an error, or a role or the demo failed.
    Failed = 1,
    /// The time is up and the operation goes on.
    StillRunning = 3,
    /// There is no such operation.
    NotFound = 4,
    /// It contradicts what is there already.
    Conflict = 5,
    /// The input or the request is not what it should be.
    BadRequest = 65,
    /// The server can't be reached, or did not answer in time.
    Unavailable = 69,
    /// The server is at fault.
    Internal = 70,
    /// The server has no room at the moment.
    TryLater = 75,
    /// Not for this caller.
    NotAllowed = 77,
    /// A setting is wrong.
    Settings = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The input of a command is not what it should be.
#[derive(Debug)]
pub(crate) struct BadInput(Box<dyn std::error::Error + Send + Sync>);

impl BadInput {
    /// Takes the reason.
    pub(crate) fn from(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BadInput {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// A setting is wrong, in a way that trying again does not mend.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct BadSetting(pub Error);

/// A server that a command needs can't be asked, or has no room.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct OutOfReach(pub Error);

/// Says on standard error what went wrong, and by the exit code what kind of thing it was.
pub(crate) fn report(outcome: Result<Exit, Error>) -> Exit {
    let error = match outcome {
        Ok(exit) => return exit,
        Err(error) => error,
    };
    if error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_broken_pipe) {
        // Whoever read our output has seen enough.
        return Exit::Fine;
    }
    // If even that can't be written, there is nobody to tell.
    drop(writeln!(io::stderr().lock(), "longshore: error: {error:#}"));
    kind(&error)
}

fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn kind(error: &Error) -> Exit {
    if let Some(refused) = error.downcast_ref::<Refused>() {
        refused.exit()
    } else if error.is::<Unreachable>() || error.is::<OutOfReach>() {
        Exit::Unavailable
    } else if error.is::<BadInput>() {
        Exit::BadRequest
    } else if error.is::<config::Error>() || error.is::<BadSetting>() {
        Exit::Settings
    } else {
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn what_wraps_an_error_does_not_hide_its_kind() {
        let error =
            Err::<(), _>(BadInput::from(io::Error::other("x"))).context("--input").unwrap_err();
        assert_eq!(kind(&error), Exit::BadRequest);
        assert_eq!(kind(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
