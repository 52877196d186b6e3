//! The way to Redis: one multiplexed connection to a server, or one to each node of a cluster.

use std::{io, time::Duration};

use futures::FutureExt;
use redis::{
    Client, Cmd, ConnectionInfo, Pipeline, ProtocolVersion, RedisError, RedisResult, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
    io::tcp::TcpSettings,
};

use super::{
    error::senseless,
    lasting::{Lasting, Open},
    sentinel::Sentinel,
    settings::Settings,
    url::Target,
};

/// How many commands may wait for their answers on one connection.
const IN_FLIGHT: usize = 8192;
/// How many calls may wait to be sent.
const WAITING: usize = 1024;

/// The way to Redis. Whatever goes wrong on it, it finds back by itself; calls fail meanwhile, and
/// none takes longer than its time.
pub(super) struct Connection {
    link: Link,
    longest_call: Duration,
}

enum Link {
    Single(Lasting<ConnectionManager>),
    Cluster(Lasting<ClusterConnection>),
    Sentinel(Box<Sentinel>),
}

impl Connection {
    pub(super) async fn open(target: Target, settings: &Settings) -> RedisResult<Self> {
        let response_timeout = settings.response_timeout;
        let (link, longest_call) = match target {
            Target::Single(info) => {
                let client = single(info, settings)?;
                let config = manager(settings);
                let open: Open<_> = Box::new(move || {
                    let (client, config) = (client.clone(), config.clone());
                    async move { client.get_connection_manager_with_config(config).await }.boxed()
                });
                (Link::Single(Lasting::open(open).await?), response_timeout)
            }
            // A call may have to find out first which node has taken over.
            Target::Cluster(nodes) => {
                let client = cluster(nodes, settings)?;
                let open: Open<_> = Box::new(move || {
                    let client = client.clone();
                    async move { client.get_async_connection().await }.boxed()
                });
                (Link::Cluster(Lasting::open(open).await?), response_timeout * 5)
            }
            Target::Sentinel { sentinels, master, server } => {
                let sentinel = Sentinel::new(sentinels, &master, &server, settings)?;
                (
                    Link::Sentinel(Box::new(sentinel)),
                    response_timeout * 2 + settings.connect_timeout,
                )
            }
        };
        Ok(Self { link, longest_call })
    }

    /// Which pipeline a partition's commands go into: all into the same, but in a cluster, where
    /// each partition may be on another node.
    pub(super) fn lane(&self, partition: u16) -> u16 {
        match self.link {
            Link::Single(_) | Link::Sentinel(_) => 0,
            Link::Cluster(_) => partition,
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.link, Link::Cluster(_))
    }

    /// Sends commands together. The answers come in their order, errors among them.
    pub(super) async fn pipeline(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let count = pipeline.len();
        let values = match &self.link {
            Link::Single(link) => {
                let send = async |mut link: ConnectionManager| {
                    link.req_packed_commands(pipeline, 0, count).await
                };
                self.on(link, send).await?
            }
            Link::Cluster(link) => {
                let send = async |mut link: ClusterConnection| {
                    link.req_packed_commands(pipeline, 0, count).await
                };
                self.on(link, send).await?
            }
            Link::Sentinel(link) => self.in_time(link.pipeline(pipeline)).await?,
        };
        if values.len() == count { Ok(values) } else { Err(senseless()) }
    }

    /// Sends one command.
    pub(super) async fn command(&self, command: &Cmd) -> RedisResult<Value> {
        match &self.link {
            Link::Single(link) => {
                self.on(link, async |mut link| command.query_async(&mut link).await).await
            }
            Link::Cluster(link) => {
                self.on(link, async |mut link| command.query_async(&mut link).await).await
            }
            Link::Sentinel(link) => self.in_time(link.command(command)).await,
        }
    }

    /// Sends a command that names no key to the server that a key belongs to.
    pub(super) async fn command_beside(&self, key: &str, command: &Cmd) -> RedisResult<Value> {
        let Link::Cluster(link) = &self.link else { return self.command(command).await };
        let route = Route::with_key(key, SlotAddr::Master);
        let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
        let send = async |mut link: ClusterConnection| {
            link.route_command(command.clone(), route.clone()).await
        };
        self.on(link, send).await
    }

    /// Makes a call on a connection, and sees to another one if it is not answered in time.
    async fn on<C: Clone + Send + 'static, T>(
        &self,
        link: &Lasting<C>,
        call: impl AsyncFnOnce(C) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let (connection, number) = link.get();
        let answer = self.in_time(call(connection)).await;
        if answer.as_ref().is_err_and(RedisError::is_timeout) {
            link.replace(number);
        }
        answer
    }

    /// Waits no longer than any call may take. The client's own timeout does not cover the wait for a
    /// new connection.
    pub(super) async fn in_time<T>(
        &self,
        call: impl Future<Output = RedisResult<T>>,
    ) -> RedisResult<T> {
        match tokio::time::timeout(self.longest_call, call).await {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }
}

fn single(info: ConnectionInfo, settings: &Settings) -> RedisResult<Client> {
    // With protocol 3 the manager learns of a lost connection at once, not with the next call.
    let server = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(server).set_tcp_settings(tcp(settings)))
}

fn manager(settings: &Settings) -> ConnectionManagerConfig {
    // Calls wait for a reconnection that is under way, so it must give up soon: the next call
    // starts another.
    ConnectionManagerConfig::new()
        .set_min_delay(Duration::from_millis(50))
        .set_max_delay(Duration::from_millis(250))
        .set_number_of_retries(1)
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(Some(settings.response_timeout))
        .set_pipeline_buffer_size(WAITING)
        .set_concurrency_limit(IN_FLIGHT)
}

fn cluster(nodes: Vec<ConnectionInfo>, settings: &Settings) -> RedisResult<ClusterClient> {
    ClusterClientBuilder::new(nodes)
        .tcp_settings(tcp(settings))
        .connection_timeout(settings.connect_timeout)
        .response_timeout(settings.response_timeout)
        // Unless it is set it is the same as for one try, and no try is ever repeated.
        .overall_response_timeout(Some(settings.response_timeout * 5))
        .min_retry_wait(50)
        .max_retry_wait(300)
        .connection_concurrency_limit(IN_FLIGHT)
        .build()
}

pub(super) fn tcp(settings: &Settings) -> TcpSettings {
    let tcp = TcpSettings::default().set_nodelay(true);
    // A server that vanished without a word is found out by what it does not acknowledge.
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(settings.response_timeout * 5);
    tcp
}
