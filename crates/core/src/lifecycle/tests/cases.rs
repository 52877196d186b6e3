//! Named cases: what clients, workers and operators rely on.

use super::*;
use crate::record::{Outcome, State};

/// An operation and the store's clock.
struct Case {
    record: Record,
    now: Time,
    effects: Vec<Effect>,
    write: Write,
}

impl Case {
    fn submitted(job: Job) -> Self {
        let step = step(None, submit(job), START, &RULES).unwrap();
        Self { record: step.record, now: START, effects: step.effects, write: step.write }
    }

    fn running(job: Job) -> Self {
        Self::submitted(job).then(claim("a", 1))
    }

    fn then(self, input: Input) -> Self {
        let step = step(Some(self.record), input, self.now, &RULES).unwrap();
        Self { record: step.record, effects: step.effects, write: step.write, ..self }
    }

    fn refuses(self, input: Input, rejection: Rejection) -> Self {
        assert_eq!(step(Some(self.record.clone()), input, self.now, &RULES), Err(rejection));
        self
    }

    fn expect_write(self, write: Write) -> Self {
        assert_eq!(self.write, write);
        self
    }

    fn after(self, seconds: u32) -> Self {
        Self { now: self.now + SECOND * seconds, ..self }
    }

    /// When it may start, counted from now.
    fn pause(&self) -> Duration {
        match &self.record.state {
            State::Queued(queued) => queued.ready_time.since(self.now),
            State::Running(_) | State::Done(_) => panic!("not queued: {:?}", self.record),
        }
    }

    fn error_code(&self) -> Code {
        match &self.record.state {
            State::Done(done) => match &done.outcome {
                Outcome::Error(status) => Code::try_from(status.code).unwrap(),
                Outcome::Response(_) => panic!("a response: {:?}", self.record),
            },
            State::Queued(_) | State::Running(_) => panic!("not done: {:?}", self.record),
        }
    }

    fn response(&self) -> &Payload {
        match &self.record.state {
            State::Done(done) => match &done.outcome {
                Outcome::Response(response) => response,
                Outcome::Error(_) => panic!("an error: {:?}", self.record),
            },
            State::Queued(_) | State::Running(_) => panic!("not done: {:?}", self.record),
        }
    }

    fn dispatches(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Dispatch { .. }))
    }

    fn interrupts(&self) -> bool {
        let interrupt = Effect::Interrupt { worker: worker("a"), attempt: self.record.attempt };
        self.effects.contains(&interrupt)
    }
}

fn many_attempts(max_attempts: u32) -> Job {
    Job { retry: Retry { max_attempts, ..job().retry }, ..job() }
}

#[test]
fn a_job_runs_to_its_response() {
    let case = Case::submitted(job());
    assert!(case.dispatches());
    let case = case.then(claim("a", 1)).after(3).then(progress(1, 1)).then(complete(1));
    assert_eq!(*case.response(), payload("response"));
    assert_eq!(case.record.worker, "a");
    case.after(3600).then(timer(HintsOut::None)).expect_write(Write::Remove);
}

#[test]
fn the_same_request_gives_the_same_operation() {
    let case = Case::running(job()).after(5);
    let record = case.record.clone();
    let case = case.then(submit(job())).expect_write(Write::Keep);
    assert_eq!(case.record, record);
    let other = Job { fingerprint: "other".into(), ..job() };
    let elsewhere = Submit { id: id(), parent: Parent::default(), job: job() };
    case.refuses(submit(other), Rejection::AlreadyExists)
        .refuses(Input::Submit(Box::new(elsewhere)), Rejection::AlreadyExists)
        .then(delete())
        .refuses(submit(job()), Rejection::AlreadyExists);
}

#[test]
fn a_scheduled_job_waits_for_its_time() {
    let case = Case::submitted(Job { schedule_time: Some(START + SECOND * 10), ..job() });
    assert!(!case.dispatches());
    assert_eq!(case.record.next_wake(), START + SECOND * 10);
    let case = case.after(9).refuses(claim("a", 1), Rejection::NotNow).then(timer(HintsOut::None));
    let case = case.expect_write(Write::Keep).after(1).then(timer(HintsOut::Unknown));
    assert!(case.dispatches());
    case.then(claim("a", 1));
}

#[test]
fn cancelled_in_the_queue_it_ends_at_once() {
    let case = Case::submitted(job()).then(cancel());
    assert_eq!(case.error_code(), Code::Cancelled);
    case.then(cancel()).expect_write(Write::Keep).refuses(claim("a", 1), Rejection::Done);
}

#[test]
fn cancelled_while_running_the_worker_is_told() {
    let case = Case::running(job()).then(cancel());
    assert!(case.interrupts());
    let case = case.then(cancel()).expect_write(Write::Keep);
    assert!(case.interrupts(), "a repeated request tells the worker again");
    let case = case.then(fail_with((1, 1), Verdict::Final, Code::Cancelled as i32));
    assert_eq!(case.error_code(), Code::Cancelled);
}

#[test]
fn work_done_despite_a_cancellation_counts() {
    let case = Case::running(job()).then(cancel()).then(complete(1));
    assert_eq!(*case.response(), payload("response"));
    let case = Case::running(job()).then(cancel()).then(fail_with(
        (1, 1),
        Verdict::Final,
        Code::DataLoss as i32,
    ));
    assert_eq!(case.error_code(), Code::DataLoss);
}

#[test]
fn a_cancelled_attempt_is_not_tried_again() {
    for verdict in [Verdict::ByPolicy, Verdict::Retryable, Verdict::HandedBack] {
        let case = Case::running(job()).then(cancel()).then(fail(1, verdict));
        assert_eq!(case.error_code(), Code::Cancelled, "{verdict:?}");
    }
}

#[test]
fn a_worker_that_ignores_a_cancellation_is_fenced() {
    let case = Case::running(job()).then(cancel()).after(20).then(timer(HintsOut::Unknown));
    assert_eq!(case.error_code(), Code::Cancelled);
    assert!(case.interrupts());
    case.refuses(complete(1), Rejection::Stale);
}

#[test]
fn a_cancellation_outlives_the_worker() {
    // The last attempt: without the cancellation, the loss would be the outcome.
    for job in [many_attempts(1), Job { run_timeout: Some(SECOND * 5), ..many_attempts(1) }] {
        let case = Case::running(job).after(29).then(cancel()).after(1).then(timer(HintsOut::None));
        assert_eq!(case.error_code(), Code::Cancelled);
    }
}

#[test]
fn a_cancellation_after_the_end_changes_nothing() {
    Case::running(job()).then(complete(1)).then(cancel()).expect_write(Write::Keep);
}

#[test]
fn another_parents_operation_is_not_found() {
    let elsewhere = || Parent::parse("projects/q").unwrap();
    Case::running(job())
        .refuses(Input::Cancel { parent: elsewhere() }, Rejection::NotFound)
        .refuses(Input::Delete { parent: elsewhere() }, Rejection::NotFound);
}

#[test]
fn deleted_work_goes_on_and_its_record_goes_with_it() {
    let case = Case::running(job()).then(delete()).expect_write(Write::Put);
    let case = case.refuses(cancel(), Rejection::NotFound).refuses(delete(), Rejection::NotFound);
    let case = case.then(fail(1, Verdict::Retryable)).expect_write(Write::Put).after(5);
    case.then(claim("b", 2)).then(complete(2)).expect_write(Write::Remove);
    Case::running(job()).then(complete(1)).then(delete()).expect_write(Write::Remove);
}

#[test]
fn pauses_grow_up_to_the_longest() {
    let mut case = Case::submitted(many_attempts(7));
    let mut pauses = Vec::new();
    for attempt in 1..7 {
        case = case.then(claim("a", attempt.into())).then(fail(attempt, Verdict::ByPolicy));
        assert!(!case.dispatches());
        pauses.push(case.pause().as_secs());
        case.now = case.now + case.pause();
    }
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    let case = case.then(claim("a", 7)).then(fail(7, Verdict::Retryable));
    assert_eq!(case.error_code(), Code::Unavailable);
    assert_eq!(case.record.failures, 7);
}

#[test]
fn the_policy_or_the_job_says_whether_to_try_again() {
    for (verdict, code, again) in [
        (Verdict::ByPolicy, Code::Unavailable, true),
        (Verdict::ByPolicy, Code::Internal, false),
        (Verdict::Retryable, Code::Internal, true),
        (Verdict::Final, Code::Unavailable, false),
    ] {
        let case = Case::running(job()).then(fail_with((1, 1), verdict, code as i32));
        assert_eq!(!case.record.is_done(), again, "{verdict:?} {code:?}");
    }
}

#[test]
fn a_job_may_know_better_how_long_to_pause() {
    let Input::Fail { attempt, claim, mut failure } = fail(1, Verdict::Retryable) else {
        unreachable!()
    };
    failure.delay = Some(SECOND * 77);
    let case = Case::running(job()).then(Input::Fail { attempt, claim, failure });
    assert_eq!(case.pause(), SECOND * 77);
}

#[test]
fn an_error_without_a_known_code_becomes_unknown() {
    for code in [0, -1, 17, i32::MAX] {
        let case = Case::running(job()).then(fail_with((1, 1), Verdict::Final, code));
        assert_eq!(case.error_code(), Code::Unknown);
    }
}

#[test]
fn a_lost_worker_counts_as_a_failure_and_another_starts_at_once() {
    let case =
        Case::running(job()).after(20).then(Input::Renew { worker: worker("a"), attempt: 1 });
    let case = case.after(29).then(timer(HintsOut::None)).expect_write(Write::Keep);
    let case = case.after(1).then(timer(HintsOut::None));
    assert!(case.dispatches());
    assert_eq!((case.record.failures, case.pause()), (1, Duration::ZERO));
    assert_eq!(case.record.last_error.as_ref().unwrap().code, Code::Unavailable as i32);
    let case = case.then(claim("b", 9)).refuses(complete(1), Rejection::Stale);
    let case = case.refuses(Input::Renew { worker: worker("a"), attempt: 1 }, Rejection::Stale);
    let case = case.after(30).then(timer(HintsOut::None));
    assert_eq!(case.error_code(), Code::Unavailable);
}

#[test]
fn a_lease_belongs_to_one_life_of_a_worker() {
    let reborn = WorkerInstance::parse("a.other").unwrap();
    Case::running(job()).refuses(Input::Renew { worker: reborn, attempt: 1 }, Rejection::Stale);
}

#[test]
fn an_attempt_of_an_earlier_life_is_stale() {
    // Deleted and handed in again under the same request id: both lives have an attempt 1.
    let case = Case::submitted(job()).then(claim("a", 2));
    for late in [progress(1, 1), complete(1), fail(1, Verdict::Final)] {
        let rejected = step(Some(case.record.clone()), late, case.now, &Rules::default());
        assert_eq!(rejected, Err(Rejection::Stale));
    }
    case.then(complete_of(1, 2)).expect_write(Write::Put);
}

#[test]
fn handed_back_is_not_failed() {
    let mut case = Case::submitted(many_attempts(1));
    for attempt in 1..5 {
        case = case.then(claim("a", attempt.into())).then(fail(attempt, Verdict::HandedBack));
        assert!(case.dispatches());
        assert_eq!((case.record.failures, case.pause()), (0, Duration::ZERO));
    }
}

#[test]
fn a_wait_that_is_too_long_ends() {
    let case = Case::submitted(Job { queue_timeout: Some(SECOND * 10), ..job() });
    assert_eq!(case.record.next_wake(), START + SECOND * 10);
    let case =
        case.after(10).refuses(claim("a", 1), Rejection::NotNow).then(timer(HintsOut::Unknown));
    assert_eq!(case.error_code(), Code::DeadlineExceeded);
}

#[test]
fn only_the_wait_for_the_first_attempt_has_a_limit() {
    let case = Case::running(Job { queue_timeout: Some(SECOND * 10), ..job() });
    let case = case.then(fail(1, Verdict::Retryable)).after(1000);
    case.then(claim("b", 1));
}

#[test]
fn after_a_run_that_is_too_long_no_other_starts_before_the_lease_ends() {
    let case = Case::running(Job { run_timeout: Some(SECOND * 5), ..job() })
        .after(20)
        .then(Input::Renew { worker: worker("a"), attempt: 1 });
    assert_eq!(case.record.next_wake(), START + SECOND * 25);
    let case = case.after(5).then(timer(HintsOut::None));
    assert!(case.interrupts() && !case.dispatches());
    assert_eq!((case.record.failures, case.pause()), (1, SECOND * 25));
    case.refuses(complete(1), Rejection::Stale)
        .refuses(Input::Renew { worker: worker("a"), attempt: 1 }, Rejection::Stale)
        .after(24)
        .refuses(claim("b", 1), Rejection::NotNow)
        .after(1)
        .then(claim("b", 1));
}

#[test]
fn a_claim_is_for_one() {
    let case = Case::running(job()).after(1);
    let granted = case.record.clone();
    let case = case.then(claim("a", 1)).expect_write(Write::Keep);
    assert_eq!(case.record, granted);
    case.refuses(claim("a", 2), Rejection::Claimed).refuses(claim("b", 1), Rejection::Claimed);
}

#[test]
fn a_late_report_changes_nothing() {
    let case = Case::running(job()).then(progress(1, 5));
    let case = case.then(progress(1, 5)).expect_write(Write::Keep);
    let case = case.then(progress(1, 4)).expect_write(Write::Keep);
    case.then(complete(1)).refuses(progress(1, 6), Rejection::Stale);
}

#[test]
fn a_backlog_does_not_breed_hints() {
    let mut case = Case::submitted(job());
    let mut looks = 0;
    let end = START + SECOND * 86_400;
    while case.now < end {
        case.now = case.record.next_wake();
        case = case.then(timer(HintsOut::Since(START - SECOND))).expect_write(Write::Put);
        assert!(!case.dispatches());
        looks += 1;
    }
    assert!(looks < 40, "{looks} looks in a day");
}

#[test]
fn a_lost_hint_is_sent_again() {
    let young = Case::submitted(job()).after(1);
    assert!(!young.then(timer(HintsOut::None)).dispatches(), "it may be on its way");
    for hints in [HintsOut::None, HintsOut::Since(START + SECOND * 3)] {
        let case = Case::submitted(job()).after(4).then(timer(hints));
        assert!(case.dispatches(), "{hints:?}");
        assert!(!case.then(timer(hints)).dispatches(), "once is enough");
    }
    let unknown = Case::submitted(job()).after(15).then(timer(HintsOut::Unknown));
    assert!(!unknown.dispatches(), "nobody knows that it is lost");
    assert_eq!(unknown.record.next_wake(), START + SECOND * 30);
}

#[test]
fn nothing_happens_to_what_is_not_there() {
    let gone =
        [claim("a", 1), progress(1, 1), complete(1), fail(1, Verdict::Final), cancel(), delete()];
    for input in gone.into_iter().chain([timer(HintsOut::None)]) {
        assert_eq!(step(None, input, START, &RULES), Err(Rejection::NotFound));
    }
}

#[test]
fn a_restored_record_is_hinted_for_anew() {
    let case = Case::submitted(job()).after(3);
    let record = restored(case.record.clone());
    assert_eq!(record.next_wake(), START, "its timer is due at once");
    let sent = Case { record, ..case }.then(timer(HintsOut::Unknown));
    assert!(sent.dispatches(), "without any evidence about hints");

    let scheduled = Job { schedule_time: Some(START + SECOND * 50), ..job() };
    let later = Case::submitted(scheduled);
    assert_eq!(restored(later.record.clone()), later.record);
    let running = Case::submitted(job()).then(claim("a", 1));
    assert_eq!(restored(running.record.clone()), running.record);
}

#[test]
fn what_is_paused_is_not_started_and_all_else_goes_on() {
    let paused: Paused = Paused::new([job().job_type].into());
    let claim_of = |claim: u64, paused: &Paused| Input::Claim {
        worker: worker("a"),
        claim,
        queue: None,
        paused: paused.clone(),
    };
    let other: Paused = Paused::new([JobType::parse("other").unwrap()].into());
    let waiting = Case::submitted(job()).refuses(claim_of(1, &paused), Rejection::Paused);
    let running = waiting.then(claim_of(1, &other)).expect_write(Write::Put);
    // What runs goes on, and a claim whose answer was lost is answered again.
    let running = running.then(claim_of(1, &paused)).expect_write(Write::Keep);
    assert_eq!(running.then(complete(1)).write, Write::Put);

    let short = Job { queue_timeout: Some(SECOND * 10), ..job() };
    let over = Case::submitted(short).after(10).then(timer(HintsOut::Unknown));
    assert!(over.record.is_done(), "its wait is counted");
}

#[test]
fn an_operator_moves_what_waits() {
    let (here, there) = (job().job_type, JobType::parse("other").unwrap());
    let to = |to: &JobType| Input::Unqueue { queue: here.clone(), to: Unqueued::Queue(to.clone()) };
    let timed = Job { queue_timeout: Some(SECOND * 60), ..job() };
    let moved = Case::submitted(timed).after(5).then(to(&there)).expect_write(Write::Put);
    let dispatch = moved
        .effects
        .iter()
        .any(|effect| matches!(effect, Effect::Dispatch { queue, .. } if *queue == there));
    assert!(dispatch && moved.effects.contains(&Effect::Announce));
    let State::Queued(queued) = &moved.record.state else { panic!("{:?}", moved.record) };
    assert_eq!((queued.ready_time, queued.deadline), (START, Some(START + SECOND * 60)));

    // A repetition changes nothing, and the hint that is still out leads nowhere.
    let claim_from = |queue: &JobType| Input::Claim {
        worker: worker("a"),
        claim: 1,
        queue: Some(queue.clone()),
        paused: Paused::default(),
    };
    let moved = moved.then(to(&there)).expect_write(Write::Keep);
    let elsewhere = JobType::parse("elsewhere").unwrap();
    let moved = moved.refuses(to(&elsewhere), Rejection::NotInQueue);
    let moved = moved.refuses(claim_from(&here), Rejection::NotInQueue);
    let running = moved.then(claim_from(&there)).expect_write(Write::Put);
    let back = Input::Unqueue { queue: there.clone(), to: Unqueued::Queue(here.clone()) };
    running
        .refuses(back.clone(), Rejection::Claimed)
        .then(complete(1))
        .refuses(back, Rejection::Done);

    let later = Job { schedule_time: Some(START + SECOND * 50), ..job() };
    assert!(!Case::submitted(later).then(to(&there)).dispatches(), "not before its time");
}

#[test]
fn an_operator_discards_what_waits() {
    let discard = Input::Unqueue { queue: job().job_type, to: Unqueued::End };
    let ended = Case::submitted(job()).then(discard.clone()).expect_write(Write::Put);
    let State::Done(done) = &ended.record.state else { panic!("{:?}", ended.record) };
    let Outcome::Error(error) = &done.outcome else { panic!("{done:?}") };
    assert_eq!(error.code, Code::Aborted as i32);
    ended.refuses(discard.clone(), Rejection::Done).refuses(claim("a", 1), Rejection::Done);
    Case::running(job()).refuses(discard.clone(), Rejection::Claimed);
    let deleted = Case::submitted(job()).then(delete()).then(discard);
    assert_eq!(deleted.write, Write::Remove);
    let other = Input::Unqueue { queue: JobType::parse("other").unwrap(), to: Unqueued::End };
    Case::submitted(job()).refuses(other, Rejection::NotInQueue);
}
