//! One connection through the proxy.

use std::{convert::Infallible, io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Direction, Link, Then,
    matcher::{Match, Passed},
};

/// How many bytes are read at once at most.
const PIECE: usize = 16 * 1024;
/// How many pieces are on their way at most.
const ON_THEIR_WAY: usize = 1024;
/// How long what was sent goes on passing before a [`Then::CutAfter`].
const LINGER: Duration = Duration::from_millis(250);
/// Into how many parts a second is divided where bytes drip.
const DRIPS: u32 = 20;

/// One connection through the proxy.
pub(super) struct Connection<'a> {
    pub(super) link: &'a Link,
    pub(super) cut: CancellationToken,
    pub(super) lose_server: CancellationToken,
    pub(super) lose_client: CancellationToken,
}

/// A socket at one end.
struct End {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
}

/// Why the proxy itself ends a connection.
enum Fault {
    Cut,
    Lost(Direction),
}

enum Piece {
    Bytes { due: Instant, bytes: Vec<u8> },
    Cut,
}

impl Connection<'_> {
    pub(super) async fn run(self, client: TcpStream, server: TcpStream) {
        let (mut client, mut server) = (End::of(client), End::of(server));
        let mute = watch::Sender::new([false; 2]);
        let fault = {
            let both = async {
                tokio::try_join!(
                    self.pump(Direction::ToServer, &mut client.reader, &mut server.writer, &mute),
                    self.pump(Direction::ToClient, &mut server.reader, &mut client.writer, &mute),
                )
            };
            tokio::select! {
                biased;
                () = self.cut.cancelled() => Fault::Cut,
                () = self.lose_server.cancelled() => Fault::Lost(Direction::ToServer),
                () = self.lose_client.cancelled() => Fault::Lost(Direction::ToClient),
                ended = both => match ended {
                    Ok(_) => return,
                    Err(_) => Fault::Cut,
                }
            }
        };
        let (gone, mut left) = match fault {
            Fault::Cut => {
                server.reset();
                return client.reset();
            }
            Fault::Lost(Direction::ToServer) => (server, client),
            Fault::Lost(Direction::ToClient) => (client, server),
        };
        let mut heals = self.link.heals.subscribe();
        gone.reset();
        tokio::select! {
            () = self.cut.cancelled() => {}
            _ = heals.changed() => {}
            _ = left.swallow() => {}
        }
        left.reset();
    }

    /// Passes on bytes until their end.
    async fn pump(
        &self,
        direction: Direction,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        mute: &watch::Sender<[bool; 2]>,
    ) -> io::Result<()> {
        let (sender, queue) = mpsc::channel(ON_THEIR_WAY);
        tokio::try_join!(
            self.read(direction, from, sender, mute),
            self.write(direction, queue, to, mute.subscribe()),
        )?;
        Ok(())
    }

    async fn read(
        &self,
        direction: Direction,
        from: &mut OwnedReadHalf,
        queue: mpsc::Sender<Piece>,
        mute: &watch::Sender<[bool; 2]>,
    ) -> io::Result<()> {
        let (mut passed, mut buffer) = (Passed::default(), vec![0; PIECE]);
        let mut due = Instant::now();
        let mut cut_at = None;
        loop {
            let count = match cut_at {
                None => from.read(&mut buffer).await?,
                Some(at) => match timeout_at(at, from.read(&mut buffer)).await {
                    Ok(count) => count?,
                    Err(_) => return queue.send(Piece::Cut).await.map_err(gone),
                },
            };
            if count == 0 {
                return Ok(());
            }
            let mut rest = &buffer[..count];
            // Each look takes a rule away, so this ends.
            loop {
                let mut releases = self.link.releases.subscribe();
                let found = passed.look(&mut self.link.rules(), direction, rest, |then| {
                    // Before the test is told, so that no answer slips through.
                    if then == Then::CutAfter {
                        mute.send_modify(|both| both[direction.opposite() as usize] = true);
                    }
                });
                let before = found.as_ref().map_or(rest.len(), |found| found.before);
                due = due.max(Instant::now() + self.delay(direction));
                let piece = Piece::Bytes { due, bytes: rest[..before].to_vec() };
                queue.send(piece).await.map_err(gone)?;
                rest = &rest[before..];
                match found {
                    None => break,
                    Some(Match { then: Then::CutBefore, .. }) => return Err(on_purpose()),
                    Some(Match { then: Then::CutAfter, .. }) => {
                        cut_at = Some(Instant::now() + LINGER);
                    }
                    Some(Match { then: Then::Hold, .. }) => drop(releases.changed().await),
                    Some(Match { then: Then::Tell, .. }) => {}
                }
                passed = Passed::default();
            }
        }
    }

    async fn write(
        &self,
        direction: Direction,
        mut queue: mpsc::Receiver<Piece>,
        to: &mut OwnedWriteHalf,
        mut mute: watch::Receiver<[bool; 2]>,
    ) -> io::Result<()> {
        let way = direction as usize;
        let mut traffic = self.link.traffic.subscribe();
        while let Some(piece) = queue.recv().await {
            let Piece::Bytes { due, bytes } = piece else { return Err(on_purpose()) };
            sleep_until(due).await;
            let mut rest = &*bytes;
            while !rest.is_empty() {
                // The senders live as long as this.
                drop(traffic.wait_for(|both| !both[way].stalled).await);
                drop(mute.wait_for(|both| !both[way]).await);
                let rate = traffic.borrow().get(way).and_then(|traffic| traffic.bytes_per_second);
                let drip = rate.map_or(usize::MAX, |rate| (rate / DRIPS).max(1) as usize);
                let (now, later) = rest.split_at(rest.len().min(drip));
                to.write_all(now).await?;
                rest = later;
                if let Some(rate) = rate {
                    let span = Duration::from_secs(1) / rate.max(1);
                    sleep(span * u32::try_from(now.len()).unwrap_or(u32::MAX)).await;
                }
            }
        }
        to.shutdown().await
    }

    fn delay(&self, direction: Direction) -> Duration {
        let traffic = self.link.traffic.borrow()[direction as usize];
        traffic.latency + self.link.jitter(traffic.jitter)
    }
}

impl End {
    fn of(stream: TcpStream) -> Self {
        // Fails only if it is closed already, which reading tells.
        stream.set_nodelay(true).ok();
        let (reader, writer) = stream.into_split();
        Self { reader, writer }
    }

    fn reset(self) {
        // Fails only if it is closed already.
        self.writer.as_ref().set_zero_linger().ok();
        self.writer.forget();
    }

    /// Reads all there is and drops it.
    async fn swallow(&mut self) -> io::Result<Infallible> {
        let mut buffer = vec![0; PIECE];
        while self.reader.read(&mut buffer).await? > 0 {}
        std::future::pending().await
    }
}

/// Ends a connection that has only one end by RST.
pub(super) fn reset(stream: TcpStream) {
    End::of(stream).reset();
}

fn gone<T>(_: T) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

fn on_purpose() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
