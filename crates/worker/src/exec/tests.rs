//! Real children.

use std::{collections::BTreeMap, fs, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use futures::FutureExt;
use longshore_core::{
    json,
    lifecycle::Verdict,
    names::{JobType, OperationName},
    record::{Job, Payload, Retry, TraceContext},
};
use longshore_proto::{rpc::Code, v1::Priority};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{JobConfig, run::run};
use crate::{
    context::{Context, StopReason},
    error::JobError,
    progress::Progress,
};

fn script(script: &str) -> JobConfig {
    JobConfig {
        job_type: JobType::parse("test").unwrap(),
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        concurrency: NonZeroUsize::MIN,
        cwd: "/".into(),
        env: BTreeMap::from([("GREETING".into(), "hello".into())]),
        grace: Duration::from_secs(5),
        max_output: NonZeroUsize::new(64 * 1024).unwrap(),
        retry_exit_codes: vec![111],
    }
}

fn context() -> Context {
    let job = Job {
        job_type: JobType::parse("test").unwrap(),
        input: None,
        labels: BTreeMap::new(),
        works_on: Vec::new(),
        priority: Priority::Normal,
        schedule_time: None,
        queue_timeout: None,
        run_timeout: Some(Duration::from_millis(1500)),
        ttl: Duration::ZERO,
        retry: Retry {
            max_attempts: 1,
            initial_backoff: Duration::ZERO,
            max_backoff: Duration::ZERO,
            backoff_multiplier: 1.0,
            retryable_codes: Vec::new(),
        },
        fingerprint: bytes::Bytes::new(),
        trace: TraceContext::default(),
    };
    let trace =
        TraceContext { traceparent: "00-trace-parent-01".into(), tracestate: String::new() };
    let name = OperationName::parse("projects/p/operations/op").unwrap();
    Context::new(name, Arc::new(job), 2, 1, trace)
}

fn input(value: Value) -> Option<Payload> {
    Some(json::response_from_json(value).unwrap())
}

async fn answer(config: &JobConfig, value: Value) -> Result<Value, JobError> {
    let payload = run(config, input(value), context()).await?;
    Ok(json::payload_to_json(Some(&payload)))
}

async fn reported(text: &str) -> Progress {
    let context = context();
    let progress = context.progress();
    run(&script(text), None, context).await.unwrap();
    progress.borrow().clone()
}

/// Whether the process has ended. One that nobody has reaped yet counts as ended.
fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => true,
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for too long");
        sleep(Duration::from_millis(10)).await;
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn input_goes_in_and_the_response_comes_out() {
    let echoed =
        answer(&script("echo starting; cat; echo; echo done"), json!({"a": [1, "ü"]})).await;
    assert_eq!(echoed.unwrap(), json!({"a": [1, "ü"]}));
    assert_eq!(
        answer(&script("cat"), Value::Null).await.unwrap()["@type"],
        "type.googleapis.com/google.protobuf.Empty"
    );

    let typed = json!({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"});
    assert_eq!(answer(&script("cat"), typed.clone()).await.unwrap(), typed);
}

#[tokio::test]
async fn responses_that_are_none_are_the_jobs_fault() {
    let error = answer(&script(r#"echo '{"@type": "nonsense"}'"#), json!({})).await.unwrap_err();
    assert_eq!((error.code(), error.verdict()), (Code::Internal, Verdict::Final), "{error}");
}

#[tokio::test]
async fn the_environment_tells_about_the_attempt() {
    let text = r#"printf '["%s", "%s", "%s", "%s", "%s", "%s"]' "$LONGSHORE_OPERATION" "$LONGSHORE_JOB_TYPE" \
        "$LONGSHORE_ATTEMPT" "$LONGSHORE_RUN_TIMEOUT" "$TRACEPARENT" "$GREETING""#;
    let seen = answer(&script(text), json!({})).await.unwrap();
    assert_eq!(
        seen,
        json!(["projects/p/operations/op", "test", "2", "1.5", "00-trace-parent-01", "hello"])
    );
}

#[tokio::test]
async fn progress_is_read_from_descriptor_3() {
    let progress = reported(
        r#"echo '{"completed_units": 1, "total_units": 8, "unit": "files", "other": true}' >&3
        echo 'no progress at all' >&3
        echo '{"completedUnits": "4", "message": "half", "percent": 50, "details": {"a": 1}}' >&3
        echo '{"completed_units": 1e+01}' >&3"#,
    )
    .await;
    let details = json::payload_to_json(progress.details.as_ref());
    assert_eq!(
        (progress.completed_units, progress.total_units, progress.percent),
        (10, 8, Some(50.0))
    );
    assert_eq!((progress.unit.as_str(), progress.message.as_str()), ("files", "half"));
    assert_eq!(details, json!({"a": 1}));
}

#[tokio::test]
async fn floods_are_waited_out() {
    // 4 MB on each of the three, and a line of progress that is far too long.
    let flood = "yes 0123456789abcdef | head -c 4000000";
    let text = format!(
        "{flood} & {flood} >&2 & {flood} >&3 & wait
        {{ echo; head -c 300000 /dev/zero | tr '\\0' x; echo; echo '{{\"percent\": 7}}'; }} >&3
        echo; echo '{{\"a\": 1}}'"
    );
    let context = context();
    let progress = context.progress();
    let response = run(&script(&text), None, context).await.unwrap();
    assert_eq!(json::payload_to_json(Some(&response)), json!({"a": 1}));
    assert_eq!(progress.borrow().percent, Some(7.0));
}

#[tokio::test]
async fn a_response_that_is_too_long_is_an_error() {
    let text = r#"printf '["'; head -c 100000 /dev/zero | tr '\0' x; printf '"]'"#;
    let error = answer(&script(text), json!({})).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn input_need_not_be_read() {
    let big = json!({"a": "x".repeat(4_000_000)});
    assert_eq!(answer(&script("echo 1"), big.clone()).await.unwrap(), json!(1));
    assert_eq!(answer(&script("exec <&-; sleep 0.1; echo 1"), big).await.unwrap(), json!(1));
}

#[tokio::test]
async fn exit_codes_follow_sysexits() {
    for (code, expected, verdict) in [
        (64, Code::InvalidArgument, Verdict::Final),
        (65, Code::InvalidArgument, Verdict::Final),
        (66, Code::NotFound, Verdict::ByPolicy),
        (69, Code::Unavailable, Verdict::Retryable),
        (70, Code::Internal, Verdict::ByPolicy),
        (75, Code::Unavailable, Verdict::Retryable),
        (77, Code::PermissionDenied, Verdict::ByPolicy),
        (78, Code::FailedPrecondition, Verdict::ByPolicy),
        (111, Code::Unavailable, Verdict::Retryable),
        (1, Code::Unknown, Verdict::ByPolicy),
    ] {
        let error = answer(&script(&format!("exit {code}")), json!({})).await.unwrap_err();
        assert_eq!((error.code(), error.verdict()), (expected, verdict), "exit code {code}");
        assert_eq!(error.message(), format!("exit code {code}"));
    }
    let error = answer(&script("kill -SEGV $$"), json!({})).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Aborted, "killed by SIGSEGV"));
}

#[tokio::test]
async fn the_end_of_standard_error_is_in_the_error() {
    let text =
        "yes noise | head -n 4000 >&2; echo 'it broke' >&2; echo >&2; echo '{\"a\": 1}'; exit 3";
    let error = answer(&script(text), json!({})).await.unwrap_err();
    let (first, rest) = error.message().split_once("\n\n").unwrap();
    assert_eq!(first, "it broke (exit code 3)");
    assert!((4000..=4096).contains(&rest.len()), "{}", rest.len());
    assert!(rest.ends_with("noise\nit broke"));
    assert!(error.into_failure().error.details.is_empty(), "some clients can't read them");
}

#[tokio::test]
async fn what_can_not_be_started_says_so() {
    let mut config = script("");
    config.program = "/no/such/program".into();
    let error = answer(&config, json!({})).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("/no/such/program"), "{error}");
}

#[tokio::test]
async fn cancellation_reaches_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let (ready, child) = (directory.path().join("ready"), directory.path().join("child"));
    let text = format!(
        "trap 'echo {{}}; exit 75' TERM; sleep 1000 & echo $! >{}; echo >{}; wait",
        child.display(),
        ready.display()
    );
    let context = context();
    let (config, context2) = (script(&text), context.clone());
    let running = tokio::spawn(async move { run(&config, None, context2).await });
    until(|| ready.exists()).await;
    context.stop(StopReason::Cancelled);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "the trap has run");
    assert!(is_gone(&read(&child)));
}

#[tokio::test]
async fn who_ignores_cancellation_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let child = directory.path().join("child");
    let text = format!("trap '' TERM; sleep 1000 & echo $! >{}; wait", child.display());
    let mut config = script(&text);
    config.grace = Duration::from_millis(200);
    let context = context();
    let context2 = context.clone();
    let running = tokio::spawn(async move { run(&config, None, context2).await });
    until(|| read(&child).ends_with('\n')).await;
    context.stop(StopReason::TimedOut);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Aborted, "killed by SIGKILL"));
    until(|| is_gone(&read(&child))).await;
}

#[tokio::test]
async fn dropping_the_future_leaves_no_orphan() {
    let directory = tempfile::tempdir().unwrap();
    let (leader, child) = (directory.path().join("leader"), directory.path().join("child"));
    let text = format!(
        "trap '' TERM; echo $$ >{}; sleep 1000 & echo $! >{}; wait",
        leader.display(),
        child.display()
    );
    let config = script(&text);
    let mut running = Box::pin(run(&config, None, context()));
    while !read(&child).ends_with('\n') {
        assert!(running.as_mut().now_or_never().is_none());
        sleep(Duration::from_millis(10)).await;
    }
    drop(running);
    until(|| is_gone(&read(&leader)) && is_gone(&read(&child))).await;
}

#[tokio::test]
async fn what_is_left_after_the_end_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let child = directory.path().join("child");
    let text = format!("sleep 1000 & echo $! >{}; echo 5", child.display());
    let answered = timeout(Duration::from_secs(20), answer(&script(&text), json!({}))).await;
    assert_eq!(answered.unwrap().unwrap(), json!(5));
    until(|| is_gone(&read(&child))).await;
}

#[tokio::test]
async fn who_leaves_the_group_holds_nothing_up() {
    let text = "setsid sleep 30 & echo 5; sleep 0.1";
    let answered = timeout(Duration::from_secs(20), answer(&script(text), json!({}))).await;
    assert_eq!(answered.unwrap().unwrap(), json!(5));
}
