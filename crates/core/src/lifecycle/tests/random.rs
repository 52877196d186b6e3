//! Long random sequences, with a store's clock that is set back now and then.

use std::rc::Rc;

use proptest::prelude::*;

use super::{
    check,
    world::{Arriving, Attempt, Hints, Move, World},
    *,
};

fn attempt() -> impl Strategy<Value = Attempt> {
    prop_oneof![4 => Just(Attempt::Latest), 1 => Just(Attempt::Before)]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b")]
}

fn under() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("projects/p"), 1 => Just("projects/q")]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        1 => Just(Verdict::ByPolicy),
        1 => Just(Verdict::Retryable),
        1 => Just(Verdict::Final),
        3 => Just(Verdict::HandedBack),
    ]
}

fn any_job() -> impl Strategy<Value = Job> {
    let seconds = |most: u64| proptest::option::of((1..most).prop_map(Duration::from_secs));
    (seconds(100), seconds(100), seconds(100), 1_u32..6, 0_u64..20, 1.0..4.0).prop_map(
        |(schedule, queue_timeout, run_timeout, max_attempts, backoff, multiplier)| {
            let retry = Retry {
                max_attempts,
                initial_backoff: Duration::from_secs(backoff),
                backoff_multiplier: multiplier,
                ..job().retry
            };
            let schedule_time = schedule.map(|span| START + span);
            Job { schedule_time, queue_timeout, run_timeout, retry, ..job() }
        },
    )
}

fn any_move() -> impl Strategy<Value = Move> {
    let hints = prop_oneof![
        Just(Hints::Unknown),
        Just(Hints::None),
        Just(Hints::Older),
        Just(Hints::Newer)
    ];
    let code = prop_oneof![3 => Just(Code::Unavailable as i32), 1 => -1..20];
    let input = prop_oneof![
        2 => any_job().prop_map(|job| Arriving::Submit(Box::new(job))),
        8 => (name(), 0_u64..3).prop_map(|(name, number)| Arriving::Claim(name, number)),
        6 => (name(), attempt()).prop_map(|(name, attempt)| Arriving::Renew(name, attempt)),
        4 => (attempt(), 0_u64..9).prop_map(|(attempt, sequence)| Arriving::Progress(attempt, sequence)),
        1 => attempt().prop_map(Arriving::Complete),
        4 => (attempt(), verdict(), code)
            .prop_map(|(attempt, verdict, code)| Arriving::Fail(attempt, verdict, code)),
        1 => under().prop_map(Arriving::Cancel),
        1 => under().prop_map(Arriving::Delete),
        8 => hints.prop_map(Arriving::Timer),
    ];
    prop_oneof![
        20 => input.prop_map(Move::Input),
        6 => (0_u64..40).prop_map(|seconds| Move::Wait(Duration::from_secs(seconds))),
        4 => Just(Move::WaitForTimer),
        1 => (1_u64..5000).prop_map(|seconds| Move::SetBack(Duration::from_secs(seconds))),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (1_u64..60, 1_u64..60, 1_u64..60).prop_map(|(lease, grace, check)| Rules {
        lease: Duration::from_secs(lease),
        cancel_grace: Duration::from_secs(grace),
        hint_check: Duration::from_secs(check),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_long_sequence_is_sound(
        rules in any_rules(),
        job in any_job(),
        moves in proptest::collection::vec(any_move(), 200..400),
    ) {
        let mut world = World::new(rules);
        world.happen(&Rc::new(Move::Input(Arriving::Submit(Box::new(job)))));
        for event in moves {
            world.happen(&Rc::new(event));
        }
        check::timers_suffice(&world);
    }
}
