//! Requests to JetStream.

use async_nats::{Message, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{PATIENCE, link::Link};
use crate::Error;

/// There is no such stream.
pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
/// There is no such message.
pub(super) const NO_MESSAGE_FOUND: u64 = 10_037;
/// The cluster has no leader at the moment.
const CLUSTER_NOT_AVAILABLE: u64 = 10_008;
/// JetStream is off, or not yet on.
const NOT_ENABLED: u64 = 10_076;

/// Why JetStream does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It is not there, or what it was asked about.
    #[error("nobody answers")]
    NobodyThere,
    /// It says no.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// It can't be reached.
    #[error(transparent)]
    Bus(#[from] Error),
}

/// How JetStream says no.
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("{description} ({err_code})")]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    description: String,
}

impl Trouble {
    pub(super) fn into_error(self, doing: &'static str) -> Error {
        match self {
            Self::NobodyThere => {
                Error::Unavailable { doing, source: Some(Self::NobodyThere.into()) }
            }
            Self::Refusal(refusal)
                if matches!(refusal.err_code, CLUSTER_NOT_AVAILABLE | NOT_ENABLED) =>
            {
                Error::Unavailable { doing, source: Some(refusal.into()) }
            }
            Self::Refusal(refusal) => Error::Refused { doing, source: refusal.into() },
            Self::Bus(error) => error,
        }
    }

    pub(super) fn is(&self, code: u64) -> bool {
        matches!(self, Self::Refusal(refusal) if refusal.err_code == code)
    }
}

/// Asks JetStream for something.
pub(super) async fn request<T: DeserializeOwned>(
    link: &Link,
    subject: &str,
    body: &(impl Serialize + Sync),
) -> Result<T, Trouble> {
    let body = serde_json::to_vec(body).map_err(unreadable)?;
    let answer = link.call(format!("$JS.API.{subject}"), None, body.into(), PATIENCE).await?;
    check(&answer)?;
    Ok(serde_json::from_slice(&answer.payload).map_err(unreadable)?)
}

/// Whether an answer of JetStream says yes.
pub(super) fn check(answer: &Message) -> Result<(), Trouble> {
    #[derive(Deserialize)]
    struct Answer {
        error: Option<Refusal>,
    }
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Trouble::NobodyThere);
    }
    let answer: Answer = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
    answer.error.map_or(Ok(()), |refusal| Err(refusal.into()))
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Refused { doing: "understand JetStream", source: error.into() }
}
