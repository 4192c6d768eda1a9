//! A mapper's connection, with what the mapper sends mended on its way to the server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_util::io::poll_read_buf;
use tonic::transport::server::{Connected, UdsConnectInfo};

use super::authority::Mender;

/// Room for what is read at a time.
const ROOM: usize = 8192;

/// A connection that a [`Mender`] looks through. It holds no more of it than one frame of headers.
pub(super) struct Caller {
    stream: UnixStream,
    mender: Mender,
    /// What came and was not passed on.
    came: BytesMut,
    /// How much of it may be.
    ready: usize,
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, mender: Mender::default(), came: BytesMut::new(), ready: 0 }
    }
}

impl AsyncRead for Caller {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, mender, came, ready } = self.get_mut();
        while *ready == 0 {
            came.reserve(ROOM);
            let end = ready!(poll_read_buf(Pin::new(&mut *stream), context, came))? == 0;
            *ready = if end { came.len() } else { mender.mend(came) };
            if end && *ready == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let part = buffer.remaining().min(*ready);
        buffer.put_slice(&came[..part]);
        came.advance(part);
        *ready -= part;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Caller {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Caller {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}
