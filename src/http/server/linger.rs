//! Closing a connection without destroying what was said last.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream that, once our half is closed, reads what is left of the client's before it counts as closed.
///
/// Closing a socket that has unread bytes resets it, and a reset destroys what is on its way to the client: the 413 for
/// one that is still sending its body, and the last GOAWAY, which tells an HTTP/2 client which of its requests crossed it
/// and can be sent again.
pub(super) struct Lingering<S> {
    stream: S,
    /// Since our half is closed: how long we wait for the other.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, patience: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, patience } = &mut *self;
        let patience = match patience {
            Some(patience) => patience,
            None => {
                ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
                patience.insert(Box::pin(tokio::time::sleep(PATIENCE)))
            }
        };
        let mut unread = [0; 4096];
        while patience.as_mut().poll(context).is_pending() {
            let mut unread = ReadBuf::new(&mut unread);
            // Whatever goes wrong now, the connection is over.
            if ready!(Pin::new(&mut *stream).poll_read(context, &mut unread)).is_err() || unread.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

const PATIENCE: Duration = Duration::from_secs(1);
