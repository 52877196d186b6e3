//! The cases.

mod clock;
mod failover;
mod gateway;
mod http;
mod nats;
mod network;
mod outage;
mod planted;
mod redis;
mod replay;
mod rolling;
mod servers;
mod state;
mod worker;

use crate::case::Case;

/// All there are.
pub fn all() -> Vec<Case> {
    let groups = [
        worker::cases(),
        gateway::cases(),
        state::cases(),
        clock::cases(),
        replay::cases(),
        planted::cases(),
        network::cases(),
        redis::cases(),
        failover::cases(),
        nats::cases(),
        outage::cases(),
        rolling::cases(),
    ];
    groups.into_iter().flatten().collect()
}
