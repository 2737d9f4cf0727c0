//! Opening a session (PROTOCOL 2.1, rules 1 and 2).

use super::Identity;
use super::mount_id::MountId;
use crate::clock::Clock;
use crate::config::Address;
use crate::rpc::session_client;
use bytes::Bytes;
use dfs_core::limits::{PROTOCOL_MAX, PROTOCOL_MIN};
use dfs_core::{Code, FsError, Ino, Result, negotiate};
use dfs_proto::call::Reply;
use dfs_proto::v1::session_client::SessionClient;
use dfs_proto::{convert, status, v1};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

/// A server that is there answers within this time.
const ANSWER: Duration = Duration::from_secs(5);
/// Features of the server without which this client cannot work.
const REQUIRED: &[&str] = &[];
/// Pause before a server that is just starting is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// A session as the server granted it.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) identity: Identity,
    pub(super) root: Ino,
    pub(super) term: Duration,
    pub(super) leader_epoch: u32,
    pub(super) limits: v1::Limits,
    pub(super) next_op: u64,
    pub(super) wall_offset_nanos: i64,
    pub(super) lost: Vec<v1::Lost>,
}

/// Opens the first session. A server that is not there is an error after 5 seconds.
pub(super) async fn first(
    server: &Address,
    mount: &MountId,
    description: &str,
    clock: &dyn Clock,
) -> Result<Granted> {
    let mut client = session_client(server)?;
    let mut last = None;
    let attempts = async {
        loop {
            match once(&mut client, mount, description, clock).await {
                Err(e) if matches!(e.code, Code::Unavailable | Code::Grace(_) | Code::Retry(_)) => {
                    last = Some(e);
                    sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    };
    let name = match server {
        Address::Tcp(host_port) => host_port.clone(),
        Address::Unix(path) => path.display().to_string(),
    };
    match timeout(ANSWER, attempts).await {
        Ok(Err(e)) if e.code == Code::NotLeader => {
            let text =
                format!("server {name} does not lead, mount the one it names: {}", e.message);
            Err(FsError::new(Code::NotLeader, text))
        }
        Ok(granted) => granted,
        Err(_) => {
            let why = last.map_or_else(|| "no answer".to_string(), |e| e.message);
            Err(FsError::new(Code::Unavailable, format!("cannot reach server {name}: {why}")))
        }
    }
}

/// Asks once.
pub(super) async fn once(
    client: &mut SessionClient<Channel>,
    mount: &MountId,
    description: &str,
    clock: &dyn Clock,
) -> Result<Granted> {
    let request = v1::EstablishReq {
        uuid: Bytes::copy_from_slice(&mount.uuid),
        verifier: Bytes::copy_from_slice(&mount.verifier),
        min_protocol: PROTOCOL_MIN,
        max_protocol: PROTOCOL_MAX,
        features: features(),
        description: description.to_string(),
        required: REQUIRED.iter().map(|name| name.to_string()).collect(),
    };
    let asked = clock.wall().as_nanos();
    let reply = timeout(ANSWER, client.establish(request)).await;
    let reply = reply.map_err(|_| FsError::new(Code::Unavailable, "no answer to establish"))?;
    let reply = reply.map_err(|s| status::to_error(&s))?.into_inner();
    let rep =
        reply.into_result().map_err(|e| if e.code == Code::TooOld { too_old(e) } else { e })?;
    negotiate::protocol(rep.protocol, rep.protocol).map_err(too_old)?;
    // An older server does not know that it was asked for them.
    negotiate::demand(REQUIRED, &rep.features).map_err(too_old)?;
    let wall_offset_nanos = offset(rep.server_time, asked, clock.wall().as_nanos())?;
    Ok(Granted {
        identity: Identity { sid: rep.sid, epoch: rep.epoch },
        root: Ino(rep.root),
        term: Duration::from_millis(rep.term_ms.into()),
        leader_epoch: rep.leader_epoch,
        limits: rep.limits.unwrap_or_default(),
        next_op: rep.next_op_id,
        wall_offset_nanos,
        lost: rep.lost,
    })
}

/// What this client can do, as it says to the server.
pub(super) fn features() -> Vec<String> {
    negotiate::FEATURES.iter().map(|name| name.to_string()).collect()
}

fn too_old(why: FsError) -> FsError {
    let ours = negotiate::numbers(PROTOCOL_MIN, PROTOCOL_MAX);
    let text = format!("this client (protocol {ours}) and the server cannot talk: {}", why.message);
    FsError::new(Code::TooOld, text)
}

/// The server's clock minus ours, taking its reading to be from the middle of the exchange.
pub(super) fn offset(theirs: Option<v1::Timestamp>, asked: i128, answered: i128) -> Result<i64> {
    let theirs = convert::time_from(theirs)?.as_nanos();
    let offset = theirs - (asked + answered) / 2;
    Ok(offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}
