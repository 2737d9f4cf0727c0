//! Opening a session (PROTOCOL 2.1, rules 1 and 2).

use super::Identity;
use super::mount_id::MountId;
use crate::clock::Clock;
use crate::config::Address;
use crate::rpc::session_client;
use bytes::Bytes;
use dfs_core::limits::{PROTOCOL_MAX, PROTOCOL_MIN};
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::call::Reply;
use dfs_proto::v1::session_client::SessionClient;
use dfs_proto::{convert, status, v1};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

/// A server that is there answers within this time.
const ANSWER: Duration = Duration::from_secs(5);
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
    match timeout(ANSWER, attempts).await {
        Ok(granted) => granted,
        Err(_) => {
            let why = last.map_or_else(|| "no answer".to_string(), |e| e.message);
            let name = match server {
                Address::Tcp(host_port) => host_port.clone(),
                Address::Unix(path) => path.display().to_string(),
            };
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
        features: Vec::new(),
        description: description.to_string(),
    };
    let asked = clock.wall().as_nanos();
    let reply = timeout(ANSWER, client.establish(request)).await;
    let reply = reply.map_err(|_| FsError::new(Code::Unavailable, "no answer to establish"))?;
    let rep =
        reply.map_err(|s| status::to_error(&s))?.into_inner().into_result().map_err(|e| match e
            .code
        {
            Code::TooOld => too_old(&e.message),
            _ => e,
        })?;
    if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&rep.protocol) {
        return Err(too_old(&format!("it chose protocol {}", rep.protocol)));
    }
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

fn too_old(why: &str) -> FsError {
    let ours = if PROTOCOL_MIN == PROTOCOL_MAX {
        format!("{PROTOCOL_MIN}")
    } else {
        format!("{PROTOCOL_MIN} to {PROTOCOL_MAX}")
    };
    FsError::new(
        Code::TooOld,
        format!("this client speaks protocol {ours}, the server does not: {why}"),
    )
}

/// The server's clock minus ours, taking its reading to be from the middle of the exchange.
pub(super) fn offset(theirs: Option<v1::Timestamp>, asked: i128, answered: i128) -> Result<i64> {
    let theirs = convert::time_from(theirs)?.as_nanos();
    let offset = theirs - (asked + answered) / 2;
    Ok(offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}
