//! The floors: what the parts can do without Longshore.

pub(crate) mod commands;
pub(crate) mod empty;
pub(crate) mod jobs;
pub(crate) mod latency;
pub(crate) mod messages;
