//! How a worker works.

use std::{num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};

/// How a worker works. The concurrency of each job type is given where the job is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The worker's name, as operations show it: 1 to 63 of `[A-Za-z0-9_-]`. The default is the
    /// host's name, with `-` for all other characters.
    pub name: String,
    /// How many attempts run at once over all job types. Unset leaves it to each type's own
    /// concurrency.
    pub slots: Option<NonZeroUsize>,
    /// The shortest pause between two reports of an attempt's progress; the newest is sent, the
    /// others in between are not.
    #[serde(with = "humantime_serde")]
    pub progress_interval: Duration,
    /// How long running attempts may go on after the worker was told to stop. What is left then
    /// is cancelled and handed back for another worker to start, which takes up to 5 s more.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// How long an attempt that was cancelled, or ran too long, has to end by itself, unless its
    /// job says so itself. Should be below the `cancel_grace` of the state role (30 s).
    #[serde(with = "humantime_serde")]
    pub cancel_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: host_name(),
            slots: None,
            progress_interval: Duration::from_millis(200),
            drain_timeout: Duration::from_secs(20),
            cancel_grace: Duration::from_secs(10),
        }
    }
}

fn host_name() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = host.to_string_lossy().chars().map(legal).take(63).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use longshore_core::names::WorkerInstance;

    use super::*;

    #[test]
    fn default_name_is_legal() {
        assert!(WorkerInstance::boot(&host_name()).is_ok());
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = toml::from_str::<Settings>("drain = '1s'").unwrap_err().to_string();
        assert!(error.contains("drain"), "{error}");
        let settings: Settings = toml::from_str("drain_timeout = '90s'\nslots = 3").unwrap();
        assert_eq!(settings.drain_timeout, Duration::from_secs(90));
        assert_eq!(settings.slots, NonZeroUsize::new(3));
    }
}
