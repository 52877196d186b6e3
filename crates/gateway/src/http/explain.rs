//! Tells in Google's words what is wrong with the JSON of a request.

use longshore_core::json;
use longshore_proto::rpc::bad_request::FieldViolation;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::bind::field;
use crate::errors::{Reason, Refusal, echo, violation};

/// Why the JSON is no message of its type.
pub(crate) fn json(
    descriptor: &MessageDescriptor,
    object: &Map<String, Value>,
    error: &json::Error,
) -> Refusal {
    let mut violations = Vec::new();
    if !matches!(error, json::Error::TooDeep) {
        look(descriptor, object, "", &mut violations);
    }
    if violations.is_empty() {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        let why = echo(&format!("{error}{}", source.unwrap_or_default()));
        violations.push(violation("", format!("Invalid JSON payload received. The payload {why}")));
    }
    let is_unknown =
        violations.iter().any(|violation| violation.description.contains("Cannot find field"));
    let reason = if is_unknown { Reason::UnknownField } else { Reason::InvalidRequest };
    refusal(reason, violations)
}

/// The violations, and all of them in the message, each on a line.
pub(crate) fn refusal(reason: Reason, violations: Vec<FieldViolation>) -> Refusal {
    let lines: Vec<_> =
        violations.iter().map(|violation| &*violation.description).take(16).collect();
    let message = lines.join("\n");
    Refusal::new(reason, message).with_violations(violations)
}

/// Whether the type's JSON is an object with a key for each field.
pub(crate) fn is_plain(descriptor: &MessageDescriptor) -> bool {
    descriptor.package_name() != "google.protobuf"
}

fn look(
    descriptor: &MessageDescriptor,
    object: &Map<String, Value>,
    place: &str,
    violations: &mut Vec<FieldViolation>,
) {
    for (key, value) in object {
        let Some(field) = field(descriptor, key) else {
            violations.push(unknown(key, place));
            continue;
        };
        let dot = if place.is_empty() { "" } else { "." };
        let place = format!("{place}{dot}{}", field.name());
        match (field.kind(), value) {
            (_, Value::Null) => {}
            (Kind::Message(inner), Value::Object(object))
                if is_nested(&field, &inner) && !field.is_list() =>
            {
                look(&inner, object, &place, violations);
            }
            (Kind::Message(inner), Value::Array(items))
                if is_nested(&field, &inner) && field.is_list() =>
            {
                for (at, item) in items.iter().enumerate() {
                    match item {
                        Value::Object(object) => {
                            look(&inner, object, &format!("{place}[{at}]"), violations);
                        }
                        other => violations.push(invalid(&field, &format!("{place}[{at}]"), other)),
                    }
                }
            }
            (_, value) if !fits(&field, value) => violations.push(invalid(&field, &place, value)),
            _ => {}
        }
    }
}

fn is_nested(field: &FieldDescriptor, inner: &MessageDescriptor) -> bool {
    is_plain(inner) && !field.is_map()
}

fn fits(field: &FieldDescriptor, value: &Value) -> bool {
    let is_any = |kind: Kind| matches!(kind, Kind::Message(inner) if inner.full_name() == "google.protobuf.Any");
    if is_any(field.kind()) {
        // Also types that only the client knows.
        return field.is_list() || json::any_from_json(value.clone()).is_ok();
    }
    let alone = Map::from_iter([(field.json_name().to_owned(), value.clone())]);
    DynamicMessage::deserialize(field.parent_message().clone(), Value::Object(alone)).is_ok()
}

fn unknown(key: &str, place: &str) -> FieldViolation {
    let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
    let key = echo(key);
    violation(
        place,
        format!("Invalid JSON payload received. Unknown name \"{key}\"{at}: Cannot find field."),
    )
}

fn invalid(field: &FieldDescriptor, place: &str, value: &Value) -> FieldViolation {
    let kind = match field.kind() {
        Kind::Message(inner) => format!("type.googleapis.com/{}", inner.full_name()),
        Kind::Enum(inner) => format!("type.googleapis.com/{}", inner.full_name()),
        scalar => format!("TYPE_{}", format!("{scalar:?}").to_uppercase()),
    };
    violation(place, format!("Invalid value at '{place}' ({kind}), {}", echo(&value.to_string())))
}

#[cfg(test)]
mod tests {
    use longshore_core::json::{message_from_json, pool};
    use longshore_proto::v1::RunJobRequest;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_each_mistake_and_its_place() {
        let descriptor = pool().get_message_by_name("longshore.v1.RunJobRequest").unwrap();
        for (form, expected) in [
            (
                json!({"x": 1}),
                vec![("", "Invalid JSON payload received. Unknown name \"x\": Cannot find field.")],
            ),
            (
                json!({"retryPolicy": {"x": 1, "maxAttempts": "many"}, "y": {}}),
                vec![
                    (
                        "retry_policy",
                        "Invalid JSON payload received. Unknown name \"x\" at 'retry_policy': Cannot find field.",
                    ),
                    (
                        "retry_policy.max_attempts",
                        "Invalid value at 'retry_policy.max_attempts' (TYPE_INT32), \"many\"",
                    ),
                    ("", "Invalid JSON payload received. Unknown name \"y\": Cannot find field."),
                ],
            ),
            (
                json!({"jobType": 1, "ttl": "3", "priority": "TOP", "worksOn": "x", "labels": {"a": 1}, "retry_policy": 1}),
                vec![
                    ("job_type", "Invalid value at 'job_type' (TYPE_STRING), 1"),
                    (
                        "ttl",
                        "Invalid value at 'ttl' (type.googleapis.com/google.protobuf.Duration), \"3\"",
                    ),
                    (
                        "priority",
                        "Invalid value at 'priority' (type.googleapis.com/longshore.v1.Priority), \"TOP\"",
                    ),
                    ("works_on", "Invalid value at 'works_on' (TYPE_STRING), \"x\""),
                    (
                        "labels",
                        "Invalid value at 'labels' (type.googleapis.com/longshore.v1.RunJobRequest.LabelsEntry), {\"a\":1}",
                    ),
                    (
                        "retry_policy",
                        "Invalid value at 'retry_policy' (type.googleapis.com/longshore.v1.RetryPolicy), 1",
                    ),
                ],
            ),
            (
                json!({"typedInput": {"a": 1}, "jobType": "t"}),
                vec![(
                    "typed_input",
                    "Invalid value at 'typed_input' (type.googleapis.com/google.protobuf.Any), {\"a\":1}",
                )],
            ),
        ] {
            let error = message_from_json::<RunJobRequest>(form.clone()).unwrap_err();
            let mut violations = Vec::new();
            look(&descriptor, form.as_object().unwrap(), "", &mut violations);
            let found: Vec<_> = violations.iter().map(|v| (&*v.field, &*v.description)).collect();
            assert_eq!(found, expected);
            json(&descriptor, form.as_object().unwrap(), &error);
        }
    }

    #[test]
    fn what_is_wrong_only_as_a_whole_is_explained_too() {
        let descriptor = pool().get_message_by_name("longshore.v1.RunJobRequest").unwrap();
        let form = json!({"input": {}, "typedInput": {"@type": "x/google.protobuf.Empty"}});
        let error = message_from_json::<RunJobRequest>(form.clone()).unwrap_err();
        let status = tonic::Status::from(json(&descriptor, form.as_object().unwrap(), &error));
        assert!(status.message().contains("set twice"), "{}", status.message());
    }
}
