//! Traces: what a client's call is part of, and what becomes part of it.
//!
//! The life of an operation is one trace, that of the call that submitted it: its spans are
//! children of that call's, however much later. Other calls about it have traces of their own,
//! with a link to it.

use std::{
    collections::HashMap,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{Link, Span as _, SpanContext, SpanKind, TraceContextExt, Tracer},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracer};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::record::{Record, TraceContext};

/// What makes spans that have passed; absent where spans go nowhere.
static PASSED: OnceLock<SdkTracer> = OnceLock::new();

pub(super) fn use_for_passed(tracer: SdkTracer) {
    // The first stays: a second start of telemetry in a process is refused.
    drop(PASSED.set(tracer));
}

/// Makes `span` part of a trace that began elsewhere. To be called before the span is entered.
pub fn follow(span: &Span, trace: &TraceContext) {
    if trace.traceparent.is_empty() || span.is_disabled() {
        return;
    }
    // Fails where spans go nowhere: then there is nothing to be part of.
    drop(span.set_parent(extract(trace)));
}

/// Where `span` stands in its trace, to be sent along or kept; `received` where spans go nowhere.
pub fn context_of(span: &Span, received: &TraceContext) -> TraceContext {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return received.clone();
    }
    let mut headers = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut headers);
    TraceContext {
        traceparent: headers.remove("traceparent").unwrap_or_default(),
        tracestate: headers.remove("tracestate").unwrap_or_default(),
    }
}

/// The context that a client sent, if it is one (W3C Trace Context); else none. Text that is not
/// well formed goes no further.
pub fn received(traceparent: Option<&str>, tracestate: Option<&str>) -> TraceContext {
    // Most clients send none.
    if traceparent.is_none() {
        return TraceContext::default();
    }
    let sent = TraceContext {
        traceparent: traceparent.unwrap_or_default().to_owned(),
        tracestate: tracestate.filter(|state| state.len() <= 512).unwrap_or_default().to_owned(),
    };
    let context = extract(&sent);
    if context.span().span_context().is_valid() { sent } else { TraceContext::default() }
}

fn extract(trace: &TraceContext) -> Context {
    let headers = HashMap::from([
        ("traceparent".to_owned(), trace.traceparent.clone()),
        ("tracestate".to_owned(), trace.tracestate.clone()),
    ]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}

/// The id of the trace that the present call is part of, for the log; none where spans go nowhere.
pub fn trace_id() -> Option<String> {
    let context = Span::current().context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

/// Notes which operation the present call is about, with a link to that one's trace.
pub fn concerns(record: &Record) {
    if PASSED.get().is_none() {
        return;
    }
    let call = Span::current();
    call.set_attribute("operation", record.name().to_string());
    let linked = span_context(&record.job.trace);
    if linked.is_valid() && linked.trace_id() != call.context().span().span_context().trace_id() {
        call.add_link(linked);
    }
}

/// An attempt was claimed; answering that took so long.
pub fn claimed(record: &Record, took: Duration) {
    passed("claim", SpanKind::Consumer, record, took, Vec::new);
}

/// An attempt begins that waited in its queue for so long.
pub(super) fn waited(record: &Record, long: Duration) {
    passed("queue", SpanKind::Internal, record, long, Vec::new);
}

/// The present call, which waited for the operation's end, has heard of it.
pub fn woke(record: &Record) {
    passed("wake", SpanKind::Internal, record, Duration::ZERO, || {
        let call = Span::current().context().span().span_context().clone();
        if call.is_valid() { vec![Link::with_context(call)] } else { Vec::new() }
    });
}

/// Adds to an operation's trace what ends now and lasted so long. For what was not known to belong
/// there when it began.
fn passed(
    name: &'static str,
    kind: SpanKind,
    record: &Record,
    lasted: Duration,
    links: impl FnOnce() -> Vec<Link>,
) {
    let trace = &record.job.trace;
    let Some(tracer) = PASSED.get().filter(|_| !trace.traceparent.is_empty()) else { return };
    let parent = extract(trace);
    if !parent.span().span_context().is_sampled() {
        return;
    }
    let end = SystemTime::now();
    let attributes = [
        KeyValue::new("operation", record.name().to_string()),
        KeyValue::new("job_type", record.job.job_type.to_string()),
        KeyValue::new("attempt", i64::from(record.attempt)),
    ];
    let span = tracer
        .span_builder(name)
        .with_kind(kind)
        .with_start_time(end - lasted)
        .with_attributes(attributes)
        .with_links(links());
    tracer.build_with_context(span, &parent).end_with_timestamp(end);
}

fn span_context(trace: &TraceContext) -> SpanContext {
    extract(trace).span().span_context().clone()
}

#[cfg(test)]
mod tests {
    use super::received;
    use crate::record::TraceContext;

    #[test]
    fn a_malformed_context_goes_no_further() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(received(Some(good), None).trace_id(), "0af7651916cd43dd8448eb211c80319c");
        for bad in
            ["", "00-zz", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "\u{1F600}"]
        {
            assert_eq!(received(Some(bad), Some("a=b")), TraceContext::default());
        }
    }
}
