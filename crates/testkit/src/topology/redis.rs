use tokio::time::timeout;

use super::ANSWER;
use crate::{RedisServer, eventually, server::PATIENCE};

const MASTERS: usize = 3;
/// The slots of each master.
const SLOTS: [[&str; 2]; MASTERS] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
const ARGUMENTS: [&str; 12] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "2000",
    "--cluster-require-full-coverage",
    "no",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--repl-diskless-sync-delay",
    "0",
];

/// A Redis Cluster of three masters, with a replica each if wanted.
pub struct RedisCluster {
    /// The servers: at first the masters in the order of their slots, then the replicas in the
    /// order of their masters.
    pub servers: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three masters without replicas.
    pub async fn without_replicas() -> Self {
        Self::start(0).await
    }

    /// Three masters with a replica each.
    pub async fn with_replicas() -> Self {
        Self::start(1).await
    }

    async fn start(replicas: usize) -> Self {
        let mut servers = Vec::new();
        for _ in 0..MASTERS * (1 + replicas) {
            servers.push(RedisServer::start_with(&ARGUMENTS).await);
        }
        let first = servers[0].port().to_string();
        for (number, server) in servers.iter().enumerate() {
            server.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
            if let Some([from, to]) = SLOTS.get(number) {
                server.cli(&["CLUSTER", "ADDSLOTSRANGE", from, to]).await;
            }
            server.cli(&["CLUSTER", "MEET", "127.0.0.1", &first]).await;
        }
        let cluster = Self { servers };
        cluster.settled().await;
        for number in MASTERS..cluster.servers.len() {
            let master = cluster.servers[number - MASTERS].cli(&["CLUSTER", "MYID"]).await;
            cluster.servers[number].cli(&["CLUSTER", "REPLICATE", &master]).await;
        }
        cluster.settled().await;
        cluster
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Which of the servers are masters with slots, as the first that answers sees it. One that it
    /// takes for failed is none.
    pub async fn masters(&self) -> Vec<usize> {
        for server in self.servers.iter().filter(|server| server.is_running()) {
            let Ok(Ok(nodes)) = timeout(ANSWER, server.try_cli(&["CLUSTER", "NODES"])).await else {
                continue;
            };
            let masters = nodes.lines().filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let is_master =
                    words.get(2)?.split(',').any(|flag| flag == "master") && words.len() > 8;
                let is_up = !words[2].contains("fail");
                let port = words[1].split([':', '@']).nth(1)?;
                (is_master && is_up).then(|| self.position(port)).flatten()
            });
            return masters.collect();
        }
        Vec::new()
    }

    /// Waits until three masters without this one have all the slots.
    pub async fn without(&self, lost: usize) -> Vec<usize> {
        eventually(PATIENCE, async || {
            let masters = self.masters().await;
            let replaced = masters.len() == MASTERS && !masters.contains(&lost);
            if replaced { Ok(masters) } else { Err(format!("the masters: {masters:?}")) }
        })
        .await
    }

    fn position(&self, port: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.port().to_string() == port)
    }

    /// Waits until all servers know each other, and who has which slots, and each replica is in step.
    pub async fn settled(&self) {
        let known = format!("cluster_known_nodes:{}", self.servers.len());
        for server in &self.servers {
            eventually(PATIENCE, async || {
                let info = server.cli(&["CLUSTER", "INFO"]).await;
                let role = server.cli(&["ROLE"]).await;
                let in_step = role.starts_with("master") || role.contains("connected");
                // It is well without them, as not all slots need be covered.
                let all_slots = "cluster_slots_assigned:16384";
                let is_up =
                    ["cluster_state:ok", all_slots, &known].iter().all(|it| info.contains(it));
                if is_up && in_step { Ok(()) } else { Err(format!("{info}; its role: {role}")) }
            })
            .await;
        }
    }
}
