//! What telemetry costs where it goes nowhere. A process of its own, as it is set up once in each.

use longshore_core::telemetry::{Settings, init};

#[test]
fn spans_that_nobody_gets_are_not_opened() {
    let _guard = init(&Settings::default(), "test").unwrap();
    // As libraries have them by the dozen in each call.
    assert!(tracing::trace_span!(target: "h2", "frame").is_disabled());
    assert!(tracing::debug_span!("commit").is_disabled());
    // Log lines stand in these.
    assert!(!tracing::info_span!("job").is_disabled());
}
