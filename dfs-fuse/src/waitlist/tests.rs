//! The list with real processes: a child that blocks a signal keeps it pending, just as a thread
//! inside a FUSE request does.

use super::*;
use dfs_client::interrupt;
use dfs_core::Code;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const DEADLINE: Duration = Duration::from_secs(10);

/// Waits like a request does; true when it was interrupted before `limit`.
fn interrupted(token: Interrupt, limit: Duration) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let request = interrupt::scope(token, interrupt::wait(std::future::pending::<()>()));
        match tokio::time::timeout(limit, request).await {
            Ok(end) => end.is_err_and(|e| e.code == Code::Interrupted),
            Err(_) => false,
        }
    })
}

/// A child that ends with the test.
struct Process(Child);

/// A child that runs `script`, once it has said that it is ready.
fn child(script: &str) -> Process {
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Process(child)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send(child: &Process, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.0.id() as i32);
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// Stops a child: what is sent to it then stays pending.
fn stop(child: &Process) {
    use nix::sys::wait::{WaitPidFlag, waitpid};
    send(child, nix::sys::signal::Signal::SIGSTOP);
    let pid = nix::unistd::Pid::from_raw(child.0.id() as i32);
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
}

#[test]
fn waitlist_raises_when_the_caller_is_killed() {
    use nix::sys::signal::Signal::SIGTERM;
    let list = WaitList::start().unwrap();
    let child = child("echo ready; read line");
    let token = Interrupt::default();
    let place = list.add(Waiting::new("read", Ino(1), child.0.id(), token.clone()));
    assert_eq!(list.snapshot().len(), 1);
    assert!(!interrupted(token.clone(), 3 * PATIENCE), "no signal yet");
    // A stopped process keeps SIGTERM pending, as a thread inside a request does.
    stop(&child);
    send(&child, SIGTERM);
    assert!(interrupted(token, DEADLINE));
    drop(place);
    assert!(list.snapshot().is_empty());
}

#[test]
fn waitlist_is_busy_with_requests_that_have_just_begun() {
    let list = WaitList::start().unwrap();
    assert!(!list.is_busy());
    let waits = |since| Waiting { since, ..Waiting::new("setlk", Ino(1), 0, Interrupt::default()) };
    let long_ago = Instant::now().checked_sub(PATIENCE).expect("the machine runs for longer");
    let _lock = list.add(waits(long_ago));
    assert!(!list.is_busy(), "a lock may be waited for all day");
    let place = list.add(waits(Instant::now() + DEADLINE));
    assert!(list.is_busy());
    drop(place);
    assert!(!list.is_busy());
}

#[test]
fn waitlist_leaves_callers_alone_that_ignore_the_signal() {
    use nix::sys::signal::Signal::{SIGURG, SIGWINCH};
    let list = WaitList::start().unwrap();
    let child = child("echo ready; read line");
    stop(&child);
    send(&child, SIGWINCH);
    send(&child, SIGURG);
    let token = Interrupt::default();
    let _place = list.add(Waiting::new("read", Ino(1), child.0.id(), token.clone()));
    assert!(!interrupted(token, 4 * PATIENCE));
}

/// A name that the driver does not use would make its operation deaf to Ctrl-C.
#[test]
fn waitlist_names_operations_of_the_driver() {
    let driver = include_str!("../driver/filesystem.rs");
    for op in WAITING.iter().chain(&ASKING) {
        assert!(driver.contains(&format!("call(\"{op}\",")), "{op}");
    }
}

#[test]
fn regression_handled_signals_end_only_what_waits_for_others() {
    use nix::sys::signal::Signal::{SIGALRM, SIGINT};
    let list = WaitList::start().unwrap();
    for (signal, ended) in [(SIGALRM, &["setlk"][..]), (SIGINT, &["setlk", "read"])] {
        let child = child("trap : ALRM INT; echo ready; read line");
        stop(&child);
        send(&child, signal);
        for op in ["rmdir", "fsync", "read", "setlk"] {
            let (token, ends) = (Interrupt::default(), ended.contains(&op));
            let _place = list.add(Waiting::new(op, Ino(1), child.0.id(), token.clone()));
            let limit = if ends { DEADLINE } else { 4 * PATIENCE };
            assert_eq!(interrupted(token, limit), ends, "{signal} {op}");
        }
    }
}

#[test]
fn waitlist_leaves_requests_alone_whose_caller_it_cannot_see() {
    let list = WaitList::start().unwrap();
    for tid in [0, u32::MAX] {
        let token = Interrupt::default();
        let _place = list.add(Waiting::new("release", Ino(1), tid, token.clone()));
        assert!(!interrupted(token, 3 * PATIENCE));
    }
}

#[test]
fn due_takes_rounds_oldest_first_and_skips_the_young() {
    let mut state = State::default();
    for number in 0..(ROUND as u64 + 10) {
        let waiting = Waiting::new("read", Ino(1), number as u32 + 1, Interrupt::default());
        state.waiting.insert(number, waiting);
    }
    let early = Instant::now();
    assert!(due(&mut state, 0, early).0.is_empty());
    let late = early + PATIENCE * 2;
    let (first, next) = due(&mut state, 0, late);
    assert_eq!((first.len(), next), (ROUND, ROUND as u64));
    let (second, next) = due(&mut state, next, late);
    assert_eq!((second.len(), next), (10, 0));
    state.waiting.get_mut(&0).unwrap().raised = true;
    assert_eq!(due(&mut state, 0, late).0[0].number, 1, "raised once");
}
