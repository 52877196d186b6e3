//! All sequences of inputs up to a length. What was reached before, by a sequence that is no
//! longer, is not gone on from again.

use std::{collections::HashSet, rc::Rc};

use super::{
    check,
    world::{Arriving, Attempt, Hints, Move, World},
    *,
};

fn moves(job: &Job) -> Vec<Rc<Move>> {
    use Attempt::{Before, Latest};
    let other = Job { fingerprint: "other".into(), ..job.clone() };
    let scheduled = Job { schedule_time: Some(START + SECOND * 10), ..job.clone() };
    let inputs = vec![
        Arriving::Submit(Box::new(job.clone())),
        Arriving::Submit(Box::new(other)),
        Arriving::Submit(Box::new(scheduled)),
        Arriving::Claim("a", 1),
        Arriving::Claim("a", 2),
        Arriving::Claim("b", 1),
        Arriving::Renew("a", Latest),
        Arriving::Renew("a", Before),
        Arriving::Renew("b", Latest),
        Arriving::Progress(Latest, 1),
        Arriving::Progress(Latest, 2),
        Arriving::Progress(Before, 1),
        Arriving::Complete(Latest),
        Arriving::Complete(Before),
        Arriving::Fail(Latest, Verdict::ByPolicy, Code::Unavailable as i32),
        Arriving::Fail(Latest, Verdict::ByPolicy, Code::Ok as i32),
        Arriving::Fail(Latest, Verdict::Retryable, Code::Cancelled as i32),
        Arriving::Fail(Latest, Verdict::Final, 4711),
        Arriving::Fail(Latest, Verdict::HandedBack, Code::Unavailable as i32),
        Arriving::Fail(Before, Verdict::Final, Code::Internal as i32),
        Arriving::Cancel("projects/p"),
        Arriving::Cancel("projects/q"),
        Arriving::Delete("projects/p"),
        Arriving::Delete("projects/q"),
        Arriving::Timer(Hints::Unknown),
        Arriving::Timer(Hints::None),
        Arriving::Timer(Hints::Older),
        Arriving::Timer(Hints::Newer),
    ];
    let times = [Move::Wait(SECOND), Move::WaitForTimer, Move::Wait(SECOND * 100_000)];
    inputs.into_iter().map(Move::Input).chain(times).map(Rc::new).collect()
}

/// Walks from a submitted operation as far as `depth` moves reach; returns how many states it saw.
fn walk(job: &Job, depth: usize) -> usize {
    let moves = moves(job);
    let mut seen = HashSet::new();
    let mut edge = vec![World::new(RULES)];
    for _ in 0..depth {
        let mut next = Vec::new();
        for world in &edge {
            for event in &moves {
                let mut world = world.clone();
                world.happen(event);
                let record = world.record.as_ref().map(crate::codec::encode);
                if seen.insert((record, world.now, world.works_until, world.cancel_accepted)) {
                    check::timers_suffice(&world);
                    next.push(world);
                }
            }
        }
        edge = next;
    }
    seen.len()
}

#[test]
fn every_short_sequence_is_sound() {
    let seen = walk(&job(), 5);
    assert!(seen > 1000, "the walk reached {seen} states only");
}

#[test]
fn every_short_sequence_with_timeouts_is_sound() {
    let job = Job { queue_timeout: Some(SECOND * 12), run_timeout: Some(SECOND * 5), ..job() };
    let seen = walk(&job, 5);
    assert!(seen > 1000, "the walk reached {seen} states only");
}
