//! The servers do what tests rely on.

use std::time::Duration;

use longshore_testkit::{NatsServer, RedisServer, eventually};

#[tokio::test]
async fn redis_is_killed_restarted_and_wiped() {
    let mut server =
        RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    assert_eq!(server.cli(&["SET", "key", "value"]).await, "OK");
    let first = server.pid();
    server.kill();
    server.restart().await;
    assert_ne!(server.pid(), first);
    assert_eq!(server.cli(&["GET", "key"]).await, "value");
    server.terminate().await;
    server.wipe_and_restart().await;
    assert_eq!(server.cli(&["GET", "key"]).await, "");
    assert_eq!(server.cli(&["CONFIG", "GET", "port"]).await, format!("port\n{}", server.port()));
}

#[tokio::test]
async fn a_frozen_server_answers_when_it_is_thawed() {
    let server = RedisServer::start().await;
    server.freeze();
    let answer = async {
        let early = tokio::time::timeout(Duration::from_millis(50), server.cli(&["PING"])).await;
        assert!(early.is_err(), "a frozen server answered {early:?}");
        server.thaw();
        server.cli(&["PING"]).await
    };
    assert_eq!(answer.await, "PONG");
}

#[tokio::test]
async fn nats_is_ended_and_restarted() {
    let mut server = NatsServer::start_configured("max_payload: 2000000").await;
    let (port, pid) = (server.port(), server.pid());
    server.terminate().await;
    server.restart().await;
    server.wipe_and_restart().await;
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert!(server.version().await.starts_with("2."));
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let server = RedisServer::start().await;
    let (pid, dir) = (server.pid(), server.dir().to_owned());
    drop(server);
    assert!(!dir.exists());
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    eventually(Duration::from_secs(20), || async {
        if process.exists() { Err("it lives") } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "the last answer: saw 3")]
async fn the_last_answer_is_told() {
    tokio::time::pause();
    let mut asked = 0;
    eventually(Duration::from_millis(20), || {
        asked += 1;
        async move { Err::<(), _>(format!("saw {asked}")) }
    })
    .await;
}
