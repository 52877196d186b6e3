//! Tells by grpc.health.v1 whether the gateway can serve: whether the store can be used.
//!
//! The bus does not count. Without it all methods work: hints are made up for by timers, and those
//! who wait or watch read now and then. A gateway that reported otherwise would be taken out of
//! use together with all others, and an outage of hints would be one of everything.

use std::time::Duration;

use longshore_proto::{longrunning::operations_server, v1::jobs_server};
use longshore_state::ledger::Ledger;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the store may take to say that it is well.
const PATIENCE: Duration = Duration::from_secs(2);
/// The services that are reported on; the empty name is the server as a whole.
const SERVICES: [&str; 3] = ["", operations_server::SERVICE_NAME, jobs_server::SERVICE_NAME];

/// Reports until the shutdown, and then that nothing is served any more; `delay` later it tells the
/// gateway to close.
pub(crate) async fn run(
    mut reporter: HealthReporter,
    ledger: &Ledger,
    shutdown: &CancellationToken,
    delay: Duration,
    closing: CancellationToken,
) {
    // Whatever happens here, the gateway has to close at last.
    let _closing = closing.drop_guard();
    report(&reporter, ServingStatus::NotServing).await;
    shutdown.run_until_cancelled(watch(&reporter, ledger)).await;
    report(&reporter, ServingStatus::NotServing).await;
    sleep(delay).await;
    // Those who watch have that still to read, and then their streams end, which would hold up the
    // shutdown.
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}

async fn watch(reporter: &HealthReporter, ledger: &Ledger) {
    let mut bus = ledger.bus().status();
    let mut seen = None;
    let mut reported = ServingStatus::NotServing;
    loop {
        let store_is_well = match timeout(PATIENCE, ledger.store().check()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the store can't be used");
                false
            }
            Err(_) => {
                tracing::warn!("the store does not answer");
                false
            }
        };
        let bus_is_well = bus.borrow_and_update().ready;
        if seen != Some((store_is_well, bus_is_well)) {
            tracing::info!(store_is_well, bus_is_well, "health changes");
            seen = Some((store_is_well, bus_is_well));
        }
        let now = if store_is_well { ServingStatus::Serving } else { ServingStatus::NotServing };
        if now != reported {
            report(reporter, now).await;
            reported = now;
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            Ok(()) = bus.changed() => {}
        }
    }
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
