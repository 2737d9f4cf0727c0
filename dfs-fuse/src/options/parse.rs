//! From words to [`Options`].

use super::{CACHE_MIN, Options, value};
use crate::exit::{Failure, Result};
use crate::fstab;
use dfs_client::config::{Patience, RdwrLease, Reads};
use dfs_core::limits::JEOPARDY;

/// Every word of ours, for "did you mean". Keys that need a value end in `=`.
const KNOWN: &[&str] = &[
    "cache=",
    "cache_size=",
    "ro",
    "rw",
    "hard",
    "soft",
    "soft=",
    "reads=",
    "rdwr_lease=",
    "rwlock=",
    "passthrough=",
    "lease_wait=",
    "allow_other",
    "noallow_other",
    "default_permissions",
    "log=",
    "log_file=",
    "remount",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "noexec",
    "noatime",
    "sync",
    "async",
    "dirsync",
    "defaults",
    "noauto",
    "nofail",
    "_netdev",
    "noexec",
];

/// The words of a switch.
const ON_OFF: &[(&str, bool)] = &[("on", true), ("off", false)];

/// A word is called similar to a known one from here on (Jaro-Winkler, 0 to 1).
const SIMILAR: f64 = 0.75;

impl Options {
    /// Adds a list of words separated by commas; later words win. With `sloppy` unknown words are
    /// ignored (mount(8) `-s`). Fails with one line that names the word.
    pub fn add(&mut self, list: &str, sloppy: bool) -> Result<()> {
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if fstab::ignores(word) {
                continue;
            }
            let known = match word.split_once('=') {
                Some((key, text)) => self.set(key, text),
                None => Ok(self.flag(word)),
            };
            match known {
                Ok(false) if !sloppy => return Err(unknown(word)),
                Ok(_) => {}
                Err(why) => return Err(Failure::usage(format!("option '{word}' {why}"))),
            }
        }
        Ok(())
    }

    /// Sets `key=text`; `Ok(false)` when there is no such key.
    fn set(&mut self, key: &str, text: &str) -> std::result::Result<bool, String> {
        match key {
            "cache" => self.cache = Some(value::path(text)?),
            "cache_size" => self.cache_bytes = Some(value::size(text, CACHE_MIN)?),
            "soft" => self.patience = Patience::Soft(value::seconds(text)?),
            "reads" => {
                let choices = [("follow", Reads::Follow), ("snapshot", Reads::Snapshot)];
                self.reads = value::choice(text, &choices)?;
            }
            "rdwr_lease" => {
                let choices = [("try", RdwrLease::Try), ("open", RdwrLease::Open)];
                self.rdwr_lease = value::choice(text, &choices)?;
            }
            "rwlock" => self.rwlock = value::choice(text, ON_OFF)?,
            "passthrough" => self.passthrough = value::choice(text, ON_OFF)?,
            "lease_wait" => self.lease_wait = value::seconds(text)?,
            "log" => {
                tracing_subscriber::EnvFilter::try_new(text)
                    .map_err(|_| "is not a log level or filter: write info or debug".to_owned())?;
                self.log = text.to_owned();
            }
            "log_file" => self.log_file = Some(value::path(text)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Sets a word without value; false when there is no such word.
    fn flag(&mut self, word: &str) -> bool {
        match word {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "hard" => self.patience = Patience::Hard,
            "soft" => self.patience = Patience::Soft(JEOPARDY),
            "allow_other" => self.allow_other = Some(true),
            "noallow_other" => self.allow_other = Some(false),
            // Always on: the kernel checks permissions before it asks us.
            "default_permissions" => {}
            "remount" => self.remount = true,
            "dev" => self.flags.dev = Some(true),
            "nodev" => self.flags.dev = Some(false),
            "suid" => self.flags.suid = Some(true),
            "nosuid" => self.flags.suid = Some(false),
            "exec" => self.flags.exec = Some(true),
            "noexec" => self.flags.exec = Some(false),
            "noatime" => self.flags.noatime = true,
            "sync" => self.flags.sync = true,
            "async" => self.flags.sync = false,
            "dirsync" => self.flags.dirsync = true,
            _ => return false,
        }
        true
    }
}

/// The one line about a word nobody knows, with the known word nearest to it.
fn unknown(word: &str) -> Failure {
    let (key, has_value) = match word.split_once('=') {
        Some((key, _)) => (key, true),
        None => (word, false),
    };
    let bare = |known: &'static str| known.trim_end_matches('=');
    if KNOWN.iter().any(|known| bare(known) == key) {
        let why = if has_value { "takes no value" } else { "needs a value" };
        return Failure::usage(format!("option '{word}' {why}"));
    }
    let nearest = KNOWN
        .iter()
        .map(|known| (strsim::jaro_winkler(key, bare(known)), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= SIMILAR);
    Failure::usage(match nearest {
        Some((_, known)) => {
            format!("unknown option '{word}': did you mean '{}'?", bare(known))
        }
        None => format!("unknown option '{word}': see dfs-fuse --help"),
    })
}
