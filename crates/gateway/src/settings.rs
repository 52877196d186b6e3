//! The gateway's settings: what clients may ask for, and what they get if they don't say.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use longshore_core::names::{self, JobType};
use serde::{Deserialize, Serialize};

use crate::surface::{SurfaceSettings, Surfaces};

/// The largest page that any setting allows: it is held in memory while it is made.
pub(crate) const LARGEST_PAGE: u32 = 10_000;
/// The largest input that any setting allows, in bytes: it travels to the worker in one message
/// with the rest of the job, and NATS carries 1 MiB.
const LARGEST_INPUT: usize = 960 * 1024;

/// The settings of the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long a call may take, or the first answer of one that waits or watches, before it is
    /// answered that the store is unavailable. A client that gives a call less time is answered
    /// sooner.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// The longest that `WaitOperation` waits, whatever the client asks for.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// How many operations a page of a list has if the client doesn't say.
    pub default_page_size: u32,
    /// How many operations a page of a list has at most.
    pub max_page_size: u32,
    /// The types of jobs that are accepted; any if absent.
    pub allowed_job_types: Option<BTreeSet<String>>,
    /// The longest run of an attempt, for jobs that don't say; no limit if absent.
    #[serde(with = "humantime_serde")]
    pub run_timeout: Option<Duration>,
    /// The longest run of an attempt that a job may ask for.
    #[serde(with = "humantime_serde")]
    pub max_run_timeout: Duration,
    /// How long a record is kept after the end, for jobs that don't say. AIP-151's rule of thumb
    /// is 30 days; a week, as Spanner keeps it, costs a quarter of the room.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// How long a record is kept at most.
    #[serde(with = "humantime_serde")]
    pub max_ttl: Duration,
    /// The largest input of a job in bytes. The job must fit one message of the bus (NATS: 1 MiB).
    pub max_input_bytes: usize,
    /// What happens after a failed attempt, for jobs that don't say.
    pub retry: RetrySettings,
    /// For how long the gateway goes on as before when it is to stop, but reports that it is not
    /// ready: so long as load balancers take to notice.
    #[serde(with = "humantime_serde")]
    pub shutdown_delay: Duration,
    /// How long calls in flight may take to finish after that.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// The bounds of connections.
    pub http: HttpSettings,
    /// The APIs that operations appear under; a plain one with all names if there are none.
    pub surfaces: Vec<SurfaceSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            call_timeout: Duration::from_secs(5),
            max_wait: Duration::from_secs(5 * 60),
            default_page_size: 100,
            max_page_size: 1000,
            allowed_job_types: None,
            run_timeout: None,
            max_run_timeout: days(30),
            ttl: days(7),
            max_ttl: days(90),
            max_input_bytes: 900 * 1024,
            retry: RetrySettings::default(),
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(25),
            http: HttpSettings::default(),
            surfaces: Vec::new(),
        }
    }
}

/// What happens after a failed attempt, for jobs that don't say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// How many attempts in all, at least 1.
    pub max_attempts: u32,
    /// The pause before the second attempt.
    #[serde(with = "humantime_serde")]
    pub initial_backoff: Duration,
    /// The longest pause.
    #[serde(with = "humantime_serde")]
    pub max_backoff: Duration,
    /// By how much each pause is longer than the one before, at least 1.
    pub backoff_multiplier: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            backoff_multiplier: 2.0,
        }
    }
}

/// The bounds of connections: without them one client could take all memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// How many connections are served at once; others wait to be accepted.
    pub max_connections: usize,
    /// How many calls are in flight on one connection at once; clients hold further ones back.
    pub max_calls_per_connection: u32,
    /// How long a new connection may be silent.
    #[serde(with = "humantime_serde")]
    pub first_byte_timeout: Duration,
    /// After how long without a sign a peer is asked whether it is still there.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// After how long a client is asked to connect anew, so that load finds its way to new
    /// gateways. Each connection draws up to a tenth more; calls in flight go on.
    #[serde(with = "humantime_serde")]
    pub max_connection_age: Duration,
    /// The web pages that may call the API from a browser: origins such as
    /// `https://console.example.com`, or `*` for all.
    pub cors_origins: Vec<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_calls_per_connection: 1000,
            first_byte_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_secs(30 * 60),
            cors_origins: Vec::new(),
        }
    }
}

/// Why settings can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A value is out of its bounds.
    #[error("gateway.{field} must be {bounds}")]
    OutOfBounds {
        /// Which.
        field: &'static str,
        /// What it has to be.
        bounds: String,
    },
    /// A surface can't be served.
    #[error("gateway.surfaces: the {field} of {surface:?} {problem}")]
    Surface {
        /// Its name.
        surface: String,
        /// Which setting.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A job type is none.
    #[error("gateway.allowed_job_types has {name:?}, which is no job type")]
    JobType {
        /// What stands there.
        name: String,
        /// What is wrong with it.
        #[source]
        source: names::Error,
    },
}

impl Settings {
    /// Checks what types can't.
    ///
    /// # Errors
    /// The first value that is out of its bounds.
    pub fn check(&self) -> Result<(), SettingsError> {
        require(!self.call_timeout.is_zero(), "call_timeout", "more than 0")?;
        require(!self.max_wait.is_zero(), "max_wait", "more than 0")?;
        let page_bounds = format!("from 1 to {LARGEST_PAGE}");
        require((1..=LARGEST_PAGE).contains(&self.max_page_size), "max_page_size", page_bounds)?;
        let in_page = (1..=self.max_page_size).contains(&self.default_page_size);
        require(in_page, "default_page_size", "from 1 to max_page_size")?;
        require(!self.max_run_timeout.is_zero(), "max_run_timeout", "more than 0")?;
        let run = self.run_timeout.is_none_or(|run| !run.is_zero() && run <= self.max_run_timeout);
        require(run, "run_timeout", "more than 0 and at most max_run_timeout")?;
        require(
            !self.ttl.is_zero() && self.ttl <= self.max_ttl,
            "ttl",
            "more than 0 and at most max_ttl",
        )?;
        let input = (1..=LARGEST_INPUT).contains(&self.max_input_bytes);
        require(input, "max_input_bytes", format!("from 1 to {LARGEST_INPUT}"))?;
        require(self.retry.max_attempts > 0, "retry.max_attempts", "at least 1")?;
        let backoff = self.retry.initial_backoff <= self.retry.max_backoff;
        require(backoff, "retry.initial_backoff", "at most retry.max_backoff")?;
        let multiplier = self.retry.backoff_multiplier;
        require(
            multiplier.is_finite() && multiplier >= 1.0,
            "retry.backoff_multiplier",
            "at least 1",
        )?;
        require(self.http.max_connections > 0, "http.max_connections", "at least 1")?;
        require(
            self.http.max_calls_per_connection > 0,
            "http.max_calls_per_connection",
            "at least 1",
        )?;
        let origins = self.http.cors_origins.iter().all(|origin| is_origin(origin));
        require(origins, "http.cors_origins", "origins such as https://console.example.com, or *")?;
        Surfaces::new(self)?;
        for name in self.allowed_job_types.iter().flatten() {
            JobType::parse(name)
                .map_err(|source| SettingsError::JobType { name: name.clone(), source })?;
        }
        Ok(())
    }
}

/// `*`, or a scheme, a host and perhaps a port, as browsers write them.
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map(|(_, host)| host);
    let is_plain = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
    };
    text == "*" || host.is_some_and(is_plain)
}

fn require(
    holds: bool,
    field: &'static str,
    bounds: impl Into<String>,
) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError::OutOfBounds { field, bounds: bounds.into() }) }
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use super::{RetrySettings, Settings};

    #[test]
    fn the_defaults_are_in_bounds() {
        Settings::default().check().unwrap();
    }

    #[test]
    fn values_out_of_bounds_are_named() {
        let retry = RetrySettings { backoff_multiplier: f64::NAN, ..RetrySettings::default() };
        let cases = [
            (Settings { default_page_size: 0, ..Settings::default() }, "default_page_size"),
            (Settings { max_page_size: 1_000_000, ..Settings::default() }, "max_page_size"),
            (Settings { max_input_bytes: 2 << 20, ..Settings::default() }, "max_input_bytes"),
            (Settings { retry, ..Settings::default() }, "retry.backoff_multiplier"),
            (
                Settings {
                    allowed_job_types: Some(["a.b".to_owned()].into()),
                    ..Settings::default()
                },
                "allowed_job_types",
            ),
        ];
        for (settings, field) in cases {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
