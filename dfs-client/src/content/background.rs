//! What happens without a caller: commits, idle leases, the index of the cache.

use super::Content;
use super::inode::File;
use dfs_core::Ino;
use dfs_core::inode_state::{Effect, Event};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often the index of the cache is written.
const PERSIST_EVERY: Duration = Duration::from_secs(1);
/// Leases that a stopping client gives back at a time.
const STOP_AT_ONCE: usize = 16;

impl Content {
    /// Looks after deadlines until the task is aborted; to be spawned once by the owner.
    pub async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        let mut persist = tokio::time::interval(PERSIST_EVERY);
        persist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = tick.tick() => self.tick(),
                _ = persist.tick() => self.persist().await,
            }
        }
    }

    /// Does what is due now: commits, returns of leases.
    pub fn tick(&self) {
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

    async fn persist(&self) {
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
        self.persist().await;
    }

    async fn stop_file(&self, file: &Arc<File>) {
        if let Err(error) = self.commit(file, true).await {
            tracing::error!(ino = %file.ino, %error, "unsaved work stays in the cache");
            return;
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
