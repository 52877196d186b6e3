//! What an encoded record leaves out, as nearly every record has the same there.
//!
//! What an earlier version wrote out stays readable: only what is absent is completed.

use longshore_proto::internal::{Payload, Record, Retry, done::Outcome, record::State};

/// What nearly all type URLs begin with.
const HOST: &str = "type.googleapis.com/";

/// Names of messages that nearly everybody uses, by their numbers from 1 on. None may change.
const NAMES: [&str; 3] =
    ["google.protobuf.Struct", "google.protobuf.Empty", "google.protobuf.Value"];

/// What gateways set by default. It must never change: records lie in stores that leave it out.
fn usual_retry() -> Retry {
    Retry {
        max_attempts: 3,
        initial_backoff: 1_000_000,
        max_backoff: 60_000_000,
        backoff_multiplier: 2.0,
        retryable_codes: vec![14],
    }
}

/// Leaves out what [`complete`] puts back.
pub(super) fn shorten(record: &mut Record) {
    each_payload(record, |payload| {
        let Some(name) = payload.type_url.strip_prefix(HOST).filter(|name| !name.is_empty()) else {
            return;
        };
        match (1..).zip(NAMES).find(|(_, known)| *known == name) {
            Some((number, _)) => payload.type_number = number,
            None => payload.type_name = name.to_owned(),
        }
        payload.type_url.clear();
    });
    if let Some(by_ttl) = by_ttl(record)
        && let Some(State::Done(done)) = &mut record.state
    {
        if record.update_time == done.end_time {
            record.update_time = 0;
        }
        if done.expire_time == by_ttl {
            done.expire_time = 0;
        }
    }
    if let Some(job) = &mut record.job {
        job.retry.take_if(|retry| *retry == usual_retry());
    }
}

/// Puts back what was left out; false if a later version left out something else.
pub(super) fn complete(record: &mut Record) -> bool {
    let mut is_whole = true;
    each_payload(record, |payload| {
        let known = payload.type_number.checked_sub(1).and_then(|nth| NAMES.get(nth as usize));
        let name = known.map_or(&*payload.type_name, |name| name);
        if !name.is_empty() {
            payload.type_url = [HOST, name].concat();
            payload.type_name.clear();
            payload.type_number = 0;
        }
        is_whole &= payload.type_number == 0;
    });
    if let Some(by_ttl) = by_ttl(record)
        && let Some(State::Done(done)) = &mut record.state
    {
        if record.update_time == 0 {
            record.update_time = done.end_time;
        }
        if done.expire_time == 0 {
            done.expire_time = by_ttl;
        }
    }
    if let Some(job) = &mut record.job {
        job.retry.get_or_insert_with(usual_retry);
    }
    is_whole
}

/// When a record that is done goes, if nothing else was decided; none if it is not done.
fn by_ttl(record: &Record) -> Option<i64> {
    let (Some(State::Done(done)), Some(job)) = (&record.state, &record.job) else { return None };
    // Times that are 0 could not be told from those that are left out.
    let is_real = record.update_time >= 0 && done.end_time > 0;
    is_real.then(|| done.end_time.saturating_add(job.ttl))
}

fn each_payload(record: &mut Record, change: impl FnMut(&mut Payload)) {
    let input = record.job.as_mut().and_then(|job| job.input.as_mut());
    let details = record.progress.as_mut().and_then(|progress| progress.details.as_mut());
    let response = match &mut record.state {
        Some(State::Done(done)) => match &mut done.outcome {
            Some(Outcome::Response(response)) => Some(response),
            Some(Outcome::Error(_)) | None => None,
        },
        Some(State::Queued(_) | State::Running(_)) | None => None,
    };
    input.into_iter().chain(details).chain(response).for_each(change);
}

#[cfg(test)]
mod tests {
    use longshore_proto::internal::Job;
    use prost::Message;

    use super::*;

    fn record(type_url: &str, retry: Retry) -> Record {
        let payload = Payload { type_url: type_url.to_owned(), ..Payload::default() };
        let job = Job { input: Some(payload), retry: Some(retry), ..Job::default() };
        Record { job: Some(job), ..Record::default() }
    }

    #[test]
    fn what_is_left_out_comes_back() {
        let other = Retry { max_attempts: 4, ..usual_retry() };
        let known = NAMES.map(|name| [HOST, name].concat());
        let urls = ["", "x", "/", HOST, "type.googleapis.com/a.B", "example.com/a.B"];
        for type_url in urls.into_iter().chain(known.iter().map(|url| &**url)) {
            for retry in [usual_retry(), other.clone(), Retry::default()] {
                let whole = record(type_url, retry);
                let mut brief = whole.clone();
                shorten(&mut brief);
                assert!(brief.encoded_len() <= whole.encoded_len());
                assert!(complete(&mut brief));
                assert_eq!(brief, whole);
            }
        }
    }

    #[test]
    fn what_was_written_out_stays() {
        let whole = record("type.googleapis.com/a.B", usual_retry());
        let mut read = whole.clone();
        assert!(complete(&mut read));
        assert_eq!(read, whole);
        shorten(&mut read);
        assert!(read.encoded_len() + 40 < whole.encoded_len());
    }

    #[test]
    fn what_a_later_version_leaves_out_is_not_guessed() {
        let mut later = record("", usual_retry());
        each_payload(&mut later, |payload| payload.type_number = 200);
        assert!(!complete(&mut later));
    }

    #[test]
    fn the_times_of_what_is_done_come_back() {
        use longshore_proto::internal::Done;

        for (update_time, expire_time) in [(70, 1070), (70, 1071), (69, 1070), (-1, 5)] {
            let outcome = Some(Outcome::Response(Payload::default()));
            let done = Done { end_time: 70, expire_time, outcome, ..Done::default() };
            let mut whole = record("", usual_retry());
            whole.job.as_mut().expect("it has one").ttl = 1000;
            whole.update_time = update_time;
            whole.state = Some(State::Done(done));
            let mut brief = whole.clone();
            shorten(&mut brief);
            let is_usual = (update_time, expire_time) == (70, 1070);
            assert!(!is_usual || brief.update_time == 0);
            assert!(complete(&mut brief));
            assert_eq!(brief, whole);
        }
    }
}
