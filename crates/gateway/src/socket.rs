//! The socket of an HTTP/2 connection, which sends together what is answered together.
//!
//! Each call that ends wakes its connection, and that would write each answer by itself: a system
//! call, a packet and a wake-up of the client for every one. So what is to be sent is held until all
//! tasks that can run have had their turn, and then goes in one piece. Nothing waits for a time.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// From so many bytes on it is sent at once.
const FULL: usize = 64 * 1024;
/// How much room for more is kept.
const KEPT: usize = 16 * 1024;

/// A socket of an HTTP/2 connection. It counts on being read from whenever its task runs, as HTTP/2
/// does.
pub(crate) struct Socket<S = TcpStream> {
    stream: S,
    held: BytesMut,
    /// Its task runs again, after all others.
    called_back: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, held: BytesMut::new(), called_back: false }
    }

    /// Sends what is held.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(sent);
        }
        // Most connections are at rest most of the time.
        if self.held.capacity() > KEPT {
            self.held = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.called_back && self.poll_send(context)?.is_ready() {
            self.called_back = false;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() >= FULL {
            ready!(self.poll_send(context))?;
        }
        pieces.iter().for_each(|piece| self.held.extend_from_slice(piece));
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Says that it is done, and sees to it.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() && !self.called_back {
            self.called_back = true;
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Has the socket's task run, as HTTP/2 does: it reads, as far as there is something.
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) {
        let mut nothing = [0; 1];
        poll_fn(|context| {
            let read = Pin::new(&mut *socket).poll_read(context, &mut ReadBuf::new(&mut nothing));
            assert!(read.is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_written_before_the_task_runs_again_is_sent_together() {
        let (here, mut there) = duplex(1024);
        let mut socket = Socket::new(here);
        for part in ["one, ", "two, ", "three"] {
            socket.write_all(part.as_bytes()).await.unwrap();
            socket.flush().await.unwrap();
        }
        run(&mut socket).await;
        let mut came = [0; 64];
        let count = there.read(&mut came).await.unwrap();
        assert_eq!(&came[..count], b"one, two, three");
    }

    #[tokio::test]
    async fn a_slow_peer_gets_all_in_order() {
        let (here, mut there) = duplex(1000);
        let mut socket = Socket::new(here);
        let sent: Vec<u8> = (0..5 * FULL).map(|place| (place % 251) as u8).collect();
        let expected = sent.clone();
        let reading = tokio::spawn(async move {
            let mut came = Vec::new();
            there.read_to_end(&mut came).await.unwrap();
            came
        });
        for part in sent.chunks(9999) {
            socket.write_all(part).await.unwrap();
            socket.flush().await.unwrap();
            run(&mut socket).await;
        }
        socket.shutdown().await.unwrap();
        drop(socket);
        assert!(reading.await.unwrap() == expected);
    }

    #[tokio::test]
    async fn a_peer_that_has_gone_is_an_error() {
        let (here, there) = duplex(1000);
        let mut socket = Socket::new(here);
        drop(there);
        socket.write_all(b"lost").await.unwrap();
        socket.flush().await.unwrap();
        assert!(socket.read(&mut [0; 1]).await.is_err());
    }
}
