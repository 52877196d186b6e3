//! How a [`Message`] looks as a message of NATS.

use async_nats::HeaderMap;
use longshore_core::record::TraceContext;

use crate::Message;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The headers that carry the trace, if there is one.
pub(super) fn of(trace: &TraceContext) -> Option<HeaderMap> {
    if trace.traceparent.is_empty() {
        return None;
    }
    let mut headers = HeaderMap::new();
    // What is no legal header is left out: a trace is not worth losing a message.
    for (name, value) in [(TRACEPARENT, &trace.traceparent), (TRACESTATE, &trace.tracestate)] {
        if let Ok(value) = value.parse::<async_nats::HeaderValue>()
            && !value.as_str().is_empty()
        {
            headers.insert(name, value);
        }
    }
    Some(headers)
}

/// The message that came.
pub(super) fn message(came: async_nats::Message) -> Message {
    let text = |name| {
        let value = came.headers.as_ref().and_then(|headers| headers.get(name));
        value.map(|value| value.as_str().to_owned()).unwrap_or_default()
    };
    let trace = TraceContext { traceparent: text(TRACEPARENT), tracestate: text(TRACESTATE) };
    Message { subject: came.subject.into_string(), trace, payload: came.payload }
}
