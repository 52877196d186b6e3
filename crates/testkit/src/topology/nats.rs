use tokio::join;

use crate::{NatsServer, server::free_port};

const SERVERS: usize = 3;

/// Three nats-servers with JetStream that form a cluster.
pub struct NatsCluster {
    /// The servers.
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts them. They elect their leader by and by.
    pub async fn start() -> Self {
        Self::start_configured("").await
    }

    /// The same, with more settings in the configuration file of each.
    pub async fn start_configured(config: &str) -> Self {
        let ports: Vec<u16> = (0..SERVERS).map(|_| free_port()).collect();
        let routes: Vec<String> =
            ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let start = |number: usize| {
            let arguments =
                ["--cluster_name", "longshore", "--cluster", &routes[number], "--routes"];
            let arguments: Vec<String> =
                arguments.into_iter().map(str::to_owned).chain([routes.join(",")]).collect();
            async move { NatsServer::start_with_file(config, &arguments).await }
        };
        let (one, two, three) = join!(start(0), start(1), start(2));
        Self { servers: vec![one, two, three] }
    }

    /// Where clients connect to: all of them, with commas between.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.servers.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// Which of the servers leads a stream; `None` if there is no leader or nobody answers.
    pub async fn leader(&self, stream: &str) -> Option<usize> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        for server in self.servers.iter().filter(|server| server.is_running()) {
            let Ok(info) = server.request(&subject, "").await else {
                continue;
            };
            let leader =
                info.split_once(r#""leader":""#).and_then(|(_, rest)| rest.split_once('"'));
            if let Some((leader, _)) = leader {
                return self.servers.iter().position(|server| server.name() == leader);
            }
        }
        None
    }
}
