//! Real servers for tests: a redis-server or nats-server of one's own, which the test may kill,
//! freeze, restart and wipe, several that replicate each other, a [`Proxy`] for the network in
//! between, [`Process`] for whatever else runs beside a test, and [`eventually`] to wait for what
//! they lead to.
//!
//! What goes wrong panics, as this is for tests only. Nothing here knows Longshore.

mod poll;
mod process;
mod proxy;
mod server;
mod topology;

pub use poll::eventually;
pub use process::Process;
pub use proxy::{Direction, Proxy, Then, Traffic, Trigger};
pub use server::{
    Kind, NatsServer, RedisServer, SentinelServer, Server, free_port, nats::Nats, redis::Redis,
    sentinel::Sentinel,
};
pub use topology::{nats::NatsCluster, redis::RedisCluster, sentinel::WatchedRedis};
