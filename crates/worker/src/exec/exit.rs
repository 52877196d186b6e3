//! What exit codes mean.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use longshore_proto::rpc::Code;
use nix::sys::signal::Signal;

use super::config::JobConfig;
use crate::error::{JobError, cut};

/// The longest line of standard error that an error's message begins with, in bytes.
const MAX_LINE: usize = 1000;

/// The error that an exit status stands for; `None` if it is success.
pub(super) fn error(config: &JobConfig, status: ExitStatus, stderr: &[u8]) -> Option<JobError> {
    if status.success() {
        return None;
    }
    let stderr = String::from_utf8_lossy(stderr);
    let mut message = match status.code() {
        Some(code) => format!("exit code {code}"),
        None => format!("killed by {}", signal(status)),
    };
    let said = stderr.trim();
    if let Some(line) = said.lines().next_back() {
        message = format!("{} ({message})", cut(line.trim(), MAX_LINE));
        // In the message and not as a detail: REST clients of several languages refuse an answer,
        // a whole page of a list even, if they don't know the type of one detail in it.
        if line != said {
            message = format!("{message}\n\n{said}");
        }
    }
    let error = match status.code() {
        None => JobError::new(Code::Aborted, message),
        Some(code) => of_code(config, code, message),
    };
    Some(error)
}

fn of_code(config: &JobConfig, code: i32, message: String) -> JobError {
    if config.retry_exit_codes.iter().any(|listed| i32::from(*listed) == code) {
        return JobError::retryable(Code::Unavailable, message);
    }
    match code {
        64 | 65 => JobError::invalid_input(message),
        66 => JobError::new(Code::NotFound, message),
        69 | 75 => JobError::retryable(Code::Unavailable, message),
        70 => JobError::new(Code::Internal, message),
        77 => JobError::new(Code::PermissionDenied, message),
        78 => JobError::new(Code::FailedPrecondition, message),
        _ => JobError::new(Code::Unknown, message),
    }
}

fn signal(status: ExitStatus) -> String {
    match status.signal().map(|number| (number, Signal::try_from(number))) {
        Some((_, Ok(signal))) => signal.as_str().to_owned(),
        Some((number, Err(_))) => format!("signal {number}"),
        None => "a signal".to_owned(),
    }
}
