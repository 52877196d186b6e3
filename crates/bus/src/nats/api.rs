//! Requests to JetStream.

use async_nats::{Message, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{PATIENCE, link::Link};
use crate::Error;

/// There is no such stream.
pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
/// A stream that is to be made has subjects of another (10065), or there is one of its name with
/// other settings (10058). The server says either also when it makes the same stream for somebody
/// else at that moment.
const STREAM_TAKEN: [u64; 2] = [10_058, 10_065];
/// There is no such consumer.
pub(super) const CONSUMER_NOT_FOUND: u64 = 10_014;
/// There is no such message.
pub(super) const NO_MESSAGE_FOUND: u64 = 10_037;
/// What passes: the cluster has no leader at the moment or is not complete (10004 to 10009), or has
/// too few servers for the replicas as some are not there yet (10005), JetStream is off, or not yet
/// on (10076), a stream or consumer is about to start (10118, 10119).
const PASSING: [u64; 9] = [10_004, 10_005, 10_006, 10_007, 10_008, 10_009, 10_076, 10_118, 10_119];
/// What ends when there is room again: the limits of the account (10002), of the server (10023,
/// 10028, 10047), of the stream (10077).
const NO_ROOM: [u64; 5] = [10_002, 10_023, 10_028, 10_047, 10_077];

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
            Self::Refusal(refusal) if PASSING.contains(&refusal.err_code) => {
                Error::Unavailable { doing, source: Some(refusal.into()) }
            }
            Self::Refusal(refusal) if NO_ROOM.contains(&refusal.err_code) => {
                Error::Full { doing, source: refusal.into() }
            }
            Self::Refusal(refusal) => Error::Refused { doing, source: refusal.into() },
            Self::Bus(error) => error,
        }
    }

    pub(super) fn is(&self, code: u64) -> bool {
        self.is_one_of(&[code])
    }

    /// The stream can't be made; it may be there by now.
    pub(super) fn is_stream_taken(&self) -> bool {
        self.is_one_of(&STREAM_TAKEN)
    }

    fn is_one_of(&self, codes: &[u64]) -> bool {
        matches!(self, Self::Refusal(refusal) if codes.contains(&refusal.err_code))
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
