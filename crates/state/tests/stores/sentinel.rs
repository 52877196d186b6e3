//! A server whose replica takes over.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use longshore_state::{
    redis::{RedisStore, Settings},
    store::{Error, Store},
};
use longshore_testkit::{RedisServer, eventually};
use tempfile::TempDir;

use super::redis::{PATIENCE, commit, load, new};

/// One Sentinel, which is a majority of one.
struct Sentinel {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Sentinel {
    fn watch(master: &RedisServer) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("sentinel.conf");
        let port = (0..1000)
            .map(|_| fastrand::u16(10_000..32_000))
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .unwrap();
        let settings = format!(
            "port {port}\n\
             bind 127.0.0.1\n\
             sentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 3000\n",
            master.port()
        );
        std::fs::write(&file, settings).unwrap();
        let process = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port, _directory: directory }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test]
async fn follows_the_master() {
    let mut master = RedisServer::start().await;
    let replica =
        RedisServer::start_with(&["--replicaof", "127.0.0.1", &master.port().to_string()]).await;
    let sentinel = Sentinel::watch(&master);
    let settings = |name| Settings {
        url: format!("redis+sentinel://127.0.0.1:{}/{name}", sentinel.port),
        ..Settings::default()
    };
    let store = eventually(PATIENCE, async || RedisStore::connect(&settings("main")).await).await;
    let unknown = RedisStore::connect(&settings("other")).await.err().unwrap();
    assert!(matches!(unknown, Error::Unavailable { .. }), "{unknown}");

    let before = new();
    eventually(PATIENCE, || commit(&store, &before)).await;
    let key = format!("ls:{{{}}}:{}", before.id.partition(16), before.id);
    eventually(PATIENCE, async || match &*replica.cli(&["EXISTS", &key]).await {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    // Sentinel learns of replicas by and by.
    eventually(PATIENCE, async || {
        let clients = replica.cli(&["CLIENT", "LIST"]).await;
        if clients.contains("name=sentinel") { Ok(()) } else { Err(clients) }
    })
    .await;

    master.kill();
    assert!(matches!(load(&store, &before.id).await, Err(Error::Unavailable { .. })));
    eventually(PATIENCE, || store.check()).await;
    assert_eq!(load(&store, &before.id).await.unwrap().stored.unwrap().record, before);
    commit(&store, &new()).await.unwrap();
    assert!(replica.cli(&["ROLE"]).await.starts_with("master"));
}
