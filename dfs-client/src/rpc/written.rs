//! Knowing what has left: connections that count what they wrote.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Counts the bytes that connections to one server wrote, one after the other. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Written(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    /// `written` when all that its writer had was last written.
    flushed: watch::Sender<u64>,
}

impl Written {
    /// How many so far.
    pub(super) fn count(&self) -> u64 {
        self.0.written.load(Ordering::Acquire)
    }

    /// Returns when so many are written, and nothing is left that should be.
    pub(super) async fn reaches(&self, count: u64) {
        // Fails only if the sender is gone, which is ours.
        let _ = self.0.flushed.subscribe().wait_for(|flushed| *flushed >= count).await;
    }
}

/// A connection that counts.
#[derive(Debug)]
pub(super) struct Counted<C> {
    inner: C,
    written: Written,
}

impl<C> Counted<C> {
    pub(super) fn new(inner: C, written: Written) -> Counted<C> {
        Counted { inner, written }
    }

    fn wrote(&self, result: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let Ok(count) = &result {
            self.written.0.written.fetch_add(*count as u64, Ordering::AcqRel);
        }
        Poll::Ready(result)
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        if result.is_ok() {
            let count = self.written.count();
            let flushed = &self.written.0.flushed;
            flushed.send_if_modified(|flushed| std::mem::replace(flushed, count) != count);
        }
        Poll::Ready(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn written_is_what_the_other_side_can_read() {
        let written = Written::default();
        let (here, mut there) = duplex(8);
        let mut counted = Counted::new(here, written.clone());
        assert_eq!(counted.write(b"123456789").await.unwrap(), 8, "there is no more room");
        assert_eq!(written.count(), 8);
        let eight = written.reaches(8);
        tokio::pin!(eight);
        let pending = poll_fn(|cx| Poll::Ready(eight.as_mut().poll(cx).is_pending()));
        assert!(pending.await, "nobody has said that this was all");
        counted.flush().await.unwrap();
        eight.await;
        there.read_exact(&mut [0; 8]).await.unwrap();
        // The next connection goes on counting.
        let (here, _there) = duplex(8);
        let mut next = Counted::new(here, written.clone());
        next.write_all(b"9").await.unwrap();
        next.flush().await.unwrap();
        written.reaches(9).await;
    }
}
