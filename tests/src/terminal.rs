//! Programs that want a terminal: what they show can be waited for, and keys can be typed.

use crate::shell::Running;
use crate::world::World;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// Longest wait for something on the screen.
const LIMIT: Duration = Duration::from_secs(60);
/// How much of the output a failure shows, in bytes.
const TAIL: usize = 2_000;

/// A program in a terminal of its own, of 24 lines and 80 columns, that script(1) makes for it.
pub struct Terminal {
    running: Running,
    /// Where everything goes that it prints.
    log: PathBuf,
    /// So much of that has been waited for.
    seen: usize,
}

impl Terminal {
    /// Starts `command` in `folder`; `name` is that of its log in the world.
    pub fn start(world: &World, name: &str, folder: &Path, command: &str) -> Terminal {
        let log = world.dir().join(format!("terminal-{name}.log"));
        let inside = format!("cd '{}' && stty rows 24 cols 80 && exec {command}", folder.display());
        let mut script = Command::new("script");
        script.args(["-qefc", &inside, "/dev/null"]).env("TERM", "vt100");
        script.stdout(std::fs::File::create(&log).expect("make a file")).stderr(Stdio::null());
        Terminal { running: Running::start_with_input(script), log, seen: 0 }
    }

    /// Types keys.
    pub fn types(&mut self, keys: &str) {
        self.running.input(keys);
    }

    /// Waits until it prints `text` after what was last waited for.
    pub fn shows(&mut self, text: &str) {
        let started = std::time::Instant::now();
        loop {
            let printed = std::fs::read(&self.log).expect("its log is there");
            let new = &printed[self.seen..];
            if let Some(at) = new.windows(text.len()).position(|w| w == text.as_bytes()) {
                self.seen += at + text.len();
                return;
            }
            let tail = String::from_utf8_lossy(&new[new.len().saturating_sub(TAIL)..]);
            assert!(started.elapsed() < LIMIT, "no {text:?} on the screen: {tail:?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Waits until it has ended, well or not.
    pub fn is_over(&mut self) -> ExitStatus {
        self.running.end_within(LIMIT)
    }

    /// Waits until it has ended well.
    pub fn ends(&mut self) {
        let status = self.is_over();
        assert!(status.success(), "{status}");
    }
}
