//! How an address is reached: that of a TCP server over the Unix socket beside it if it runs on this
//! host (`docs/design/0029`).

use super::channel::CONNECT_TIMEOUT;
use super::written::{Counted, Written};
use dfs_proto::local;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;
use tonic::transport::Uri;
use tower::{Service, ServiceExt, service_fn};

/// A connection of either kind.
type Connection = TokioIo<Either<UnixStream, TcpStream>>;

/// Connects to a Unix socket, whatever the URI says.
pub(super) fn unix(
    path: PathBuf,
) -> impl Service<Uri, Response = TokioIo<UnixStream>, Error = io::Error, Future: Send> + Send {
    service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok(TokioIo::new(UnixStream::connect(path).await?)) }
    })
}

/// Connects to the `host:port` of a URI.
pub(super) fn local_or_tcp()
-> impl Service<Uri, Response = Connection, Error = io::Error, Future: Send> + Send + use<> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    service_fn(move |uri: Uri| {
        let tcp = tcp.clone();
        async move {
            if let Some(stream) = on_this_host(&uri).await {
                return Ok(TokioIo::new(Either::Left(stream)));
            }
            let stream = tcp.oneshot(uri).await.map_err(io::Error::other)?;
            Ok(TokioIo::new(Either::Right(stream.into_inner())))
        }
    })
}

/// The same connections, which count what they write.
pub(super) fn counted<C, S>(
    connector: S,
    written: &Written,
) -> impl Service<Uri, Response = TokioIo<Counted<C>>, Error = io::Error, Future: Send> + Send + use<C, S>
where
    C: Send + 'static,
    S: Service<Uri, Response = TokioIo<C>, Error = io::Error, Future: Send> + Send,
{
    let written = written.clone();
    connector.map_response(move |io: TokioIo<C>| {
        TokioIo::new(Counted::new(io.into_inner(), written.clone()))
    })
}

/// A connection to the socket beside the address, if the server runs on this host.
async fn on_this_host(uri: &Uri) -> Option<UnixStream> {
    let (host, port) = (uri.host()?, uri.port_u16()?);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = tokio::net::lookup_host((host, port)).await.ok()?;
    for address in addresses.filter(|address| is_ours(*address)) {
        for path in local::candidates(address) {
            if let Ok(stream) = UnixStream::connect(path).await
                && is_trusted(&stream)
            {
                return Some(stream);
            }
        }
    }
    None
}

/// Whether an address belongs to this host: what is sent to it would come from itself.
fn is_ours(address: SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Connecting a datagram socket sends nothing.
    let source = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.local_addr()
    };
    address.ip().is_loopback() || source().is_ok_and(|source| source.ip() == address.ip())
}

/// Anybody may have taken the name while no server runs: it must be root's, or our own.
fn is_trusted(stream: &UnixStream) -> bool {
    let ours = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, UnixListener};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    async fn connected(to: SocketAddr) -> Either<UnixStream, TcpStream> {
        let uri = format!("http://{to}").parse::<Uri>().unwrap();
        local_or_tcp().oneshot(uri).await.unwrap().into_inner()
    }

    #[test]
    fn connector_prefers_the_socket_beside_an_address_of_this_host() {
        runtime().block_on(async {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = tcp.local_addr().unwrap();
            assert!(matches!(connected(address).await, Either::Right(_)), "nothing beside it");
            let other = SocketAddr::new("127.0.0.2".parse().unwrap(), address.port());
            let beside_another = UnixListener::bind(local::beside(other)).unwrap();
            assert!(matches!(connected(address).await, Either::Right(_)), "of another address");
            drop(beside_another);
            let _beside = UnixListener::bind(local::beside(address)).unwrap();
            assert!(matches!(connected(address).await, Either::Left(_)));
        });
    }

    #[test]
    fn connector_knows_addresses_of_this_host() {
        for (address, ours) in
            [("127.0.0.1:1", true), ("127.9.9.9:1", true), ("192.0.2.77:1", false)]
        {
            assert_eq!(is_ours(address.parse().unwrap()), ours, "{address}");
        }
    }
}
