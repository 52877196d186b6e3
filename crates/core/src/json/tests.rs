use longshore_proto::{
    longrunning::operation,
    rpc::{Code, ErrorInfo},
    v1::{OperationMetadata, RunJobRequest, operation_metadata::State, run_job_request::InputKind},
};
use prost_types::{Duration, Timestamp};

use super::*;
use crate::view;

const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";

fn unknown() -> Any {
    Any { type_url: "type.googleapis.com/acme.Thing".into(), value: vec![0xff, 0, 0xfb] }
}

fn unknown_json() -> Value {
    json!({"@type": "type.googleapis.com/acme.Thing", "value": "/wD7"})
}

#[expect(clippy::needless_pass_by_value, reason = "shorter calls")]
fn wkt(name: &str, value: Value) -> Value {
    json!({"@type": format!("type.googleapis.com/google.protobuf.{name}"), "value": value})
}

fn any_of<M: Message>(name: &str, message: &M) -> Any {
    view::any(&payload(name, message))
}

/// Nested arrays, the given number of them.
fn arrays(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

fn objects(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!({"a": inner}))
}

#[test]
fn empty_is_its_type_alone() {
    assert_eq!(any_to_json(&view::pack(&())), json!({"@type": EMPTY}));
    for form in [json!({"@type": EMPTY}), json!({"@type": EMPTY, "value": {}})] {
        assert_eq!(any_from_json(form).unwrap(), view::pack(&()));
    }
}

#[test]
fn well_known_types_go_there_and_back() {
    for form in [
        wkt("Timestamp", json!("2024-02-29T12:00:00.500Z")),
        wkt("Duration", json!("-3.500s")),
        wkt("FieldMask", json!("a.bC,d")),
        wkt("Struct", json!({"a": [1, 2.5, -7, "x", null, true, {"b": {}}], "@type": "x"})),
        wkt("Value", json!(null)),
        wkt("Value", json!([1, {"a": false}])),
        wkt("ListValue", json!([[], {}])),
        wkt("DoubleValue", json!("NaN")),
        wkt("DoubleValue", json!("-Infinity")),
        wkt("FloatValue", json!(0.1)),
        wkt("Int64Value", json!("-9223372036854775808")),
        wkt("UInt64Value", json!("18446744073709551615")),
        wkt("Int32Value", json!(-1)),
        wkt("UInt32Value", json!(4_294_967_295_u32)),
        wkt("BoolValue", json!(false)),
        wkt("StringValue", json!("")),
        wkt("BytesValue", json!("/wD7")),
        wkt("Any", wkt("Any", unknown_json())),
        wkt("Any", json!({})),
    ] {
        let any = any_from_json(form.clone()).unwrap();
        assert_eq!(any_to_json(&any), form);
    }
}

#[test]
fn an_unknown_type_is_opaque_wherever_it_stands() {
    let status = Status {
        code: Code::Aborted as i32,
        message: "no".into(),
        details: vec![
            unknown(),
            view::pack(&ErrorInfo { reason: "R".into(), ..ErrorInfo::default() }),
        ],
    };
    let metadata = OperationMetadata {
        state: State::Running.into(),
        last_error: Some(status),
        details: Some(unknown()),
        ..OperationMetadata::default()
    };
    let packed = view::pack(&metadata);
    let status = json!({
        "code": 10,
        "message": "no",
        "details": [unknown_json(), {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R"}],
    });
    let expected = json!({
        "@type": "type.googleapis.com/longshore.v1.OperationMetadata",
        "state": "RUNNING",
        "lastError": status,
        "details": unknown_json(),
    });
    assert_eq!(any_to_json(&packed), expected);
    assert_eq!(any_from_json(expected).unwrap(), packed);
    assert_eq!(any_to_json(&unknown()), unknown_json());
    assert_eq!(any_from_json(unknown_json()).unwrap(), unknown());
}

#[test]
fn the_same_json_is_the_same_bytes() {
    let labels: serde_json::Map<_, _> = (0..20).map(|n| (format!("k{n}"), json!("v"))).collect();
    let metadata = "type.googleapis.com/longshore.v1.OperationMetadata";
    let error = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "metadata": labels});
    for form in [
        wkt("Struct", json!({"deep": [labels]})),
        json!({"@type": metadata, "labels": labels, "worksOn": ["b", "a"], "lastError": {"details": [error, error]}}),
    ] {
        let first = any_from_json(form.clone()).unwrap();
        assert_eq!(any_to_json(&first), form);
        for _ in 0..10 {
            assert_eq!(any_from_json(form.clone()).unwrap(), first);
        }
    }
}

#[test]
fn what_json_cannot_express_is_opaque() {
    let not_a_number =
        prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::NAN)) };
    let fields = [("a".to_owned(), not_a_number.clone())].into();
    let message = Struct { fields };
    for any in [
        any_of("Struct", &message),
        any_of("Value", &not_a_number),
        view::pack(&Timestamp { seconds: i64::MAX, nanos: 0 }),
        view::pack(&Duration { seconds: i64::MAX, nanos: 0 }),
        Any { type_url: "type.googleapis.com/google.rpc.Status".into(), value: vec![0xff] },
    ] {
        let json = any_to_json(&any);
        assert_eq!(
            json["value"],
            json!(base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &any.value))
        );
        let payload = Payload { type_url: any.type_url, value: any.value.into() };
        assert_eq!(payload_to_json(Some(&payload)), json);
    }
    assert!(matches!(struct_to_json(message), Err(Error::Inexpressible(_))));
}

#[test]
fn an_operation_is_written_as_google_does() {
    let mut operation = Operation { name: "operations/a".into(), ..Operation::default() };
    assert_eq!(operation_to_json(&operation).to_string(), r#"{"name":"operations/a"}"#);

    let metadata = OperationMetadata {
        state: 77,
        create_time: Some(Timestamp { seconds: 1, nanos: 20_000_000 }),
        progress: Some(longshore_proto::v1::Progress {
            percent: Some(0.0),
            completed_units: 1 << 60,
            ..Default::default()
        }),
        labels: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
        priority: longshore_proto::v1::Priority::High.into(),
        ..OperationMetadata::default()
    };
    operation.metadata = Some(view::pack(&metadata));
    operation.done = true;
    operation.result = Some(operation::Result::Response(view::pack(&())));
    let expected = concat!(
        r#"{"name":"operations/a","metadata":{"@type":"type.googleapis.com/longshore.v1.OperationMetadata","#,
        r#""state":77,"createTime":"1970-01-01T00:00:01.020Z","#,
        r#""progress":{"percent":0,"completedUnits":"1152921504606846976"},"#,
        r#""labels":{"a":"1","b":"2"},"priority":"HIGH"},"#,
        r#""done":true,"response":{"@type":"type.googleapis.com/google.protobuf.Empty"}}"#,
    );
    assert_eq!(operation_to_json(&operation).to_string(), expected);
    let back: Operation = message_from_json(serde_json::from_str(expected).unwrap()).unwrap();
    assert_eq!(back, operation);
    assert_eq!(message_to_json(&operation).unwrap(), operation_to_json(&operation));
}

#[test]
fn a_job_reads_plain_json() {
    assert_eq!(payload_to_json(None), json!({}));
    for plain in
        [json!({}), json!({"a": {"b": [1, null]}, "@t": 0.5}), json!([1]), json!("x"), json!(true)]
    {
        let payload = response_from_json(plain.clone()).unwrap();
        assert_eq!(payload_to_json(Some(&payload)), plain);
    }
    let payload = response_from_json(Value::Null).unwrap();
    assert_eq!(payload, Payload { type_url: EMPTY.into(), value: Default::default() });
    let typed = wkt("Duration", json!("3s"));
    assert_eq!(payload_to_json(Some(&response_from_json(typed.clone()).unwrap())), typed);
}

#[test]
fn refuses_what_is_no_message() {
    for wrong in [
        json!(null),
        json!([]),
        json!({}),
        json!({"@type": 1}),
        json!({"@type": "google.protobuf.Empty"}),
        json!({"@type": "x/"}),
        json!({"@type": "x/acme.Thing"}),
        json!({"@type": "x/acme.Thing", "value": "?"}),
        json!({"@type": "x/acme.Thing", "value": "AA==", "more": 1}),
        json!({"@type": "x/google.protobuf.Duration"}),
        json!({"@type": "x/google.protobuf.Duration", "value": "3"}),
        json!({"@type": "x/google.protobuf.Duration", "value": "3s", "more": 1}),
        json!({"@type": "x/google.protobuf.Empty", "value": {}, "more": 1}),
        json!({"@type": "x/google.protobuf.ListValue", "value": {}}),
        json!({"@type": "x/google.rpc.Status", "cod": 1}),
        json!({"@type": "x/google.rpc.Status", "details": {}}),
        json!({"@type": "x/google.rpc.Status", "details": [1]}),
    ] {
        assert!(any_from_json(wrong.clone()).is_err(), "{wrong}");
    }
    let both = json!({"input": {}, "typedInput": unknown_json()});
    assert!(message_from_json::<RunJobRequest>(both).is_err());
    let twice = json!({"typedInput": unknown_json(), "typed_input": unknown_json()});
    assert!(message_from_json::<RunJobRequest>(twice).is_err());
    assert!(struct_from_json(json!([])).is_err());
}

#[test]
fn a_request_is_read_in_either_spelling() {
    for form in [
        json!({"jobType": "t", "typedInput": unknown_json()}),
        json!({"job_type": "t", "typed_input": unknown_json(), "input": null}),
    ] {
        let request: RunJobRequest = message_from_json(form).unwrap();
        assert_eq!(request.job_type, "t");
        assert_eq!(request.input_kind, Some(InputKind::TypedInput(unknown())));
    }
}

#[test]
fn what_is_read_can_be_decoded_again() {
    let deepest = |nest: fn(usize) -> Value| {
        let depth =
            (1..200).take_while(|depth| response_from_json(nest(*depth)).is_ok()).last().unwrap();
        let payload = response_from_json(nest(depth)).unwrap();
        assert_eq!(payload_to_json(Some(&payload)), nest(depth));
        depth
    };
    assert_eq!(deepest(arrays), 49);
    assert_eq!(deepest(objects), 33);
}

#[test]
fn hostile_nesting_ends_in_an_error() {
    for nest in [arrays, objects] {
        assert!(matches!(response_from_json(nest(500)), Err(Error::TooDeep)));
        assert!(matches!(any_from_json(wkt("Value", nest(500))), Err(Error::TooDeep)));
    }
    let mut any = unknown();
    let mut json = unknown_json();
    for _ in 0..200 {
        any = view::pack(&any);
        json = wkt("Any", json);
    }
    assert!(any_from_json(json).is_err());
    assert!(any_to_json(&any).is_object());
}
