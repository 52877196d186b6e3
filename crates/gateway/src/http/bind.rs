//! Gathers a request's fields from path, query and body as one JSON object.

use bytes::Bytes;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{explain, routes::Route};
use crate::errors::{Reason, Refusal, echo, violation};

/// The fields of a request. The path wins over the body, and the body over the query.
///
/// The query counts even where there may be a body: for `wait`, some of Google's APIs have the
/// timeout in the one and some in the other.
pub(crate) fn fields(
    route: &Route,
    path: Vec<(&str, String)>,
    query: &[(String, String)],
    body: Map<String, Value>,
) -> Result<Map<String, Value>, Refusal> {
    let descriptor = route.method.input();
    let mut object = Map::new();
    let mut violations = Vec::new();
    for (name, text) in query {
        if let Err(description) = set(&mut object, &descriptor, name, name, text) {
            violations.push(violation("", description));
        }
    }
    if !violations.is_empty() {
        return Err(explain::refusal(Reason::UnknownField, violations));
    }
    object.extend(body);
    for (name, text) in path {
        if let Some(field) = field(&descriptor, name) {
            // A `**` that stands for no segment says nothing: `/v1/jobs:run` has no parent.
            let is_said =
                [field.name(), field.json_name()].iter().any(|key| object.contains_key(*key));
            if text.is_empty() && is_said {
                continue;
            }
            object.remove(field.name());
            object.insert(field.json_name().to_owned(), text.into());
        }
    }
    Ok(object)
}

/// The JSON object that a body holds. None, or an empty one, is an empty object.
pub(crate) fn body(bytes: &Bytes) -> Result<Map<String, Value>, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let invalid = |why: &str| {
        Refusal::new(Reason::InvalidPayload, format!("Invalid JSON payload received. {why}"))
    };
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(invalid("Root element must be a message.")),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

/// The field of this name, in either spelling.
pub(crate) fn field(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name))
}

/// Sets what a query parameter says, or tells why it can't be.
fn set(
    object: &mut Map<String, Value>,
    descriptor: &MessageDescriptor,
    parameter: &str,
    path: &str,
    text: &str,
) -> Result<(), String> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let field = field(descriptor, name).ok_or_else(|| unknown(parameter))?;
    let key = field.json_name();
    if let Some(rest) = rest {
        let inner = match field.kind() {
            Kind::Message(inner)
                if !field.is_list() && !field.is_map() && explain::is_plain(&inner) =>
            {
                inner
            }
            _ => return Err(unknown(parameter)),
        };
        let object = object.entry(key).or_insert_with(|| Map::new().into());
        let object = object.as_object_mut().ok_or_else(|| unknown(parameter))?;
        return set(object, &inner, parameter, rest, text);
    }
    let kind = field.kind();
    let value = match value(&kind, text) {
        Some(value) if !field.is_map() => value,
        _ => return Err(not_primitive(parameter)),
    };
    if text.is_empty() && kind != Kind::String {
        return Ok(());
    }
    if field.is_list() {
        let list = object.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut().ok_or_else(|| unknown(parameter))?.push(value);
        return Ok(());
    }
    match object.insert(key.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(repeated(&field)),
    }
}

/// The JSON for a parameter's text; `None` if the kind is none that a text can be. Whether the text
/// is one of its kind is found out when the message is made.
fn value(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Bool if text.eq_ignore_ascii_case("true") => Some(true.into()),
        Kind::Bool if text.eq_ignore_ascii_case("false") => Some(false.into()),
        Kind::Enum(_) => Some(text.parse::<i32>().map_or_else(|_| text.into(), Value::from)),
        Kind::Message(inner) => match inner.full_name() {
            "google.protobuf.Duration"
            | "google.protobuf.Timestamp"
            | "google.protobuf.FieldMask" => Some(text.into()),
            _ => None,
        },
        _ => Some(text.into()),
    }
}

fn unknown(parameter: &str) -> String {
    let name = echo(parameter);
    format!(
        "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' could not be found in request message."
    )
}

fn not_primitive(parameter: &str) -> String {
    let name = echo(parameter);
    format!(
        "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. '{name}' is a message type. Parameters can only be bound to primitive types."
    )
}

fn repeated(field: &FieldDescriptor) -> String {
    format!("Invalid value at '{}', Proto field is not repeating, cannot start list.", field.name())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use longshore_core::json;
    use serde_json::json;

    use super::*;
    use crate::http::routes::Routes;

    fn bound(verb: &Method, path: &str, query: &str, body: Value) -> Result<Value, Refusal> {
        let routes = Routes::read(json::pool()).unwrap();
        let (route, found) = routes.find(verb, path).unwrap();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let Value::Object(body) = body else { panic!("{body}") };
        fields(route, found.fields, &query, body).map(Value::Object)
    }

    #[test]
    fn reads_what_clients_send() {
        for (query, expected) in [
            ("", json!({})),
            (
                "filter&pageSize=0&pageToken",
                json!({"filter": "", "pageSize": "0", "pageToken": ""}),
            ),
            ("pageSize=&returnPartialSuccess=", json!({})),
            (
                "page_size=2&returnPartialSuccess=True",
                json!({"pageSize": "2", "returnPartialSuccess": true}),
            ),
            ("return_partial_success=FALSE", json!({"returnPartialSuccess": false})),
            ("filter=a+%3D%20b%2Bc&name=ignored", json!({"filter": "a = b+c"})),
        ] {
            let mut expected = expected;
            expected["name"] = json!("p");
            assert_eq!(
                bound(&Method::GET, "/v1/p/operations", query, json!({})),
                Ok(expected),
                "{query}"
            );
        }
    }

    #[test]
    fn reads_every_kind_of_parameter() {
        let query = "job_type=t&worksOn=a&works_on=b&priority=HIGH&retryPolicy.max_attempts=3\
            &retry_policy.initialBackoff=2s&retryPolicy.retryableCodes=14&retryPolicy.retryableCodes=ABORTED&ttl=60s";
        let expected = json!({
            "jobType": "t", "worksOn": ["a", "b"], "priority": "HIGH", "ttl": "60s", "parent": "",
            "retryPolicy": {"maxAttempts": "3", "initialBackoff": "2s", "retryableCodes": [14, "ABORTED"]},
        });
        assert_eq!(bound(&Method::POST, "/v1/jobs:run", query, json!({})), Ok(expected));
    }

    #[test]
    fn the_path_wins_over_the_body_and_the_body_over_the_query() {
        let body = json!({"name": "body", "timeout": "2s"});
        let fields = bound(&Method::POST, "/v1/operations/a:wait", "timeout=1s", body);
        assert_eq!(fields, Ok(json!({"timeout": "2s", "name": "operations/a"})));
    }

    #[test]
    fn an_empty_part_of_the_path_leaves_the_field_to_the_body() {
        for body in [json!({"parent": "a/b"}), json!({"jobType": "t", "parent": "a"})] {
            let fields = bound(&Method::POST, "/v1/jobs:run", "", body.clone());
            assert_eq!(fields, Ok(body));
        }
    }

    #[test]
    fn names_what_can_not_be_bound() {
        for (query, name, why) in [
            ("foo=1", "foo", "Field 'foo' could not be found in request message."),
            ("foo", "foo", "could not be found"),
            ("ttl.seconds=1", "ttl.seconds", "could not be found"),
            ("priority.x=1", "priority.x", "could not be found"),
            ("retryPolicy.x=1", "retryPolicy.x", "could not be found"),
            ("retryPolicy=1", "retryPolicy", "is a message type"),
            ("labels=1", "labels", "is a message type"),
            ("labels.a=1", "labels.a", "could not be found"),
            ("input=1", "input", "is a message type"),
            ("=1", "", "could not be found"),
            (".=1", ".", "could not be found"),
            ("requestId=1&request_id=2", "request_id", "not repeating"),
        ] {
            let refusal = bound(&Method::POST, "/v1/jobs:run", query, json!({})).unwrap_err();
            let message = tonic::Status::from(refusal).message().to_owned();
            assert!(message.contains(name) && message.contains(why), "{query}: {message}");
        }
    }

    #[test]
    fn a_body_may_be_empty_but_no_other_thing_than_an_object() {
        for empty in ["", "  \r\n", "{}", "null"] {
            assert_eq!(body(&Bytes::from(empty)), Ok(Map::new()));
        }
        for wrong in ["[]", "1", "{", "\"x\"", "{\"a\":1}}", &"[".repeat(100_000)] {
            let refusal = body(&Bytes::from(wrong.to_owned())).unwrap_err();
            assert_eq!(refusal.reason, Reason::InvalidPayload);
        }
    }
}
