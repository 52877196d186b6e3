use std::collections::HashMap;

use tokio::time::timeout;

use super::ANSWER;
use crate::{RedisServer, SentinelServer, eventually, server::PATIENCE};

/// What the Sentinels call the master.
const NAME: &str = "main";
/// The replicas are promoted by two of these.
const SENTINELS: usize = 3;

/// A redis-server with a replica, and three Sentinels that see to it that one of them is the
/// master. Both keep their data in an append-only file.
pub struct WatchedRedis {
    /// The two servers; which is the master tells [`master`](Self::master).
    pub servers: Vec<RedisServer>,
    /// The Sentinels.
    pub sentinels: Vec<SentinelServer>,
}

impl WatchedRedis {
    /// Starts them and waits until the Sentinels know each other and the replica, which is in
    /// step. The first of the servers is the master.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more arguments for both servers.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let arguments = [&["--appendonly", "yes", "--repl-diskless-sync-delay", "0"], arguments];
        let arguments = arguments.concat();
        let mut servers = Vec::new();
        for _ in 0..2 {
            servers.push(RedisServer::start_with(&arguments).await);
        }
        let port = servers[0].port().to_string();
        servers[1].cli(&["REPLICAOF", "127.0.0.1", &port]).await;
        let config = format!(
            "sentinel monitor {NAME} 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds {NAME} 1000\n\
             sentinel failover-timeout {NAME} 5000\n"
        );
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(SentinelServer::start_configured(&config).await);
        }
        let watched = Self { servers, sentinels };
        watched.settled().await;
        watched
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        format!("redis+sentinel://{}/{NAME}", hosts.join(","))
    }

    /// Which of the servers is the master, as most of the Sentinels see it; `None` while they are
    /// not of one mind.
    pub async fn master(&self) -> Option<usize> {
        let mut votes = vec![0; self.servers.len()];
        for sentinel in &self.sentinels {
            let ask = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
            let Ok(Ok(address)) = timeout(ANSWER, ask).await else { continue };
            let port = address.lines().nth(1).unwrap_or_default();
            let server = self.servers.iter().position(|server| server.port().to_string() == port);
            server.into_iter().for_each(|server| votes[server] += 1);
        }
        votes.into_iter().position(|votes| votes > SENTINELS / 2)
    }

    /// Waits until another than this one is the master, and takes writes.
    pub async fn another_master(&self, before: usize) -> usize {
        eventually(PATIENCE, async || match self.master().await {
            Some(master) if master != before => {
                let role = timeout(ANSWER, self.servers[master].try_cli(&["ROLE"])).await;
                match role {
                    Ok(Ok(role)) if role.starts_with("master") => Ok(master),
                    role => Err(format!("its role: {role:?}")),
                }
            }
            master => Err(format!("the master is {master:?}")),
        })
        .await
    }

    /// Waits until both servers and all Sentinels are there, know each other, and the replica is
    /// in step.
    pub async fn settled(&self) {
        for sentinel in &self.sentinels {
            eventually(PATIENCE, async || {
                let answer = sentinel
                    .ask(&["SENTINEL", "MASTER", NAME])
                    .await
                    .map_err(|error| error.to_string())?;
                let lines: Vec<&str> = answer.lines().collect();
                let fields: HashMap<&str, &str> =
                    lines.chunks(2).filter_map(|pair| Some((pair[0], *pair.get(1)?))).collect();
                let is = |field: &str, value: &str| fields.get(field) == Some(&value);
                let settled = is("num-other-sentinels", "2")
                    && is("num-slaves", "1")
                    && is("flags", "master");
                if settled { Ok(()) } else { Err(format!("{fields:?}")) }
            })
            .await;
        }
        eventually(PATIENCE, async || {
            let Some(master) = self.master().await else { return Err("there is none".to_owned()) };
            let role = self.servers[1 - master].try_cli(&["ROLE"]).await;
            match role {
                Ok(role) if role.contains("connected") => Ok(()),
                role => Err(format!("the replica's role: {role:?}")),
            }
        })
        .await;
    }
}
