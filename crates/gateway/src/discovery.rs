//! Discovery documents: what an API has, in the form that Google's API clients build themselves
//! from. Made from the descriptors, the table of routes and the surfaces; nothing is written twice.

mod binding;
mod comments;
mod schema;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method as Verb, header, uri::Authority};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

pub(crate) use self::{
    binding::{Binding, bindings},
    comments::comment,
    schema::{Schemas, type_of},
};
use crate::{
    errors::{Reason, Refusal},
    http::{Failure, Miss, Routes, is_version},
    openapi,
    surface::{Surface, Surfaces},
};

/// The version that documents show of an API that is served under every one.
const USUAL: &str = "v1";

/// Answers a question for a document; `None` if it is none.
pub(crate) fn answer(
    surfaces: &Surfaces,
    routes: &Routes,
    request: &Request,
) -> Option<Result<Response, Failure>> {
    let path = percent_decode_str(request.uri().path()).decode_utf8().ok()?;
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let query = |name: &str| {
        let query = request.uri().query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let headers = request.headers();
    let found = match *parts {
        ["openapi.json"] => Some(openapi::document(surfaces, routes, headers)),
        ["discovery", "v1", "apis"] => Some(directory(surfaces, headers)),
        ["$discovery", "rest"] => {
            let version = query("version");
            let has = |surface: &&Arc<Surface>| {
                version.as_deref().is_none_or(|version| surface.has_version(version))
            };
            let surface = surfaces.of_host(headers).find(has);
            surface.and_then(|surface| document(surface, version.as_deref(), routes, headers))
        }
        ["discovery", "v1", "apis", api, version, "rest"] => {
            let surface = surfaces.of_host(headers).find(|surface| surface.name == api);
            surface.and_then(|surface| document(surface, Some(version), routes, headers))
        }
        _ => return None,
    };
    if !matches!(*request.method(), Verb::GET | Verb::HEAD) {
        return Some(Err(Failure::of_miss(Miss::Verb(vec![Verb::GET]), request.method(), &path)));
    }
    Some(found.map(|document| response(&document)).ok_or_else(|| {
        let message = "no API of this name and version is served under this host";
        Refusal::new(Reason::SurfaceNotFound, message).with("path", &path).into()
    }))
}

fn response(document: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=UTF-8");
    let cache = HeaderValue::from_static("private, max-age=300");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
    (headers, Body::from(format!("{document:#}\n"))).into_response()
}

/// Where clients reach the API.
pub(crate) fn root_url(surface: &Surface, headers: &HeaderMap) -> String {
    if let Some(url) = &surface.root_url {
        return url.clone();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").and_then(|host| host.parse::<Authority>().ok());
    let host = host.as_ref().map_or("localhost", Authority::as_str);
    let is_secure = text("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    format!("{}://{host}/", if is_secure { "https" } else { "http" })
}

/// The versions that documents show of a surface.
pub(crate) fn versions(surface: &Surface) -> Vec<&str> {
    match &*surface.versions {
        [] => vec![USUAL],
        versions => versions.iter().map(String::as_str).collect(),
    }
}

fn directory(surfaces: &Surfaces, headers: &HeaderMap) -> Value {
    let mut items = Vec::new();
    for surface in surfaces.of_host(headers) {
        let root = root_url(surface, headers);
        for version in versions(surface) {
            let name = &surface.name;
            items.push(json!({
                "kind": "discovery#directoryItem",
                "id": format!("{name}:{version}"),
                "name": name,
                "version": version,
                "title": surface.title,
                "discoveryRestUrl": format!("{root}discovery/v1/apis/{name}/{version}/rest"),
                "preferred": true,
            }));
        }
    }
    json!({"kind": "discovery#directoryList", "discoveryVersion": "v1", "items": items})
}

/// The document of a surface, if it has the version.
fn document(
    surface: &Surface,
    version: Option<&str>,
    routes: &Routes,
    headers: &HeaderMap,
) -> Option<Value> {
    let version = match version {
        Some(version) => version,
        None => versions(surface).first().copied()?,
    };
    if !surface.has_version(version) || !is_version(version) {
        return None;
    }
    let mut schemas = Schemas::default();
    let mut resources = Map::new();
    for binding in bindings(surface, routes) {
        // A stream of events is nothing that these clients can read.
        if !binding.route.method.is_server_streaming() {
            let method = method(surface, version, &binding, &mut schemas);
            insert(&mut resources, &binding, method);
        }
    }
    let root = root_url(surface, headers);
    let name = &surface.name;
    let mut document = json!({
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": format!("{name}:{version}"),
        "name": name,
        "version": version,
        "title": surface.title,
        "description": format!("Long-running operations of {}.", surface.title),
        "protocol": "rest",
        "rootUrl": root,
        "baseUrl": root,
        "servicePath": "",
        "basePath": "",
        "batchPath": "batch",
        "parameters": parameters(),
        "resources": resources,
        "schemas": schemas.into_discovery(),
    });
    if !surface.scopes.is_empty() {
        let scopes = surface
            .scopes
            .iter()
            .map(|scope| (scope.url.clone(), json!({"description": scope.description})));
        document["auth"] = json!({"oauth2": {"scopes": scopes.collect::<Map<_, _>>()}});
    }
    Some(document)
}

/// Puts a method where its collection is.
fn insert(resources: &mut Map<String, Value>, binding: &Binding<'_>, method: Value) {
    let mut place = resources;
    let Some((last, collections)) = binding.collections.split_last() else { return };
    for collection in collections {
        let resource = place.entry(collection.clone()).or_insert_with(|| json!({}));
        let Some(resource) = resource.as_object_mut() else { return };
        let inner = resource.entry("resources").or_insert_with(|| json!({}));
        let Some(inner) = inner.as_object_mut() else { return };
        place = inner;
    }
    place.entry(last.clone()).or_insert_with(|| json!({}))["methods"][binding.name()] = method;
}

fn method(surface: &Surface, version: &str, binding: &Binding<'_>, schemas: &mut Schemas) -> Value {
    let route = binding.route;
    let mut parameters = Map::new();
    let mut order = Vec::new();
    if let Some(variable) = &binding.variable {
        order.push(variable.field.clone());
        let description = variable.description(&route.method);
        parameters.insert(
            variable.field.clone(),
            json!({
                "type": "string",
                "description": description,
                "location": "path",
                "required": true,
                "pattern": variable.regex(),
            }),
        );
    }
    for (name, mut parameter) in binding.query() {
        parameter["location"] = json!("query");
        parameters.insert(name, parameter);
    }
    let mut id = vec![surface.name.as_str()];
    id.extend(binding.collections.iter().map(String::as_str));
    id.push(binding.name());
    let mut method = json!({
        "id": id.join("."),
        "description": comment(&route.method.parent_file(), route.method.path()),
        "httpMethod": route.verb.as_str(),
        "path": binding.path(version),
        "flatPath": binding.flat_path(version),
        "parameters": parameters,
        "parameterOrder": order,
        "response": {"$ref": schemas.add(&route.method.output(), None)},
    });
    if binding.has_body {
        let bound = binding.variable.as_ref().map(|variable| variable.field.as_str());
        method["request"] = json!({"$ref": schemas.add(&route.method.input(), bound)});
    }
    let scopes = surface.scopes_of(route.rpc);
    if !scopes.is_empty() {
        method["scopes"] = json!(scopes);
    }
    method
}

/// What every method has beside its own parameters.
fn parameters() -> Value {
    let text = |description: &str| json!({"type": "string", "location": "query", "description": description});
    json!({
        "$.xgafv": {
            "type": "string", "location": "query", "description": "V1 error format.",
            "enum": ["1", "2"], "enumDescriptions": ["v1 error format", "v2 error format"],
        },
        "access_token": text("OAuth access token."),
        "alt": {
            "type": "string", "location": "query", "description": "Data format for response.", "default": "json",
            "enum": ["json"], "enumDescriptions": ["Responses with Content-Type of application/json"],
        },
        "callback": text("JSONP; not served."),
        "fields": text("Selector specifying which fields to include in a partial response."),
        "key": text("API key."),
        "oauth_token": text("OAuth 2.0 token for the current user."),
        "prettyPrint": {
            "type": "boolean", "location": "query", "default": "true",
            "description": "Returns response with indentations and line breaks.",
        },
        "quotaUser": text("Accepted and ignored."),
        "uploadType": text("Accepted and ignored."),
        "upload_protocol": text("Accepted and ignored."),
    })
}
