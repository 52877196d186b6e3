//! The connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap,
    client::{PublishErrorKind, traits::Publisher},
    connection::State,
    message::OutboundMessage,
};
use bytes::Bytes;
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Settings, health::Health, mailbox::Mailbox};
use crate::Error;

/// What was done when an answer did not come.
const NOT_IN_TIME: &str = "get an answer in time";
/// How many messages wait for a subscriber that is slow; more are dropped.
const SUBSCRIPTION_CAPACITY: usize = 16_384;
/// A dead server is noticed after two to three of these.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The longest wait between two attempts to connect again.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

pub(super) struct Link {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) health: Arc<Health>,
    pub(super) mailbox: Arc<Mailbox>,
    /// Held by whoever looks for the streams.
    pub(super) asserting: Mutex<()>,
    /// Told when a stream seems to be gone.
    pub(super) suspicion: Notify,
    pub(super) closed: CancellationToken,
}

impl Link {
    pub(super) async fn open(settings: &Settings) -> Result<Arc<Self>, Error> {
        let doing = "connect to NATS";
        let health = Arc::new(Health::new());
        let client =
            options(settings, health.clone()).await?.connect(settings.servers()).await.map_err(
                |error| match error.kind() {
                    ConnectErrorKind::ServerParse
                    | ConnectErrorKind::Authentication
                    | ConnectErrorKind::AuthorizationViolation => {
                        Error::Refused { doing, source: error.into() }
                    }
                    _ => Error::Unavailable { doing, source: Some(error.into()) },
                },
            )?;
        let closed = CancellationToken::new();
        let mailbox = Mailbox::new(client.new_inbox());
        let inbox = client
            .subscribe(mailbox.pattern())
            .await
            .map_err(|error| Error::Unavailable { doing, source: Some(error.into()) })?;
        tokio::spawn(closed.clone().run_until_cancelled_owned(mailbox.clone().sort(inbox)));
        let (asserting, suspicion) = (Mutex::default(), Notify::new());
        let settings = settings.clone();
        Ok(Arc::new(Self { client, settings, health, mailbox, asserting, suspicion, closed }))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Hands a message to the connection. While there is none it fails: the client library would
    /// keep it and send it at some later time, or lose it.
    pub(super) async fn send(
        &self,
        subject: String,
        reply: Option<String>,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), Error> {
        let doing = "send a message";
        if !self.is_connected() {
            return Err(Error::Unavailable {
                doing: "send a message: not connected",
                source: None,
            });
        }
        let reply = reply.map(Into::into);
        let sending = self.client.publish_message(OutboundMessage {
            subject: subject.into(),
            reply,
            headers,
            payload,
        });
        match timeout(PATIENCE, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
                    Error::Refused { doing, source: error.into() }
                }
                PublishErrorKind::Send => Error::Unavailable { doing, source: Some(error.into()) },
            }),
            Err(elapsed) => Err(Error::Unavailable { doing, source: Some(elapsed.into()) }),
        }
    }

    /// Sends a message and waits for the answer, or for the loss of the connection.
    pub(super) async fn call(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
        within: Duration,
    ) -> Result<async_nats::Message, Error> {
        let mut place = self.mailbox.place();
        let reply = place.subject.clone();
        self.answer(&mut place.answer, within, self.send(subject, Some(reply), headers, payload))
            .await
    }

    /// Returns when the server has worked off what was sent before.
    pub(super) async fn round_trip(&self, deadline: Instant) -> Result<(), Error> {
        loop {
            let mut place = self.mailbox.place();
            let sending = self.send(place.subject.clone(), None, None, Bytes::new());
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answer(&mut place.answer, left, sending).await {
                Ok(_) => return Ok(()),
                // A lost connection: on the next one subscriptions are made again first.
                Err(Error::Unavailable { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn answer(
        &self,
        answer: &mut tokio::sync::oneshot::Receiver<async_nats::Message>,
        within: Duration,
        sending: impl Future<Output = Result<(), Error>>,
    ) -> Result<async_nats::Message, Error> {
        let mut health = self.health.subscribe();
        let losses = health.borrow().losses;
        let exchange = async {
            sending.await?;
            tokio::select! {
                biased;
                Ok(answer) = answer => Ok(answer),
                Ok(_) = health.wait_for(|state| state.losses != losses) => {
                    Err(Error::Unavailable { doing: "get an answer: the connection was lost", source: None })
                }
                else => Err(Error::Unavailable { doing: "get an answer: the bus was closed", source: None }),
            }
        };
        match timeout(within, exchange).await {
            Ok(result) => result,
            Err(elapsed) => {
                Err(Error::Unavailable { doing: NOT_IN_TIME, source: Some(elapsed.into()) })
            }
        }
    }
}

async fn options(settings: &Settings, health: Arc<Health>) -> Result<ConnectOptions, Error> {
    let slow = Arc::new(AtomicU64::new(0));
    let mut options = ConnectOptions::new()
        .name(&settings.name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            observe(&event, &health, &slow);
            std::future::ready(())
        });
    if let Some((user, password)) = settings.login() {
        options = options.user_and_password(user, password);
    }
    match &settings.credentials {
        Some(file) => options.credentials_file(file).await.map_err(|error| Error::Refused {
            doing: "read the NATS credentials",
            source: error.into(),
        }),
        None => Ok(options),
    }
}

fn observe(event: &Event, health: &Health, slow: &AtomicU64) {
    match event {
        Event::Connected => {
            tracing::info!("connected to NATS");
            health.set_connected(true);
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!("the connection to NATS is lost");
            health.set_connected(false);
        }
        // Comes with each message that is dropped.
        Event::SlowConsumer(_) => {
            let dropped = slow.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "a subscriber is too slow; messages are dropped");
            }
        }
        Event::ServerError(error) => tracing::warn!(%error, "NATS reports an error"),
        Event::ClientError(error) => tracing::warn!(%error, "NATS can't be reached"),
        Event::LameDuckMode | Event::Draining => tracing::info!(%event, "NATS is about to leave"),
    }
}

/// From 20 ms on, doubling, and a random half of it.
fn reconnect_delay(attempts: usize) -> Duration {
    let steps = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
    let delay = (Duration::from_millis(10) * 2_u32.pow(steps)).min(MAX_RECONNECT_DELAY);
    delay.mul_f64(0.5 + fastrand::f64() / 2.0)
}
