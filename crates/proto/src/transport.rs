//! How calls travel: TCP, Unix sockets, and pipes inside one process, all with the same settings.

mod heard;
pub mod listen;
mod outgoing;
mod pipe;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, StreamExt};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server, Uri};

use crate::body::CHUNK_BYTES;

pub use outgoing::{Outgoing, Stamp};
pub use pipe::{Pipe, PipeListener};

/// Bytes in flight on a stream and on a connection. tonic's default of 64 KiB costs four fifths of
/// the throughput of a stream.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Largest HTTP/2 frame that a server takes, and a client from another host. Whatever else there is to say waits for the one that is under
/// way: on a line of 1 Mbit/s, for half a second.
const FRAME_BYTES: u32 = 64 * 1024;

/// Largest HTTP/2 frame that a client takes from its own host, where no line is slow.
const NEAR_FRAME_BYTES: u32 = 1024 * 1024;

/// Bytes of a connection that wait in the kernel to be sent. Questions whether the connection still
/// stands wait behind them, so on a slow line they must be few.
const UNSENT_BYTES: u32 = 64 * 1024;

/// How long a connection may be silent, unless a service is told otherwise. In the first half of it
/// nothing is asked; in the second the other side is asked whether it is there.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);

/// Where a service is.
#[derive(Debug, Clone)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// A socket on this host.
    Unix(PathBuf),
    /// Inside this process.
    Pipe(Pipe),
    /// Whichever of these takes a connection, asked in this order: several orchestrators, of which
    /// only the one that leads listens.
    FirstOf(Vec<Address>),
}

/// A text that names no service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "address {text:?} is neither host:port, http://host:port nor unix:/path, nor several of these with commas between"
)]
pub struct InvalidAddress {
    /// What was given.
    pub text: String,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress {
            text: text.to_owned(),
        };
        if text.contains(',') {
            let each = text.split(',').map(|one| one.trim().parse());
            return Ok(Self::FirstOf(each.collect::<Result<_, _>>()?));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(invalid())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let authority = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(invalid)?;
        let port_fits = port.parse::<u16>().is_ok_and(|port| port > 0);
        if host.is_empty()
            || host.contains('/')
            || !port_fits
            || format!("http://{authority}").parse::<Uri>().is_err()
        {
            return Err(invalid());
        }
        Ok(Self::Tcp(authority.to_owned()))
    }
}

impl Address {
    /// Whether calls certainly stay on this host.
    #[must_use]
    pub fn is_near(&self) -> bool {
        matches!(self, Self::Unix(_) | Self::Pipe(_))
    }

    /// Bytes of a body in one message to this address. Between hosts they are few: what arrived of a
    /// message that breaks is lost, so that on a slow line a body gets on only by messages which the
    /// line carries between two breaks.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        match self.is_near() {
            true => CHUNK_BYTES,
            false => FRAME_BYTES as usize,
        }
    }

    fn frame_bytes(&self) -> u32 {
        match self.is_near() {
            true => NEAR_FRAME_BYTES,
            false => FRAME_BYTES,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Pipe(_) => f.write_str("this process"),
            Self::FirstOf(addresses) => {
                let each: Vec<_> = addresses.iter().map(Self::to_string).collect();
                f.write_str(&each.join(","))
            }
        }
    }
}

/// A channel to `address`. Connects when first used, and again whenever the connection is lost.
///
/// Must be called inside a tokio runtime.
#[must_use]
pub fn channel(address: &Address) -> Outgoing {
    channel_within(address, IDLE_TIMEOUT)
}

/// A [`channel`] that takes a connection for lost which is silent for `idle_timeout`.
#[must_use]
pub fn channel_within(address: &Address, idle_timeout: Duration) -> Outgoing {
    // The URI only names the authority; the connector below knows the way.
    let authority = match address {
        Address::Tcp(authority) => authority.as_str(),
        Address::Unix(_) | Address::Pipe(_) | Address::FirstOf(_) => "localhost",
    };
    let uri = Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query("/")
        .build();
    let endpoint = uri.map_or_else(
        |_invalid| Endpoint::from_static("http://localhost"),
        Endpoint::from,
    );
    let (address, frame_bytes) = (address.clone(), address.frame_bytes());
    let channel = endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(frame_bytes)
        .http2_keep_alive_interval(idle_timeout / 2)
        .keep_alive_timeout(idle_timeout / 2)
        .keep_alive_while_idle(true)
        .connect_timeout(CONNECT)
        .connect_with_connector_lazy(tower::service_fn(move |_uri: Uri| {
            let address = address.clone();
            async move { open(&address).await.map(TokioIo::new) }
        }));
    Outgoing::new(channel)
}

async fn open(address: &Address) -> io::Result<Connection> {
    match address {
        Address::Tcp(authority) => {
            let stream = TcpStream::connect(authority.as_str()).await?;
            Connection::tcp(stream)
        }
        Address::Unix(path) => Ok(Connection::new(UnixStream::connect(path).await?)),
        Address::Pipe(pipe) => Ok(Connection::new(pipe.connect().await?)),
        Address::FirstOf(addresses) => {
            let mut refused = io::ErrorKind::AddrNotAvailable.into();
            for address in addresses {
                match Box::pin(open(address)).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => refused = error,
                }
            }
            Err(refused)
        }
    }
}

/// A server with the settings of [`channel`].
#[must_use]
pub fn server() -> Server {
    server_within(IDLE_TIMEOUT)
}

/// A server with the settings of [`channel_within`].
#[must_use]
pub fn server_within(idle_timeout: Duration) -> Server {
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keepalive_interval(Some(idle_timeout / 2))
        .http2_keepalive_timeout(Some(idle_timeout / 2))
}

/// Connections from all the places where a service listens.
#[derive(Default)]
pub struct Incoming(SelectAll<BoxStream<'static, io::Result<Connection>>>);

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incoming").field(&self.0.len()).finish()
    }
}

impl Incoming {
    /// Also takes connections over TCP.
    #[must_use]
    pub fn tcp(mut self, listener: TcpListener) -> Self {
        let connections = TcpListenerStream::new(listener);
        let connections = connections.map(|stream| Connection::tcp(stream?));
        self.0.push(connections.boxed());
        self
    }

    /// Also takes connections over a Unix socket.
    #[must_use]
    pub fn unix(mut self, listener: UnixListener) -> Self {
        let connections = UnixListenerStream::new(listener);
        self.0.push(
            connections
                .map(|stream| stream.map(Connection::new))
                .boxed(),
        );
        self
    }

    /// Also takes connections from inside this process.
    #[must_use]
    pub fn pipe(mut self, listener: PipeListener) -> Self {
        let accept = async |mut listener: PipeListener| {
            let stream = listener.accept().await?;
            Some((Ok(Connection::new(stream)), listener))
        };
        self.0
            .push(futures::stream::unfold(listener, accept).boxed());
        self
    }

    /// The connections, one after the other.
    #[must_use]
    pub fn connections(self) -> BoxStream<'static, io::Result<Connection>> {
        self.0.boxed()
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One connection, whatever carries it.
pub struct Connection(Box<dyn Duplex>);

impl Connection {
    fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(stream))
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES)?;
        Ok(Self::new(stream))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_in_the_forms_that_people_write() {
        for text in [
            "localhost:50051",
            "http://localhost:50051",
            "http://localhost:50051/",
        ] {
            assert_eq!(
                text.parse::<Address>().unwrap().to_string(),
                "http://localhost:50051"
            );
        }
        assert!(matches!("unix:/run/p.sock".parse(), Ok(Address::Unix(_))));
    }

    #[tokio::test]
    async fn of_several_addresses_the_first_that_listens_is_connected_to() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent_at = silent.local_addr().unwrap();
        drop(silent);
        let listens = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listens_at = listens.local_addr().unwrap();
        let address: Address = format!("{silent_at}, {listens_at}").parse().unwrap();
        assert_eq!(
            address.to_string(),
            format!("http://{silent_at},http://{listens_at}")
        );
        let (connected, accepted) = tokio::join!(open(&address), listens.accept());
        assert!(connected.is_ok() && accepted.is_ok());
        drop(listens);
        assert!(open(&address).await.is_err());
    }

    #[test]
    fn a_text_that_names_no_service_is_refused_with_what_would() {
        for text in [
            "",
            "localhost",
            "localhost:0",
            "localhost:99999",
            "unix:",
            "https://a:1",
            "a:1,,b:1",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains("host:port"), "{text}");
        }
    }
}
