//! One unary call, from the first attempt to its answer.

use super::backoff::Attempts;
use super::direct;
use super::{Call, Rpc, Sent, Verb};
use crate::interrupt;
use crate::session::Identity;
use crate::session::ops::Op;
use crate::steps::Step;
use dfs_core::access::Credentials;
use dfs_core::{Code, FsError, Result};
use dfs_proto::call::Reply;
use dfs_proto::{convert, status, v1};
use std::any::Any;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tonic::Status;

/// A read without answer for so long is sent again.
const READ: Duration = Duration::from_secs(10);
/// The same for a change, which may have to wait for other clients to forget old state, the slowest
/// of them until its session lapses (PROTOCOL I11).
const CHANGE: Duration = Duration::from_secs(30);
/// From this age on an attempt counts as a wait for a lost server, which a signal ends.
const PATIENT: Duration = Duration::from_secs(2);
/// Added to the server's own bound of a wait before the client stops believing in an answer.
const SLACK: Duration = Duration::from_secs(10);

/// How a call is made beside others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// The thread that polls the call first may send it, and then says so here: it will be carried out,
    /// whatever becomes of this client's program.
    pub(crate) sent: Option<Sent>,
    /// The server carries it out when this step is over.
    pub(crate) after: Option<Step>,
}

impl Rpc {
    /// Sends a call until it is answered. Errors: those of the answer; `Io` when a soft mount loses
    /// patience, or when the session expired under a change that may or may not have happened;
    /// `Interrupted` while it waits for a lost server, a lease or a lock. An interrupted change may
    /// still happen: [`Client::change`](crate::client::Client::change) follows those to their end.
    ///
    /// The state of a call has memory of its own: of all that may have to ask the server, most never
    /// does.
    pub fn call<'a, Q: Call>(
        &'a self,
        who: &'a Credentials,
        request: Q,
    ) -> Pin<Box<impl Future<Output = Result<Q::Reply>> + use<'a, Q>>> {
        self.call_ahead(who, request, Order::default())
    }

    /// As [`call`](Rpc::call), in this order.
    pub(crate) fn call_ahead<'a, Q: Call>(
        &'a self,
        who: &'a Credentials,
        request: Q,
        order: Order,
    ) -> Pin<Box<impl Future<Output = Result<Q::Reply>> + use<'a, Q>>> {
        Box::pin(self.until_answered(who, request, order))
    }

    async fn until_answered<Q: Call>(
        &self,
        who: &Credentials,
        mut request: Q,
        Order { mut sent, mut after }: Order,
    ) -> Result<Q::Reply> {
        let mut attempts = Attempts::new(self);
        let mut op: Option<Op<'_>> = None;
        // Whether an attempt may have had an effect that we did not hear of.
        let mut doubtful = false;
        loop {
            let identity = attempts.ready().await?;
            if Q::MUTATES && op.as_ref().is_none_or(|op| op.sid != identity.sid) {
                if doubtful {
                    let text = format!("{}: the session expired before the answer", Q::VERB.name());
                    return Err(FsError::new(Code::Io, text));
                }
                op = Some(interrupt::wait(self.session.ops.begin()).await?);
            }
            request.set_caller(self.caller(identity, op.as_ref(), who));
            self.metrics.sent(Q::VERB);
            let begun = Instant::now();
            let ahead = match sent.take() {
                Some(sent) => self.ahead(&request, &sent, after.as_ref()).await,
                None => None,
            };
            // Any other way could overtake what it follows.
            if !matches!(ahead, Some(Ok(_)))
                && let Some(step) = after.take()
            {
                self.hurry();
                interrupt::wait(step.over()).await?;
            }
            let answer = match ahead.or_else(|| self.direct(&request)) {
                Some(Ok(reply)) => Ok(Ok(reply)),
                failed => {
                    doubtful |= failed.is_some();
                    let patience = PATIENT.saturating_sub(begun.elapsed());
                    self.attempt(request.clone(), patience).await
                }
            };
            let answer = match answer {
                Err(interrupted) if dont_wait(&mut request) => {
                    // It may have been given in the same moment: the same operation, asked again
                    // without waiting, says so.
                    let answer = timeout(PATIENT, request.send(&self.channels)).await;
                    let answer = answer.ok().and_then(|answer| answer.ok()?.into_result().ok());
                    return answer.ok_or(interrupted);
                }
                other => other?,
            };
            match answer {
                Ok(reply) => match reply.into_result() {
                    Ok(reply) => {
                        self.answers(true);
                        return Ok(reply);
                    }
                    Err(refusal) => attempts.again(identity.sid, refusal).await?,
                },
                Err(failure) => {
                    doubtful = true;
                    attempts.again(identity.sid, failure).await?;
                }
            }
        }
    }

    pub(super) fn caller(
        &self,
        identity: Identity,
        op: Option<&Op<'_>>,
        who: &Credentials,
    ) -> v1::Caller {
        v1::Caller {
            sid: identity.sid,
            epoch: identity.epoch,
            op_id: op.map_or(0, |op| op.id),
            done_below: self.session.ops.done_below(),
            ..convert::credentials_to(who)
        }
    }

    /// Sends once over the direct line, if the caller may wait for the answer and the line is free.
    fn direct<Q: Call>(&self, request: &Q) -> Option<Result<Q::Reply, Status>> {
        // A lost server is waited for where a signal ends that.
        if !self.is_answering() {
            return None;
        }
        let answer = self.direct.call(|| request.packed(), PATIENT)?;
        Some(answer.and_then(Q::unpacked))
    }

    /// Sends once over the direct line, if the caller may, and waits for the answer like anybody.
    async fn ahead<Q: Call>(
        &self,
        request: &Q,
        sent: &Sent,
        after: Option<&Step>,
    ) -> Option<Result<Q::Reply, Status>> {
        if !self.is_answering() {
            return None;
        }
        let answer = match self.direct.send(|| request.packed(), sent, after.map(Step::sent))? {
            Ok(answering) => timeout(PATIENT, answering).await,
            Err(status) => Ok(Err(status)),
        };
        let answer = answer.unwrap_or_else(|_| Err(direct::no_answer()));
        Some(answer.and_then(Q::unpacked))
    }

    /// Sends once; a signal ends calls older than `patience`. The outer error is an interrupt, the inner
    /// one a failure of the transport.
    async fn attempt<Q: Call>(
        &self,
        request: Q,
        patience: Duration,
    ) -> Result<Result<Q::Reply, FsError>> {
        let (patient, limit) = match Q::VERB {
            Verb::Acquire | Verb::Rescue => (Duration::ZERO, Some(self.lease_wait + SLACK)),
            // A lock is waited for without bound; pings notice a lost connection.
            Verb::Lock => (Duration::ZERO, None),
            // A new size takes the write lease inside the call.
            Verb::SetAttr => (PATIENT, Some(self.lease_wait + SLACK)),
            _ if Q::MUTATES => (PATIENT, Some(CHANGE)),
            _ => (PATIENT, Some(READ)),
        };
        let patient = patient.min(patience);
        let send = request.send(&self.channels);
        tokio::pin!(send);
        if !patient.is_zero()
            && let Ok(answer) = timeout(patient, &mut send).await
        {
            return Ok(answer.map_err(|s| status::to_error(&s)));
        }
        let rest = async {
            match limit {
                None => Some(send.await),
                Some(limit) => timeout(limit.saturating_sub(patient), send).await.ok(),
            }
        };
        Ok(match interrupt::wait(rest).await? {
            Some(answer) => answer.map_err(|s| status::to_error(&s)),
            None => {
                let text = format!("no answer to {} in time", Q::VERB.name());
                Err(FsError::new(Code::Unavailable, text))
            }
        })
    }
}

/// Turns a request that waits at the server into one that does not. False: it never waits.
fn dont_wait<Q: Call>(request: &mut Q) -> bool {
    let request: &mut dyn Any = request;
    if let Some(lock) = request.downcast_mut::<v1::LockReq>() {
        lock.wait = false;
        true
    } else if let Some(acquire) = request.downcast_mut::<v1::AcquireReq>() {
        acquire.nonblock = true;
        true
    } else {
        false
    }
}
