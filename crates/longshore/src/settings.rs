//! The settings of all roles: one file serves them all, and each role reads its sections.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use longshore_core::{config, json, lifecycle::Rules, telemetry};
use serde::{Deserialize, Serialize};

use crate::{admin, cli::Flags, exit::BadSetting};

/// What the variables begin with that hold settings.
const PREFIX: &str = "LONGSHORE";

/// The settings of all roles.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Logs and traces.
    pub telemetry: telemetry::Settings,
    /// The spans that all processes of an installation must agree on.
    pub rules: LifecycleRules,
    /// Where `dev` keeps records.
    pub store: Store,
    /// Where the roles keep records.
    pub redis: longshore_state::redis::Settings,
    /// What the roles talk over.
    pub nats: longshore_bus::nats::Settings,
    /// The API.
    pub gateway: longshore_gateway::Settings,
    /// The state role.
    pub state: longshore_state::role::Settings,
    /// The worker.
    pub worker: longshore_worker::Settings,
    /// The jobs that are executables.
    pub exec: Exec,
    /// Types of messages beside those that are compiled in.
    pub types: Types,
    /// What the platform asks.
    pub admin: admin::Settings,
}

/// The spans of the lifecycle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LifecycleRules {
    /// See [`Rules::lease`].
    #[serde(with = "humantime_serde")]
    lease: Duration,
    /// See [`Rules::cancel_grace`].
    #[serde(with = "humantime_serde")]
    cancel_grace: Duration,
    /// See [`Rules::hint_check`].
    #[serde(with = "humantime_serde")]
    hint_check: Duration,
}

impl Default for LifecycleRules {
    fn default() -> Self {
        let Rules { lease, cancel_grace, hint_check } = Rules::default();
        Self { lease, cancel_grace, hint_check }
    }
}

impl LifecycleRules {
    /// The rules that the lifecycle works by.
    pub(crate) fn get(&self) -> Rules {
        Rules { lease: self.lease, cancel_grace: self.cancel_grace, hint_check: self.hint_check }
    }

    fn check(&self) -> Result<()> {
        let second = Duration::from_secs(1);
        ensure!(self.lease >= second, "rules.lease must be at least 1s");
        ensure!(self.cancel_grace >= second, "rules.cancel_grace must be at least 1s");
        let travel = Rules::HINT_TRAVEL;
        ensure!(
            self.hint_check >= travel,
            "rules.hint_check must be at least {}s",
            travel.as_secs()
        );
        Ok(())
    }
}

/// Where `dev` keeps records.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Store {
    /// The directory; in memory only if absent.
    pub data: Option<PathBuf>,
}

/// The jobs that are executables.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Exec {
    /// The file that describes them.
    pub jobs: Option<PathBuf>,
}

/// Types of messages beside those that are compiled in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Types {
    /// Files with an encoded google.protobuf.FileDescriptorSet each.
    pub descriptor_sets: Vec<PathBuf>,
}

impl Types {
    /// Makes them known to the process.
    ///
    /// # Errors
    /// [`BadSetting`], with the file and what is wrong with it.
    pub(crate) fn register(&self) -> Result<()> {
        if self.descriptor_sets.is_empty() {
            return Ok(());
        }
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
        };
        let sets: Vec<Vec<u8>> =
            self.descriptor_sets.iter().map(read).collect::<Result<_>>().map_err(BadSetting)?;
        json::register(&sets).map_err(|(place, error)| {
            let file = self.descriptor_sets[place].display().to_string();
            BadSetting(anyhow::Error::from(error).context(format!("the types in {file}")))
        })?;
        Ok(())
    }
}

impl Settings {
    /// Loads what the file, the environment and the flags say.
    ///
    /// # Errors
    /// [`config::Error`] or [`BadSetting`].
    pub(crate) fn load(flags: &impl Flags) -> Result<Self> {
        Self::of(&Self::gather(flags)?)
    }

    /// What the file, the environment and the flags say, each with where it comes from.
    ///
    /// # Errors
    /// [`config::Error`].
    pub(crate) fn gather(flags: &impl Flags) -> Result<config::Merged> {
        let (file, flags) = (flags.config(), flags.overrides());
        Ok(config::Merged::gather(file, PREFIX, env::vars_os(), &flags)?)
    }

    /// The settings that are meant.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub(crate) fn of(merged: &config::Merged) -> Result<Self> {
        let settings: Self = merged.read()?;
        settings.rules.check().map_err(BadSetting)?;
        settings.gateway.check().map_err(|error| BadSetting(error.into()))?;
        Ok(settings)
    }
}
