//! Real servers for tests: a redis-server or nats-server of one's own, which the test may kill,
//! freeze, restart and wipe, and [`eventually`] to wait for what they lead to.
//!
//! What goes wrong panics, as this is for tests only. Nothing here knows Longshore.

mod poll;
mod server;

pub use poll::eventually;
pub use server::{Kind, NatsServer, RedisServer, Server, nats::Nats, redis::Redis};
