use std::time::Duration;

use longshore_proto::{
    rpc::{self, Code},
    v1::Priority,
};
use proptest::prelude::*;

use super::*;
use crate::{
    json,
    names::{JobType, OperationId, Parent},
    record::{Done, HintOut, Job, Outcome, Progress, Queued, Retry, State, TraceContext},
    time::Time,
};

/// 2022-08-07T10:00:00Z.
const CREATED: Time = Time::from_micros(1_659_866_400_000_000);

fn queued() -> Record {
    Record {
        id: OperationId::parse("op-1").unwrap(),
        parent: Parent::parse("projects/my-project/locations/us-central1").unwrap(),
        job: Job {
            job_type: JobType::parse("hash").unwrap(),
            input: None,
            labels: [("color", "red"), ("a.b", "dotted"), ("key with space", "x"), ("star", "a*b")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            works_on: ["5", "6"]
                .map(|id| format!("projects/my-project/locations/us-central1/datasets/{id}"))
                .into(),
            priority: Priority::High,
            schedule_time: None,
            queue_timeout: None,
            run_timeout: None,
            ttl: Duration::from_secs(60),
            retry: Retry {
                max_attempts: 3,
                initial_backoff: Duration::ZERO,
                max_backoff: Duration::ZERO,
                backoff_multiplier: 1.0,
                retryable_codes: Vec::new(),
            },
            fingerprint: Default::default(),
            trace: TraceContext::default(),
        },
        create_time: CREATED,
        update_time: CREATED,
        attempt: 0,
        failures: 0,
        start_time: None,
        worker: String::new(),
        last_error: None,
        progress: Progress::default(),
        deleted: false,
        state: State::Queued(Queued {
            ready_time: CREATED,
            hint: Some(HintOut { time: CREATED, check_time: CREATED + Duration::from_secs(9) }),
            deadline: None,
        }),
    }
}

fn done(outcome: Outcome) -> Record {
    let end_time = CREATED + Duration::from_secs(90);
    Record {
        attempt: 2,
        start_time: Some(CREATED + Duration::from_secs(60)),
        worker: "crane".into(),
        progress: Progress {
            sequence: 1,
            percent: Some(50.0),
            completed_units: 5_000_000_000,
            message: "Half Way".into(),
            ..Progress::default()
        },
        state: State::Done(Done {
            end_time,
            expire_time: end_time + Duration::from_secs(60),
            by_attempt: Some(2),
            outcome,
        }),
        ..queued()
    }
}

fn succeeded() -> Record {
    let response = serde_json::json!({
        "@type": "type.googleapis.com/google.protobuf.Struct",
        "value": {"size": 7, "took": "90s", "list": ["a", "b"], "rows": [{"id": "x"}], "ok": false, "snake_key": "s"},
    });
    let any = json::any_from_json(response).unwrap();
    done(Outcome::Response(crate::record::Payload {
        type_url: any.type_url,
        value: any.value.into(),
    }))
}

fn failed() -> Record {
    let error = rpc::Status {
        code: Code::NotFound as i32,
        message: "No such Bucket".into(),
        details: Vec::new(),
    };
    done(Outcome::Error(error))
}

#[track_caller]
fn check(record: &Record, filters: &[(&str, bool)]) {
    for (text, expected) in filters {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(record), *expected, "{text}");
    }
}

#[test]
fn what_googles_documentation_shows_works() {
    check(
        &queued(),
        &[
            ("", true),
            ("  ", true),
            ("done=true", false),
            ("done!=true", true),
            ("done:true", false),
            ("done = False", true),
            ("\"done=true\"", false),
            ("\"\"", true),
            ("worksOn = projects/my-project/locations/us-central1/datasets/5", true),
            ("works_on = projects/my-project/locations/us-central1/datasets/7", false),
            ("operation_id=op-1", true),
            ("labels.color = *", true),
            ("labels.size = *", false),
            ("labels.\"key with space\" = x", true),
            ("createTime >= 2022-08-07 AND done=false", true),
        ],
    );
    check(
        &failed(),
        &[
            (
                "(metadata.@type=type.googleapis.com/longshore.v1.OperationMetadata) AND (metadata.progress.message:half) AND (metadata.createTime < \"2028-03-28T14:50:00Z\") AND (error:*)",
                true,
            ),
            (
                "((metadata.@type=a) AND (metadata.database:test_db)) OR (done:true) AND (error:*)",
                true,
            ),
            (
                "((metadata.@type=a) AND (metadata.database:test_db)) OR ((done:false)) AND (error:*)",
                false,
            ),
        ],
    );
}

#[test]
fn or_binds_tighter_than_and() {
    check(
        &queued(),
        &[
            ("done=true AND done=true OR done=false", false),
            ("done=false OR done=true AND done=true", false),
            ("done=false OR done=true done=false", true),
            ("done=false done=false", true),
            ("done=false done=true", false),
            ("NOT done=true", true),
            ("-done=true", true),
            ("- done=true", true),
            ("NOT (done=true OR done=false)", false),
            ("-(done=true)done=false", true),
            ("(((done=false)))", true),
            ("done=(true OR false)", true),
            ("done=(NOT true)", true),
            ("labels.color:(red AND re)", true),
            ("name=op OR labels.color=\"red\" OR worker=x", true),
        ],
    );
}

#[test]
fn text_has_wildcards_and_parts() {
    check(
        &queued(),
        &[
            ("name=\"projects/my-project/locations/us-central1/operations/op-1\"", true),
            ("name=projects/*/locations/*/operations/*", true),
            ("name=projects/*", true),
            ("name=projects", false),
            ("name:OPERATIONS/op", true),
            ("name!=*x*", true),
            ("job_type=h*h", true),
            ("job_type=ha*ash", false),
            ("jobType='hash'", true),
            ("jobType>hasg", true),
            ("labels.star='a\\*b'", true),
            ("labels.star='\\*'", false),
            ("labels.star='*'", true),
            ("labels.a.b=dotted", true),
            ("labels:color", true),
            ("labels:size", false),
            ("labels.size!=red", false),
            ("NOT labels.size=red", true),
            ("works_on:*datasets/6", true),
            ("works_on!=x", true),
            ("works_on!=*datasets/6", false),
            ("worker!=x", false),
            ("worker:*", false),
        ],
    );
}

#[test]
fn columns_compare_as_what_they_are() {
    check(
        &queued(),
        &[
            ("state=PENDING", true),
            ("state!=PENDING", false),
            ("state=(RUNNING OR PENDING)", true),
            ("priority=HIGH", true),
            ("attempt<1", true),
            ("start_time:*", false),
            ("end_time>2000-01-01", false),
            ("end_time!=2000-01-01", false),
            ("create_time=2022-08-07T12:00:00+02:00", true),
            ("create_time>2022-08-07T10:00:00Z", false),
            ("update_time<=\"2022-08-07T10:00:00.000000001Z\"", true),
            ("error.code!=5", false),
        ],
    );
    check(
        &failed(),
        &[
            ("attempt=2 attempt>=2.0", true),
            ("worker=crane", true),
            ("state=FAILED", true),
            ("error:* error=*", true),
            ("error.code=5", true),
            ("error.code=NOT_FOUND", true),
            ("error.code>NOT_FOUND", false),
            ("error.message:bucket", true),
            ("error.message=bucket", false),
            ("endTime=2022-08-07T10:01:30Z", true),
            ("expireTime>2022-08-07T10:02:00Z", true),
            ("response:*", false),
        ],
    );
}

#[test]
fn messages_are_walked() {
    check(
        &succeeded(),
        &[
            ("metadata.state=SUCCEEDED", true),
            ("metadata.job_type=hash", true),
            ("metadata.jobType=hash", true),
            ("metadata.progress.percent>49.5", true),
            ("metadata.progress.completed_units>4000000000", true),
            ("metadata.progress.completed_units>10000000000", false),
            ("metadata.end_time>2022-08-07T12:01:00+02:00", true),
            ("metadata.worksOn=*5", true),
            ("metadata.labels.color=red", true),
            ("metadata.labels:color", true),
            ("metadata:labels", true),
            ("metadata.nothing.here!=1", false),
            ("response.@type=type.googleapis.com/google.protobuf.Struct", true),
            ("response.value.size=7", true),
            ("response.value.size!=8", true),
            ("response.value.size=seven", false),
            ("response.value.took>20s", true),
            ("response.value.took=1.5s", false),
            ("response.value.list:b", true),
            ("response.value.list=b", true),
            ("response.value.rows.id:x", true),
            ("response.value.rows.id=x", false),
            ("response.value.ok=FALSE", true),
            ("response.value.ok<true", false),
            ("response.value.snake_key=s", true),
            ("response.value.none:*", false),
            ("response:*", true),
            ("error:*", false),
        ],
    );
}

#[test]
fn a_mistake_is_told_with_its_place() {
    for (text, message) in [
        ("done", "at byte 4: expected one of `=`, `!=`, `<`, `<=`, `>`, `>=`, `:` after the field"),
        ("done=", "at byte 5: expected a value"),
        ("done==true", "at byte 5: expected a value"),
        ("=true", "at byte 0: expected a condition"),
        ("(done=true", "at byte 10: expected `AND`, `OR` or `)`"),
        ("done=true)", "at byte 9: expected `AND`, `OR` or the filter's end"),
        ("done=true AND", "at byte 13: expected a condition"),
        ("done=true AND AND", "at byte 14: expected a condition"),
        ("OR done=true", "at byte 0: expected a condition"),
        ("done=true, done=true", "at byte 9: expected a condition"),
        ("()", "at byte 1: expected a condition"),
        ("name=\"x", "at byte 7: expected a closing quote"),
        ("labels. x=1", "at byte 7: expected the name of a field"),
        ("f(done)", "at byte 1: expected an operator: functions are not supported"),
        ("done=f(1)", "at byte 6: expected a value: functions are not supported"),
        ("done=(a=b)", "at byte 10: expected plain values within the parentheses before"),
        ("nothing=1", "at byte 0: there is no field `nothing`"),
        ("done.x=1", "at byte 0: there is no field `done.x`"),
        ("done=maybe", "at byte 5: `done` is compared with true or false"),
        ("done<true", "at byte 0: `done` has no `<`"),
        ("error=1", "at byte 0: `error` has no `=`"),
        ("metadata=1", "at byte 0: `metadata` has no `=`"),
        ("attempt=x", "at byte 8: `attempt` is compared with a number"),
        (
            "error.code=OOPS",
            "at byte 11: `error.code` is compared with a number or a name of google.rpc.Code",
        ),
        (
            "state=running",
            "at byte 6: `state` is compared with one of PENDING, RUNNING, CANCELLING, SUCCEEDED, FAILED, CANCELLED",
        ),
        (
            "create_time>yesterday",
            "at byte 12: `create_time` is compared with a time like 2006-01-02T15:04:05Z or a date",
        ),
        (
            "create_time>2022-13-07",
            "at byte 12: `create_time` is compared with a time like 2006-01-02T15:04:05Z or a date",
        ),
    ] {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!(error.to_string(), message, "{text}");
    }
}

#[test]
fn size_has_limits() {
    let nested = |depth: usize| format!("{}done=true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(Filter::parse(&nested(MAX_DEPTH + 1)), Err(Error::TooDeep { at: MAX_DEPTH }));
    assert_eq!(Filter::parse(&nested(1000)), Err(Error::TooDeep { at: MAX_DEPTH }));
    assert!(Filter::parse(&format!("name=\"{}\"", "(".repeat(30))).is_ok());
    let many = |count: usize| vec!["done=true"; count].join(" OR ");
    assert!(Filter::parse(&many(MAX_CONDITIONS)).is_ok());
    assert_eq!(Filter::parse(&many(MAX_CONDITIONS + 1)), Err(Error::TooMany));
    assert!(Filter::parse(&format!("name={}", "x".repeat(MAX_LENGTH - 5))).is_ok());
    assert_eq!(Filter::parse(&format!("name={}", "x".repeat(MAX_LENGTH - 4))), Err(Error::TooLong));
}

#[test]
fn the_plan_is_what_all_matches_share() {
    let plan = |done, works_on: Option<&str>| Plan {
        done,
        works_on: works_on.map(str::to_owned),
        ..Plan::default()
    };
    for (text, expected) in [
        ("", plan(None, None)),
        ("done=true", plan(Some(true), None)),
        ("done!=true", plan(Some(false), None)),
        ("NOT done:true", plan(Some(false), None)),
        ("-(done!=true)", plan(Some(true), None)),
        ("done=true OR state=RUNNING", plan(None, None)),
        ("state=PENDING OR state=RUNNING", plan(Some(false), None)),
        ("(works_on=a done=true) OR works_on=a", plan(None, Some("a"))),
        ("name=x AND (works_on:a/b done=false)", plan(Some(false), Some("a/b"))),
        ("works_on!=a", plan(None, None)),
        ("works_on=a*", plan(None, None)),
        ("NOT works_on=a", plan(None, None)),
        ("works_on=a OR works_on=b", plan(None, None)),
        ("state=FAILED", plan(Some(true), None)),
        ("state=CANCELLING", plan(Some(false), None)),
        ("state!=FAILED", plan(None, None)),
        ("NOT state=FAILED", plan(None, None)),
        ("error:*", plan(Some(true), None)),
        ("NOT error:*", plan(None, None)),
        ("response.x=1", plan(Some(true), None)),
    ] {
        assert_eq!(Filter::parse(text).unwrap().plan(), expected, "{text}");
    }
}

#[test]
fn the_plan_knows_between_which_times() {
    let from = Time::from_micros(1_659_866_400_000_000);
    let to = Time::from_micros(1_659_866_401_000_000);
    let day = Time::from_micros(1_659_830_400_000_000);
    let (a, b) = ("2022-08-07T10:00:00Z", "2022-08-07T12:00:01+02:00");
    for (text, expected) in [
        ("create_time > A", (Some(from), None)),
        ("create_time >= A", (Some(from), None)),
        ("createTime >= A AND createTime < B", (Some(from), Some(to))),
        ("NOT create_time < A", (Some(from), None)),
        ("-create_time:*", (None, None)),
        ("create_time = A", (Some(from), Some(from))),
        ("create_time != A", (None, None)),
        ("NOT create_time != A", (Some(from), Some(from))),
        ("create_time > A OR create_time > B", (Some(from), None)),
        ("create_time < A OR create_time < B", (None, Some(to))),
        ("create_time > A OR done=true", (None, None)),
        ("create_time > A create_time > B create_time > 2022-08-07", (Some(to), None)),
        ("create_time >= 2022-08-07", (Some(day), None)),
        ("update_time > A", (None, None)),
    ] {
        let text = text.replace('A', &format!("{a:?}")).replace('B', &format!("{b:?}"));
        let text = text.replace(&format!("{a:?}ND"), "AND");
        let plan = Filter::parse(&text).unwrap().plan();
        assert_eq!((plan.created_from, plan.created_to), expected, "{text}");
    }
    // What is finer than a microsecond is rounded outwards.
    let plan = Filter::parse("create_time = 2022-08-07T10:00:00.0000005Z").unwrap().plan();
    assert_eq!(plan.created_from, Some(from));
    assert_eq!(plan.created_to, Some(Time::from_micros(1_659_866_400_000_001)));
}

#[test]
fn a_filter_may_be_kept_to_some_fields() {
    let some = ["operation_id", "done", "works_on"].map(str::to_owned).into();
    for text in ["", "done=true", "worksOn = a/b AND operation_id=x", "\"done=true\""] {
        assert!(Filter::parse_with(text, Some(&some)).is_ok(), "{text}");
    }
    let error = Filter::parse_with("done=true AND createTime > 2022-08-07", Some(&some));
    assert_eq!(error, Err(Error::UnknownField { at: 14, field: "createTime".to_owned() }));
}

#[test]
fn the_documentation_shows_filters() {
    let text = include_str!("../../../../docs/lists.md");
    let filters = text.split("## Filters").nth(1).unwrap().lines();
    let filters: Vec<_> = filters.filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(filters.len() > 3);
    for filter in filters {
        assert!(Filter::parse(filter).is_ok(), "{filter}");
    }
    for field in FIELDS {
        assert!(text.contains(&format!("`{field}")), "{field}");
    }
}

#[test]
fn the_table_of_fields_is_the_whole_one() {
    for field in FIELDS {
        let found = [format!("{field}:*"), format!("{field}.x:*"), format!("{field}:x")];
        assert!(found.iter().any(|text| Filter::parse(text).is_ok()), "{field}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let parsed = Filter::parse(&text);
        prop_assert!(parsed.is_ok() || parsed.is_err());
    }

    #[test]
    fn no_sequence_of_tokens_makes_it_panic(
        tokens in proptest::collection::vec(
            prop_oneof![
                Just("("), Just(")"), Just(" "), Just("AND"), Just("OR "), Just("NOT "), Just("-"),
                Just("done"), Just("create_time"), Just("2022-08-07T10:00:00Z"), Just("metadata.x"), Just("labels"), Just("."), Just("="), Just("!="),
                Just(":"), Just("<"), Just("*"), Just("true"), Just("\""), Just("\\"), Just("'"), Just("é"),
            ],
            0..30,
        ),
    ) {
        let text = tokens.concat();
        match Filter::parse(&text) {
            // What a filter says of its place must be inside.
            Err(Error::Syntax { at, .. }) => prop_assert!(at <= text.len()),
            Err(_) => {}
            // A plan never excludes what matches.
            Ok(filter) => for record in [queued(), succeeded(), failed()] {
                if filter.matches(&record) {
                    let plan = filter.plan();
                    prop_assert!(plan.done.is_none_or(|done| done == record.is_done()), "{text}");
                    prop_assert!(plan.created_from.is_none_or(|from| from <= record.create_time), "{text}");
                    prop_assert!(plan.created_to.is_none_or(|to| record.create_time <= to), "{text}");
                    prop_assert!(plan.works_on.is_none_or(|name| record.job.works_on.contains(&name)), "{text}");
                }
            },
        }
    }
}
