//! Opening and closing files (PROTOCOL 4.1, 4.3).

use super::Content;
use super::commit::Aim;
use super::handle::Handle;
use super::inode::File;
use super::lease::Ask;
use super::pages::Pages;
use super::view::View;
use crate::config::{RdwrLease, Reads};
use crate::interrupt;
use crate::vfs::{OpenFlags, Opened};
use dfs_core::access::{Credentials, Privilege};
use dfs_core::attr::{Attr, Kind};
use dfs_core::inode_state::{Effect, Event, Held};
use dfs_core::limits::REPLY_DATA_MAX;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use std::sync::Arc;

impl Content {
    /// Opens a file at its current version; for writing with the lease as the flags ask for it.
    ///
    /// Errors: `ReadOnly`; `IsDirectory`; those of waiting for the lease (`WouldBlock`, `Busy`,
    /// `Interrupted`); `AccessDenied` from the server.
    pub async fn open(&self, who: &Credentials, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        if (flags.write || flags.truncate) && self.client.config.read_only {
            return Err(FsError::from(Code::ReadOnly));
        }
        self.client.session.gate().await?;
        let known = self.known(ino)?;
        let is_known = known.is_some();
        let file = match known {
            Some(file) => file,
            None => self.current(who, ino, false, data_max(flags)).await?,
        };
        let counted = Counted::new(self, &file, flags)?;
        if flags.write {
            self.open_to_write(&file, who, flags).await?;
        } else if flags.truncate {
            // Linux lets a reader truncate that may write (open(2)).
            self.set_size(who, ino, None, 0).await?;
        }
        if flags.read && is_known {
            self.current(who, ino, false, data_max(flags)).await?;
        }
        if flags.read && self.client.config.rwlock {
            let ask = ask(who, flags);
            self.read_lease(&file, &ask).await?;
        }
        let snapshot = self.snapshot(&file, flags).await?;
        interrupt::wait(self.told(&file)).await?;
        if flags.read {
            self.fetch_early(&file);
        }
        if flags.read && !flags.write {
            self.outlast_closing(&file).await;
        }
        if flags.read && flags.write && file.lock().is_passed() {
            // What a newer version changes must be known exactly beside stores of a mapping.
            self.know_extents(&file, &file.view(), Range::ALL).await?;
            // And by the next daemon, if this one is killed, what its bytes were.
            self.persist().await;
        }
        let flags = if flags.truncate { past_pages(flags) } else { flags };
        Ok(self.opened(counted, who, flags, snapshot))
    }

    /// As [`open`](Content::open) to read a small file, if nothing has to be waited for; none: the file is
    /// not opened. What fails here that way meets again, and tells.
    pub fn open_now(&self, who: &Credentials, ino: Ino, flags: OpenFlags) -> Option<Opened> {
        let reads = flags.read && !flags.write && !flags.truncate;
        let config = &self.client.config;
        if !reads || config.rwlock || config.reads == Reads::Snapshot {
            return None;
        }
        self.client.session.lease_left()?;
        let attr = self.client.metadata.attr(ino)?;
        if attr.kind != Kind::File {
            return None;
        }
        let file = self.file(ino, attr.content_ver, attr.size).ok()?;
        if !self.is_current(&file, &attr) || !file.lock().is_quiet() {
            return None;
        }
        let counted = Counted::new(self, &file, flags).ok()?;
        self.fetch_early(&file);
        Some(self.opened(counted, who, flags, None))
    }

    /// Opens a file that the server just created for us, with its lease if it gave one.
    pub(crate) async fn open_created(
        &self,
        who: &Credentials,
        attr: &Attr,
        grant: Option<Held>,
        flags: OpenFlags,
    ) -> Result<Opened> {
        if let Some(held) = grant {
            return self.open_new(who, attr, held, flags);
        }
        let (file, counted) = self.count_new(attr, flags)?;
        if flags.write {
            self.open_to_write(&file, who, OpenFlags { truncate: false, ..flags }).await?;
        }
        Ok(self.opened_new(counted, who, flags))
    }

    /// Opens a file that nobody else can have opened yet, with its lease.
    pub(super) fn open_new(
        &self,
        who: &Credentials,
        attr: &Attr,
        held: Held,
        flags: OpenFlags,
    ) -> Result<Opened> {
        let (file, counted) = self.count_new(attr, flags)?;
        self.own(&file, who, held)?;
        // Nobody else can have asked for the lease of a file that did not exist.
        file.lock().machine.step(self.now(), Event::Wanted);
        self.step(&file, Event::Granted(held));
        Ok(self.opened_new(counted, who, flags))
    }

    fn count_new(&self, attr: &Attr, flags: OpenFlags) -> Result<(Arc<File>, Counted<'_>)> {
        let file = self.file(attr.ino, attr.content_ver, attr.size)?;
        file.lock().pages = Pages::Of(attr.content_ver);
        let counted = Counted::new(self, &file, flags)?;
        Ok((file, counted))
    }

    /// The file, if it is here or its attributes are: no question is needed before the lease.
    fn known(&self, ino: Ino) -> Result<Option<Arc<File>>> {
        if let Some(attr) = self.client.metadata.attr(ino) {
            if attr.kind != Kind::File {
                let code =
                    if attr.kind == Kind::Directory { Code::IsDirectory } else { Code::NoDevice };
                return Err(FsError::new(code, format!("inode {ino} is not a file")));
            }
            return self.file(ino, attr.content_ver, attr.size).map(Some);
        }
        Ok(self.find(ino))
    }

    async fn open_to_write(
        &self,
        file: &Arc<File>,
        who: &Credentials,
        flags: OpenFlags,
    ) -> Result<()> {
        let ask = ask(who, flags);
        let lazy = flags.read && !flags.truncate && !flags.append;
        let lazy = lazy && self.client.config.rdwr_lease == RdwrLease::Try;
        if lazy {
            let attempt = Ask { nonblock: true, ..ask };
            let had = file.lock().machine.committable().is_some();
            return match self.lease(file, &attempt).await {
                Ok(()) => {
                    // Whether it will write nobody knows yet: until then it yields to who does.
                    if !had {
                        self.step(file, Event::Rested);
                    }
                    Ok(())
                }
                Err(e) if e.code == Code::WouldBlock => Ok(()),
                Err(e) => Err(e),
            };
        }
        self.step(file, Event::Reused);
        if flags.truncate {
            let kill_suid = !who.may(Privilege::SetId);
            self.leave_group(file.ino, || who.clone()).await?;
            return self.reshape(file, &ask, kill_suid, |working| working.truncate(0)).await;
        }
        self.lease(file, &ask).await
    }

    /// The version a reader stays on under `reads=snapshot`, with all its extents: the server tells
    /// those of the current version only.
    async fn snapshot(&self, file: &Arc<File>, flags: OpenFlags) -> Result<Option<Arc<View>>> {
        if self.client.config.reads != Reads::Snapshot || flags.write {
            return Ok(None);
        }
        loop {
            let view = file.view();
            self.know_extents(file, &view, Range::ALL).await?;
            let _gate = file.gate.read().await;
            let mut state = file.lock();
            let whole = view.manifest().unknown(Range::ALL).is_none();
            if whole && Arc::ptr_eq(&view, &state.view) {
                state.snapshots += 1;
                if let Some(handles) = state.pins.get_mut(&view.working.version()) {
                    *handles += 1;
                }
                return Ok(Some(view));
            }
        }
    }

    fn opened(
        &self,
        counted: Counted<'_>,
        who: &Credentials,
        flags: OpenFlags,
        snapshot: Option<Arc<View>>,
    ) -> Opened {
        let file = counted.keep();
        if file.lock().machine.committable().is_none() {
            self.keep_promise(&file);
        }
        let handle = Handle::new(Arc::clone(&file), flags, who.clone(), snapshot);
        self.decide(self.handles.add(handle))
    }

    /// As [`opened`](Content::opened), for the handle that came with a new file: the server may have to
    /// be told of the file when it is closed, whatever it was opened for.
    fn opened_new(&self, counted: Counted<'_>, who: &Credentials, flags: OpenFlags) -> Opened {
        Opened { flush: true, ..self.opened(counted, who, past_pages(flags), None) }
    }

    /// An open handle implies a promise or a hold (PROTOCOL 3.6): asks for both if there is no
    /// promise. One that could not follow a newer version under the lease does so now.
    pub(crate) fn keep_promise(&self, file: &Arc<File>) {
        match self.client.metadata.attr(file.ino) {
            Some(attr) if self.is_current(file, &attr) => {}
            Some(_) => self.carry_out(file, Effect::Advance),
            None => {
                self.client.open_hold(file.ino);
                self.carry_out(file, Effect::Advance);
            }
        }
    }

    /// close(2): commits, and tells what became of everything written.
    ///
    /// Errors: why bytes are still unsaved; `Io` if they were put aside; a failure in the background
    /// that no call has reported yet.
    pub async fn flush(&self, fh: u64) -> Result<()> {
        let settled = self.settle(fh, self.aim_of_close(fh)).await.map(drop);
        if let Ok(handle) = self.handles.get(fh) {
            handle.file.lock().mode.closing(fh);
        }
        settled
    }

    /// fsync(2): returns when everything written survives a power loss of the servers. Errors as
    /// [`flush`](Content::flush), and `Io` if they cannot say so.
    pub async fn fsync(&self, fh: u64) -> Result<()> {
        match self.settle(fh, Aim::Sync).await? {
            // With it came all that was changed before.
            true => Ok(()),
            false => self.client.flush().await,
        }
    }

    /// Fails with `Io` if record locks of the file were lost since it was opened.
    pub fn may_lock(&self, fh: u64) -> Result<()> {
        self.handles.get(fh)?.usable(false)
    }

    /// True: that took a commit.
    async fn settle(&self, fh: u64, aim: Aim) -> Result<bool> {
        let handle = self.handles.get(fh)?;
        if !handle.flags.write && !handle.file.lock().has_work() {
            return Ok(false);
        }
        // Also when a descriptor is closed the handle may have others, in a child process perhaps: the
        // guaranteed term goes on until the kernel lets go of the handle.
        let sent = aim.sent();
        let committed = match self.commit_for(&handle.file, aim).await {
            Err(error) if error.code == Code::Interrupted => return Err(error),
            Err(error) => {
                handle.reported();
                return Err(error);
            }
            Ok(committed) => committed,
        };
        if !committed {
            // The name of a new file without content.
            self.tell_to_close(&handle.file, sent).await?;
        }
        handle.usable(handle.flags.write)?;
        handle.unreported()?;
        Ok(committed)
    }

    /// The last reference to a handle is gone. What mapped pages brought after the last close is
    /// committed in the background.
    pub fn release(&self, fh: u64) -> Result<()> {
        let handle = self.handles.remove(fh)?;
        let file = Arc::clone(&handle.file);
        if let Some(view) = &handle.snapshot {
            self.unpin(&file, view);
        }
        let flags = handle.flags;
        drop(handle);
        self.closed_one(&file, fh);
        self.uncount(&file, flags);
        if !file.lock().closing {
            self.look_after_closed(&file);
        }
        Ok(())
    }

    /// Does in the background what is left to do for a file that was closed.
    pub(super) fn look_after_closed(&self, file: &Arc<File>) {
        let (idle, unsaved) = {
            let state = file.lock();
            (state.open == 0, state.has_work())
        };
        if unsaved || idle && !self.has_names(file.ino) {
            let (content, file) = (self.arc(), Arc::clone(file));
            self.client.runtime.spawn(async move { content.closed(&file, unsaved).await });
        }
    }

    fn unpin(&self, file: &File, view: &Arc<View>) {
        let ver = view.working.version();
        let mut state = file.lock();
        if Arc::ptr_eq(view, &state.view) {
            state.snapshots = state.snapshots.saturating_sub(1);
        }
        if let Some(handles) = state.pins.get_mut(&ver) {
            *handles -= 1;
            if *handles == 0 {
                state.pins.remove(&ver);
                self.client.unpin(file.ino, ver);
            }
        }
    }

    fn uncount(&self, file: &Arc<File>, flags: OpenFlags) {
        let mut state = file.lock();
        state.open -= 1;
        state.appenders -= u32::from(flags.append && flags.write);
        state.set_pace();
        let last = state.open == 0;
        if flags.write {
            self.step_locked(file, &mut state, Event::WriterClosed);
        }
        drop(state);
        if flags.read && self.client.config.rwlock {
            self.step_reader(file, Event::WriterClosed);
        }
        if last {
            self.cache.set_open(file.ino, false);
        }
    }

    /// After a close: commits what is left, and lets an inode without names go.
    async fn closed(&self, file: &Arc<File>, unsaved: bool) {
        if self.buried(file).await {
            return;
        }
        // What a writer that came since has half written is not ours to publish.
        if unsaved && file.lock().machine.writers() == 0 {
            self.commit_in_background(file).await;
        }
    }

    /// Whether it is known without asking that the inode has names; nearly always it is.
    fn has_names(&self, ino: Ino) -> bool {
        let attr = self.client.metadata.attr(ino);
        !self.client.ttl().is_zero() && attr.is_some_and(|attr| attr.nlink > 0)
    }

    async fn is_orphan(&self, ino: Ino) -> bool {
        match self.client.attr(ino).await {
            Ok(attr) => attr.nlink == 0,
            Err(error) => matches!(error.code, Code::NotFound | Code::Stale),
        }
    }

    /// Lets a file go that has no name and is not open. False: it has, or is.
    pub(super) async fn buried(&self, file: &Arc<File>) -> bool {
        let is_open = || file.lock().open > 0;
        if is_open() || !self.is_orphan(file.ino).await || is_open() {
            return false;
        }
        self.bury(file).await;
        true
    }

    /// Forgets an inode that nobody can open any more, unsaved bytes included.
    async fn bury(&self, file: &Arc<File>) {
        let held = file.lock().machine.committable();
        self.files().known.remove(&file.ino);
        if let Err(error) = self.cache.remove(file.ino) {
            tracing::warn!(ino = %file.ino, %error, "cannot remove a deleted file from the cache");
        }
        if let Some(held) = held {
            self.disown(file.ino, held.grant, held.fence).await;
        }
        self.client.orphan_done(file.ino);
    }
}

/// Who writes a file from its beginning and does not read it does so past the kernel's pages
/// (`docs/design/0032`).
fn past_pages(flags: OpenFlags) -> OpenFlags {
    OpenFlags { direct: flags.direct || (flags.write && !flags.read), ..flags }
}

fn ask(who: &Credentials, flags: OpenFlags) -> Ask {
    Ask {
        who: who.clone(),
        nonblock: flags.nonblock,
        append: flags.append,
        opened: false,
        with_data: flags.read && !flags.truncate,
    }
}

fn data_max(flags: OpenFlags) -> u32 {
    if flags.read && !flags.truncate { REPLY_DATA_MAX } else { 0 }
}

/// A file that is counted as open; not any more when dropped, unless it was kept.
struct Counted<'a> {
    content: &'a Content,
    file: Option<Arc<File>>,
    flags: OpenFlags,
}

impl<'a> Counted<'a> {
    fn new(content: &'a Content, file: &Arc<File>, flags: OpenFlags) -> Result<Counted<'a>> {
        if file.lock().open == 0 {
            content.reattach(file)?;
        }
        let mut state = file.lock();
        state.open += 1;
        state.appenders += u32::from(flags.append && flags.write);
        state.set_pace();
        if flags.write {
            content.step_locked(file, &mut state, Event::WriterOpened);
        }
        drop(state);
        if flags.read && content.client.config.rwlock {
            content.step_reader(file, Event::WriterOpened);
        }
        Ok(Counted { content, file: Some(Arc::clone(file)), flags })
    }

    fn keep(mut self) -> Arc<File> {
        self.file.take().expect("it is kept once")
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.content.uncount(&file, self.flags);
        }
    }
}

impl Content {
    /// The cache may have given a file without open handle up: goes on with an empty one then.
    fn reattach(&self, file: &Arc<File>) -> Result<()> {
        let view = file.view();
        let (ver, size) = (view.working.version(), view.working.size());
        let working = self.cache.open_file(file.ino, ver, size)?;
        self.cache.set_open(file.ino, true);
        let mut state = file.lock();
        if Arc::ptr_eq(&state.view, &view) && !Arc::ptr_eq(&view.working, &working) {
            let manifest = view.manifest().clone();
            state.view = View::new(working, manifest);
        }
        Ok(())
    }
}
