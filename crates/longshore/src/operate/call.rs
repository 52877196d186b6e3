//! Calls the roll of the workers.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use longshore_bus::{Bus, Error, Message, subjects};
use longshore_core::{config::redact, names::OperationId};
use longshore_proto::internal::{Present, RollCall};
use prost::Message as _;
use tokio::time::{Instant, timeout_at};

use crate::{
    cli::Site,
    exit::{BadSetting, OutOfReach},
    settings::Settings,
};
use longshore_bus::nats::NatsBus;

/// For how long answers are waited for: nobody knows how many there will be.
pub(super) const ANSWERS: Duration = Duration::from_secs(1);

/// The workers that answered, by their instances.
pub(super) type Roll = BTreeMap<String, Present>;

/// The bus of an installation.
///
/// # Errors
/// If it can't be reached or used.
pub(super) async fn bus(site: &Site) -> Result<NatsBus> {
    let settings = Settings::load(site)?;
    let server = redact(&settings.nats.url);
    let bus = NatsBus::connect(&settings.nats).await;
    bus.map_err(|error| failed(error, format!("nats at {server}")))
}

/// What the bus's error means to whoever gave the command.
pub(super) fn failed(error: Error, context: String) -> anyhow::Error {
    let refused = matches!(error, Error::Refused { .. });
    let error = anyhow::Error::new(error).context(context);
    if refused { BadSetting(error).into() } else { OutOfReach(error).into() }
}

/// Calls the roll, and has some workers drain.
///
/// # Errors
/// If the bus can't be asked.
pub(super) async fn call(bus: &dyn Bus, drain: &[String]) -> Result<Roll> {
    let failed = |error| failed(error, "the workers can't be asked".to_owned());
    // Where requests of workers are answered too, so that they are permitted to.
    let reply_to = format!("_INBOX.roll.{}", OperationId::random());
    let mut answers = bus.subscribe(&reply_to, None).await.map_err(failed)?;
    let call = RollCall { reply_to, drain: drain.to_vec() };
    let message = Message::new(subjects::WORKERS, call.encode_to_vec());
    bus.publish(message).await.map_err(failed)?;
    let end = Instant::now() + ANSWERS;
    let mut roll = Roll::new();
    while let Ok(Some(answer)) = timeout_at(end, answers.next()).await {
        // What is no answer is nobody's who is there.
        if let Ok(present) = Present::decode(answer.message.payload) {
            roll.insert(present.worker.clone(), present);
        }
    }
    Ok(roll)
}
