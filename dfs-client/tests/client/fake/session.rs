//! The session service of the fake.

use super::{Fake, Fate, ROOT, refusal};
use dfs_core::Code;
use dfs_proto::v1::from_client::Kind as Said;
use dfs_proto::v1::from_server::Kind as Say;
use dfs_proto::v1::session_server::Session;
use dfs_proto::v1::*;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp { seconds: now.as_secs() as i64, nanos: now.subsec_nanos() }
}

#[tonic::async_trait]
impl Session for Fake {
    async fn establish(
        &self,
        request: Request<EstablishReq>,
    ) -> Result<Response<EstablishRep>, Status> {
        if let Some(Fate::Refuse(code)) = self.arrived("establish", None) {
            return Ok(Response::new(EstablishRep {
                fail: Some(refusal(code)),
                ..Default::default()
            }));
        }
        let reply = self.with(|s| {
            s.hellos.push(request.into_inner());
            if s.forgotten {
                s.forgotten = false;
                s.sid += 1;
                s.push_number = 0;
                s.unacked.clear();
            }
            EstablishRep {
                sid: s.sid,
                epoch: s.sid * 10,
                term_ms: s.term.as_millis() as u32,
                leader_epoch: s.leader_epoch,
                root: ROOT,
                protocol: s.protocol,
                features: s.features.clone(),
                server_time: Some(now()),
                next_op_id: 1,
                ..EstablishRep::default()
            }
        });
        Ok(Response::new(reply))
    }

    type ControlStream = ReceiverStream<Result<FromServer, Status>>;

    async fn control(
        &self,
        request: Request<Streaming<FromClient>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        let (say, said) = mpsc::channel(1000);
        let mut heard = request.into_inner();
        let fake = self.clone();
        self.with(|s| s.stream = Some(say));
        tokio::spawn(async move {
            while let Ok(Some(message)) = heard.message().await {
                if let Some(kind) = message.kind {
                    fake.heard(kind);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(said)))
    }

    async fn reclaim(&self, request: Request<ReclaimReq>) -> Result<Response<ReclaimRep>, Status> {
        self.with(|s| s.reclaims.push(request.into_inner()));
        Ok(Response::new(ReclaimRep::default()))
    }

    async fn reclaim_done(
        &self,
        _: Request<ReclaimDoneReq>,
    ) -> Result<Response<ReclaimDoneRep>, Status> {
        self.with(|s| {
            s.reclaims_done += 1;
            s.reclaim = false;
        });
        Ok(Response::new(ReclaimDoneRep::default()))
    }

    async fn close(&self, _: Request<CloseReq>) -> Result<Response<CloseRep>, Status> {
        self.with(|s| s.closed += 1);
        Ok(Response::new(CloseRep::default()))
    }
}

impl Fake {
    fn heard(&self, kind: Said) {
        self.with(|s| match kind {
            Said::Attach(attach) => {
                let known = attach.sid == s.sid && !s.forgotten;
                s.attaches.push(attach);
                if s.mute {
                    return;
                }
                let attached = Attached {
                    fail: (!known).then(|| refusal(Code::SessionExpired)),
                    leader_epoch: s.leader_epoch,
                    reclaim: s.reclaim,
                    relaxed: s.relaxed,
                    ordered_calls: s.makes,
                    made_directories: s.makes,
                    ..Attached::default()
                };
                s.say(Say::Attached(attached));
                for push in s.unacked.clone().into_values() {
                    s.say_message(push);
                }
            }
            Said::Renew(renew) if s.renew => {
                let term_ms = s.term.as_millis() as u32;
                let server_time = Some(now());
                let echo_ms = renew.send_time_ms;
                s.say(Say::RenewAck(RenewAck { echo_ms, term_ms, server_time, blocked_on: 0 }));
            }
            Said::Ack(ack) => {
                s.unacked.remove(&ack.number);
                s.acks.push(ack);
            }
            Said::Forget(forget) => s.forgets.push(forget),
            Said::OpenHold(hold) => s.holds.extend(hold.inos),
            _ => {}
        });
    }
}
