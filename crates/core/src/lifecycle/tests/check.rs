//! What holds after each step, whatever came before.

use std::collections::HashSet;

use super::{world::World, *};
use crate::{
    codec,
    index::{Index, Presence},
    record::{Done, Outcome, State},
    view,
};

pub(super) fn step_is_sound(
    world: &World,
    before: Option<&Record>,
    input: &Input,
    result: &Result<Step, Rejection>,
) {
    let context =
        || format!("{input:?}\non {before:?}\ngave {result:?}\nafter {:?}", world.history);
    stale_attempts_are_fenced(before, input, result, &context);
    the_deleted_are_hidden(before, input, result, &context);
    let Ok(step) = result else {
        return;
    };
    let after = &step.record;
    what_is_kept_is_unchanged(before, step, &context);
    a_repetition_has_no_second_effect(world, input, step, &context);
    hints_and_dispatches_agree(before, input, step, &context);
    changes_are_announced(before, step, &context);
    assert!(
        START - SECOND * 1_000_000 < after.next_wake() && after.next_wake() <= Time::MAX,
        "{}",
        context()
    );
    assert!(after.failures <= after.job.retry.max_attempts, "too many failures: {}", context());
    if step.write == Write::Put {
        let decoded = codec::decode(after.id.clone(), codec::encode(after)).unwrap();
        assert_eq!(decoded, *after, "lost by the codec: {}", context());
        let mut told = codec::decode(after.id.clone(), codec::encode_both(after).1).unwrap();
        assert_eq!(told.job.input, None);
        told.job.input.clone_from(&after.job.input);
        assert_eq!(told, *after, "lost with the input: {}", context());
    }
    lists_follow(before, step, &context);
    if let State::Done(done) = &after.state {
        the_end_is_well_formed(world, before, input, step, done, &context);
    }
    if let Some(before) = before {
        only_what_may_change_changes(before, input, after, &context);
        attempts_do_not_overlap(world, before, after, &context);
    }
}

fn stale_attempts_are_fenced(
    before: Option<&Record>,
    input: &Input,
    result: &Result<Step, Rejection>,
    context: &dyn Fn() -> String,
) {
    let (Input::Renew { attempt, .. }
    | Input::Progress { attempt, .. }
    | Input::Complete { attempt, .. }
    | Input::Fail { attempt, .. }) = input
    else {
        return;
    };
    let runs = before.is_some_and(|record| {
        record.attempt == *attempt && matches!(record.state, State::Running(_))
    });
    let writes = result.as_ref().is_ok_and(|step| step.write != Write::Keep);
    assert!(runs || !writes, "a stale attempt wrote: {}", context());
}

fn the_deleted_are_hidden(
    before: Option<&Record>,
    input: &Input,
    result: &Result<Step, Rejection>,
    context: &dyn Fn() -> String,
) {
    let Some(before) = before.filter(|record| record.deleted) else {
        return;
    };
    assert!(!before.is_done(), "a deleted record outlived its end: {}", context());
    match input {
        Input::Submit(_) => assert_eq!(*result, Err(Rejection::AlreadyExists), "{}", context()),
        Input::Cancel { .. } | Input::Delete { .. } => {
            assert_eq!(*result, Err(Rejection::NotFound), "{}", context());
        }
        Input::Claim { .. }
        | Input::Unqueue { .. }
        | Input::Renew { .. }
        | Input::Progress { .. }
        | Input::Complete { .. }
        | Input::Fail { .. }
        | Input::Timer { .. } => {
            let stays_deleted = result.as_ref().map_or(true, |step| step.record.deleted);
            assert!(stays_deleted, "came back: {}", context());
        }
    }
}

fn what_is_kept_is_unchanged(before: Option<&Record>, step: &Step, context: &dyn Fn() -> String) {
    if step.write == Write::Keep {
        assert_eq!(before, Some(&step.record), "kept, but another: {}", context());
        let harmless = step.effects.iter().all(|effect| matches!(effect, Effect::Interrupt { .. }));
        assert!(harmless, "an effect without a write: {}", context());
    }
}

/// A commit whose answer was lost is tried again, on its own result.
fn a_repetition_has_no_second_effect(
    world: &World,
    input: &Input,
    first: &Step,
    context: &dyn Fn() -> String,
) {
    let record = (first.write != Write::Remove).then(|| first.record.clone());
    let was_removed = record.is_none();
    let second = super::step(record, input.clone(), world.now, &world.rules);
    let is_harmless = match input {
        Input::Delete { .. } => second == Err(Rejection::NotFound),
        Input::Submit(_) if was_removed => false,
        Input::Claim { .. }
        | Input::Unqueue { .. }
        | Input::Renew { .. }
        | Input::Progress { .. }
        | Input::Complete { .. }
        | Input::Fail { .. }
        | Input::Cancel { .. }
        | Input::Timer { .. }
            if was_removed =>
        {
            second == Err(Rejection::NotFound)
        }
        Input::Submit(_)
        | Input::Claim { .. }
        | Input::Unqueue { .. }
        | Input::Renew { .. }
        | Input::Progress { .. }
        | Input::Complete { .. }
        | Input::Fail { .. }
        | Input::Cancel { .. }
        | Input::Timer { .. } => second
            .as_ref()
            .is_ok_and(|step| step.write == Write::Keep && step.record == first.record),
    };
    assert!(is_harmless, "repeated, it gave {second:?}: {}", context());
}

fn hints_and_dispatches_agree(
    before: Option<&Record>,
    input: &Input,
    step: &Step,
    context: &dyn Fn() -> String,
) {
    let hinted = |record: &Record| match &record.state {
        State::Queued(queued) => queued.hint.map(|hint| hint.time),
        State::Running(_) | State::Done(_) => None,
    };
    let old = before.and_then(hinted);
    let new = hinted(&step.record).filter(|time| old != Some(*time) && step.write == Write::Put);
    let job = &step.record.job;
    let expected = new.map(|time| Effect::Dispatch {
        queue: job.job_type.clone(),
        priority: job.priority,
        time,
    });
    let dispatches: Vec<_> =
        step.effects.iter().filter(|effect| matches!(effect, Effect::Dispatch { .. })).collect();
    assert_eq!(dispatches, expected.iter().collect::<Vec<_>>(), "{}", context());

    if let (Input::Timer { hints: HintsOut::Since(oldest) }, Some(hint)) = (input, old)
        && *oldest <= hint
    {
        assert!(dispatches.is_empty(), "a backlog breeds hints: {}", context());
    }
}

fn changes_are_announced(before: Option<&Record>, step: &Step, context: &dyn Fn() -> String) {
    let looked = before.map(view::operation);
    let looks = view::operation(&step.record);
    let is_gone = step.write == Write::Remove || step.record.deleted;
    let is_seen = looked.is_some_and(|looked| is_gone || looked != looks);
    if is_seen && step.write != Write::Keep && before.is_some_and(|record| !record.deleted) {
        assert!(step.effects.contains(&Effect::Announce), "not announced: {}", context());
    }
}

fn lists_follow(before: Option<&Record>, step: &Step, context: &dyn Fn() -> String) {
    let lists = |record: Option<&Record>| -> HashSet<Index> {
        let Some(record) = record.filter(|record| !record.deleted) else {
            return HashSet::new();
        };
        let parent = record.parent.clone();
        let mut lists: HashSet<Index> = if record.is_done() {
            [Index::AllEnded, Index::Ended(parent)].into()
        } else {
            [Index::AllActive, Index::Active(parent)].into()
        };
        lists.extend(record.job.works_on.iter().map(|name| Index::On(name.as_str().into())));
        lists
    };
    let after = (step.write != Write::Remove).then_some(&step.record);
    let presence = |record: Option<&Record>| record.map_or(Presence::ABSENT, Presence::of);
    let changes = presence(before).changes(presence(after), &step.record);
    let mut entries = lists(before);
    for index in changes.remove {
        assert!(entries.remove(&index), "left a list that it was not in: {}", context());
    }
    for index in changes.add {
        assert!(entries.insert(index), "came into a list that it was in: {}", context());
    }
    assert_eq!(entries, lists(after), "{}", context());
}

fn the_end_is_well_formed(
    world: &World,
    before: Option<&Record>,
    input: &Input,
    step: &Step,
    done: &Done,
    context: &dyn Fn() -> String,
) {
    if let Some(before) = before.filter(|record| record.is_done()) {
        assert_eq!(before.state, step.record.state, "ended twice: {}", context());
        let may_go = match input {
            Input::Delete { .. } => true,
            Input::Timer { .. } => done.expire_time <= world.now,
            Input::Submit(_)
            | Input::Claim { .. }
            | Input::Unqueue { .. }
            | Input::Renew { .. }
            | Input::Progress { .. }
            | Input::Complete { .. }
            | Input::Fail { .. }
            | Input::Cancel { .. } => false,
        };
        let expected = if may_go { Write::Remove } else { Write::Keep };
        assert_eq!(step.write, expected, "changed after its end: {}", context());
        return;
    }
    assert_eq!(done.end_time, world.now, "{}", context());
    let by_latest = done.by_attempt == Some(step.record.attempt);
    assert!(by_latest || done.by_attempt.is_none(), "ended by another attempt: {}", context());
    let cancelled = match &done.outcome {
        Outcome::Response(_) => {
            assert!(by_latest, "a response from nowhere: {}", context());
            false
        }
        Outcome::Error(status) => {
            let code = Code::try_from(status.code).expect("a known code");
            assert_ne!(code, Code::Ok, "{}", context());
            code == Code::Cancelled
        }
    };
    if world.cancel_accepted {
        assert!(cancelled || by_latest, "a cancellation came to nothing: {}", context());
    }
    if step.record.deleted {
        assert_eq!(step.write, Write::Remove, "a deleted record stays: {}", context());
    }
}

fn only_what_may_change_changes(
    before: &Record,
    input: &Input,
    after: &Record,
    context: &dyn Fn() -> String,
) {
    let fixed = |record: &Record| {
        (record.id.clone(), record.parent.clone(), record.job.clone(), record.create_time)
    };
    assert_eq!(fixed(before), fixed(after), "{}", context());
    let is_new_attempt =
        matches!(before.state, State::Queued(_)) && matches!(after.state, State::Running(_));
    assert_eq!(after.attempt, before.attempt + u32::from(is_new_attempt), "{}", context());
    if is_new_attempt {
        assert!(matches!(input, Input::Claim { .. }), "{}", context());
    }
    let failed = after.failures - before.failures;
    assert!(failed <= 1, "one failure counted twice: {}", context());
    if let (State::Running(was), State::Running(is)) = (&before.state, &after.state) {
        assert!(was.cancel.is_none() || is.cancel == was.cancel, "{}", context());
        assert!(was.lease_end <= is.lease_end, "a lease got shorter: {}", context());
    }
    if matches!(&before.state, State::Running(running) if running.cancel.is_some()) {
        assert!(
            !matches!(after.state, State::Queued(_)),
            "runs again after a cancellation: {}",
            context()
        );
    }
}

fn attempts_do_not_overlap(
    world: &World,
    before: &Record,
    after: &Record,
    context: &dyn Fn() -> String,
) {
    if after.attempt > before.attempt {
        let is_over = world.works_until.is_none_or(|end| end <= world.elapsed);
        assert!(is_over, "two attempts at a time: {}", context());
    }
}

/// Whatever got lost, timers alone bring the operation to where a worker finds it, or to its end,
/// and the record goes when it has been kept long enough.
pub(super) fn timers_suffice(world: &World) {
    let mut world = world.clone();
    for _ in 0..40 {
        let Some(record) = &world.record else {
            return;
        };
        world.wait(record.next_wake().since(world.now));
        let before = world.record.clone();
        let effects = world.apply(&timer(HintsOut::None));
        assert_ne!(before, world.record, "the timer did nothing: {:?}", world.history);
        if effects.iter().any(|effect| matches!(effect, Effect::Dispatch { .. })) {
            world.apply(&claim("last", 99));
            let attempt = world.record.as_ref().map_or(0, |record| record.attempt);
            world.apply(&complete_of(attempt, 99));
            let is_done = world.record.as_ref().is_none_or(Record::is_done);
            assert!(is_done, "the hint led nowhere: {:?}\n{:?}", world.record, world.history);
        }
    }
    assert!(world.record.is_none(), "no end: {:?}\n{:?}", world.record, world.history);
}
