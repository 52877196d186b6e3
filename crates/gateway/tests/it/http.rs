//! HTTP/JSON as clients see it.

mod batch;
mod browsers;
mod captured;
pub(crate) mod client;
mod errors;
mod fuzz;
mod jobs;
mod looks;
mod stream;
