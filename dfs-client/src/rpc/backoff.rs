//! Pauses between attempts.

use super::Rpc;
use crate::config::Patience;
use crate::interrupt;
use crate::session::Identity;
use dfs_core::{Code, FsError, Result};
use rand::TryRng;
use rand::rngs::SysRng;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// First and longest pause.
const MIN: Duration = Duration::from_millis(10);
const MAX: Duration = Duration::from_secs(2);

/// Between half of `d` and all of it, so that clients that failed together do not come back together.
pub(crate) fn jitter(d: Duration) -> Duration {
    // Where the system has no randomness, all pauses are equally long: slower, not wrong.
    let chance = SysRng.try_next_u32().unwrap_or(u32::MAX);
    d / 2 + d / 2 * (chance >> 16) / 0xffff
}

/// The attempts at one call: when to make the next one, and when to give up.
pub(super) struct Attempts<'a> {
    rpc: &'a Rpc,
    /// A soft mount gives up then.
    deadline: Option<Instant>,
    pause: Duration,
    made: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(rpc: &'a Rpc) -> Attempts<'a> {
        let deadline = match rpc.patience {
            Patience::Hard => None,
            Patience::Soft(d) => Some(Instant::now() + d),
        };
        Attempts { rpc, deadline, pause: MIN, made: 0 }
    }

    /// Waits for a live session and returns who we are in it. Every attempt begins here.
    pub(super) async fn ready(&mut self) -> Result<Identity> {
        interrupt::wait(self.rpc.session.gate_until(self.deadline)).await??;
        self.made += 1;
        if self.made > 1 {
            self.rpc.metrics.repeats.inc();
        }
        Ok(self.rpc.session.identity())
    }

    /// An attempt in session `sid` failed. Returns when the next one is due, or fails for good
    /// (PROTOCOL appendix A).
    pub(super) async fn again(&mut self, sid: u64, error: FsError) -> Result<()> {
        let pause = match error.code {
            Code::SessionExpired => {
                self.rpc.session.expired(sid);
                return Ok(());
            }
            Code::Grace(after) | Code::Retry(after) => after.max(MIN),
            Code::Unavailable | Code::StaleLeader => {
                self.rpc.answers(error.code != Code::Unavailable);
                if self.made == 3 {
                    tracing::warn!(%error, "the server does not answer, still trying");
                }
                let pause = self.pause;
                self.pause = (pause * 2).min(MAX);
                pause
            }
            _ => return Err(error),
        };
        let pause = jitter(pause);
        if self.deadline.is_some_and(|at| Instant::now() + pause >= at) {
            return Err(FsError::new(
                Code::Io,
                format!("gave up after {} attempts: {error}", self.made),
            ));
        }
        interrupt::wait(sleep(pause)).await
    }
}
