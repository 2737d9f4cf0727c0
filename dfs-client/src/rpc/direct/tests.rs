//! The line against a server that answers as a test tells it to.

use super::super::stream::tests::{Opened, serve};
use super::line::SLOW;
use super::*;
use dfs_proto::v1::{AttrRep, GetAttrReq, MkdirReq};
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Builder;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinHandle, spawn_blocking};

const DEADLINE: Duration = Duration::from_secs(20);

type Answer = Option<Result<one_answer::Reply, Status>>;

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await }).expect("in time");
}

async fn start() -> (Arc<Direct>, UnboundedReceiver<Opened>) {
    let (address, opened) = serve().await;
    (Arc::new(Direct::new(&Address::Tcp(address))), opened)
}

fn get_attr() -> Option<one_call::Request> {
    Some(one_call::Request::GetAttr(GetAttrReq::default()))
}

/// Calls on a thread that may wait, however slow the machine that runs the test was before.
fn call(direct: &Arc<Direct>, limit: Duration) -> JoinHandle<Answer> {
    let direct = Arc::clone(direct);
    direct.line().unwrap().forget_slowness();
    spawn_blocking(move || waiting::allowed(Leave::Wait, || direct.call(get_attr, limit)))
}

/// Answers the call that is made; it must reach who waits.
async fn answer(server: &mut Opened, asking: JoinHandle<Answer>) {
    let id = server.next().await.id;
    server.answer(id, one_answer::Reply::GetAttr(AttrRep::default()));
    assert!(matches!(asking.await.unwrap(), Some(Ok(one_answer::Reply::GetAttr(_)))));
}

#[test]
fn direct_call_is_answered_to_the_thread_that_waits() {
    run(async {
        let (direct, mut opened) = start().await;
        assert!(direct.call(get_attr, DEADLINE).is_none(), "this thread may not wait");
        assert!(direct.is_free());
        let asking = call(&direct, DEADLINE);
        let mut server = opened.recv().await.unwrap();
        assert!(!direct.is_free());
        let taken = call(&direct, DEADLINE).await.unwrap();
        assert!(taken.is_none(), "the line is taken");
        answer(&mut server, asking).await;
    });
}

#[test]
fn direct_call_that_was_slow_is_the_last_for_a_while() {
    run(async {
        let (direct, mut opened) = start().await;
        let asking = call(&direct, 2 * SLOW);
        let mut server = opened.recv().await.unwrap();
        server.next().await;
        assert!(asking.await.unwrap().unwrap().is_err(), "no answer in time");
        assert!(!direct.is_free());
        let refused = waiting::allowed(Leave::Wait, || direct.call(get_attr, DEADLINE));
        assert!(refused.is_none());
        // As if the time had passed.
        let asking = call(&direct, DEADLINE);
        answer(&mut server, asking).await;
    });
}

#[test]
fn direct_line_that_broke_is_opened_again() {
    run(async {
        let (direct, mut opened) = start().await;
        for _ in 0..2 {
            let asking = call(&direct, DEADLINE);
            let mut server = opened.recv().await.unwrap();
            server.next().await;
            drop(server);
            assert!(asking.await.unwrap().unwrap().is_err());
        }
        let asking = call(&direct, DEADLINE);
        answer(&mut opened.recv().await.unwrap(), asking).await;
    });
}

#[test]
fn direct_line_that_broke_while_nobody_used_it_costs_one_call_at_most() {
    run(async {
        let (direct, mut opened) = start().await;
        let asking = call(&direct, DEADLINE);
        answer(&mut opened.recv().await.unwrap(), asking).await;
        // The stream has ended, and nobody has read that.
        let mut asking = call(&direct, DEADLINE);
        let server = tokio::select! {
            server = opened.recv() => server,
            early = &mut asking => {
                assert!(early.unwrap().unwrap().is_err());
                asking = call(&direct, DEADLINE);
                opened.recv().await
            }
        };
        answer(&mut server.unwrap(), asking).await;
    });
}

#[test]
fn direct_line_may_end_on_a_thread_of_a_runtime() {
    run(async {
        let (direct, mut opened) = start().await;
        let asking = call(&direct, DEADLINE);
        answer(&mut opened.recv().await.unwrap(), asking).await;
        drop(Arc::into_inner(direct).expect("nobody else has it"));
    });
}

/// Sends a call on a thread that may, and says whether it left.
async fn send(direct: &Arc<Direct>, request: one_call::Request) -> Option<(Answering, bool)> {
    let direct = Arc::clone(direct);
    let sent = spawn_blocking(move || {
        let sent = Sent::default();
        let sending = || direct.send(|| Some(request), &sent, None);
        let answering = waiting::allowed(Leave::Send, sending)?;
        Some((answering.unwrap(), sent.is_set()))
    });
    sent.await.unwrap()
}

/// A line that is open.
async fn opened() -> (Arc<Direct>, Opened) {
    let (direct, mut opened) = start().await;
    let asking = call(&direct, DEADLINE);
    let mut server = opened.recv().await.unwrap();
    answer(&mut server, asking).await;
    (direct, server)
}

#[test]
fn direct_call_that_is_sent_is_answered_though_nobody_comes_again() {
    run(async {
        let (direct, mut server) = opened().await;
        let nobody = direct.send(get_attr, &Sent::default(), None);
        assert!(nobody.is_none(), "this thread may not send");
        let (one, sent) = send(&direct, get_attr().unwrap()).await.unwrap();
        assert!(sent);
        let (two, sent) = send(&direct, get_attr().unwrap()).await.unwrap();
        assert!(sent, "and nobody has answered yet");
        for id in [server.next().await.id, server.next().await.id] {
            server.answer(id, one_answer::Reply::GetAttr(AttrRep::default()));
        }
        assert!(one.await.is_ok() && two.await.is_ok());
        // Waiting and sending go over the same line.
        let asking = call(&direct, DEADLINE);
        answer(&mut server, asking).await;
    });
}

#[test]
fn direct_call_that_opens_the_line_does_not_count_as_sent() {
    run(async {
        let (direct, mut opened) = start().await;
        let (answering, sent) = send(&direct, get_attr().unwrap()).await.unwrap();
        assert!(!sent);
        let mut server = opened.recv().await.unwrap();
        let id = server.next().await.id;
        server.answer(id, one_answer::Reply::GetAttr(AttrRep::default()));
        answering.await.unwrap();
        assert!(send(&direct, get_attr().unwrap()).await.unwrap().1);
    });
}

#[test]
fn direct_call_that_the_server_does_not_read_does_not_count_as_sent() {
    run(async {
        let (direct, mut server) = opened().await;
        let big = |len| {
            let name = vec![b'x'; len].into();
            one_call::Request::Mkdir(MkdirReq { name, ..MkdirReq::default() })
        };
        // More than the server's window.
        let (first, sent) = send(&direct, big(3 << 20)).await.unwrap();
        assert!(!sent);
        let (second, sent) = send(&direct, get_attr().unwrap()).await.unwrap();
        assert!(!sent, "it comes behind the first one");
        drop(first);
        assert_eq!(server.next().await.id, 2);
        let id = server.next().await.id;
        server.answer(id, one_answer::Reply::GetAttr(AttrRep::default()));
        second.await.unwrap();
    });
}

#[test]
fn direct_call_follows_another_one_of_the_same_line_only() {
    /// Sends a call behind another one.
    async fn follow(direct: &Arc<Direct>, after: Option<&Sent>) -> (Option<Answering>, Sent) {
        let (direct, after) = (Arc::clone(direct), after.cloned());
        let sent = spawn_blocking(move || {
            let sent = Sent::default();
            let sending = || direct.send(get_attr, &sent, after.as_ref());
            (waiting::allowed(Leave::Send, sending).map(Result::unwrap), sent)
        });
        sent.await.unwrap()
    }
    run(async {
        let (direct, mut server) = opened().await;
        let (first, of_first) = follow(&direct, None).await;
        let (second, _) = follow(&direct, Some(&of_first)).await;
        let (one, two) = (server.next().await, server.next().await);
        assert_eq!((one.after, two.after), (0, one.id));
        assert!(first.is_some() && second.is_some());
        let (other, _) = opened().await;
        assert!(follow(&other, Some(&of_first)).await.0.is_none(), "nobody there knows that call");
        assert!(follow(&direct, Some(&Sent::default())).await.0.is_none(), "it is not sent yet");
    });
}

#[test]
fn direct_line_ends_calls_that_were_sent_when_it_breaks() {
    run(async {
        let (direct, server) = opened().await;
        let (answering, sent) = send(&direct, get_attr().unwrap()).await.unwrap();
        assert!(sent);
        drop(server);
        assert!(answering.await.is_err());
    });
}

#[test]
fn direct_line_is_left_to_who_wants_it() {
    run(async {
        let (direct, mut server) = opened().await;
        let (waiting, _) = send(&direct, get_attr().unwrap()).await.unwrap();
        let first = server.next().await.id;
        direct.hurry();
        for _ in 0..20 {
            let asking = async {
                loop {
                    // The line's thread may not have run yet.
                    if let Some(answer) = call(&direct, DEADLINE).await.unwrap() {
                        break answer;
                    }
                }
            };
            let answering = async {
                let id = server.next().await.id;
                server.answer(id, one_answer::Reply::GetAttr(AttrRep::default()));
            };
            let (answer, ()) = tokio::join!(asking, answering);
            assert!(answer.is_ok());
        }
        server.answer(first, one_answer::Reply::GetAttr(AttrRep::default()));
        waiting.await.unwrap();
    });
}
