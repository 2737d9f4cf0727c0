//! A connection that can be read to its end although its peer is gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a client has sent before it died is to be carried out (`docs/design/0028`), but HTTP/2 drops a
/// connection, with all that was not read yet, as soon as it cannot write to it. Here what cannot be
/// written is dropped instead, and the peer's death shows when all of its bytes were read.
#[derive(Debug)]
pub struct Lasting<S> {
    stream: S,
    /// It cannot be written to any more.
    gone: bool,
}

impl<S> Lasting<S> {
    /// Wraps a connection.
    pub fn new(stream: S) -> Lasting<S> {
        Lasting { stream, gone: false }
    }

    /// What a write of `len` bytes comes to.
    fn wrote<T>(&mut self, done: io::Result<T>, instead: T) -> io::Result<T> {
        Ok(done.unwrap_or_else(|error| {
            tracing::debug!(%error, "the peer is gone; what it sent is read to its end");
            self.gone = true;
            instead
        }))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lasting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lasting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gone {
            return Poll::Ready(Ok(buf.len()));
        }
        let done = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(self.wrote(done, buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if self.gone {
            return Poll::Ready(Ok(len));
        }
        let done = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        Poll::Ready(self.wrote(done, len))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gone {
            return Poll::Ready(Ok(()));
        }
        let done = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.wrote(done, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Connected> Connected for Lasting<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::Lasting;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn lasting_connection_is_read_to_its_end_after_its_peer_died() {
        let (mut peer, stream) = UnixStream::pair().unwrap();
        let mut stream = Lasting::new(stream);
        peer.write_all(b"the last words").await.unwrap();
        stream.write_all(b"never read").await.unwrap();
        drop(peer);
        stream.write_all(b"an answer").await.unwrap();
        stream.flush().await.unwrap();
        let mut heard = vec![0; 14];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, b"the last words");
        // Unread bytes at the peer's death show as an error, as the end otherwise does.
        assert!(!matches!(stream.read(&mut heard).await, Ok(1..)));
    }
}
