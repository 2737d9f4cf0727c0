//! What happens without a caller: commits, idle leases, the index of the cache.

use super::Content;
use super::inode::File;
use crate::cache::Cache;
use crate::client::Client;
use crate::recovered::{RECOVERED_AGE_MIN, RECOVERED_LIMIT, RecoveryArea};
use dfs_core::inode_state::{Effect, Event};
use dfs_core::limits::COMMIT_EVERY;
use dfs_core::{Ino, Result};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often the index of the cache is written; sooner when much waits for it.
const PERSIST_EVERY: Duration = Duration::from_secs(1);
/// Leases that a stopping client gives back at a time.
const STOP_AT_ONCE: usize = 16;

enum Due {
    Deadlines,
    Index,
    Mapped,
}

/// Looks after deadlines as long as the content layer lives.
async fn look_after(content: Weak<Content>, full: Arc<Notify>) {
    let mut tick = interval(TICK);
    let mut persist = interval(PERSIST_EVERY);
    let mut mapped = interval(COMMIT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    persist.set_missed_tick_behavior(MissedTickBehavior::Skip);
    mapped.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = tokio::select! {
            _ = tick.tick() => Due::Deadlines,
            _ = persist.tick() => Due::Index,
            () = full.notified() => Due::Index,
            _ = mapped.tick() => Due::Mapped,
        };
        let Some(content) = content.upgrade() else { return };
        match due {
            Due::Deadlines => content.tick(),
            Due::Index => content.persist().await,
            Due::Mapped => content.commit_mapped(),
        }
    }
}

impl Content {
    /// The content layer of a client over its cache, tied to it as its hooks. Takes up the unsaved
    /// work of an earlier life.
    ///
    /// Errors: those of the cache's file system.
    pub fn start(client: &Arc<Client>, cache: Arc<Cache>) -> Result<Arc<Content>> {
        let area = RecoveryArea::open(&cache.recovered_dir(), RECOVERED_LIMIT, RECOVERED_AGE_MIN)?;
        let known = area.list()?;
        let content = Content::new(Arc::clone(client), cache, Arc::new(area));
        let known = known.into_iter().map(|entry| (entry.ino, entry.name));
        content.files().conflicts.extend(known);
        client.set_hooks(Arc::<Content>::clone(&content));
        let left = client.deferrals.keep_in(&content.cache.deferred_file())?;
        *content.left_over.try_lock().expect("nobody has it yet") = left;
        content.recover()?;
        content.recover_mapped()?;
        client.runtime.spawn(look_after(Arc::downgrade(&content), content.cache.full()));
        content.sweep();
        Ok(content)
    }

    /// Looks for what a crash left in the cache folder, on a thread of its own.
    fn sweep(&self) {
        let cache = Arc::clone(&self.cache);
        self.client.runtime.spawn_blocking(move || match cache.sweep(&AtomicBool::new(false)) {
            Ok(swept) => tracing::debug!(?swept, "cache folder looked through"),
            Err(error) => tracing::warn!(%error, "cannot look through the cache folder"),
        });
    }

    /// Does what is due now: commits, returns of leases.
    pub(crate) fn tick(&self) {
        let active: Vec<Ino> = self.files().active.iter().copied().collect();
        for ino in active {
            let Some(file) = self.find(ino) else {
                self.files().active.remove(&ino);
                continue;
            };
            self.tick_file(&file);
        }
    }

    fn tick_file(&self, file: &Arc<File>) {
        self.step_reader(file, Event::Tick);
        let mut state = file.lock();
        let effect = state.machine.step(self.now(), Event::Tick);
        let watched = state.machine.next_deadline().is_some()
            || state.machine.is_dirty()
            || state.readers.next_deadline().is_some();
        drop(state);
        if !watched {
            self.files().active.remove(&file.ino);
        }
        match effect {
            // One that still runs will find what is dirty now, too.
            Some(Effect::Commit) if file.commit_queue.try_lock().is_err() => {}
            Some(effect) => self.carry_out(file, effect),
            None => {}
        }
    }

    pub(super) async fn persist(&self) {
        let cache = Arc::clone(&self.cache);
        let written = self.client.runtime.spawn_blocking(move || cache.persist()).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot write the cache index"),
            Err(error) => tracing::error!(%error, "writing the cache index failed"),
        }
    }

    /// Commits everything and gives all leases back, some files at a time.
    pub(crate) async fn stop(&self) {
        self.client.tell_all().await;
        let files: Vec<Arc<File>> = self.files().known.values().cloned().collect();
        let mut running = JoinSet::new();
        for file in files {
            if running.len() >= STOP_AT_ONCE {
                running.join_next().await;
            }
            let content = self.arc();
            running.spawn_on(async move { content.stop_file(&file).await }, &self.client.runtime);
        }
        while running.join_next().await.is_some() {}
        self.client.deferrals.note_anew();
        self.persist().await;
    }

    async fn stop_file(&self, file: &Arc<File>) {
        if let Err(error) = self.commit(file).await {
            tracing::error!(ino = %file.ino, %error, "unsaved work stays in the cache");
            return;
        }
        if let Err(error) = file.view().working.end_stores() {
            tracing::warn!(ino = %file.ino, %error, "the next mount looks for stores in vain");
        }
        let leases = {
            let state = file.lock();
            [state.machine.committable(), state.readers.committable()]
        };
        for held in leases.into_iter().flatten() {
            self.disown(file.ino, held.grant, held.fence).await;
        }
    }
}
