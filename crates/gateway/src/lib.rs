//! Serves the API: `google.longrunning.Operations` and `longshore.v1.Jobs`, with server reflection
//! and the standard health service.
//!
//! It reads and commits records through `longshore_state`'s library and keeps nothing itself, so
//! any number of gateways can serve the same operations. It decides nothing about records: that is
//! `longshore_core::lifecycle`'s business. It must never know of workers, Redis or NATS.

mod api;
mod calls;
mod changes;
mod connections;
mod deadline;
mod discovery;
mod errors;
mod follow;
mod front;
mod health;
mod http;
mod hub;
mod jobs;
mod list;
mod openapi;
mod operations;
mod page;
mod reads;
mod server;
mod settings;
mod socket;
mod surface;
mod validate;
mod wait;
mod watch;

pub use api::Api;
pub use errors::{DOMAIN, Reason};
pub use http::RuleError;
pub use server::{Error, serve};
pub use settings::{HttpSettings, RetrySettings, Settings, SettingsError};
pub use surface::{Metadata, Method, MethodSettings, Scope, SurfaceSettings};
