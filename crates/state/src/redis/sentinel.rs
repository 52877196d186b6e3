//! A server that Sentinel watches: whichever is the master now.

use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, Pipeline, ProtocolVersion,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use super::{connection::tcp, settings::Settings};

/// A connection to the master, replaced by one to the next master when it fails.
pub(super) struct Sentinel {
    state: Mutex<State>,
    config: AsyncConnectionConfig,
}

struct State {
    client: SentinelClient,
    master: Option<MultiplexedConnection>,
    /// How many masters were given up.
    given_up: u64,
}

impl Sentinel {
    pub(super) fn new(
        sentinels: Vec<ConnectionAddr>,
        master: &str,
        server: &RedisConnectionInfo,
        settings: &Settings,
    ) -> RedisResult<Self> {
        let mut builder =
            SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
                .set_client_to_redis_db(server.db())
                .set_client_to_redis_protocol(ProtocolVersion::RESP3)
                .set_client_to_redis_tcp_settings(tcp(settings));
        if let Some(username) = server.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = server.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let state = State { client: builder.build()?, master: None, given_up: 0 };
        Ok(Self { state: Mutex::new(state), config })
    }

    pub(super) async fn pipeline(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let (mut master, given_up) = self.master().await?;
        let answers = master.req_packed_commands(pipeline, 0, pipeline.len()).await;
        let failure = match &answers {
            Ok(values) => values.iter().find_map(|value| match value {
                Value::ServerError(error) => Some(error.clone().into()),
                _ => None,
            }),
            Err(error) => Some(error.clone()),
        };
        self.learn(failure.as_ref(), given_up).await;
        answers
    }

    pub(super) async fn command(&self, command: &Cmd) -> RedisResult<Value> {
        let (mut master, given_up) = self.master().await?;
        let answer = command.query_async(&mut master).await;
        self.learn(answer.as_ref().err(), given_up).await;
        answer
    }

    /// The connection to the master, and how many were given up before it.
    async fn master(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        let mut state = self.state.lock().await;
        if let Some(master) = &state.master {
            return Ok((master.clone(), state.given_up));
        }
        let master = state.client.get_async_connection_with_config(&self.config).await?;
        state.master = Some(master.clone());
        Ok((master, state.given_up))
    }

    /// Gives a master up that can't be used any more, unless somebody else has.
    async fn learn(&self, failure: Option<&RedisError>, given_up: u64) {
        if failure.is_none_or(|error| !is_lost(error)) {
            return;
        }
        let mut state = self.state.lock().await;
        if state.given_up == given_up {
            state.master = None;
            state.given_up += 1;
        }
    }
}

/// Whether the server is gone, silent, or master no more.
fn is_lost(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::AuthenticationFailed => true,
        ErrorKind::Server(kind) => {
            matches!(
                kind,
                ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
            )
        }
        _ => false,
    }
}
