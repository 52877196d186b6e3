//! How to reach Redis.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::url::Target;
use crate::store::Error;

/// When a commit counts as done, and may be answered to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once Redis has it in memory. What it lasts is up to how Redis is set up.
    #[default]
    Memory,
    /// Once it is in Redis's append-only file and that on the disk: Redis has `appendfsync always`,
    /// or confirms it by `WAITAOF` (from 7.2 on).
    Fsync,
    /// Once replicas have it in memory, which they confirm by `WAIT`.
    Replicas,
}

/// How to reach Redis, and over how many partitions operations spread in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `redis://HOST:PORT`, `redis+cluster://HOST:PORT,HOST:PORT` or
    /// `redis+sentinel://HOST:PORT,HOST:PORT/MASTER_NAME`, each with `USER:PASSWORD@` before the
    /// host if need be.
    pub url: String,
    /// 1 to 1024. Fixed when the store is first used: without it, what the store has, and of a new
    /// one 16 in a cluster, else 1.
    pub partitions: Option<u16>,
    /// How long an answer may take before the store counts as unavailable.
    #[serde(with = "humantime_serde")]
    pub response_timeout: Duration,
    /// How long it may take to connect.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// When a commit counts as done.
    pub durability: Durability,
    /// How many replicas have to confirm a commit, where replicas do.
    pub durable_replicas: u32,
    /// How long a confirmation may take before the store counts as unavailable.
    #[serde(with = "humantime_serde")]
    pub durability_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            partitions: None,
            response_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            durability: Durability::default(),
            durable_replicas: 1,
            durability_timeout: Duration::from_secs(2),
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
            .field("durability", &self.durability)
            .field("durable_replicas", &self.durable_replicas)
            .field("durability_timeout", &self.durability_timeout)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Checks what types can't.
    ///
    /// # Errors
    /// [`Error::Misconfigured`], for the first value that can't be.
    pub fn check(&self) -> Result<(), Error> {
        Target::parse(&self.url)?;
        if let Some(partitions) = self.partitions
            && !(1..=1024).contains(&partitions)
        {
            let message = format!("partitions must be 1 to 1024, not {partitions}");
            return Err(Error::Misconfigured(message));
        }
        if self.response_timeout.is_zero() || self.connect_timeout.is_zero() {
            let message = "response_timeout and connect_timeout must not be zero";
            return Err(Error::Misconfigured(message.to_owned()));
        }
        if self.durable_replicas == 0 || self.durability_timeout.is_zero() {
            let message = "durable_replicas and durability_timeout must not be zero";
            return Err(Error::Misconfigured(message.to_owned()));
        }
        Ok(())
    }
}
