//! Answers as JSON, whole or as a stream of events.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, HttpBody},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt};
use http::{HeaderValue, header};
use longshore_core::json;
use longshore_proto::longrunning::{ListOperationsResponse, Operation};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value};
use tonic::Status;

use super::{enums, failure::Failure, mask::Mask, system::System};
use crate::errors::{Reason, Refusal};

/// How often a silent stream shows that it is alive: well below what proxies allow.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The id of a stream's last event. A browser that connects again after it says so.
pub(crate) const LAST_EVENT: &str = "done";

/// How the answers to one request look.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    system: System,
    mask: Option<Mask>,
    descriptor: MessageDescriptor,
}

impl Look {
    /// # Errors
    /// If a mask is none for the type, or events are asked for where there are none.
    pub(crate) fn new(system: &System, method: &MethodDescriptor) -> Result<Self, Refusal> {
        if system.is_event_stream && !method.is_server_streaming() {
            return Err(Refusal::field(
                Reason::UnsupportedParameter,
                "alt",
                "this method does not stream: use json",
            ));
        }
        let descriptor = method.output();
        let mask = system.mask.as_deref().map(|mask| Mask::parse(mask, &descriptor)).transpose()?;
        Ok(Self { system: system.clone(), mask, descriptor })
    }

    /// One answer.
    pub(crate) fn whole(&self, value: Value) -> Response {
        json(&self.shown(value), &self.system)
    }

    /// An event for each state of an operation. The stream ends after that which is done, or with
    /// an event named `error`.
    pub(crate) fn stream(
        self,
        states: impl Stream<Item = Result<Operation, Status>> + Send + 'static,
    ) -> Response {
        let events = states.map(move |state| {
            Ok::<_, Infallible>(match state {
                Ok(operation) => {
                    let event = Event::default()
                        .data(self.shown(json::operation_to_json(&operation)).to_string());
                    if operation.done { event.id(LAST_EVENT) } else { event }
                }
                Err(status) => {
                    let error = Failure::from(status).to_json(&self.system);
                    Event::default().event("error").data(error.to_string())
                }
            })
        });
        let mut response =
            Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
        // Otherwise nginx holds events back.
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    fn shown(&self, mut value: Value) -> Value {
        if self.system.has_numeric_enums {
            enums::to_numbers(&mut value, &self.descriptor);
        }
        if let Some(mask) = &self.mask {
            mask.apply(&mut value);
        }
        value
    }
}

/// The page as Google writes it: without what is empty, because some clients take an empty page
/// token for one.
pub(crate) fn page(page: &ListOperationsResponse) -> Value {
    let mut object = Map::new();
    if !page.operations.is_empty() {
        object.insert(
            "operations".into(),
            page.operations.iter().map(json::operation_to_json).collect(),
        );
    }
    if !page.next_page_token.is_empty() {
        object.insert("nextPageToken".into(), page.next_page_token.clone().into());
    }
    if !page.unreachable.is_empty() {
        object.insert("unreachable".into(), page.unreachable.clone().into());
    }
    Value::Object(object)
}

/// An answer of JSON.
pub(crate) fn json(value: &Value, system: &System) -> Response {
    let text =
        if system.is_pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=UTF-8"),
        (header::CACHE_CONTROL, "private"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from(text.expect("a value of JSON can be written as JSON"))).into_response()
}

/// The same without a body, for HEAD.
pub(crate) fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Body::empty())
}
