//! Whatever is sent, the answer is Google's JSON and never the server's fault.

use http::{Method, Uri};
use longshore_gateway::Settings;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Select, select},
    test_runner::{Config, TestRunner},
};
use tokio::{runtime::Runtime, time::Duration};

use super::client::{Answer, Call};
use crate::harness::Gateway;

// `known` is replaced by an id that there is.
const SEGMENTS: &str = "v1 v1 v1 v1beta1 ui operations operations jobs:run jobs known known:wait \
    known:cancel known:watch batch - .. %2F operations%2Fknown % %zz %00 %FF%FE : * {name} \
    $discovery healthz";
const PARAMETERS: &str = "filter pageSize page_size pageToken name timeout fields $fields alt \
    %24alt prettyPrint $.xgafv callback jobType worksOn labels input retryPolicy.maxAttempts \
    retryPolicy.retryableCodes scheduleTime ttl priority validateOnly foo a.b.c .";
const VALUES: &str = "_ 1 -1 99999999999999999999 true True x 3s -3s 1e400s 315576000001s \
    9999-12-31T23:59:60Z 2020-02-30T00:00:00Z 0000-00-00T00:00:00Z json sse \
    json%3Benum-encoding%3Dint done%3Dtrue (((( operations(name name/name * %FF HIGH 2147483648 \
    null index";
const KEYS: &str = "jobType job_type input typedInput labels worksOn retryPolicy scheduleTime \
    timeout ttl priority x";
const JSON: &str = r#"null 1 "x" "index" [] [null] {} {"@type":"x"} 1e400 -0 "99999999999999s"
    {"@type":"type.googleapis.com/google.protobuf.Any","value":{}} "-0001-01-01T00:00:00Z"
    "2020-01-01T00:00:00.9999999999Z" {"maxAttempts":1e9} {"backoffMultiplier":"NaN"} {"seconds":1}"#;
const BODIES: &str = r#"_ {} null [] { {"jobType":"index"} {"name":"operations/known"}
    {"a":{"b":[1,2,{}]}} --b--  pageSize=1&foo"#;
const VERBS: &str = "GET POST DELETE PUT PATCH HEAD OPTIONS X";
const HEADERS: [(&str, &str); 10] = [
    ("accept", "*/*"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "multipart/mixed; boundary=b"),
    ("x-http-method-override", "GET"),
    ("x-http-method-override", "?"),
    ("x-goog-fieldmask", "a,b("),
    ("x-server-timeout", "1e300"),
    ("traceparent", "00-zz"),
    ("last-event-id", "done"),
];

#[derive(Clone, Debug)]
struct Input {
    verb: &'static str,
    target: String,
    header: (&'static str, &'static str),
    body: String,
}

/// One of these words; `_` is none.
fn one_of(words: &'static str) -> Select<&'static str> {
    select(
        words
            .split_whitespace()
            .map(|word| if word == "_" { "" } else { word })
            .collect::<Vec<_>>(),
    )
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![8 => one_of(SEGMENTS).prop_map(str::to_owned), 1 => "[a-zA-Z0-9%:=+_.~@-]{0,12}"]
}

fn pair() -> impl Strategy<Value = String> {
    let value =
        prop_oneof![4 => one_of(VALUES).prop_map(str::to_owned), 1 => "[!-~&&[^#\"<>`]]{0,20}"];
    (one_of(PARAMETERS), proptest::option::of(value)).prop_map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.to_owned(),
    })
}

fn body() -> impl Strategy<Value = String> {
    let object = vec((one_of(KEYS), one_of(JSON)), 0..4).prop_map(|fields| {
        let fields = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}"));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    });
    prop_oneof![one_of(BODIES).prop_map(str::to_owned), object, any::<String>()]
}

fn input() -> impl Strategy<Value = Input> {
    let target = (vec(segment(), 0..5), vec(pair(), 0..3)).prop_map(|(segments, pairs)| {
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        format!("/{}{query}", segments.join("/"))
    });
    (one_of(VERBS), target, select(&HEADERS), body())
        .prop_map(|(verb, target, header, body)| Input { verb, target, header, body })
}

async fn check(gateway: &Gateway, input: &Input) {
    let call = Call::new(gateway, input.verb.parse::<Method>().unwrap(), &input.target);
    let call = call.header(input.header.0, input.header.1).body(input.body.clone());
    let response = call.open().await;
    if response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream") {
        return;
    }
    let answer = Answer::read(response).await;
    assert!(!answer.status.is_server_error(), "{input:?} {answer:?}");
    if answer.status.is_client_error() && input.verb != "HEAD" {
        answer.reason();
    }
}

#[test]
fn no_request_is_too_strange() {
    let runtime = Runtime::new().unwrap();
    let settings = Settings { max_wait: Duration::from_millis(1), ..Settings::default() };
    let gateway = runtime.block_on(Gateway::start_with(settings));
    let name = runtime.block_on(gateway.run(""));
    let id = name.rsplit('/').next().unwrap();
    let config = Config { cases: 1500, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&input(), |mut input| {
        input.target = input.target.replace("known", id);
        input.body = input.body.replace("known", id);
        prop_assume!(input.target.parse::<Uri>().is_ok());
        runtime.block_on(check(&gateway, &input));
        Ok(())
    });
    outcome.unwrap();
}
