//! The Unix socket beside a TCP address: a server that listens on an address also listens on an abstract
//! socket (unix(7)) named after it, which programs of the same network namespace can use instead
//! (`docs/design/0029`).

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The socket beside an address that a server has bound, as a path that begins with a zero byte.
pub fn beside(bound: SocketAddr) -> PathBuf {
    PathBuf::from(OsString::from_vec(format!("\0dfs/{bound}").into_bytes()))
}

/// Sockets beside which a server that is reached at an address of this host may listen, the most special
/// first: that address, or all.
pub fn candidates(reached: SocketAddr) -> impl Iterator<Item = PathBuf> {
    let all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let ips = [reached.ip()].into_iter().chain(all);
    ips.map(move |ip| beside(SocketAddr::new(ip, reached.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_socket_of_a_server_is_found_whatever_it_has_bound() {
        for (bound, reached) in [
            ("127.0.0.1:7440", "127.0.0.1:7440"),
            ("0.0.0.0:7440", "127.0.0.1:7440"),
            ("[::]:7440", "127.0.0.1:7440"),
            ("[::]:7440", "[::1]:7440"),
            ("[::1]:7440", "[::1]:7440"),
        ] {
            let socket = beside(bound.parse().unwrap());
            assert!(candidates(reached.parse().unwrap()).any(|path| path == socket), "{bound}");
        }
        let other = beside("127.0.0.2:7440".parse().unwrap());
        assert!(candidates("127.0.0.1:7440".parse().unwrap()).all(|path| path != other));
        let other = beside("0.0.0.0:7441".parse().unwrap());
        assert!(candidates("127.0.0.1:7440".parse().unwrap()).all(|path| path != other));
    }
}
