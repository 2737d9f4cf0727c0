//! Is there a server? Asked before the mount, so that a wrong address gives an error and not a mount
//! that waits for ever.

use crate::exit::{Failure, Result};
use dfs_client::config::Address;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// Time to find the host and to connect.
const CONNECT_MAX: Duration = Duration::from_secs(4);

/// Connects and hangs up. Fails with a line that names the server and the reason within
/// [`CONNECT_MAX`].
pub async fn server(address: &Address) -> Result<()> {
    let attempt = async {
        match address {
            Address::Tcp(host) => TcpStream::connect(host).await.map(drop),
            Address::Unix(path) => UnixStream::connect(path).await.map(drop),
        }
    };
    let why = match tokio::time::timeout(CONNECT_MAX, attempt).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_MAX.as_secs()),
    };
    Err(Failure::mount(format!("cannot reach server {}: {why}", name(address))))
}

/// A server's name for people.
pub fn name(address: &Address) -> String {
    match address {
        Address::Tcp(host) => host.clone(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_reached_or_named_in_the_failure() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            server(&Address::Tcp(address.clone())).await.unwrap();
            drop(listener);
            let failure = server(&Address::Tcp(address.clone())).await.unwrap_err();
            assert!(failure.message.starts_with(&format!("cannot reach server {address}: ")));
            let gone = Address::Unix("/nonexistent/s".into());
            let failure = server(&gone).await.unwrap_err();
            assert!(failure.message.contains("unix:/nonexistent/s"), "{failure}");
        });
    }
}
