//! What every role of Longshore agrees on: names, records, how records change, what clients see
//! of them, errors, settings and telemetry.
//!
//! The heart is [`lifecycle::step`]: every change of a record is that one pure function. This
//! crate must never know of Redis, NATS, sockets or files, nor read a clock to decide something.

pub mod codec;
pub mod config;
pub mod filter;
pub mod index;
pub mod json;
pub mod lifecycle;
pub mod names;
pub mod record;
pub mod telemetry;
pub mod time;
pub mod view;
