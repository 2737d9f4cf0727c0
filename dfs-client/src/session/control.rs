//! The control thread: renewals out, pushes in, and what to do when the stream breaks (PROTOCOL 2).
//!
//! It has its own connection and its own runtime, so that neither bulk data nor a busy program can
//! delay a renewal. Nothing it calls may wait for other requests of this client.

use super::Session;
use super::establish::{self, offset};
use crate::rpc::{Verb, jitter, session_client};
use dfs_core::{BootTime, Code, FsError, Result};
use dfs_proto::call::Reply;
use dfs_proto::v1::from_client::Kind as Say;
use dfs_proto::v1::from_server::Kind as Hear;
use dfs_proto::v1::session_client::SessionClient;
use dfs_proto::{status, v1};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Messages handed to the connection and not yet sent; more wait in the outbox.
const OUTGOING: usize = 64;
/// Longest wait for the answer to one call of the session service.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest wait for the server's consent when the session ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause before the next attempt to connect: first and longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why a stream ended.
enum End {
    /// It broke, or the server stops.
    Broken(FsError),
    /// The server does not know the session any more.
    Expired,
}

impl From<FsError> for End {
    fn from(e: FsError) -> End {
        match e.code {
            Code::SessionExpired => End::Expired,
            _ => End::Broken(e),
        }
    }
}

/// Starts the thread. Its owner is the session, which waits for it in `close`.
pub(super) fn spawn(session: Arc<Session>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| FsError::new(Code::Io, format!("control runtime: {e}")))?;
    let body = move || {
        runtime.block_on(live(&session));
        // Whoever waits for the end may want to start anew in the same cache folder.
        let closed = session.closed.clone();
        drop(session);
        closed.send_replace(true);
    };
    let thread = std::thread::Builder::new().name("dfs-control".into()).spawn(body);
    thread.map(drop).map_err(|e| FsError::new(Code::Io, format!("control thread: {e}")))
}

/// Everything the thread does, until the session closes.
async fn live(session: &Session) {
    let mut client = match session_client(&session.server) {
        Ok(client) => client,
        Err(e) => return tracing::error!("{e}"),
    };
    let mut closing = session.closing.subscribe();
    let closing = async { closing.wait_for(|closing| *closing).await.map(drop) };
    tokio::select! {
        () = keep(session, client.clone()) => {}
        () = beats(session) => {}
        _ = closing => {}
    }
    farewell(session, &mut client).await;
}

/// Looks at the clock all the time, also while nothing can be reached. Never ends by itself.
async fn beats(session: &Session) {
    loop {
        session.tick();
        sleep(session.beat_period()).await;
    }
}

/// Keeps a stream. Never ends by itself.
async fn keep(session: &Session, mut client: SessionClient<Channel>) {
    let mut pause = PAUSE_MIN;
    loop {
        let mut stream = Stream::new(session, client.clone());
        match stream.run().await {
            End::Expired => renew_session(session, &mut client).await,
            End::Broken(e) => {
                if stream.attached {
                    pause = PAUSE_MIN;
                }
                tracing::debug!(error = %e, "control stream broke");
                tokio::select! {
                    () = session.kick.notified() => {}
                    () = sleep(jitter(pause)) => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Says goodbye; a server that is gone finds out by itself.
async fn farewell(session: &Session, client: &mut SessionClient<Channel>) {
    let request = v1::CloseReq { caller: Some(caller(session)) };
    session.metrics.sent(Verb::Close);
    if timeout(FAREWELL, client.close(request)).await.is_err() {
        tracing::debug!("the server did not answer the goodbye");
    }
}

/// Opens a new session in place of one that expired; goes on until it is there.
async fn renew_session(session: &Session, client: &mut SessionClient<Channel>) {
    session.expired(session.identity().sid);
    let mut pause = PAUSE_MIN;
    loop {
        session.metrics.sent(Verb::Establish);
        let clock = &*session.clock;
        match establish::once(client, &session.mount, &session.description, clock).await {
            Ok(granted) => {
                let old = session.identity();
                tracing::warn!(old = old.sid, new = granted.identity.sid, "new session");
                session.replace(&granted);
                report(session, granted.lost);
                return;
            }
            Err(e) => tracing::warn!("cannot open a new session: {e}"),
        }
        tokio::select! {
            () = session.kick.notified() => {}
            () = sleep(jitter(pause)) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn caller(session: &Session) -> v1::Caller {
    let identity = session.identity();
    v1::Caller { sid: identity.sid, epoch: identity.epoch, ..v1::Caller::default() }
}

fn report(session: &Session, lost: Vec<v1::Lost>) {
    if let Some(events) = session.events() {
        lost.into_iter().for_each(|lost| events.lost(lost));
    }
}

/// One control stream.
struct Stream<'a> {
    session: &'a Session,
    client: SessionClient<Channel>,
    attached: bool,
    /// Renewals sent and not answered: when (boot time, wall time).
    renewals: VecDeque<(BootTime, i128)>,
    next_renewal: BootTime,
}

impl<'a> Stream<'a> {
    fn new(session: &'a Session, client: SessionClient<Channel>) -> Stream<'a> {
        let renewals = VecDeque::new();
        Stream { session, client, attached: false, renewals, next_renewal: BootTime::default() }
    }

    /// Runs until the stream ends.
    async fn run(&mut self) -> End {
        match self.attach().await {
            Ok((say, hear)) => self.talk(say, hear).await,
            Err(e) => e.into(),
        }
    }

    async fn attach(
        &mut self,
    ) -> Result<(mpsc::Sender<v1::FromClient>, tonic::Streaming<v1::FromServer>)> {
        let identity = self.session.identity();
        self.session.outbox.rewind();
        let (say, said) = mpsc::channel(OUTGOING);
        let attach = v1::Attach {
            sid: identity.sid,
            epoch: identity.epoch,
            features: establish::features(),
        };
        let first = v1::FromClient { kind: Some(Say::Attach(attach)) };
        say.try_send(first).expect("the channel is empty");
        self.session.metrics.sent(Verb::Control);
        let no_answer = |_| FsError::new(Code::Unavailable, "no answer to attach");
        let opened = timeout(ANSWER, self.client.control(ReceiverStream::new(said))).await;
        let mut hear = opened.map_err(no_answer)?.map_err(|s| status::to_error(&s))?.into_inner();
        let answer = timeout(ANSWER, hear.message()).await.map_err(no_answer)?;
        let attached = match answer.map_err(|s| status::to_error(&s))?.and_then(|m| m.kind) {
            Some(Hear::Attached(attached)) => attached.into_result()?,
            other => {
                let text = format!("attach answered with {other:?}");
                return Err(FsError::new(Code::Unavailable, text));
            }
        };
        self.settle(attached).await?;
        self.attached = true;
        Ok((say, hear))
    }

    /// What happened to the session while there was no stream.
    async fn settle(&mut self, attached: v1::Attached) -> Result<()> {
        let restarted = {
            let mut state = self.session.state();
            let newer = attached.leader_epoch > state.leader_epoch;
            state.leader_epoch = state.leader_epoch.max(attached.leader_epoch);
            state.relaxed = attached.relaxed;
            state.root_squash = attached.root_squash;
            state.first_version = attached.first_version;
            state.ordered_calls = attached.ordered_calls;
            state.made_directories = attached.made_directories;
            newer
        };
        if (restarted || attached.reclaim)
            && let Some(events) = self.session.events()
        {
            let mut request = events.restarted();
            if attached.reclaim {
                request.caller = Some(caller(self.session));
                self.reclaim(request).await?;
            }
        }
        report(self.session, attached.lost);
        Ok(())
    }

    /// Restates what is held (PROTOCOL 2.5).
    async fn reclaim(&mut self, request: v1::ReclaimReq) -> Result<()> {
        let no_answer = |_| FsError::new(Code::Unavailable, "no answer to reclaim");
        self.session.metrics.sent(Verb::Reclaim);
        let reply = timeout(ANSWER, self.client.reclaim(request)).await.map_err(no_answer)?;
        let reply = reply.map_err(|s| status::to_error(&s))?.into_inner().into_result()?;
        self.session.metrics.sent(Verb::ReclaimDone);
        let done = v1::ReclaimDoneReq { caller: Some(caller(self.session)) };
        let answer = timeout(ANSWER, self.client.reclaim_done(done)).await.map_err(no_answer)?;
        answer.map_err(|s| status::to_error(&s))?.into_inner().into_result()?;
        report(self.session, reply.lost);
        Ok(())
    }

    async fn talk(
        &mut self,
        say: mpsc::Sender<v1::FromClient>,
        mut hear: tonic::Streaming<v1::FromServer>,
    ) -> End {
        let mut waiting: VecDeque<v1::FromClient> = VecDeque::new();
        loop {
            if self.session.state().expired {
                return End::Expired;
            }
            waiting.extend(self.session.outbox.take());
            if let Err(e) = self.renew_if_due(&mut waiting) {
                return e.into();
            }
            let period = self.session.beat_period();
            tokio::select! {
                message = hear.message() => match message {
                    Ok(Some(message)) => {
                        if let Err(end) = self.heard(message) {
                            return end;
                        }
                    }
                    Ok(None) => return FsError::new(Code::Unavailable, "stream ended").into(),
                    Err(s) => return status::to_error(&s).into(),
                },
                permit = say.reserve(), if !waiting.is_empty() => match permit {
                    Ok(permit) => permit.send(waiting.pop_front().expect("it is not empty")),
                    Err(_) => return FsError::new(Code::Unavailable, "stream closed").into(),
                },
                () = self.session.outbox.ready.notified() => {}
                () = self.session.kick.notified() => {}
                () = sleep(period) => {}
            }
        }
    }

    /// Asks for another term every third of one. A server that leaves a whole third unanswered is
    /// gone. The renewal goes behind everything taken from the outbox.
    fn renew_if_due(&mut self, waiting: &mut VecDeque<v1::FromClient>) -> Result<()> {
        let now = self.session.clock.now();
        let third = self.session.state().term / 3;
        if self.renewals.front().is_some_and(|(sent, _)| now.since(*sent) > third) {
            return Err(FsError::new(Code::Unavailable, "a renewal was not answered"));
        }
        if now < self.next_renewal || !self.renewals.is_empty() {
            return Ok(());
        }
        self.next_renewal = now + third;
        self.renewals.push_back((now, self.session.clock.wall().as_nanos()));
        self.session.outbox.renewal_sent();
        let renew = v1::Renew { send_time_ms: now.0.as_millis() as u64 };
        waiting.push_back(v1::FromClient { kind: Some(Say::Renew(renew)) });
        Ok(())
    }

    fn heard(&mut self, message: v1::FromServer) -> Result<(), End> {
        let nobody = || FsError::new(Code::NotConnected, "nobody listens any more");
        let events = self.session.events().ok_or_else(nobody)?;
        let number = message.push;
        if number > 0 {
            self.session.metrics.pushes.inc();
        }
        match message.kind {
            Some(Hear::RenewAck(ack)) => self.renewed(&ack)?,
            Some(Hear::Inval(push)) if push.items.iter().all(|item| item.what.is_some()) => {
                events.inval(number, push);
            }
            Some(Hear::Inval(push)) => {
                tracing::warn!(number, "push with an unknown item, forgetting everything");
                events.drop_all(number, Some(push.seq));
            }
            Some(Hear::DropAll(push)) => events.drop_all(number, Some(push.seq)),
            Some(Hear::Trim(push)) => events.trim(number, push),
            Some(Hear::Recall(recall)) => events.recall(recall),
            Some(Hear::Revoked(revoked)) => events.revoked(revoked),
            Some(Hear::Shutdown(_)) => {
                return Err(FsError::new(Code::Unavailable, "the server stops").into());
            }
            // Kinds of a newer server.
            None if number > 0 => {
                tracing::warn!(number, "push of an unknown kind, forgetting everything");
                events.drop_all(number, None);
            }
            None => tracing::debug!("message of an unknown kind, passed over"),
            Some(Hear::Attached(_)) => {
                return Err(FsError::new(Code::Unavailable, "attached a second time").into());
            }
        }
        Ok(())
    }

    fn renewed(&mut self, ack: &v1::RenewAck) -> Result<()> {
        let Some((sent, wall)) = self.renewals.pop_front() else {
            return Err(FsError::new(Code::Unavailable, "an answer to no renewal"));
        };
        let (attrs, dirs) = self.session.outbox.renewal_answered();
        if let Some(events) = self.session.events()
            && !(attrs.is_empty() && dirs.is_empty())
        {
            events.heard(&attrs, &dirs);
        }
        if ack.term_ms == 0 {
            tracing::warn!(push = ack.blocked_on, "renewal refused: a push is not acknowledged");
            self.next_renewal = self.session.clock.now() + self.session.beat_period();
            return Ok(());
        }
        let now = self.session.clock.wall().as_nanos();
        let known = self.session.wall_offset();
        let offset = offset(Some(known), ack.server_time, wall, now)?;
        self.session.state().wall_offset_nanos = offset;
        self.session.extend(sent, Duration::from_millis(ack.term_ms.into()));
        Ok(())
    }
}
