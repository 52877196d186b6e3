//! How a job fails.

use std::{error::Error as StdError, fmt, time::Duration};

use longshore_core::lifecycle::{Failure, Verdict};
use longshore_proto::rpc::{Code, Status};
use prost::Name;
use prost_types::Any;

/// The longest error message that is reported, in bytes: it is shown, listed and logged.
const MAX_MESSAGE: usize = 4096;

/// Why a job ended without a response, and whether to try again.
///
/// Any other error turns into one by `?`: with the code `UNKNOWN`, which retry policies don't try
/// again unless they list it. For that to be possible this is no [`std::error::Error`] itself.
#[derive(Clone, Debug, PartialEq)]
pub struct JobError {
    code: Code,
    message: String,
    details: Vec<Any>,
    verdict: Verdict,
    delay: Option<Duration>,
}

impl JobError {
    /// An error that is tried again if the operation's retry policy lists its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            verdict: Verdict::ByPolicy,
            delay: None,
        }
    }

    /// An error that is tried again while attempts are left, whatever its code.
    pub fn retryable(code: Code, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Retryable, ..Self::new(code, message) }
    }

    /// An error that ends the operation, whatever its code.
    pub fn fatal(code: Code, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Final, ..Self::new(code, message) }
    }

    /// The input can't be worked with: `INVALID_ARGUMENT`, never tried again.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::fatal(Code::InvalidArgument, message)
    }

    /// The job stopped because it was asked to.
    pub fn cancelled() -> Self {
        Self::fatal(Code::Cancelled, "the job was cancelled")
    }

    /// The worker lets another one run the job; `why` says what it did or had.
    pub(crate) fn handed_back(why: &str) -> Self {
        let message = format!("the worker {why} and handed the job back");
        let error = Self::new(Code::Unavailable, message);
        Self { verdict: Verdict::HandedBack, ..error }
    }

    /// The pause before the next attempt, if there is one, in place of the policy's.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self { delay: Some(delay), ..self }
    }

    /// Adds a message for programs to read, `google.rpc.ErrorInfo` for example.
    #[must_use]
    pub fn detail(mut self, detail: &impl Name) -> Self {
        let type_url = type_url(detail);
        self.details.push(Any { type_url, value: detail.encode_to_vec() });
        self
    }

    /// What kind of error it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether to try again.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// As the worker reports it.
    pub(crate) fn into_failure(mut self) -> Failure {
        self.message.truncate(cut(&self.message, MAX_MESSAGE).len());
        let Self { code, message, details, verdict, delay } = self;
        Failure { error: Status { code: code.into(), message, details }, verdict, delay }
    }
}

/// The beginning of a text, at most so many bytes of it.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn type_url<M: Name>(_: &M) -> String {
    M::type_url()
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str_name(), self.message)
    }
}

impl<E: StdError> From<E> for JobError {
    /// `UNKNOWN`, with the error and all its sources as the message.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(Code::Unknown, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_becomes_one_with_its_sources() {
        let error: JobError = "x".parse::<i32>().unwrap_err().into();
        assert_eq!((error.code(), error.verdict()), (Code::Unknown, Verdict::ByPolicy));
        assert_eq!(error.message(), "invalid digit found in string");
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        let failure = JobError::new(Code::Internal, "ä".repeat(5000)).into_failure();
        assert_eq!(failure.error.message.len(), MAX_MESSAGE);
    }
}
