//! Looking out for the next request (`docs/design/0049`).
//!
//! Who reads many small files asks for the next thing some 20 us after an answer. A thread that went to
//! sleep meanwhile has to be woken on another processor, and that takes longer than the answer. So the
//! thread that answered looks out for a moment before it sleeps, as long as one program asks quickly, and
//! for nothing that leaves the server work.

use crate::waitlist;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Longest look.
const LOOK_MAX: Duration = Duration::from_micros(50);
/// A request that comes so soon after an answer is a quick one. Who sleeps gets it later than it was
/// made, by the time it takes to be woken.
const SOON: Duration = Duration::from_micros(100);
/// Quick requests in a row after which it pays to look.
const QUICK_MIN: u32 = 8;
/// Pauses between two looks, each of which takes the lock of the kernel's queue.
const PAUSES: u32 = 8;

/// How quickly requests follow each other. Times are those since any fixed moment.
#[derive(Debug, Default)]
struct Pace {
    /// The thread that asked last.
    caller: u32,
    /// When it was answered.
    answered: Duration,
    /// Quick requests in a row.
    quick: u32,
    /// Whether a thread looks out.
    looking: bool,
}

impl Pace {
    /// A request of the thread `caller` was read; 0: the kernel names none.
    fn asked(&mut self, now: Duration, caller: u32, kind: Kind) {
        let same = caller == 0 || caller == self.caller;
        let soon = same && now.saturating_sub(self.answered) <= SOON;
        self.quick = match kind {
            Kind::Changes => 0,
            _ if !soon => 0,
            Kind::Asks => self.quick,
            Kind::Reads => self.quick.saturating_add(1),
        };
        if caller != 0 {
            self.caller = caller;
        }
    }

    /// It was answered: whether the thread that did it shall look out. One at a time does.
    fn answered(&mut self, now: Duration, kind: Kind) -> bool {
        self.answered = now;
        let look = kind == Kind::Reads && self.quick >= QUICK_MIN && !self.looking;
        self.looking |= look;
        look
    }

    /// A look has ended; `seen`: with a request.
    fn looked(&mut self, seen: bool) {
        self.looking = false;
        if !seen {
            self.quick = 0;
        }
    }
}

/// Looks out on the kernel's queue.
#[derive(Debug)]
pub struct Lookout {
    /// `/dev/fuse`, or what else has requests.
    device: OnceLock<OwnedFd>,
    since: Instant,
    pace: Mutex<Pace>,
}

impl Lookout {
    /// Nobody looks before [`attach`](Lookout::attach).
    pub fn new() -> Lookout {
        Lookout { device: OnceLock::new(), since: Instant::now(), pace: Mutex::default() }
    }

    /// `device` is a duplicate of the descriptor of the session; only the first one counts.
    pub fn attach(&self, device: OwnedFd) {
        let _ = self.device.set(device);
    }

    /// The thread `tid` (0: nobody) asks for the operation `op`, which this thread has read.
    pub fn asked(&self, tid: u32, op: &str) -> Turn<'_> {
        let kind = Kind::of(op);
        self.pace().asked(self.since.elapsed(), tid, kind);
        Turn { lookout: self, kind, answers: true }
    }

    fn answered(&self, kind: Kind) {
        let look = self.pace().answered(self.since.elapsed(), kind);
        if look {
            let seen = self.look();
            self.pace().looked(seen);
        }
    }

    /// Whether there was a request within a moment.
    fn look(&self) -> bool {
        let Some(device) = self.device.get() else { return false };
        let mut queue = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        let begun = Instant::now();
        while begun.elapsed() < LOOK_MAX {
            // Whatever is wrong with it, reading it tells.
            if poll(&mut queue, PollTimeout::ZERO) != Ok(0) {
                return true;
            }
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
        }
        false
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Lookout {
    fn default() -> Lookout {
        Lookout::new()
    }
}

/// What an operation tells of those that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is one of those that reading a file or a directory takes: the next one comes soon.
    Reads,
    /// A question. Programs that ask nothing else are served on their own processor.
    Asks,
    /// The server works for us when it was answered, and the processor is better left to it.
    Changes,
}

impl Kind {
    fn of(op: &str) -> Kind {
        match op {
            "open" | "read" | "release" => Kind::Reads,
            "opendir" | "readdir" | "readdirplus" | "releasedir" => Kind::Reads,
            _ if waitlist::changes_nothing(op) => Kind::Asks,
            _ => Kind::Changes,
        }
    }
}

/// A request on the thread that has read it. When it ends, that thread may look out.
#[derive(Debug)]
pub struct Turn<'a> {
    lookout: &'a Lookout,
    kind: Kind,
    answers: bool,
}

impl Turn<'_> {
    /// The request is answered elsewhere, and this thread goes back to the queue at once.
    pub fn leave(mut self) {
        self.answers = false;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.answers {
            self.lookout.answered(self.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const GAP: Duration = Duration::from_micros(20);

    /// Programs that ask and are answered.
    struct Asking {
        pace: Pace,
        now: Duration,
    }

    impl Asking {
        /// One thread, 7, has read so often in a row that its last answer was the first with a look,
        /// which has ended.
        fn quickly() -> Asking {
            let mut asking = Asking { pace: Pace::default(), now: Duration::from_secs(5) };
            assert!(!asking.once(7, Kind::Reads), "nobody was answered before");
            for nth in 1..QUICK_MIN {
                assert!(!asking.once(7, Kind::Reads), "{nth}");
            }
            assert!(asking.once(7, Kind::Reads));
            asking.pace.looked(true);
            asking
        }

        /// Whether the one who answers shall look out.
        fn once(&mut self, caller: u32, kind: Kind) -> bool {
            self.now += GAP;
            self.pace.asked(self.now, caller, kind);
            self.pace.answered(self.now, kind)
        }
    }

    #[test]
    fn look_follows_quick_requests_until_one_finds_nothing() {
        let mut asking = Asking::quickly();
        assert!(asking.once(0, Kind::Reads), "a release names nobody");
        asking.pace.looked(true);
        assert!(asking.once(7, Kind::Reads));
        asking.pace.looked(false);
        assert!(!asking.once(7, Kind::Reads));
    }

    #[test]
    fn look_is_of_one_thread_at_a_time() {
        let mut asking = Asking::quickly();
        assert!(asking.once(7, Kind::Reads));
        assert!(!asking.once(7, Kind::Reads), "another thread looks");
        asking.pace.looked(true);
        assert!(asking.once(7, Kind::Reads));
    }

    #[test]
    fn look_ends_with_another_caller_a_change_or_a_pause() {
        let ends: [fn(&mut Asking) -> bool; 3] = [
            |asking| asking.once(8, Kind::Reads),
            |asking| asking.once(7, Kind::Changes),
            |asking| {
                asking.now += SOON;
                asking.once(7, Kind::Reads)
            },
        ];
        for (nth, end) in ends.into_iter().enumerate() {
            let mut asking = Asking::quickly();
            assert!(!end(&mut asking), "{nth}");
            assert!(!asking.once(asking.pace.caller, Kind::Reads), "{nth}: it begins anew");
        }
    }

    #[test]
    fn look_does_not_follow_a_question_and_goes_on_after_it() {
        let mut asking = Asking::quickly();
        assert!(!asking.once(7, Kind::Asks));
        assert!(asking.once(7, Kind::Reads));
        let mut asking = Asking { pace: Pace::default(), now: Duration::ZERO };
        for _ in 0..2 * QUICK_MIN {
            assert!(!asking.once(7, Kind::Asks));
        }
        assert!(!asking.once(7, Kind::Reads), "questions do not count");
    }

    #[test]
    fn look_sees_a_request_and_does_not_wait_for_one() {
        let lookout = Lookout::new();
        assert!(!lookout.look(), "there is no queue yet");
        let (queue, mut kernel) = std::io::pipe().unwrap();
        lookout.attach(queue.into());
        assert!(!lookout.look());
        kernel.write_all(b"open").unwrap();
        assert!(lookout.look());
    }

    #[test]
    fn look_ends_when_the_queue_is_gone() {
        let lookout = Lookout::new();
        let (queue, kernel) = std::io::pipe().unwrap();
        lookout.attach(queue.into());
        drop(kernel);
        assert!(lookout.look());
    }

    #[test]
    fn turn_that_was_left_answers_nothing() {
        let lookout = Lookout::new();
        lookout.asked(7, "lookup").leave();
        assert_eq!(lookout.pace().answered, Duration::ZERO);
        drop(lookout.asked(7, "lookup"));
        assert_ne!(lookout.pace().answered, Duration::ZERO);
    }

    #[test]
    fn operation_tells_of_those_that_follow() {
        for (kind, ops) in [
            (Kind::Reads, ["open", "read", "release", "readdirplus"]),
            (Kind::Asks, ["lookup", "getattr", "access", "readlink"]),
            (Kind::Changes, ["create", "write", "flush", "unlink"]),
        ] {
            ops.iter().for_each(|op| assert_eq!(Kind::of(op), kind, "{op}"));
        }
    }
}
