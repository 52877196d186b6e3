//! The client commands against `longshore dev`.

use std::{fs, process::Stdio};

use serde_json::json;

use crate::process::{Dev, done, longshore, text};

#[test]
fn a_job_runs_and_its_response_is_shown() {
    let dev = Dev::start();
    let done = dev.client(&["run", "echo", "--input", r#"{"a": [1, "b"]}"#, "--wait"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let operation = done.json();
    assert_eq!(operation["done"], true);
    assert_eq!(operation["response"]["value"], json!({"a": [1, "b"]}));
    assert_eq!(operation["metadata"]["state"], "SUCCEEDED");
    assert!(operation["name"].as_str().unwrap().starts_with("operations/"));
}

#[test]
fn input_comes_from_a_file_or_standard_input() {
    let dev = Dev::start();
    let file = dev.home.path().join("input.json");
    fs::write(&file, r#"{"from": "file"}"#).unwrap();
    let input = format!("@{}", text(&file));
    let operation = dev.client(&["run", "echo", "--input", &input, "--wait"]).json();
    assert_eq!(operation["response"]["value"]["from"], "file");

    let done =
        dev.client_reading(&["run", "echo", "--input", "-", "--wait"], r#"{"from": "stdin"}"#);
    assert_eq!(done.json()["response"]["value"]["from"], "stdin");
}

#[test]
fn typed_input_is_a_message_of_its_type() {
    let dev = Dev::start();
    let input = r#"{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"}"#;
    let operation = dev.client(&["run", "echo", "--typed-input", input, "--wait"]).json();
    assert_eq!(operation["response"]["@type"], "type.googleapis.com/google.protobuf.Duration");
    assert_eq!(operation["response"]["value"], "3s");
}

#[test]
fn a_job_that_fails_is_shown_and_told_by_the_exit_code() {
    let dev = Dev::start();
    for follow in ["--wait", "--watch"] {
        let done = dev.client(&["run", "refuse", follow]);
        assert_eq!(done.code, 1, "{}", done.stderr);
        assert_eq!(done.json()["error"]["code"], 3);
        assert!(
            done.stderr.contains("the operation ended with INVALID_ARGUMENT: "),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn an_operation_is_waited_for_cancelled_and_deleted() {
    let dev = Dev::start();
    let name = dev.submit(&["hang", "--parent", "projects/p"]);
    assert!(name.starts_with("projects/p/operations/"), "{name}");

    let done = dev.client(&["wait", &name, "--timeout", "300ms"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.json().get("done").is_none());
    assert!(done.stderr.contains("has not ended yet"), "{}", done.stderr);

    assert_eq!(dev.client(&["cancel", &name]).code, 0);
    assert_eq!(dev.client(&["cancel", &name]).code, 0);
    let done = dev.client(&["wait", &name]);
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert_eq!(done.json()["error"]["code"], 1);

    let done = dev.client(&["get", &name, "-o", "table"]);
    assert!(done.stdout.contains("CANCELLED"), "{}", done.stdout);
    let done = dev.client(&["delete", &name]);
    assert_eq!((done.code, done.stdout.as_str()), (0, ""));
    let done = dev.client(&["get", &name]);
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(done.stderr.contains("error: NOT_FOUND: "), "{}", done.stderr);
}

#[test]
fn progress_is_written_to_standard_error_line_by_line() {
    let dev = Dev::start();
    let done = dev.client(&["run", "report", "--watch"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(done.json()["done"], true);
    assert!(done.stderr.contains("RUNNING 40% half done\n"), "{}", done.stderr);
    assert!(done.stderr.contains("SUCCEEDED"), "{}", done.stderr);

    let name = dev.submit(&["report"]);
    let done = dev.client(&["watch", &name]);
    assert_eq!(done.json()["name"], name);
}

#[test]
fn lists_page_after_page_in_each_format() {
    let dev = Dev::start();
    let names: Vec<String> = (0..5).map(|_| dev.submit(&["echo", "--parent", "p"])).collect();
    let newest_first: Vec<&str> = names.iter().rev().map(String::as_str).collect();

    let listed = dev.client(&["list", "p", "--page-size", "2", "-o", "name"]).stdout;
    assert_eq!(listed.lines().collect::<Vec<_>>(), newest_first);
    let listed = dev.client(&["list", "p/operations", "--limit", "3", "-o", "name"]).stdout;
    assert_eq!(listed.lines().collect::<Vec<_>>(), newest_first[..3]);

    let json = dev.client(&["list", "p", "--page-size", "3", "-o", "json"]).json();
    let listed: Vec<&str> =
        json.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(listed, newest_first);
    assert_eq!(dev.client(&["list", "nobody", "-o", "json"]).json(), json!([]));

    let table = dev.client(&["list", "p"]).stdout;
    assert!(table.starts_with("NAME"), "{table}");
    assert_eq!(table.lines().count(), 6, "{table}");

    for name in &names {
        assert_eq!(dev.client(&["wait", name]).code, 0);
    }
    assert_eq!(dev.client(&["list", "p", "--filter", "done = false", "-o", "name"]).stdout, "");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dev = Dev::start();
    dev.submit(&["echo"]);
    let mut command = longshore();
    command.args(["list", "-o", "json", "--server", &dev.address]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_request_id_makes_it_safe_to_repeat() {
    let dev = Dev::start();
    let first = dev.submit(&["echo", "--request-id", "r1", "--input", r#"{"a": 1}"#]);
    assert_eq!(dev.submit(&["echo", "--request-id", "r1", "--input", r#"{"a": 1}"#]), first);
    let done = dev.client(&["run", "echo", "--request-id", "r1", "--input", r#"{"a": 2}"#]);
    assert_eq!(done.code, 5, "{}", done.stderr);
    assert!(done.stderr.contains("error: ALREADY_EXISTS: "), "{}", done.stderr);
}

#[test]
fn all_that_a_job_can_be_given_arrives() {
    let dev = Dev::start();
    let name = dev.submit(&[
        "echo",
        "--label",
        "team=blue",
        "--label",
        "env=",
        "--works-on",
        "projects/p/things/t",
        "--priority",
        "high",
        "--delay",
        "1h",
        "--queue-timeout",
        "2h",
        "--run-timeout",
        "10m",
        "--max-attempts",
        "7",
        "--ttl",
        "1h",
    ]);
    let metadata = &dev.client(&["get", &name]).json()["metadata"];
    assert_eq!(metadata["labels"], json!({"team": "blue", "env": ""}));
    assert_eq!(metadata["worksOn"], json!(["projects/p/things/t"]));
    assert_eq!(metadata["priority"], "HIGH");
    assert_eq!(metadata["maxAttempts"], 7);
    assert_eq!(metadata["state"], "PENDING");
    assert!(metadata["scheduleTime"].is_string());

    let done = dev.client(&["run", "echo", "--validate-only"]);
    assert_eq!((done.code, done.json().get("name")), (0, None));
}

#[test]
fn an_operation_belongs_to_the_trace_of_whoever_submits_it() {
    let dev = Dev::start();
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let submit = |context: &str| {
        let mut command = longshore();
        command.args(["run", "echo", "--server", &dev.address]).env("TRACEPARENT", context);
        done(&mut command).json()
    };
    assert_eq!(submit(context)["metadata"]["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(submit("nonsense")["metadata"]["traceId"], serde_json::Value::Null);
}

#[test]
fn what_is_wrong_with_a_request_is_said_field_by_field() {
    let dev = Dev::start();
    let done = dev.client(&["run", "no.type"]);
    assert_eq!(done.code, 65, "{}", done.stderr);
    assert!(done.stderr.contains("error: INVALID_ARGUMENT: "), "{}", done.stderr);
    assert!(done.stderr.contains("\n  job_type: "), "{}", done.stderr);

    let done = dev.client(&["run", "echo", "--input", "[1]"]);
    assert_eq!(done.code, 65);
    assert!(done.stderr.starts_with("longshore: error: --input: "), "{}", done.stderr);
    let done = dev.client(&["run", "echo", "--input", "{"]);
    assert_eq!(done.code, 65);
    assert!(done.stderr.contains("the input is not JSON"), "{}", done.stderr);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let done = done(longshore().args(["get", "abc", "--server", "http://127.0.0.1:1"]));
    assert_eq!(done.code, 69);
    assert!(done.stderr.contains("can't reach http://127.0.0.1:1"), "{}", done.stderr);
    assert!(done.stderr.contains("onnection refused"), "{}", done.stderr);
}

#[test]
fn wrong_usage_is_told_by_the_exit_code() {
    assert_eq!(done(longshore().args(["get"])).code, 2);
    assert_eq!(done(longshore().args(["--help"])).code, 0);
    assert_eq!(done(longshore().args(["--version"])).code, 0);
}
