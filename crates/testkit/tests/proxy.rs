//! The proxy does to real sockets what it says.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{io::ErrorKind, time::Duration};

use longshore_testkit::{Direction, Proxy, Then, Traffic, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing has to come for it to count as nothing.
const SILENCE: Duration = Duration::from_millis(300);

/// A server behind a proxy, with one connection through it.
struct Site {
    listener: TcpListener,
    proxy: Proxy,
    client: TcpStream,
    server: TcpStream,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().port(), 1).await;
        let (client, server) = Self::connect(&listener, &proxy).await;
        Self { listener, proxy, client, server }
    }

    async fn connect(listener: &TcpListener, proxy: &Proxy) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// Both sides hear each other over a new connection.
    async fn works(&self) {
        let (mut client, mut server) = Self::connect(&self.listener, &self.proxy).await;
        client.write_all(b"ping").await.unwrap();
        expect(&mut server, "ping").await;
        server.write_all(b"pong").await.unwrap();
        expect(&mut client, "pong").await;
    }
}

async fn expect(stream: &mut TcpStream, text: &str) {
    let mut buffer = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut buffer)).await.expect("it comes").unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer), text);
}

async fn expect_silence(stream: &mut TcpStream) {
    let heard = timeout(SILENCE, stream.read_u8()).await;
    assert!(heard.is_err(), "{heard:?}");
}

async fn expect_reset(stream: &mut TcpStream) {
    let heard = timeout(PATIENCE, stream.read_u8()).await.expect("it ends");
    assert_eq!(heard.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn passes_bytes_and_ends() {
    let mut site = Site::start().await;
    site.works().await;
    site.client.write_all(b"last").await.unwrap();
    site.client.shutdown().await.unwrap();
    expect(&mut site.server, "last").await;
    assert_eq!(site.server.read(&mut [0]).await.unwrap(), 0);
    // The other direction is still open.
    site.server.write_all(b"answer").await.unwrap();
    expect(&mut site.client, "answer").await;
    assert_eq!(site.proxy.accepted(), 2);
}

#[tokio::test]
async fn cuts() {
    let mut site = Site::start().await;
    site.proxy.cut();
    expect_reset(&mut site.client).await;
    expect_reset(&mut site.server).await;
    site.works().await;
}

#[tokio::test]
async fn refuses_until_healed() {
    let mut site = Site::start().await;
    site.proxy.refuse();
    expect_reset(&mut site.client).await;
    let port = site.proxy.port();
    eventually(PATIENCE, || async {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    site.proxy.heal().await;
    site.works().await;
}

#[tokio::test]
async fn stalls_one_direction() {
    let mut site = Site::start().await;
    site.proxy.set(Direction::ToServer, Traffic { stalled: true, ..Traffic::default() });
    site.client.write_all(b"later").await.unwrap();
    expect_silence(&mut site.server).await;
    site.server.write_all(b"now").await.unwrap();
    expect(&mut site.client, "now").await;
    site.proxy.heal().await;
    expect(&mut site.server, "later").await;
}

#[tokio::test]
async fn delays_without_holding_up_what_follows() {
    let mut site = Site::start().await;
    let latency = Duration::from_millis(200);
    let jitter = Duration::from_millis(50);
    site.proxy.set_both(Traffic { latency, jitter, ..Traffic::default() });
    let start = Instant::now();
    for _ in 0..20 {
        site.client.write_all(b"0123456789").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    expect(&mut site.server, &"0123456789".repeat(20)).await;
    assert!(start.elapsed() >= latency, "{:?}", start.elapsed());
    // One after the other would be 4 s.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn drips() {
    let mut site = Site::start().await;
    site.proxy.set_both(Traffic { bytes_per_second: Some(200), ..Traffic::default() });
    let start = Instant::now();
    site.client.write_all(&[b'x'; 100]).await.unwrap();
    expect(&mut site.server, &"x".repeat(100)).await;
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
}

#[tokio::test]
async fn loses_the_server_without_a_word() {
    let mut site = Site::start().await;
    site.proxy.lose_server();
    expect_reset(&mut site.server).await;
    for _ in 0..10 {
        site.client.write_all(&[0; 100_000]).await.unwrap();
    }
    expect_silence(&mut site.client).await;
    site.works().await;
    site.proxy.heal().await;
    expect_reset(&mut site.client).await;
}

#[tokio::test]
async fn loses_the_client_without_a_word() {
    let mut site = Site::start().await;
    site.proxy.lose_client();
    expect_reset(&mut site.client).await;
    site.server.write_all(b"are you there?").await.unwrap();
    expect_silence(&mut site.server).await;
    site.proxy.cut();
    expect_reset(&mut site.server).await;
}

#[tokio::test]
async fn holds_at_certain_bytes() {
    let mut site = Site::start().await;
    let mut trigger = site.proxy.on(Direction::ToServer, "STOP", Then::Hold);
    site.client.write_all(b"one two ST").await.unwrap();
    expect(&mut site.server, "one two ").await;
    assert_eq!(trigger.count(), 0);
    site.client.write_all(b"OP three").await.unwrap();
    trigger.fired(PATIENCE).await;
    // What had passed before the rest was known has passed.
    expect(&mut site.server, "ST").await;
    expect_silence(&mut site.server).await;
    site.works().await;
    site.proxy.release();
    expect(&mut site.server, "OP three").await;
    site.client.write_all(b"STOP").await.unwrap();
    expect(&mut site.server, "STOP").await;
}

#[tokio::test]
async fn cuts_before_certain_bytes() {
    let mut site = Site::start().await;
    let mut trigger = site.proxy.on(Direction::ToServer, "STOP", Then::CutBefore);
    site.client.write_all(b"STOP").await.unwrap();
    trigger.fired(PATIENCE).await;
    expect_reset(&mut site.client).await;
    expect_reset(&mut site.server).await;
}

#[tokio::test]
async fn cuts_after_certain_bytes_so_that_no_answer_comes() {
    let mut site = Site::start().await;
    let mut trigger = site.proxy.on(Direction::ToServer, "STOP", Then::CutAfter);
    site.client.write_all(b"one STOP two").await.unwrap();
    expect(&mut site.server, "one STOP two").await;
    // Fails if the reset has come already.
    site.server.write_all(b"answer").await.ok();
    trigger.fired(PATIENCE).await;
    expect_reset(&mut site.client).await;
    expect_reset(&mut site.server).await;
}

#[tokio::test]
async fn counts_certain_bytes() {
    let mut site = Site::start().await;
    let trigger = site.proxy.on(Direction::ToClient, "ab", Then::Tell);
    let _hold = site.proxy.on(Direction::ToClient, "c", Then::Hold);
    site.server.write_all(b"ab ab c ab").await.unwrap();
    expect(&mut site.client, "ab ab ").await;
    assert_eq!(trigger.count(), 2);
    site.proxy.release();
    expect(&mut site.client, "c ab").await;
    assert_eq!(trigger.count(), 3);
}
