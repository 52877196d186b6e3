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
use longshore_core::json::{self, AsJson};
use longshore_proto::longrunning::{ListOperationsResponse, Operation};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use tonic::Status;

use super::{enums, failure::Failure, mask::Mask, system::System};
use crate::errors::{Reason, Refusal};

/// How often a silent stream shows that it is alive: well below what proxies allow.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The id of a stream's last event. A browser that connects again after it says so.
pub(crate) const LAST_EVENT: &str = "done";

/// What a method answers at once.
pub(crate) enum Whole {
    Operation(Operation),
    Page(ListOperationsResponse),
    Empty,
}

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
    pub(crate) fn whole(&self, answer: &Whole) -> Response {
        if self.system.has_numeric_enums || self.mask.is_some() {
            json(&self.shown(tree(answer)), &self.system)
        } else {
            json(answer, &self.system)
        }
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

/// A page is written as Google does it: without what is empty, because some clients take an empty
/// page token for one.
impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let page = match self {
            Self::Operation(operation) => return AsJson(operation).serialize(serializer),
            Self::Empty => return serializer.serialize_map(Some(0))?.end(),
            Self::Page(page) => page,
        };
        let mut map = serializer.serialize_map(None)?;
        if !page.operations.is_empty() {
            let operations: Vec<_> = page.operations.iter().map(AsJson).collect();
            map.serialize_entry("operations", &operations)?;
        }
        if !page.next_page_token.is_empty() {
            map.serialize_entry("nextPageToken", &page.next_page_token)?;
        }
        if !page.unreachable.is_empty() {
            map.serialize_entry("unreachable", &page.unreachable)?;
        }
        map.end()
    }
}

fn tree(answer: &Whole) -> Value {
    serde_json::to_value(answer).expect(WRITABLE)
}

/// Why nothing that is answered can't be written.
const WRITABLE: &str = "all keys are strings, and there is always room in memory";

/// An answer of JSON.
pub(crate) fn json(value: &impl Serialize, system: &System) -> Response {
    // Most answers fit.
    let mut text = Vec::with_capacity(2048);
    let written = if system.is_pretty {
        serde_json::to_writer_pretty(&mut text, value)
    } else {
        serde_json::to_writer(&mut text, value)
    };
    written.expect(WRITABLE);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, Body::from(text)).into_response()
}

/// The same without a body, for HEAD.
pub(crate) fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Body::empty())
}
