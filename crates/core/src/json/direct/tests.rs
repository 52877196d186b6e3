//! Whatever is written straight from a message is what the descriptors would have made of it.

use std::collections::BTreeMap;

use longshore_proto::v1::Progress;
use proptest::{collection, option, prelude::*};
use prost::Name;
use prost_types::Timestamp;

use super::*;
use crate::view::pack;

fn check(any: &Any, left: usize) {
    let direct = WithDepth { message: any, left };
    let reflected = write::any(&any.type_url, &any.value, left);
    let texts = [serde_json::to_string(&direct), serde_json::to_string(&reflected)];
    let [direct_text, reflected_text] = texts.map(Result::unwrap);
    assert_eq!(direct_text, reflected_text);
    assert_eq!(serde_json::to_value(&direct).unwrap().to_string(), reflected_text);
    assert_eq!(
        serde_json::to_string_pretty(&direct).unwrap(),
        serde_json::to_string_pretty(&reflected).unwrap()
    );
}

/// With what has to be escaped.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("\"\\\n\u{1}\u{2028}é😀".to_owned()), "[a-z/]{1,6}"]
}

fn double() -> impl Strategy<Value = f64> {
    use proptest::num::f64;
    let whole = (-9_007_199_254_740_994_i64..9_007_199_254_740_994).prop_map(|n| n as f64);
    prop_oneof![Just(0.1), Just(-0.0), 0.0..100.0, whole, f64::NORMAL | f64::ZERO | f64::SUBNORMAL]
}

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![20 => double(), 1 => proptest::num::f64::ANY]
}

fn time() -> BoxedStrategy<Timestamp> {
    let nanos = prop_oneof![
        Just(0),
        (0..1000).prop_map(|n| n * 1_000_000),
        (0..1_000_000).prop_map(|n| n * 1000),
        0..1_000_000_000
    ];
    let good = (-62_135_596_800..253_402_300_800_i64, nanos)
        .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos });
    let odd = (any::<i64>(), any::<i32>())
        .prop_map(|(seconds, nanos)| Timestamp { seconds: seconds >> 24, nanos });
    prop_oneof![100 => good, 1 => odd].boxed()
}

fn value() -> BoxedStrategy<Dynamic> {
    let leaf = prop_oneof![
        Just(None),
        (0..3).prop_map(|null| Some(Kind::NullValue(null))),
        any::<bool>().prop_map(|value| Some(Kind::BoolValue(value))),
        any_double().prop_map(|value| Some(Kind::NumberValue(value))),
        text().prop_map(|value| Some(Kind::StringValue(value))),
    ];
    let leaf = leaf.prop_map(|kind| Dynamic { kind });
    leaf.prop_recursive(4, 24, 4, |inner| {
        let kind = prop_oneof![
            collection::vec(inner.clone(), 0..4)
                .prop_map(|values| Kind::ListValue(ListValue { values })),
            structs(inner).prop_map(Kind::StructValue),
        ];
        kind.prop_map(|kind| Dynamic { kind: Some(kind) }).boxed()
    })
    .boxed()
}

fn structs(value: impl Strategy<Value = Dynamic>) -> impl Strategy<Value = Struct> {
    collection::btree_map(text(), value, 0..4).prop_map(|fields| Struct { fields })
}

fn packed() -> BoxedStrategy<Any> {
    let odd = ("([a-z.]{0,3}/)?(google.protobuf.(Empty|Struct)|acme.T|)", any::<Vec<u8>>())
        .prop_map(|(type_url, value)| Any { type_url, value });
    let leaf = prop_oneof![
        Just(pack(&())),
        value().prop_map(|value| packed_as("google.protobuf.Value", &value)),
        structs(value()).prop_map(|value| packed_as("google.protobuf.Struct", &value)),
        time().prop_map(|value| packed_as("google.protobuf.Timestamp", &value)),
        text().prop_map(|value| packed_as("google.protobuf.StringValue", &value)),
        odd,
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            4 => metadata(inner.clone()).prop_map(|metadata| pack(&metadata)).boxed(),
            1 => status(inner.clone()).prop_map(|status| pack(&status)).boxed(),
            1 => inner.prop_map(|any| pack(&any)).boxed(),
        ]
    })
    .boxed()
}

fn packed_as(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn status(details: impl Strategy<Value = Any> + 'static) -> BoxedStrategy<Status> {
    (-1..18, text(), collection::vec(details, 0..3))
        .prop_map(|(code, message, details)| Status { code, message, details })
        .boxed()
}

fn progress() -> BoxedStrategy<Progress> {
    let units = || prop_oneof![Just(0), Just(i64::MIN), Just(i64::MAX), -5..5_i64];
    (option::of(any_double()), units(), units(), text(), text())
        .prop_map(|(percent, completed_units, total_units, unit, message)| Progress {
            percent,
            completed_units,
            total_units,
            unit,
            message,
        })
        .boxed()
}

fn metadata(
    inner: impl Strategy<Value = Any> + Clone + 'static,
) -> BoxedStrategy<OperationMetadata> {
    let times = proptest::array::uniform6(option::of(time()));
    let texts = proptest::array::uniform3(text());
    let labels: BTreeMap<String, String> = BTreeMap::new();
    let labels = prop_oneof![Just(labels), collection::btree_map(text(), text(), 0..4)];
    let lists = (labels, collection::vec(text(), 0..3));
    let numbers = (-1..9, -1..5, -2..3_i32, 0..3_i32, any::<bool>());
    let last_error = option::of(status(inner.clone()));
    (times, texts, lists, numbers, option::of(progress()), last_error, option::of(inner))
        .prop_map(|(times, texts, (labels, works_on), numbers, progress, last_error, details)| {
            let [create_time, schedule_time, start_time, update_time, end_time, expire_time] =
                times;
            let [job_type, worker, trace_id] = texts;
            let (state, priority, attempt, max_attempts, cancel_requested) = numbers;
            OperationMetadata {
                state,
                job_type,
                create_time,
                schedule_time,
                start_time,
                update_time,
                end_time,
                expire_time,
                progress,
                attempt,
                max_attempts,
                last_error,
                cancel_requested,
                labels,
                works_on,
                priority,
                worker,
                trace_id,
                details,
            }
        })
        .boxed()
}

proptest! {
    #[test]
    fn whole_messages_are_the_same(any in packed(), left in 0..=MAX_DEPTH) {
        check(&any, left);
        check(&any, MAX_DEPTH);
    }

    #[test]
    fn damaged_messages_are_the_same(
        any in packed(),
        damage in collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut any = any;
        for (place, byte) in damage {
            if !any.value.is_empty() {
                let place = place.index(any.value.len());
                any.value[place] = byte;
            }
        }
        check(&any, MAX_DEPTH);
    }

    #[test]
    fn operations_are_the_same(
        name in text(),
        done in any::<bool>(),
        metadata in option::of(packed()),
        response in packed(),
        error in status(packed()),
        which in 0..3,
    ) {
        let result = match which {
            0 => None,
            1 => Some(operation::Result::Response(response)),
            _ => Some(operation::Result::Error(error)),
        };
        let operation = Operation { name, metadata, done, result };
        let any = pack(&operation);
        let mut reflected = write::any(&any.type_url, &any.value, MAX_DEPTH);
        let removed = reflected.as_object_mut().unwrap().shift_remove("@type");
        prop_assert_eq!(removed, Some(Operation::type_url().into()));
        // Google has `done` before the result; the numbers of the fields have it so as well.
        prop_assert_eq!(serde_json::to_string(&AsJson(&operation)).unwrap(), reflected.to_string());
    }
}

#[test]
fn what_is_nested_deeply_is_the_same() {
    let mut value = Dynamic { kind: None };
    for _ in 0..60 {
        let list = ListValue { values: vec![value] };
        value = Dynamic { kind: Some(Kind::ListValue(list)) };
        check(&packed_as("google.protobuf.Value", &value), MAX_DEPTH);
        let fields = [("a".to_owned(), value.clone())].into();
        check(&packed_as("google.protobuf.Struct", &Struct { fields }), MAX_DEPTH);
    }
    let mut any = pack(&());
    for _ in 0..60 {
        any = pack(&OperationMetadata { details: Some(any), ..OperationMetadata::default() });
        check(&any, MAX_DEPTH);
    }
}

#[test]
fn what_most_answers_are_made_of_is_known() {
    let metadata = OperationMetadata { state: 2, ..OperationMetadata::default() };
    for any in [
        pack(&metadata),
        pack(&()),
        packed_as("google.protobuf.Value", &Dynamic { kind: None }),
        packed_as("google.protobuf.Struct", &Struct::default()),
    ] {
        assert!(known(&any, MAX_DEPTH).is_some(), "{}", any.type_url);
    }
}
