//! A network that fails on demand: a TCP proxy in front of a server.

mod connection;
mod matcher;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{eventually, server};
use connection::Connection;
use matcher::Rule;

/// A ceiling for what the proxy itself has to do, on a machine under load.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From clients to the server.
    ToServer,
    /// From the server to clients.
    ToClient,
}

impl Direction {
    /// Both ways.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    fn opposite(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// How bytes travel in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How long each piece is on its way.
    pub latency: Duration,
    /// By how much longer at most; drawn for each piece. Order is kept.
    pub jitter: Duration,
    /// How many bytes pass in a second at most.
    pub bytes_per_second: Option<u32>,
    /// Nothing passes; what is sent is taken, and passes later.
    pub stalled: bool,
}

/// What is done when certain bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing: it is only counted.
    Tell,
    /// They and all after them wait on this connection, in this direction, until
    /// [`Proxy::release`].
    Hold,
    /// The connection is reset before they have passed whole.
    CutBefore,
    /// They pass, no answer does, and a moment later the connection is reset.
    CutAfter,
}

/// Watches for bytes; see [`Proxy::on`]. Dropping it leaves it in place.
pub struct Trigger {
    count: watch::Receiver<u64>,
}

impl Trigger {
    /// How often the bytes have passed.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Completes when the bytes have passed for the first time.
    ///
    /// # Panics
    /// If they do not within `deadline`.
    pub async fn fired(&mut self, deadline: Duration) {
        let seen = tokio::time::timeout(deadline, self.count.wait_for(|count| *count > 0)).await;
        assert!(matches!(seen, Ok(Ok(_))), "the bytes waited for have not passed in {deadline:?}");
    }
}

/// A TCP proxy in front of a server on this machine. Connections that are open stay so until
/// something is done to them; dropping it resets all.
pub struct Proxy {
    port: u16,
    link: Arc<Link>,
    accepting: Option<AbortOnDropHandle<()>>,
}

/// What the proxy's connections share.
struct Link {
    target: SocketAddr,
    traffic: watch::Sender<[Traffic; 2]>,
    rules: Mutex<Vec<Rule>>,
    faults: Mutex<Faults>,
    /// How often what is held has been released.
    releases: watch::Sender<u64>,
    /// How often all faults have been ended.
    heals: watch::Sender<u64>,
    accepted: AtomicU64,
    random: Mutex<fastrand::Rng>,
}

/// Cancelling a token does the fault to all connections that have it.
#[derive(Default)]
struct Faults {
    cut: CancellationToken,
    lose_server: CancellationToken,
    lose_client: CancellationToken,
}

impl Proxy {
    /// A proxy in front of whoever listens on this port of 127.0.0.1, now or later. What it draws
    /// at random follows from the seed.
    ///
    /// # Panics
    /// If there is no port to listen on.
    pub async fn start(target: u16, seed: u64) -> Self {
        let link = Arc::new(Link {
            target: SocketAddr::from((Ipv4Addr::LOCALHOST, target)),
            traffic: watch::Sender::default(),
            rules: Mutex::default(),
            faults: Mutex::default(),
            releases: watch::Sender::new(0),
            heals: watch::Sender::new(0),
            accepted: AtomicU64::new(0),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        });
        let mut proxy = Self { port: server::free_port(), link, accepting: None };
        proxy.accept().await;
        proxy
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> u64 {
        self.link.accepted.load(Ordering::Relaxed)
    }

    /// Resets all open connections, at both ends. New ones are welcome.
    pub fn cut(&self) {
        std::mem::take(&mut self.link.faults().cut).cancel();
    }

    /// Resets all open connections and refuses new ones, until [`heal`](Self::heal).
    pub fn refuse(&mut self) {
        self.accepting = None;
        self.cut();
    }

    /// The server's ends of all open connections are reset, and the clients are not told: they may
    /// send, and hear nothing. New connections are welcome.
    pub fn lose_server(&self) {
        std::mem::take(&mut self.link.faults().lose_server).cancel();
    }

    /// The clients' ends of all open connections are reset, and the server is not told.
    pub fn lose_client(&self) {
        std::mem::take(&mut self.link.faults().lose_client).cancel();
    }

    /// How bytes travel from now on, on all connections.
    pub fn set(&self, direction: Direction, traffic: Traffic) {
        self.link.traffic.send_modify(|both| both[direction as usize] = traffic);
    }

    /// The same in both directions.
    pub fn set_both(&self, traffic: Traffic) {
        self.link.traffic.send_replace([traffic; 2]);
    }

    /// Watches for bytes in a direction, on all connections, from now on. Anything but
    /// [`Then::Tell`] is done once.
    pub fn on(&self, direction: Direction, bytes: impl AsRef<[u8]>, then: Then) -> Trigger {
        let (rule, count) = Rule::new(direction, bytes.as_ref(), then);
        self.link.rules().push(rule);
        Trigger { count }
    }

    /// Lets pass what [`Then::Hold`] holds.
    pub fn release(&self) {
        self.link.releases.send_modify(|count| *count += 1);
    }

    /// Ends all faults: nothing is watched for, bytes travel, new connections are welcome, and what
    /// was lost on one side only is reset on the other.
    pub async fn heal(&mut self) {
        self.link.rules().clear();
        self.set_both(Traffic::default());
        self.release();
        self.link.heals.send_modify(|count| *count += 1);
        if self.accepting.is_none() {
            self.accept().await;
        }
    }

    async fn accept(&mut self) {
        let port = self.port;
        let listener = eventually(PATIENCE, || TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        let listener = listener.await;
        let link = self.link.clone();
        self.accepting = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    link.accepted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(link.clone().serve(client));
                }
            }
        })));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Link {
    async fn serve(self: Arc<Self>, client: TcpStream) {
        let (cut, lose_server, lose_client) = {
            let faults = self.faults();
            (faults.cut.clone(), faults.lose_server.clone(), faults.lose_client.clone())
        };
        let Some(Ok(server)) = cut.run_until_cancelled(TcpStream::connect(self.target)).await
        else {
            connection::reset(client);
            return;
        };
        Connection { link: &self, cut, lose_server, lose_client }.run(client, server).await;
    }

    fn jitter(&self, most: Duration) -> Duration {
        let mut random = self.random.lock().expect("nothing panics with the lock");
        most.mul_f64(random.f64())
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("nothing panics with the lock")
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("nothing panics with the lock")
    }
}
