//! Enums as numbers, for clients that ask for them by `$alt=json;enum-encoding=int`.

use longshore_core::json;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;

/// Replaces the names of enum values, also within an Any whose type is known.
pub(crate) fn to_numbers(value: &mut Value, descriptor: &MessageDescriptor) {
    let Value::Object(object) = value else { return };
    if descriptor.full_name() == "google.protobuf.Any" {
        let url = object.get("@type").and_then(Value::as_str).unwrap_or_default();
        let name = url.rsplit_once('/').map(|(_, name)| name);
        if let Some(inner) = name.and_then(|name| json::pool().get_message_by_name(name)) {
            match object.get_mut("value") {
                Some(value) if inner.package_name() == "google.protobuf" => {
                    to_numbers(value, &inner);
                }
                _ => fields(value, &inner),
            }
        }
    } else if descriptor.package_name() != "google.protobuf" {
        fields(value, descriptor);
    }
}

fn fields(value: &mut Value, descriptor: &MessageDescriptor) {
    let Value::Object(object) = value else { return };
    for (key, value) in object {
        let Some(field) = descriptor.get_field_by_json_name(key) else { continue };
        let kind = match field.kind() {
            Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
            kind => kind,
        };
        match value {
            Value::Array(items) if field.is_list() => {
                items.iter_mut().for_each(|item| one(item, &kind));
            }
            Value::Object(entries) if field.is_map() => {
                entries.values_mut().for_each(|item| one(item, &kind));
            }
            single => one(single, &kind),
        }
    }
}

fn one(value: &mut Value, kind: &Kind) {
    match kind {
        Kind::Message(inner) => to_numbers(value, inner),
        Kind::Enum(names) => {
            if let Some(known) = value.as_str().and_then(|name| names.get_value_by_name(name)) {
                *value = known.number().into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::json::pool;
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_enums_wherever_they_stand() {
        let metadata = json!({"@type": "type.googleapis.com/longshore.v1.OperationMetadata", "state": "RUNNING", "jobType": "RUNNING", "labels": {"state": "RUNNING"}, "lastError": {"details": [
            {"@type": "type.googleapis.com/longshore.v1.RunJobRequest", "priority": "HIGH", "retryPolicy": {"retryableCodes": ["ABORTED", "NEW"]}},
        ]}});
        let expected = json!({"@type": "type.googleapis.com/longshore.v1.OperationMetadata", "state": 2, "jobType": "RUNNING", "labels": {"state": "RUNNING"}, "lastError": {"details": [
            {"@type": "type.googleapis.com/longshore.v1.RunJobRequest", "priority": 3, "retryPolicy": {"retryableCodes": [10, "NEW"]}},
        ]}});
        let wrapped = |inner: &Value| json!({"@type": "type.googleapis.com/google.protobuf.Any", "value": inner});
        let page = |inner: &Value| json!({"operations": [{"name": "a", "metadata": inner, "response": wrapped(inner)}, {"metadata": {"@type": "x/acme.Unknown", "value": "AA=="}}]});
        let mut value = page(&metadata);
        to_numbers(
            &mut value,
            &pool().get_message_by_name("google.longrunning.ListOperationsResponse").unwrap(),
        );
        assert_eq!(value, page(&expected));
    }
}
