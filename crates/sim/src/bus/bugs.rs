//! What a bus with a bug, or those who use it wrongly, make of messages.

use bytes::Bytes;
use longshore_bus::{Error, Message, subjects};
use longshore_proto::internal::{
    ClaimRequest, Events, Hint, RenewAnswer, RenewReply, RenewRequest, event, renew_answer,
};
use prost::Message as _;

use super::{EVENTS, lane, port::unavailable};
use crate::{Bug, roles::JOB_TYPES, world::World};

/// A message as it is taken.
pub(super) fn taken(world: &World, mut message: Message) -> Message {
    if world.bug == Some(Bug::NoAttempts) && lane(&message.subject) == EVENTS {
        message.payload = world.history().as_if_current(&message.payload);
    }
    message
}

/// A message as it is kept.
pub(super) fn kept(world: &World, mut message: Message) -> Message {
    let is_event = lane(&message.subject) == EVENTS;
    match world.bug {
        Some(Bug::ProgressLost) if is_event => {
            let mut events = Events::decode(message.payload).unwrap_or_default();
            events.events.retain(|it| !matches!(it.event, Some(event::Event::Progress(_))));
            message.payload = events.encode_to_vec().into();
        }
        Some(Bug::QueuesMixedUp) if !is_event => {
            message.subject = message.subject.replace(JOB_TYPES[0], JOB_TYPES[1]);
        }
        Some(_) | None => {}
    }
    message
}

/// Whether a message is published.
pub(super) fn is_published(bug: Option<Bug>, message: &Message) -> bool {
    let is_change = message.subject == subjects::CHANGES;
    match bug {
        Some(Bug::AnnouncementsLost) => !is_change,
        Some(Bug::InterruptsLost) => is_change,
        Some(_) | None => true,
    }
}

/// What is said to be the oldest message of a queue, if a bug says something.
pub(super) fn oldest(bug: Option<Bug>) -> Option<Option<Bytes>> {
    match bug? {
        Bug::HintsBelieved => Some(Some(Hint::default().encode_to_vec().into())),
        Bug::HintsDisbelieved => Some(None),
        _ => None,
    }
}

/// A request as it is sent.
pub(super) fn asked(bug: Option<Bug>, mut message: Message) -> Message {
    if bug == Some(Bug::ClaimsRenumbered) && message.subject == subjects::CLAIM {
        let mut request = ClaimRequest::decode(message.payload).unwrap_or_default();
        request.claims.iter_mut().for_each(|claim| claim.claim = fastrand::u64(..));
        message.payload = request.encode_to_vec().into();
    }
    message
}

/// Whether messages of a lane are done with as soon as they are taken.
pub(super) fn is_acked_early(bug: Option<Bug>, lane: &str) -> bool {
    match bug {
        Some(Bug::EventAckedEarly) => lane == EVENTS,
        Some(Bug::HintAckedEarly) => lane != EVENTS,
        Some(_) | None => false,
    }
}

/// What a worker hears about its leases.
pub(super) fn renewed(
    bug: Bug,
    request: Bytes,
    answered: Result<Bytes, Error>,
) -> Result<Bytes, Error> {
    let mut reply =
        RenewReply::decode(answered.as_ref().map_or_else(|_| Bytes::new(), Bytes::clone))
            .unwrap_or_default();
    match bug {
        // It does not even listen.
        Bug::LeaseIgnored => {
            let renewals = RenewRequest::decode(request).unwrap_or_default().renewals;
            let lease = Some(renew_answer::Answer::Lease(60_000_000));
            let answer = RenewAnswer { answer: lease, cancel_requested: false };
            return Ok(RenewReply { answers: vec![answer; renewals.len()] }.encode_to_vec().into());
        }
        Bug::RenewalsLost => return Err(unavailable()),
        Bug::LeasesStretched => {
            for answer in &mut reply.answers {
                if let Some(renew_answer::Answer::Lease(lease)) = &mut answer.answer {
                    *lease += *lease / 2;
                }
            }
        }
        _ => return answered,
    }
    answered.map(|_| reply.encode_to_vec().into())
}
