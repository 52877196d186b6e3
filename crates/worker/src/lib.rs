//! The worker: pulls hints from queues, claims operations, runs their jobs, reports progress and
//! outcomes, obeys cancellation.
//!
//! Job authors register handlers with a [`Worker`]: typed Rust functions, or executables of any
//! language by [`exec`]. The worker needs the bus and nothing else: it must never know of the store,
//! nor decide what becomes of an operation. It reports how an attempt ended; the state role decides.
//!
//! ```no_run
//! use longshore_worker::{Context, JobError, Progress, Worker};
//!
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     pages: i64,
//! }
//!
//! #[derive(serde::Serialize)]
//! struct Printed {
//!     pages: i64,
//! }
//!
//! async fn print(order: Order, context: Context) -> Result<Printed, JobError> {
//!     for page in 0..order.pages {
//!         if context.is_cancelled() {
//!             return Err(JobError::cancelled());
//!         }
//!         context.report(Progress::units(page, order.pages, "pages"));
//!     }
//!     Ok(Printed { pages: order.pages })
//! }
//!
//! let worker = Worker::new().register("print", 4, print);
//! ```

mod context;
mod error;
pub mod exec;
mod handler;
mod progress;
mod runtime;
mod settings;
mod worker;

pub use context::{Context, StopReason};
pub use error::JobError;
pub use handler::{Input, Raw, Response};
pub use longshore_core::lifecycle::Verdict;
pub use longshore_proto::rpc::Code;
pub use progress::Progress;
pub use settings::Settings;
pub use worker::{Error, Worker};
