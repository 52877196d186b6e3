//! Accepts connections and serves them within bounds: HTTP/2 for gRPC, and HTTP/1.1, on one port.

use std::{io, pin::pin, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{front::Front, settings::HttpSettings, socket::Socket};

/// How many streams a peer may open and reset before anybody has looked at them (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// How many stream errors a peer may provoke before its connection is closed (CVE-2025-8671). hyper
/// has no limit unless one is set.
const MAX_PROVOKED_RESETS: usize = 1024;
/// The largest header list, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;
/// How long the head of an HTTP/1.1 request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How HTTP/2 begins, and nothing else.
const PREFACE: &[u8; 4] = b"PRI ";
/// The pause after a failed accept: usually there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until the shutdown, and then those calls that are in flight for as long as
/// `grace`. Dropping the future cuts all connections.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Front,
    settings: &HttpSettings,
    shutdown: &CancellationToken,
    grace: Duration,
) {
    let server = Arc::new(Server { http: builder(settings), front, settings: settings.clone() });
    let room = Arc::new(Semaphore::new(settings.max_connections));
    let mut connections = JoinSet::new();
    while let Some((stream, place)) = shutdown.run_until_cancelled(accept(&listener, &room)).await {
        let server = Arc::clone(&server);
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            server.connection(stream, &shutdown).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if timeout(grace, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(connections = connections.len(), "calls did not finish in time and are cut");
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether it is only that the peer has gone already.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn builder(settings: &HttpSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_calls_per_connection)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_PROVOKED_RESETS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout);
    builder
}

struct Server {
    http: Builder<TokioExecutor>,
    front: Front,
    settings: HttpSettings,
}

impl Server {
    /// Serves one connection until it ends, asking the client to leave when its time has come.
    async fn connection(&self, stream: TcpStream, shutdown: &CancellationToken) {
        // Without it small answers wait for the peer's acknowledgement of the ones before.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match self.speaks(&stream).await {
            Some(Speaks::Http2) => Box::pin(self.serve(Socket::new(stream), shutdown)).await,
            Some(Speaks::Other) => Box::pin(self.serve(stream, shutdown)).await,
            None => {}
        }
    }

    async fn serve<S>(&self, stream: S, shutdown: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let mut connection = pin!(self.http.serve_connection(stream, self.front.clone()));
        let age = self.settings.max_connection_age.mul_f64(1.0 + 0.1 * fastrand::f64());
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = leave(age, shutdown) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            // Clients come and go as they like.
            tracing::debug!(%error, "a connection ended");
        }
    }

    /// Waits for the first bytes; `None` if none come.
    async fn speaks(&self, stream: &TcpStream) -> Option<Speaks> {
        let mut first = [0; PREFACE.len()];
        match timeout(self.settings.first_byte_timeout, stream.peek(&mut first)).await {
            Ok(Ok(1..)) if first == *PREFACE => Some(Speaks::Http2),
            Ok(Ok(1..)) => Some(Speaks::Other),
            Ok(Ok(0) | Err(_)) | Err(_) => None,
        }
    }
}

/// How a client begins.
enum Speaks {
    Http2,
    /// HTTP/1.1, or HTTP/2 by very small pieces.
    Other,
}

async fn leave(age: Duration, shutdown: &CancellationToken) {
    drop(timeout(age, shutdown.cancelled()).await);
}
