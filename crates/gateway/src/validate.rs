//! Checks a `RunJobRequest` field by field and makes a job of it. Everything that is wrong is
//! reported at once.

mod fields;

use longshore_core::{
    lifecycle::Submit,
    names::{JobType, OperationId, Parent},
    record::{Job, Payload, Retry, TraceContext},
};
use longshore_proto::{
    rpc::Code,
    v1::{Priority, RetryPolicy, RunJobRequest, run_job_request::InputKind},
};
use prost::Message;
use prost_types::Any;
use sha2::{Digest, Sha256};

use self::fields::{Fields, MAX_BACKOFF, MAX_QUEUE_TIMEOUT, SHORTEST};
use crate::{
    errors::{Reason, Refusal},
    settings::{RetrySettings, Settings},
};

/// How many attempts a job may ask for.
const MAX_ATTEMPTS: i32 = 100;
/// By how much each pause may be longer than the one before.
const MAX_MULTIPLIER: f64 = 10.0;
/// The type of an input that is a JSON object.
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
/// The longest request id in characters.
const MAX_REQUEST_ID: usize = 128;

/// The job that a request asks for, under the id that its operation gets.
///
/// # Errors
/// [`Reason::InvalidRequest`] with every violation.
pub(crate) fn submit(
    request: RunJobRequest,
    settings: &Settings,
    trace: TraceContext,
) -> Result<Submit, Refusal> {
    let fingerprint = fingerprint(&request);
    let mut fields = Fields::default();
    let parent = fields.parsed("parent", Parent::parse_new(&request.parent));
    let job_type = job_type(&mut fields, &request.job_type, settings);
    check_request_id(&mut fields, &request.request_id);
    fields.labels(&request.labels);
    fields.works_on(&request.works_on);
    let priority = priority(&mut fields, request.priority);
    let schedule_time = fields.time("schedule_time", request.schedule_time.as_ref());
    let queue_timeout =
        fields.span("queue_timeout", request.queue_timeout.as_ref(), SHORTEST..=MAX_QUEUE_TIMEOUT);
    let run_timeout = fields.span(
        "run_timeout",
        request.run_timeout.as_ref(),
        SHORTEST..=settings.max_run_timeout,
    );
    let ttl = fields.span("ttl", request.ttl.as_ref(), SHORTEST..=settings.max_ttl);
    let retry = retry(&mut fields, &request.retry_policy.unwrap_or_default(), &settings.retry);
    let input = input(&mut fields, request.input_kind, settings.max_input_bytes);

    match (parent, job_type, fields.violations) {
        (Some(parent), Some(job_type), violations) if violations.is_empty() => {
            let job = Job {
                job_type,
                input,
                labels: request.labels,
                works_on: request.works_on,
                priority,
                schedule_time,
                queue_timeout,
                run_timeout: run_timeout.or(settings.run_timeout),
                ttl: ttl.unwrap_or(settings.ttl),
                retry,
                fingerprint,
                trace,
            };
            let id = match &*request.request_id {
                "" => OperationId::random(),
                request_id => OperationId::of_request(&parent, request_id),
            };
            Ok(Submit { id, parent, job })
        }
        (_, _, violations) => Err(Refusal::fields(Reason::InvalidRequest, violations)),
    }
}

/// Tells the same request from another one under the same request id: a digest of all that it
/// asks for (maps are sorted, so its encoding is the same each time). Without a request id no other
/// request is ever the same; the bytes then only make the gateway's own repetition known.
fn fingerprint(request: &RunJobRequest) -> bytes::Bytes {
    if request.request_id.is_empty() {
        return bytes::Bytes::copy_from_slice(&fastrand::u128(..).to_be_bytes());
    }
    let asked_for =
        RunJobRequest { request_id: String::new(), validate_only: false, ..request.clone() };
    bytes::Bytes::copy_from_slice(&Sha256::digest(asked_for.encode_to_vec()))
}

fn job_type(fields: &mut Fields, text: &str, settings: &Settings) -> Option<JobType> {
    let job_type = fields.parsed("job_type", JobType::parse(text))?;
    if settings.allowed_job_types.as_ref().is_some_and(|allowed| !allowed.contains(text)) {
        fields.violates("job_type", "is not one of the job types that this server accepts");
    }
    Some(job_type)
}

fn check_request_id(fields: &mut Fields, text: &str) {
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if text.len() > MAX_REQUEST_ID || !printable {
        fields.violates(
            "request_id",
            format!("must be 1 to {MAX_REQUEST_ID} characters of printable ASCII"),
        );
    }
}

fn priority(fields: &mut Fields, number: i32) -> Priority {
    match Priority::try_from(number) {
        Ok(Priority::Unspecified) => Priority::Normal,
        Ok(priority) => priority,
        Err(_) => {
            fields.violates("priority", "must be LOW, NORMAL or HIGH");
            Priority::Normal
        }
    }
}

fn retry(fields: &mut Fields, policy: &RetryPolicy, settings: &RetrySettings) -> Retry {
    let max_attempts = match policy.max_attempts {
        0 => settings.max_attempts,
        number => {
            if !(1..=MAX_ATTEMPTS).contains(&number) {
                fields.violates(
                    "retry_policy.max_attempts",
                    format!("must be from 0 to {MAX_ATTEMPTS}"),
                );
            }
            number.unsigned_abs()
        }
    };
    let bounds = std::time::Duration::ZERO..=MAX_BACKOFF;
    let first = fields.span(
        "retry_policy.initial_backoff",
        policy.initial_backoff.as_ref(),
        bounds.clone(),
    );
    let longest = fields.span("retry_policy.max_backoff", policy.max_backoff.as_ref(), bounds);
    // One that is given pulls the other's default along.
    let (initial_backoff, max_backoff) = match (first, longest) {
        (Some(first), Some(longest)) => {
            if first > longest {
                fields.violates("retry_policy.max_backoff", "must be at least initial_backoff");
            }
            (first, longest)
        }
        (Some(first), None) => (first, settings.max_backoff.max(first)),
        (None, Some(longest)) => (settings.initial_backoff.min(longest), longest),
        (None, None) => (settings.initial_backoff, settings.max_backoff),
    };
    let backoff_multiplier = match policy.backoff_multiplier {
        0.0 => settings.backoff_multiplier,
        factor => {
            // Not a number is in no range.
            if !(1.0..=MAX_MULTIPLIER).contains(&factor) {
                let bounds = format!("must be from 1 to {MAX_MULTIPLIER}");
                fields.violates("retry_policy.backoff_multiplier", bounds);
            }
            factor
        }
    };
    let retryable_codes = codes(fields, &policy.retryable_codes);
    Retry { max_attempts, initial_backoff, max_backoff, backoff_multiplier, retryable_codes }
}

fn codes(fields: &mut Fields, codes: &[i32]) -> Vec<i32> {
    if codes.is_empty() {
        return vec![Code::Unavailable.into()];
    }
    let is_error = |code: &i32| Code::try_from(*code).is_ok_and(|code| code != Code::Ok);
    if !codes.iter().all(is_error) {
        fields.violates(
            "retry_policy.retryable_codes",
            "must be codes of google.rpc.Code other than OK",
        );
    }
    let mut distinct = codes.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

fn input(fields: &mut Fields, input: Option<InputKind>, max_bytes: usize) -> Option<Payload> {
    let (field, any) = match input? {
        InputKind::Input(value) => {
            fields.json_object("input", &value);
            ("input", Any { type_url: STRUCT.to_owned(), value: value.encode_to_vec() })
        }
        InputKind::TypedInput(any) => {
            fields.type_url("typed_input", &any.type_url);
            ("typed_input", any)
        }
    };
    if any.value.len() > max_bytes {
        fields.violates(
            field,
            format!("is {} bytes and must be at most {max_bytes}", any.value.len()),
        );
    }
    Some(Payload { type_url: any.type_url, value: any.value.into() })
}
