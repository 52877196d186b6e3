//! Asks for leave to run what hints tell of.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use futures::future::join_all;
use longshore_bus::{self as bus, Delivery, Message, subjects};
use longshore_core::{names::OperationId, time::span};
use longshore_proto::internal::{
    Claim, ClaimAnswer, ClaimReply, ClaimRequest, Hint, claim_answer::Answer,
};
use prost::Message as _;
use tokio::time::{Instant, sleep};

use super::{Job, Shared, attempt, pause, slots::Place};

/// How long the state role has to answer one request.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a claim is tried before its hint goes back.
const PATIENCE: Duration = Duration::from_secs(10);

struct Open {
    delivery: Delivery,
    place: Place,
    claim: Claim,
    id: OperationId,
}

/// Claims what was fetched and starts what is granted.
pub(super) async fn claim(shared: Arc<Shared>, job: Arc<Job>, batch: Vec<(Delivery, Place)>) {
    let mut open = Vec::with_capacity(batch.len());
    for (delivery, place) in batch {
        match hinted(&delivery) {
            Ok(id) => {
                let job_type = job.job_type.to_string();
                let claim = Claim { id: id.to_string(), claim: fastrand::u64(..), job_type };
                open.push(Open { delivery, place, claim, id });
            }
            Err(error) => {
                let error = &*error;
                tracing::error!(job_type = %job.job_type, error, "dropped a hint that is none");
                acknowledge(delivery).await;
            }
        }
    }
    if open.is_empty() {
        return;
    }
    let claims = open.iter().map(|open| open.claim.clone()).collect();
    let Some((answers, asked)) = ask(&shared, claims).await else {
        let back = open.into_iter().map(|open| give_back(open.delivery, later()));
        join_all(back).await;
        return;
    };
    let settled = open
        .into_iter()
        .zip(answers)
        .map(|(open, answer)| follow(&shared, &job, open, answer, asked))
        .collect::<Vec<_>>();
    join_all(settled).await;
}

fn hinted(delivery: &Delivery) -> Result<OperationId, Box<dyn StdError + Send + Sync>> {
    let hint = Hint::decode(delivery.message.payload.clone())?;
    Ok(OperationId::parse(&hint.id)?)
}

/// Repeats the very same claims until they are answered: a grant whose answer was lost is given
/// again. Returns the answers and when they were asked for.
async fn ask(shared: &Shared, claims: Vec<Claim>) -> Option<(Vec<ClaimAnswer>, Instant)> {
    let count = claims.len();
    let request = ClaimRequest { worker: shared.instance.to_string(), claims };
    let payload = bytes::Bytes::from(request.encode_to_vec());
    let start = Instant::now();
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        let message = Message::new(subjects::CLAIM, payload.clone());
        match shared.bus.request(message, ANSWER).await {
            Ok(bytes) => match ClaimReply::decode(bytes) {
                Ok(reply) if reply.answers.len() == count => {
                    shared.claim_time.add(asked.elapsed());
                    return Some((reply.answers, asked));
                }
                Ok(_) => tracing::error!("the state role's answer does not fit the claims"),
                Err(error) => tracing::error!(%error, "the state role's answer is none"),
            },
            Err(error) => log_unanswered(&error),
        }
        if shared.shutdown.is_cancelled() || start.elapsed() >= PATIENCE {
            return None;
        }
        // At shutdown one more try: what was granted unheard is handed back at once.
        let _cut_short: Option<()> =
            shared.shutdown.run_until_cancelled(sleep(pause(failures))).await;
        failures += 1;
    }
}

/// Does what the answer says; the hint is done with unless the state role could not tell.
fn follow(
    shared: &Arc<Shared>,
    job: &Arc<Job>,
    open: Open,
    answer: ClaimAnswer,
    asked: Instant,
) -> impl Future<Output = ()> + use<> {
    let mut again = None;
    match answer.answer {
        Some(Answer::Granted(grant)) => {
            job.rest.end();
            let run = attempt::run(
                shared.clone(),
                job.clone(),
                open.place,
                (open.id, open.claim.claim),
                grant,
                asked,
            );
            shared.tasks.spawn(shared.until_halt(run));
        }
        Some(Answer::Refused(why)) => tracing::debug!(id = %open.id, why, "nothing to run"),
        Some(Answer::Paused(rest)) => {
            let rest = span(rest);
            tracing::debug!(id = %open.id, ?rest, "the queue is paused");
            job.rest.begin(rest);
            // Not all of them at once, and not just when the queue is asked again.
            again = Some(rest.mul_f64(0.5 + fastrand::f64()));
        }
        Some(Answer::Unavailable(why)) => {
            tracing::warn!(id = %open.id, why, "can't claim now");
            again = Some(later());
        }
        None => again = Some(later()),
    }
    let delivery = open.delivery;
    async move {
        match again {
            Some(delay) => give_back(delivery, delay).await,
            None => acknowledge(delivery).await,
        }
    }
}

fn later() -> Duration {
    Duration::from_millis(fastrand::u64(500..1500))
}

async fn acknowledge(delivery: Delivery) {
    settled(delivery.handle.ack().await);
}

pub(super) async fn give_back(delivery: Delivery, delay: Duration) {
    settled(delivery.handle.give_back(delay).await);
}

fn settled(result: Result<(), bus::Error>) {
    if let Err(error) = result {
        let error = &error as &dyn StdError;
        tracing::debug!(error, "could not settle a hint; it will come again");
    }
}

fn log_unanswered(error: &bus::Error) {
    tracing::warn!(error = error as &dyn StdError, "a claim was not answered; asking again");
}
