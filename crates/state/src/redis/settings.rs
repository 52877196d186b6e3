//! How to reach Redis.

use std::{fmt, time::Duration};

use serde::Deserialize;

use crate::store::Error;

/// How to reach Redis, and over how many partitions operations spread in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `redis://HOST:PORT`, `redis+cluster://HOST:PORT,HOST:PORT` or
    /// `redis+sentinel://HOST:PORT,HOST:PORT/MASTER_NAME`, each with `USER:PASSWORD@` before the
    /// host if need be.
    pub url: String,
    /// 1 to 1024. Fixed when the store is first used.
    pub partitions: u16,
    /// How long an answer may take before the store counts as unavailable.
    #[serde(with = "humantime_serde")]
    pub response_timeout: Duration,
    /// How long it may take to connect.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            partitions: 16,
            response_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

/// Leaves out the URL, in which a password may be.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("partitions", &self.partitions)
            .field("response_timeout", &self.response_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), Error> {
        if !(1..=1024).contains(&self.partitions) {
            let message = format!("partitions must be 1 to 1024, not {}", self.partitions);
            return Err(Error::Misconfigured(message));
        }
        if self.response_timeout.is_zero() || self.connect_timeout.is_zero() {
            let message = "response_timeout and connect_timeout must not be zero";
            return Err(Error::Misconfigured(message.to_owned()));
        }
        Ok(())
    }
}
