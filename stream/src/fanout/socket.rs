//! The two kinds of connections there are, and what is done with them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use peep_chassis::socket::PatientStream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection on its way to its thread.
pub enum Socket {
    Plain(std::net::TcpStream),
    /// Stays registered where it was accepted: what TLS costs hides the difference.
    Tls(Box<TlsStream<PatientStream>>),
}

impl Socket {
    /// What a connection of the listener became, with what the client has sent already.
    pub fn of(upgraded: Upgraded) -> Option<(Self, Bytes)> {
        let upgraded = match downcast::<TokioIo<PatientStream>>(upgraded) {
            Ok(parts) => {
                let socket = parts.io.into_inner().into_socket();
                return Some((Self::Plain(socket.into_std().ok()?), parts.read_buf));
            }
            Err(upgraded) => upgraded,
        };
        let parts = downcast::<TokioIo<TlsStream<PatientStream>>>(upgraded).ok()?;
        Some((Self::Tls(Box::new(parts.io.into_inner())), parts.read_buf))
    }
}

/// A connection at its thread.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<PatientStream>>),
}

impl Wire {
    /// Registers with the runtime of this thread.
    pub(super) fn of(socket: Socket, write_timeout: Duration) -> io::Result<Self> {
        let wire = match socket {
            Socket::Plain(stream) => Self::Plain(TcpStream::from_std(stream)?),
            Socket::Tls(stream) => Self::Tls(stream),
        };
        // Who takes nothing from the kernel either is cut by it, even when nothing of ours waits.
        #[cfg(target_os = "linux")]
        {
            let socket = SockRef::from(wire.stream());
            let _ = socket.set_tcp_user_timeout(Some(write_timeout));
            let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = write_timeout;
        Ok(wire)
    }

    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0.socket(),
        }
    }

    /// At once or not at all. TLS needs a task to write in.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// TLS holds records back until then.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }

    /// Says that nothing more will come; the client may still be told what is on its way.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    /// What the kernel still holds is thrown away with the connection.
    pub(super) fn forget_unsent(&self) {
        let _ = SockRef::from(self.stream()).set_linger(Some(Duration::ZERO));
    }
}

/// What the kernel takes before the client has: older frames that would arrive before newer ones, and memory of a viewer that does
/// not read. It asks for more when half of that is gone, so that this is also how finely progress is seen: a client that takes
/// 1 KB/s is seen to move every eight seconds.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 16 << 10;
