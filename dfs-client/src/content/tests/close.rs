//! New files whose close is answered when their commit is sent (`docs/design/0038`).

use super::deferred::{alone_with, make};
use super::rig::{Rig, asked, run};
use crate::config::Patience;
use crate::waiting::Leave;
use dfs_core::{Code, Ino, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(20);

/// A client that has an empty directory to itself, of a server that has room, and the line to that one.
async fn sending() -> Rig {
    let rig = alone_with(|config| config.patience = Patience::Hard).await;
    rig.fake.lock().roomy = true;
    let (_, fh) = written(&rig, "first", b"first").await;
    close(&rig, Leave::Wait, fh).await.unwrap().unwrap();
    assert!(rig.client.deferrals.is_empty());
    rig
}

async fn written(rig: &Rig, name: &str, content: &[u8]) -> (Ino, u64) {
    let (ino, fh) = make(rig, name).unwrap();
    rig.content.write(fh, 0, content, false).await.unwrap();
    (ino, fh)
}

/// close(2) on a thread that may do so much.
fn close(rig: &Rig, leave: Leave, fh: u64) -> JoinHandle<Result<()>> {
    let content = Arc::clone(&rig.content);
    tokio::spawn(asked(leave, async move { content.flush(fh).await }))
}

fn commits(rig: &Rig) -> usize {
    rig.fake.lock().commits.len()
}

/// A close that is answered although the answer to its commit is held; then that is given.
async fn close_early(rig: &Rig, leave: Leave, fh: u64) {
    rig.fake.lock().slow_commits = true;
    let closed = tokio::time::timeout(DEADLINE, close(rig, leave, fh)).await;
    closed.expect("it is answered").unwrap().unwrap();
    assert!(!rig.client.deferrals.is_empty(), "nobody has answered");
    answer(rig).await;
}

/// A close that waits for the answer to its commit, which is then given.
async fn close_waits(rig: &Rig, leave: Leave, fh: u64) {
    let before = commits(rig);
    rig.fake.lock().slow_commits = true;
    let closed = close(rig, leave, fh);
    rig.until("it is sent", |rig| commits(rig) > before).await;
    // Another thread that is asked meanwhile comes back.
    for _ in 0..100 {
        asked(leave, async {}).await;
    }
    assert!(!closed.is_finished(), "{leave:?}");
    answer(rig).await;
    closed.await.unwrap().unwrap();
}

async fn answer(rig: &Rig) {
    rig.fake.lock().slow_commits = false;
    rig.until("it is told", |rig| rig.client.deferrals.is_empty()).await;
}

#[test]
fn close_of_a_new_file_is_answered_when_its_commit_is_sent() {
    run(async {
        let rig = sending().await;
        let (ino, fh) = written(&rig, "a", b"content").await;
        rig.fake.lock().slow_commits = true;
        close(&rig, Leave::Send, fh).await.unwrap().unwrap();
        rig.content.release(fh).unwrap();
        let file = rig.content.find(ino).unwrap();
        assert!(rig.client.deferrals.has(ino) && file.lock().has_work(), "nobody has answered");
        let shown = rig.content.changed_at(ino).expect("what is known here stays known");
        let client = Arc::clone(&rig.client);
        let question = tokio::spawn(async move { client.tell_all().await });
        rig.until("it has arrived", |rig| commits(rig) == 2).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!question.is_finished(), "questions come after it");
        rig.fake.lock().slow_commits = false;
        question.await.unwrap();
        rig.until("it is saved", |_| !file.lock().has_work()).await;
        assert_eq!((commits(&rig), rig.fake.lock().bytes(ino.0)), (2, b"content".to_vec()));
        let made = rig.fake.lock().commits[1].create.clone().unwrap();
        assert_eq!(dfs_proto::convert::time_from(made.changed_at).unwrap(), shown);
    });
}

/// Who opens a file again may have looked at its version before that answer moved the file on.
#[test]
fn file_opened_again_while_its_commit_is_answered_keeps_its_bytes() {
    run(async {
        let rig = sending().await;
        let (ino, fh) = written(&rig, "a", b"content").await;
        let view = rig.content.find(ino).unwrap().view();
        let (ver, size) = (view.working.version(), view.working.size());
        close_early(&rig, Leave::Send, fh).await;
        rig.content.release(fh).unwrap();
        assert_ne!(view.working.version(), ver);
        let reopened = rig.content.cache.open_file(ino, ver, size).unwrap();
        assert!(Arc::ptr_eq(&reopened, &view.working));
        let fh = rig.open(ino.0, "rw").await;
        rig.content.write(fh, 7, b" and more", false).await.unwrap();
        assert_eq!(rig.content.read(fh, 0, 100).await.unwrap(), b"content and more");
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(ino.0), b"content and more");
    });
}

#[test]
fn close_of_a_new_file_without_content_is_answered_when_it_is_sent() {
    run(async {
        let rig = sending().await;
        let (ino, fh) = make(&rig, "a").unwrap();
        close_early(&rig, Leave::Send, fh).await;
        assert!(rig.fake.lock().names.contains(&b"a".to_vec()) && !rig.client.deferrals.has(ino));
    });
}

#[test]
fn close_waits_where_its_commit_may_be_refused_or_cannot_be_sent() {
    run(async {
        let rig = sending().await;
        let (_, fh) = written(&rig, "a", b"content").await;
        close_early(&rig, Leave::Send, fh).await;
        let (_, fh) = written(&rig, "b", b"content").await;
        close_waits(&rig, Leave::Nothing, fh).await;
        let (_, fh) = written(&rig, "c", b"content").await;
        close_early(&rig, Leave::Wait, fh).await;
        rig.fake.lock().roomy = false;
        let (_, fh) = written(&rig, "d", b"content").await;
        close(&rig, Leave::Send, fh).await.unwrap().unwrap();
        rig.until("it is told", |rig| rig.client.deferrals.is_empty()).await;
        let (_, fh) = written(&rig, "e", b"content").await;
        // The server has little room.
        close_waits(&rig, Leave::Send, fh).await;
        let (_, known) = written(&rig, "f", b"content").await;
        close(&rig, Leave::Send, known).await.unwrap().unwrap();
        rig.fake.lock().roomy = true;
        rig.content.write(known, 0, b"C", false).await.unwrap();
        // Others may know the file.
        close_waits(&rig, Leave::Send, known).await;
    });
}

#[test]
fn close_of_a_soft_mount_waits() {
    run(async {
        let rig = alone_with(|_| {}).await;
        rig.fake.lock().roomy = true;
        for name in ["a", "b"] {
            let (_, fh) = written(&rig, name, b"content").await;
            close_waits(&rig, Leave::Send, fh).await;
        }
    });
}

#[test]
fn closed_file_that_is_refused_is_not_lost() {
    run(async {
        let rig = sending().await;
        let (ino, fh) = written(&rig, "a", b"precious").await;
        let (_, other) = written(&rig, "b", b"other").await;
        rig.fake.lock().refuse = Some(Code::NoSpace);
        close(&rig, Leave::Send, fh).await.unwrap().unwrap();
        let file = rig.content.find(ino).unwrap();
        rig.until("its end", |_| !file.lock().closing).await;
        assert!(rig.client.deferrals.has(ino) && file.lock().has_work());
        let next = close(&rig, Leave::Send, other).await.unwrap();
        assert_eq!(next.unwrap_err().code, Code::NoSpace, "what is known to be full says so");
        rig.fake.lock().refuse = None;
        rig.content.fsync(other).await.unwrap();
        rig.content.fsync(fh).await.unwrap_err();
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(ino.0), b"precious");
    });
}

#[test]
fn closed_file_that_is_never_made_is_in_the_recovery_area() {
    run(async {
        let rig = sending().await;
        let (ino, fh) = written(&rig, "taken", b"precious").await;
        rig.fake.lock().refuse = Some(Code::Exists);
        close(&rig, Leave::Send, fh).await.unwrap().unwrap();
        rig.content.release(fh).unwrap();
        rig.until("the bytes are aside", |rig| rig.content.conflict_of(ino).is_some()).await;
        assert!(rig.client.deferrals.is_empty());
    });
}
