//! The store that a command is about.

use anyhow::{Error, Result};
use longshore_core::config::redact;
use longshore_state::{
    audit::Auditable, embedded::EmbeddedStore, redis::RedisStore, store::Error as StoreError,
};
use tokio::task::spawn_blocking;

use crate::{
    cli::{Records, Site},
    exit::{BadSetting, OutOfReach},
    settings::Settings,
};

/// What is done if a directory has no store in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is an error.
    Refuse,
    /// A new one is made.
    Create,
}

/// Opens the store that the records are in.
///
/// # Errors
/// If it can't be reached or used.
pub(super) async fn open(records: &Records, absent: Absent) -> Result<Box<dyn Auditable>> {
    let Some(directory) = records.data.clone() else { return redis(&records.site).await };
    let shown = directory.display().to_string();
    // It may have to repair the file first.
    let opened = spawn_blocking(move || match absent {
        Absent::Refuse => EmbeddedStore::open_existing(&directory),
        Absent::Create => EmbeddedStore::open(&directory),
    });
    Ok(Box::new(opened.await?.map_err(|error| failed(error, shown))?))
}

/// The records of an installation.
///
/// # Errors
/// If they can't be reached or used.
pub(super) async fn redis(site: &Site) -> Result<Box<dyn Auditable>> {
    let settings = Settings::load(site)?;
    let server = redact(&settings.redis.url);
    let store = RedisStore::connect(&settings.redis).await;
    Ok(Box::new(store.map_err(|error| failed(error, format!("redis at {server}")))?))
}

/// What a store's error means to whoever gave the command.
pub(super) fn failed(error: StoreError, context: String) -> Error {
    let out_of_reach = matches!(error, StoreError::Unavailable { .. } | StoreError::Full { .. });
    let wrong = matches!(error, StoreError::Misconfigured(_));
    let error = Error::new(error).context(context);
    if out_of_reach {
        OutOfReach(error).into()
    } else if wrong {
        BadSetting(error).into()
    } else {
        error
    }
}
