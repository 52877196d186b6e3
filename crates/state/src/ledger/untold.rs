//! Hints that could not be sent because the bus was out of reach: sent once it is back.
//!
//! The timers would see to them all the same, but they wait for evidence that a hint is lost, and
//! after an outage of the bus that can take a multiple of the outage.

use std::sync::Arc;

use longshore_bus::{Bus, Error, Message};
use tokio::{sync::Semaphore, time::sleep};

use crate::retry;

/// How many of them are remembered; what is more is left to the timers.
const MOST: usize = 1024;

/// The hints that wait for the bus.
pub(super) struct Untold(Arc<Semaphore>);

impl Default for Untold {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Untold {
    /// Sends a hint when the bus is back, unless too many wait for that already. That it may come
    /// twice, or when there is nothing left to do, is what every hint may.
    pub(super) fn send_later(&self, bus: &Arc<dyn Bus>, hint: Message) {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else { return };
        let bus = Arc::clone(bus);
        tokio::spawn(async move {
            let mut status = bus.status();
            for pause in retry::pauses() {
                if status.wait_for(|status| status.ready).await.is_err() {
                    break;
                }
                sleep(pause).await;
                if !matches!(bus.enqueue(hint.clone()).await, Err(Error::Unavailable { .. })) {
                    break;
                }
            }
            drop(place);
        });
    }
}
