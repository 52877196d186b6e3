//! Servers that replicate each other.

pub(crate) mod nats;
pub(crate) mod redis;
pub(crate) mod sentinel;

use std::time::Duration;

/// How long a server may take to say how things are, before it counts as one that does not answer.
const ANSWER: Duration = Duration::from_secs(2);
