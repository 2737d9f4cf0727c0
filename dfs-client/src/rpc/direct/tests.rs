//! The line against a server that answers as a test tells it to.

use super::super::stream::tests::{Opened, serve};
use super::*;
use dfs_proto::v1::{AttrRep, GetAttrReq};
use std::future::Future;
use std::sync::Arc;
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
    if let Ok(mut state) = direct.line().unwrap().0.try_lock() {
        state.slow_until = None;
    }
    spawn_blocking(move || waiting::allowed(|| direct.call(get_attr, limit)))
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
        let refused = waiting::allowed(|| direct.call(get_attr, DEADLINE));
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
