//! The same as OpenAPI 3.1: all surfaces and versions of a host in one document.

use http::HeaderMap;
use longshore_core::json;
use longshore_proto::v1::OperationMetadata;
use prost::Name;
use serde_json::{Map, Value, json};

use crate::{
    discovery::{Binding, Schemas, bindings, comment, root_url, versions},
    http::Routes,
    surface::{Method, Surface, Surfaces},
};

/// The document of a host; without surfaces it has no paths.
pub(crate) fn document(surfaces: &Surfaces, routes: &Routes, headers: &HeaderMap) -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    let mut tags = Vec::new();
    let mut servers: Vec<String> = Vec::new();
    for surface in surfaces.of_host(headers) {
        tags.push(json!({"name": surface.name, "description": surface.title}));
        let root = root_url(surface, headers);
        let server = root.trim_end_matches('/').to_owned();
        if !servers.contains(&server) {
            servers.push(server);
        }
        for version in versions(surface) {
            for binding in bindings(surface, routes) {
                let (path, parameters) = path(&binding, version);
                let verb = binding.route.verb.as_str().to_ascii_lowercase();
                let item = paths.entry(path).or_insert_with(|| json!({}));
                // Of two surfaces that have the same path the first one counts.
                if item.get(&verb).is_none() {
                    item[verb] = operation(surface, version, &binding, &parameters, &mut schemas);
                }
            }
        }
    }
    // What lies in operations as an Any, unless a surface says otherwise.
    if let Some(metadata) = json::pool().get_message_by_name(&OperationMetadata::full_name()) {
        schemas.add(&metadata, None);
    }
    let mut schemas = translated(schemas.into_discovery());
    schemas["Error"] = json!({
        "type": "object",
        "description": "Why a call failed.",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["code", "message", "status"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "message": {"type": "string"},
                "status": {"type": "string", "description": "The name of the google.rpc.Code."},
                "details": {"type": "array", "items": {"type": "object", "additionalProperties": true}},
            },
        }},
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Longshore",
            "description": "Long-running operations over HTTP/JSON.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": servers.iter().map(|url| json!({"url": url})).collect::<Vec<_>>(),
        "tags": tags,
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

/// A path and the parameters in it. OpenAPI has no parameter with slashes, so a name of any depth
/// is one segment, in which they are encoded.
fn path(binding: &Binding<'_>, version: &str) -> (String, Vec<(String, String)>) {
    let Some(variable) = &binding.variable else {
        return (format!("/{version}/{}", binding.rest), Vec::new());
    };
    if let Some((flat, parameters)) = variable.flat() {
        let described = parameters.into_iter().map(|name| (name, String::new())).collect();
        return (format!("/{version}/{flat}{}", binding.rest), described);
    }
    if binding.route.rpc == Method::List {
        return (format!("/{version}/operations"), Vec::new());
    }
    let description = "The whole name with its slashes encoded as %2F, or the id of operations/ID.";
    let parameters = vec![(variable.field.clone(), description.to_owned())];
    (format!("/{version}/operations/{{{}}}{}", variable.field, binding.rest), parameters)
}

fn operation(
    surface: &Surface,
    version: &str,
    binding: &Binding<'_>,
    in_path: &[(String, String)],
    schemas: &mut Schemas,
) -> Value {
    let method = &binding.route.method;
    let mut parameters: Vec<Value> = in_path
        .iter()
        .map(|(name, description)| {
            let schema = json!({"type": "string"});
            json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
        })
        .collect();
    for (name, mut schema) in binding.query() {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let schema = translated(schema);
        parameters.push(
            json!({"name": name, "in": "query", "description": description, "schema": schema}),
        );
    }
    let kind = if method.is_server_streaming() { "text/event-stream" } else { "application/json" };
    let answer = json!({"$ref": schema(&schemas.add(&method.output(), None))});
    let id =
        [&[surface.name.as_str(), version], &*collections(binding), &[binding.name()]].concat();
    let mut operation = json!({
        "operationId": id.join("_"),
        "tags": [surface.name],
        "description": comment(&method.parent_file(), method.path()),
        "parameters": parameters,
        "responses": {
            "200": {"description": "Success.", "content": {kind: {"schema": answer}}},
            "default": {
                "description": "Failure.",
                "content": {"application/json": {"schema": {"$ref": schema("Error")}}},
            },
        },
    });
    if binding.has_body {
        let bound = binding.variable.as_ref().map(|variable| variable.field.as_str());
        let request = json!({"$ref": schema(&schemas.add(&method.input(), bound))});
        operation["requestBody"] = json!({"content": {"application/json": {"schema": request}}});
    }
    let scopes = surface.scopes_of(binding.route.rpc);
    if !scopes.is_empty() {
        operation["x-oauth-scopes"] = json!(scopes);
    }
    if let Some(permission) = surface.permission(binding.route.rpc) {
        operation["x-permission"] = json!(permission);
    }
    operation
}

fn collections<'a>(binding: &'a Binding<'_>) -> Vec<&'a str> {
    binding.collections.iter().map(String::as_str).collect()
}

fn schema(name: &str) -> String {
    format!("#/components/schemas/{name}")
}

/// A schema of discovery documents as JSON Schema.
fn translated(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut translated = Map::new();
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("id" | "enumDescriptions", Value::String(_) | Value::Array(_)) => {}
                    ("type", Value::String(any)) if any == "any" => {}
                    ("format", Value::String(format)) => {
                        translated.extend(json_format(&format).map(|format| (key, format.into())));
                    }
                    ("$ref", Value::String(name)) => {
                        translated.insert(key, schema(&name).into());
                    }
                    (_, value) => {
                        translated.insert(key, self::translated(value));
                    }
                }
            }
            Value::Object(translated)
        }
        Value::Array(values) => values.into_iter().map(translated).collect(),
        other => other,
    }
}

/// A duration as `3.5s` has no format there.
fn json_format(format: &str) -> Option<&str> {
    match format {
        "google-datetime" => Some("date-time"),
        "google-duration" | "google-fieldmask" => None,
        other => Some(other),
    }
}
