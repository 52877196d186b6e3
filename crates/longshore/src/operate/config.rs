//! `longshore admin config`.

use anyhow::Result;
use longshore_core::{config::Extent, names::WorkerInstance};
use longshore_worker::exec;

use crate::{
    cli::{Print, Site},
    client::say,
    exit::{BadSetting, Exit},
    settings::{Settings, Types},
};

/// Says `ok` if no role would refuse these settings.
///
/// # Errors
/// [`BadSetting`] and [`longshore_core::config::Error`] for the first one that is wrong.
pub(super) fn check(site: &Site, mut types: Types) -> Result<Exit> {
    let settings = Settings::load(site)?;
    settings.telemetry.check().map_err(|error| BadSetting(error.into()))?;
    settings.redis.check().map_err(|error| BadSetting(error.into()))?;
    WorkerInstance::boot(&settings.worker.name)
        .map_err(|error| BadSetting(anyhow::Error::new(error).context("worker.name")))?;
    if let Some(jobs) = &settings.exec.jobs {
        exec::load(jobs).map_err(|error| BadSetting(error.into()))?;
    }
    types.descriptor_sets.extend(settings.types.descriptor_sets);
    types.register()?;
    say("ok")?;
    Ok(Exit::Fine)
}

/// Shows the settings without secrets.
///
/// # Errors
/// As [`check`].
pub(super) fn print(args: &Print) -> Result<Exit> {
    let merged = Settings::gather(&args.site)?;
    let settings = Settings::of(&merged)?;
    let extent = if args.effective { Extent::Effective } else { Extent::Set };
    say(merged.print(&settings, extent)?.trim_end())?;
    Ok(Exit::Fine)
}
