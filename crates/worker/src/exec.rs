//! Any executable as a job.
//!
//! # What the executable sees
//!
//! - **Standard input**: the input as one JSON value, then the end. A `Struct` is the object that
//!   it holds, a typed input its JSON form with `@type`, no input `{}`.
//! - **File descriptor 3**: takes progress as lines of JSON, for example
//!   `{"completed_units": 512, "total_units": 2048, "unit": "bytes"}`. The keys are `percent`,
//!   `completed_units`, `total_units`, `unit`, `message` and `details` (or as proto3 JSON spells
//!   them, `completedUnits`); one that is left out keeps what it was. Other keys are ignored, and
//!   so, with a warning in the log, are lines that are no such object.
//! - **The environment**: the worker's without its `LONGSHORE_*`, what the file says, and
//!   `LONGSHORE_OPERATION` (the name), `LONGSHORE_JOB_TYPE`, `LONGSHORE_ATTEMPT` (from 1),
//!   `LONGSHORE_RUN_TIMEOUT` (seconds, if there is one), `TRACEPARENT` and `TRACESTATE` (W3C, if
//!   the operation belongs to a trace).
//! - **Signals**: SIGTERM to it and all its children when it is to stop, SIGKILL after `grace`.
//!
//! # What it answers
//!
//! - **Standard output**: the last JSON value on it is the response. It is read from the top: where
//!   a line begins a JSON value that ends with a line, that is a value; all other lines are passed
//!   over. An object with `@type` becomes a message of that type, another object a `Struct`,
//!   `null` and no value at all `Empty`, all else a `Value`.
//! - **Standard error** goes to the worker's log line by line; an error's message begins with its
//!   last line, and has its last 4 KiB below if there is more.
//! - **The exit code**, by `sysexits.h`:
//!
//! | exit code | error | tried again |
//! |---|---|---|
//! | 0 | none | |
//! | in `retry_exit_codes` | `UNAVAILABLE` | while attempts are left |
//! | 64 `EX_USAGE`, 65 `EX_DATAERR` | `INVALID_ARGUMENT` | no |
//! | 66 `EX_NOINPUT` | `NOT_FOUND` | by policy |
//! | 69 `EX_UNAVAILABLE`, 75 `EX_TEMPFAIL` | `UNAVAILABLE` | while attempts are left |
//! | 70 `EX_SOFTWARE` | `INTERNAL` | by policy |
//! | 77 `EX_NOPERM` | `PERMISSION_DENIED` | by policy |
//! | 78 `EX_CONFIG` | `FAILED_PRECONDITION` | by policy |
//! | others | `UNKNOWN` | by policy |
//! | killed by a signal | `ABORTED` | by policy |
//!
//! # What is left behind
//!
//! Nothing: whatever of its process group is left when the executable has ended, or its attempt was
//! lost, or the worker itself died, is killed. Only a process that leaves the group (`setsid`)
//! escapes. Needs `/bin/sh`.

mod config;
mod exit;
mod group;
mod lines;
mod output;
mod pipes;
mod run;
#[cfg(test)]
mod tests;

pub use config::{Error, JobConfig, load};

use std::sync::Arc;

use futures::future::FutureExt;

use crate::handler::Handler;

/// The handler that runs an executable.
pub(crate) fn handler(config: JobConfig) -> Handler {
    let config = Arc::new(config);
    Arc::new(move |input, context| {
        let config = config.clone();
        async move { run::run(&config, input, context).await }.boxed()
    })
}
