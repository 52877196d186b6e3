//! The cases.

mod clock;
mod gateway;
mod network;
mod planted;
mod replay;
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
    ];
    groups.into_iter().flatten().collect()
}
