//! Workers against the real state role, on the embedded store and the local bus.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "runtime/ahead.rs"]
mod ahead;
#[path = "runtime/exec.rs"]
mod exec;
#[path = "runtime/faults.rs"]
mod faults;
#[path = "runtime/lifecycle.rs"]
mod lifecycle;
#[path = "runtime/shutdown.rs"]
mod shutdown;
#[path = "runtime/site.rs"]
mod site;
#[path = "runtime/slots.rs"]
mod slots;
