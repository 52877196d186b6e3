//! Whether NATS can be used at the moment.

use tokio::sync::watch;

use crate::Status;

/// What is known of the connection and the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) connected: bool,
    /// How many connections have been lost before this one.
    pub(super) losses: u64,
    /// The connection on which the streams were last found to be there.
    asserted_on: Option<u64>,
    /// How often they were found to be there.
    assertions: u64,
    /// When they were made.
    pub(super) epoch: String,
}

impl State {
    /// Whether the streams have to be looked for.
    pub(super) fn needs_assertion(&self) -> bool {
        self.connected && self.asserted_on != Some(self.losses)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.connected && self.asserted_on == Some(self.losses)
    }
}

pub(super) struct Health {
    state: watch::Sender<State>,
    status: watch::Sender<Status>,
}

impl Health {
    pub(super) fn new() -> Self {
        let state = State {
            connected: true,
            losses: 0,
            asserted_on: None,
            assertions: 0,
            epoch: String::new(),
        };
        Self { state: watch::Sender::new(state), status: watch::Sender::new(Status::default()) }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn subscribe_status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn assertions(&self) -> u64 {
        self.state.borrow().assertions
    }

    pub(super) fn losses(&self) -> u64 {
        self.state.borrow().losses
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.change(|state| {
            state.losses += u64::from(state.connected && !connected);
            state.connected = connected;
        });
    }

    /// The streams exist, as was seen on the connection after so many losses.
    pub(super) fn set_asserted(&self, losses: u64, epoch: String) {
        self.change(|state| {
            state.asserted_on = Some(losses);
            state.assertions += 1;
            state.epoch = epoch;
        });
    }

    /// The streams don't exist, or it can't be told.
    pub(super) fn set_unasserted(&self) {
        self.change(|state| state.asserted_on = None);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
        let state = self.state.borrow().clone();
        let status = Status { ready: state.is_ready(), epoch: state.epoch };
        self.status.send_if_modified(|before| {
            let changed = *before != status;
            *before = status;
            changed
        });
    }
}
