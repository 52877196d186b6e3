//! The gateway as clients see it: real gRPC over a port, the embedded store in memory and the bus
//! within the process. The tests play the worker themselves.

#![expect(clippy::unwrap_used, reason = "a test")]

mod discovery;
mod faults;
mod harness;
mod http;
mod list;
mod operations;
mod outages;
mod run_job;
mod server;
mod surfaces;
mod wait;
mod watch;
