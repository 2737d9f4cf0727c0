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
    let wall_offset_nanos = offset(None, rep.server_time, asked, clock.wall().as_nanos())?;
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

/// The server's clock minus ours, in nanoseconds, after an exchange: the server read its clock between
/// our two readings. What was `known` stays if that may be true, else it moves no further than it
/// must: so only quick exchanges say anything, and one that was slow on its way does not make the
/// next file look older than the last one.
pub(super) fn offset(
    known: Option<i64>,
    theirs: Option<v1::Timestamp>,
    asked: i128,
    answered: i128,
) -> Result<i64> {
    let theirs = convert::time_from(theirs)?.as_nanos();
    let (least, most) = (theirs - answered, theirs - asked);
    let offset = match known {
        // Not if our clock was set back in between.
        Some(known) if least <= most => i128::from(known).clamp(least, most),
        _ => theirs - (asked + answered) / 2,
    };
    Ok(offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_slow_renewal_leaves_the_clock_where_it_was() {
        let theirs = |nanos| Some(v1::Timestamp { seconds: 1, nanos });
        let second = 1_000_000_000;
        // Both clocks are the same; the first exchange took 200 ns, half of it there.
        let first = offset(None, theirs(100), second, second + 200).unwrap();
        assert_eq!(first, 0);
        // The server read its clock at once, or last of all: nothing new.
        let early = offset(Some(first), theirs(500), second + 500, second + 90_000).unwrap();
        let late = offset(Some(first), theirs(99_000), second + 9_000, second + 99_000).unwrap();
        assert_eq!((early, late), (0, 0));
        // Moved no further than is sure.
        let ahead = offset(Some(first), theirs(800), second + 300, second + 500).unwrap();
        let behind = offset(Some(first), theirs(300), second + 600, second + 800).unwrap();
        assert_eq!((ahead, behind), (300, -300));
        // Our clock was set back while we waited.
        assert_eq!(offset(Some(first), theirs(500), second + 700, second + 300).unwrap(), 0);
    }
}
