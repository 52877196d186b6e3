//! Which job types are paused.

use std::{sync::Arc, time::Duration};

use longshore_core::lifecycle::Paused;
use tokio::{sync::Mutex, time::Instant};

use crate::store::{Error, Store};

/// How old what is known may be.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of paused job types. It is read when somebody asks and it is not fresh: a replica
/// that has nothing to do reads nothing.
#[derive(Default)]
pub(super) struct Pauses(Mutex<Option<(Instant, Paused)>>);

impl Pauses {
    /// The paused job types, as of a second ago at most.
    ///
    /// # Errors
    /// If that can't be known: then nothing may be started.
    pub(super) async fn get(&self, store: &dyn Store) -> Result<Paused, Error> {
        // Those who come meanwhile wait for the same answer.
        let mut known = self.0.lock().await;
        if let Some((read, paused)) = &*known
            && read.elapsed() < FRESH
        {
            return Ok(paused.clone());
        }
        let begun = Instant::now();
        let paused: Paused = Arc::new(store.paused().await?);
        *known = Some((begun, paused.clone()));
        Ok(paused)
    }
}
