//! Connections to the server: three, so that bulk data delays neither metadata nor renewals; and that of
//! [`Direct`](super::direct::Direct).

use super::connector::{counted, local_or_tcp, unix};
use super::stream::CallStream;
use super::written::Written;
use crate::config::Address;
use dfs_core::limits::MESSAGE_MAX;
use dfs_core::{Code, FsError, Result};
use dfs_proto::bulk::{Handed, Keeping, Sending, WithBody};
use dfs_proto::v1::CreateObjectReq;
use dfs_proto::v1::calls_client::CallsClient;
use dfs_proto::v1::coherence_client::CoherenceClient;
use dfs_proto::v1::file_store_client::FileStoreClient;
use dfs_proto::v1::meta_client::MetaClient;
use dfs_proto::v1::session_client::SessionClient;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_stream::Stream;
use tonic::transport::{Channel, Endpoint};

/// Longest time to open a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// HTTP/2 flow control windows: one stream, all streams of a connection (GRPC.md 9).
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Largest HTTP/2 frame; decides the speed of bulk data (GRPC.md 0.1).
const DATA_FRAME: u32 = 256 << 10;
/// A peer that does not answer a ping for this long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Renewals and pushes: pinged all the time.
    Control,
    /// Metadata, leases, locks: pinged while a call waits, so that long waits notice a lost peer.
    Metadata,
    /// Objects: big frames.
    Data,
    /// As metadata, for calls of a bounded time; between them nobody reads it, so no ping is answered.
    Direct,
}

/// The connections requests go over. Opened when first used, and again after they broke.
#[derive(Clone, Debug)]
pub struct Channels {
    metadata: Channel,
    data: Channel,
    calls: CallStream,
}

impl Channels {
    /// Connections to `server`. Must be called inside the runtime that shall drive them.
    pub fn new(server: &Address) -> Result<Channels> {
        let metadata = connect(server, Purpose::Metadata)?;
        let calls = call_stream(metadata.clone(), Handle::current());
        Ok(Channels { metadata, data: connect(server, Purpose::Data)?, calls })
    }

    /// The stream that small calls share, if the server has it.
    pub fn stream(&self) -> Option<&CallStream> {
        (!self.calls.is_absent()).then_some(&self.calls)
    }

    /// The namespace service.
    pub fn meta(&self) -> MetaClient<Channel> {
        MetaClient::new(self.metadata.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    /// The service of leases, commits and locks.
    pub fn coherence(&self) -> CoherenceClient<Channel> {
        CoherenceClient::new(self.metadata.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    /// The service of stored objects, for one call that sends `messages` as its body.
    pub fn file_store_sending(
        &self,
        messages: impl Stream<Item = CreateObjectReq> + Send + Unpin + 'static,
    ) -> FileStoreClient<WithBody<Channel>> {
        let channel = WithBody::new(self.data.clone(), Sending::request(messages));
        FileStoreClient::new(channel).max_decoding_message_size(MESSAGE_MAX)
    }

    /// The service of stored objects, for one call; the body of the reply is in the second part.
    pub fn file_store_receiving(&self) -> (FileStoreClient<Keeping<Channel>>, Handed) {
        let (channel, body) = Keeping::new(self.data.clone());
        (FileStoreClient::new(channel), body)
    }
}

/// The session service on a connection of its own, opened when first used.
pub fn session_client(server: &Address) -> Result<SessionClient<Channel>> {
    Ok(SessionClient::new(connect(server, Purpose::Control)?)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX))
}

/// The stream of calls over a connection, driven by `runtime`.
pub(super) fn call_stream(channel: Channel, runtime: Handle) -> CallStream {
    let client = CallsClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    CallStream::new(client, runtime)
}

fn connect(server: &Address, purpose: Purpose) -> Result<Channel> {
    let endpoint = endpoint(server, purpose)?;
    Ok(match (server, purpose) {
        // TCP carries bulk data in larger pieces than a Unix socket's buffer has room for.
        (Address::Tcp(_), Purpose::Data) => endpoint.connect_lazy(),
        (Address::Tcp(_), _) => endpoint.connect_with_connector_lazy(local_or_tcp()),
        (Address::Unix(path), _) => endpoint.connect_with_connector_lazy(unix(path.clone())),
    })
}

/// A connection for [`Purpose::Direct`] that counts what it writes.
pub(super) fn connect_direct(server: &Address, written: &Written) -> Result<Channel> {
    let endpoint = endpoint(server, Purpose::Direct)?;
    Ok(match server {
        Address::Tcp(_) => endpoint.connect_with_connector_lazy(counted(local_or_tcp(), written)),
        Address::Unix(path) => {
            endpoint.connect_with_connector_lazy(counted(unix(path.clone()), written))
        }
    })
}

fn endpoint(server: &Address, purpose: Purpose) -> Result<Endpoint> {
    let endpoint = match server {
        Address::Tcp(host_port) => {
            let uri = format!("http://{host_port}");
            Endpoint::from_shared(uri).map_err(|e| {
                FsError::new(Code::Invalid, format!("server address '{host_port}': {e}"))
            })?
        }
        // The name is only for the HTTP headers: the connector knows the way.
        Address::Unix(_) => Endpoint::from_static("http://dfs"),
    };
    Ok(settings(endpoint, purpose))
}

fn settings(endpoint: Endpoint, purpose: Purpose) -> Endpoint {
    let endpoint = endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_timeout(PING_TIMEOUT);
    match purpose {
        Purpose::Control => {
            endpoint.http2_keep_alive_interval(PING_TIMEOUT).keep_alive_while_idle(true)
        }
        Purpose::Metadata => endpoint.http2_keep_alive_interval(PING_TIMEOUT),
        Purpose::Direct => endpoint,
        Purpose::Data => {
            endpoint.max_frame_size(DATA_FRAME).http2_keep_alive_interval(PING_TIMEOUT)
        }
    }
}
