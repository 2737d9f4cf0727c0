//! Making unsaved work a new version (PROTOCOL 4.2).

use super::Content;
use super::ahead::Taken;
use super::inode::{File, State};
use super::plan::{Piece, plan};
use super::remote::{Wanted, system};
use super::view::View;
use crate::cache::Snapshot;
use crate::change;
use crate::client::Client;
use crate::deferred::{Telling, is_final};
use crate::interrupt;
use crate::metadata::Key;
use crate::rpc::{Order, Sent};
use crate::waiting::{self, Leave};
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, SetAttr, SetTime};
use dfs_core::extent::{Extent, Source};
use dfs_core::inode_state::{Event, Held};
use dfs_core::limits::{INLINE_MAX, STRIPE_UNIT};
use dfs_core::range::RangeSet;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};
use std::sync::Arc;

/// What a commit is made for.
#[derive(Clone, Debug)]
pub(crate) enum Aim {
    /// That others see it: the server answers as it is set.
    Show,
    /// As `Show`, but to be sent is enough (`docs/design/0038`).
    Close(Sent),
    /// As `Show`, and the lease goes back with it.
    Return,
    /// fsync(2) or a synchronous write: it survives a power loss when it is answered.
    Sync,
}

/// What one commit is about.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) held: Held,
    pub(crate) view: Arc<View>,
    pub(crate) snapshot: Snapshot,
    /// The content changes; else only attributes do.
    content: bool,
    staged: SetAttr,
    written_at: Option<Timestamp>,
    /// How the changes travel that were not uploaded before.
    pub(crate) pieces: Vec<Piece>,
    /// Uploads that were begun before.
    pub(crate) ahead: Option<Taken>,
    /// What of them the snapshot has as it was.
    uploaded: Vec<Extent>,
    /// Changes that travel in the message, with their bytes.
    inline: Vec<Extent>,
}

impl Content {
    /// Commits what is unsaved and returns when everybody sees it; at once if nothing is. Calls at the
    /// same time share a commit. An interrupted caller leaves the commit running.
    ///
    /// Errors: why the bytes are still unsaved, or `Io` if they had to be put aside.
    pub(crate) async fn commit(&self, file: &Arc<File>) -> Result<()> {
        self.commit_for(file, Aim::Show).await.map(drop)
    }

    /// As [`commit`](Content::commit), and returns when it survives a power loss of the servers.
    pub(crate) async fn sync(&self, file: &Arc<File>) -> Result<()> {
        match self.commit_for(file, Aim::Sync).await? {
            true => Ok(()),
            false => self.client.flush().await,
        }
    }

    /// As [`commit`](Content::commit). False: an earlier commit, if any, left nothing to do.
    pub(crate) async fn commit_for(&self, file: &Arc<File>, aim: Aim) -> Result<bool> {
        self.collect_stores(file).await?;
        if !file.lock().has_work() {
            return Ok(false);
        }
        self.commit_task(file, aim).await
    }

    /// The commit before a lease goes back; gives it back at the same time. False: there was nothing
    /// to commit any more, so the lease is still here.
    pub(crate) async fn commit_for_return(&self, file: &Arc<File>) -> Result<bool> {
        self.commit_task(file, Aim::Return).await
    }

    /// A commit that nobody waits for; its failure is reported by the next fsync or close, unless the
    /// file was removed and there is none.
    pub(crate) async fn commit_in_background(&self, file: &Arc<File>) {
        if let Err(error) = self.commit(file).await
            && !self.buried(file).await
        {
            tracing::warn!(ino = %file.ino, %error, "cannot commit in the background");
        }
    }

    async fn commit_task(&self, file: &Arc<File>, aim: Aim) -> Result<bool> {
        let sent = aim.sent();
        let (content, its) = (self.arc(), Arc::clone(file));
        let work = Box::pin(async move {
            let _turn = match its.commit_queue.try_lock() {
                Ok(turn) => turn,
                Err(_) => {
                    content.client.rpc.hurry();
                    its.commit_queue.lock().await
                }
            };
            let result = content.commit_until_clean(&its, &aim).await;
            if let Err(e) = &result {
                let mut state = its.lock();
                state.failures += 1;
                state.failure = Some(e.clone());
            }
            result
        });
        if let Some(sent) = sent {
            return self.begin_to_close(file, &sent, work).await.map(|done| done.unwrap_or(true));
        }
        match interrupt::wait(waiting::begin(&self.client.runtime, work)).await? {
            Ok(result) => result,
            Err(e) => Err(FsError::new(Code::Io, format!("a commit failed: {e}"))),
        }
    }

    /// Commits once, or again after the lease was lost and got back. Whether there was something to
    /// commit: an earlier commit may have taken it.
    async fn commit_until_clean(&self, file: &Arc<File>, aim: &Aim) -> Result<bool> {
        let losses = file.lock().losses;
        loop {
            // Unsaved bytes without lease: their rescue is under way.
            file.wait_until(|s| s.machine.committable().is_some() || !s.machine.is_dirty()).await;
            let ahead = self.end_uploads(file).await;
            let Some(job) = self.prepare(file, ahead).await? else {
                return match file.lock().losses == losses {
                    true => Ok(false),
                    false => Err(FsError::new(Code::Io, "unsaved bytes are in the recovery area")),
                };
            };
            file.lock().leaving = matches!(aim, Aim::Return);
            let sent = self.send(file, &job, aim).await;
            if let Ok((attr, extents)) = &sent {
                self.committed(file, &job, attr, extents).await;
            }
            file.lock().leaving = false;
            match sent {
                Ok(_) => return Ok(true),
                Err(e) if e.code == Code::Fenced => {
                    self.step(file, Event::Revoked(job.held.fence));
                }
                Err(e) => {
                    let refused = matches!(e.code, Code::NoSpace | Code::QuotaExceeded);
                    file.lock().unsure |= !refused;
                    return Err(e);
                }
            }
        }
    }

    /// Takes the snapshot that the commit is about; none if nothing is unsaved.
    async fn prepare(&self, file: &Arc<File>, ahead: Option<Taken>) -> Result<Option<Job>> {
        let unit = self.stripe_unit();
        let _gate = file.gate.write().await;
        let mut state = file.lock();
        let Some(held) = state.machine.committable().filter(|_| state.has_work()) else {
            state.give_up(ahead);
            state.taken_up(unit);
            return Ok(None);
        };
        let ahead = match ahead {
            Some(ahead) if ahead.held.fence == held.fence => Some(ahead),
            other => state.give_up(other),
        };
        let (view, staged, written_at) = (Arc::clone(&state.view), state.staged, state.written_at);
        let content = view.working.has_work();
        let snapshot = view.working.dirty_snapshot();
        state.taken_up(unit);
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(error) => {
                state.give_up(ahead);
                return Err(error);
            }
        };
        drop(state);
        let uploaded = ahead.as_ref().map_or_else(Vec::new, |ahead| ahead.unchanged(&snapshot));
        let inline_max = or(self.client.session.limits().inline_max_bytes.into(), INLINE_MAX);
        let mut data: RangeSet = snapshot.ranges.iter().copied().collect();
        snapshot.holes.iter().for_each(|hole| data.remove(*hole));
        uploaded.iter().for_each(|extent| data.remove(extent.range));
        let data: Vec<_> = data.iter().collect();
        let pieces = plan(&data, &snapshot.holes, unit, inline_max);
        let mut inline = Vec::new();
        for piece in &pieces {
            match piece {
                Piece::Hole(range) => inline.push(Extent { range: *range, source: Source::Hole }),
                Piece::Inline(ranges) => {
                    for range in ranges {
                        let bytes = view.working.read_dirty(&[*range])?;
                        inline.push(Extent { range: *range, source: Source::Inline(bytes.into()) });
                    }
                }
                Piece::Object(_) => {}
            }
        }
        let job = Job {
            held,
            view,
            snapshot,
            content,
            staged,
            written_at,
            pieces,
            ahead,
            uploaded,
            inline,
        };
        Ok(Some(job))
    }

    /// Uploads, then commits. Answers the inode after it and what changed.
    async fn send(&self, file: &Arc<File>, job: &Job, aim: &Aim) -> Result<(Attr, Vec<Extent>)> {
        let uploads = job.pieces.iter().any(|piece| matches!(piece, Piece::Object(_)));
        let ver = match &job.ahead {
            Some(ahead) => ahead.ver,
            None if uploads => self.new_upload(file, job).await?,
            None => 0,
        };
        let sent = self.send_under(file, job, ver, aim).await;
        file.lock().uploading.remove(&ver);
        sent
    }

    async fn send_under(
        &self,
        file: &Arc<File>,
        job: &Job,
        upload_ver: u64,
        aim: &Aim,
    ) -> Result<(Attr, Vec<Extent>)> {
        let mut extents = [job.inline.as_slice(), &job.uploaded].concat();
        extents.extend(self.upload(file, job, upload_ver).await?);
        extents.sort_by_key(|extent| extent.range.start);
        let mut request = v1::CommitReq {
            caller: None,
            ino: file.ino.0,
            grant: job.held.grant.0,
            fence: job.held.fence.0,
            base_ver: job.snapshot.base_ver,
            upload_ver,
            min_size: job.snapshot.min_size,
            size: job.snapshot.size,
            extents: extents.iter().map(convert::extent_to).collect(),
            set: Some(convert::set_attr_to(&job.set())),
            attrs_only: !job.content,
            release: matches!(aim, Aim::Return),
            later: !matches!(aim, Aim::Sync),
            create: None,
        };
        let first = self.send_commit(file, request.clone(), aim).await;
        let reply = match first {
            Err(e) if e.code == Code::StaleVersion => {
                request.base_ver = self.own_newer_base(file, job, e).await?;
                self.send_commit(file, request, aim).await?
            }
            other => other?,
        };
        Ok((convert::need_attr(reply.attr)?, extents))
    }

    /// Sends a commit; the first one of a file that the server does not know makes it.
    async fn send_commit(
        &self,
        file: &Arc<File>,
        request: v1::CommitReq,
        aim: &Aim,
    ) -> Result<v1::CommitRep> {
        let telling = self.client.deferrals.begin(file.ino).await;
        self.send_telling(file.ino, Some(file), telling, (request, aim.sent())).await
    }

    /// Sends a commit that tells of a new file, or of none.
    pub(super) async fn send_telling(
        &self,
        ino: Ino,
        file: Option<&Arc<File>>,
        telling: Option<Telling>,
        (mut request, sent): (v1::CommitReq, Option<Sent>),
    ) -> Result<v1::CommitRep> {
        let made = telling.as_ref().map(|telling| Arc::clone(&telling.file));
        if let Some(made) = &made {
            made.go_along(&mut request, self.changed_at(ino));
        }
        let sent = sent.filter(|_| made.is_some() && waiting::may(Leave::Send));
        // Its directory may have been made here, too.
        let after = made.as_ref().and_then(|made| self.client.steps.last(made.dir));
        // Of what nobody else knows, what is known here stays true.
        let touched = if sent.is_some() { Vec::new() } else { vec![Key::Attr(ino)] };
        let order = Order { sent, after };
        let now = self.now();
        let (asked, late) = (self.client.metadata.asked(), self.client.late.answered());
        let early =
            request.attrs_only && made.is_some() || request.later && self.client.session.relaxed();
        let apply = move |client: &Client, reply: &v1::CommitRep| {
            match early {
                true => client.late.add(),
                false => client.late.flushed(late),
            }
            let (attr, mark) = (convert::need_attr(reply.attr.clone())?, reply.mark);
            let mark = mark.unwrap_or_default();
            match made {
                None => client.metadata.own_attr(asked, &mark, attr),
                Some(made) => {
                    client.deferrals.found(reply.roomy, now);
                    let dir = convert::need_attr(reply.dir.clone())?;
                    client.metadata.told(asked, &mark, dir, &made.name, attr);
                }
            }
            Ok(())
        };
        let who = self.committer(ino).await?;
        let change = change::run(&self.client, &who, touched, (request, order), apply);
        let answer = Box::pin(change).await;
        let Some(telling) = telling else { return answer };
        let answer = answer.map_err(|error| self.not_made(&telling.file, file, error));
        if answer.as_ref().err().is_none_or(is_final) {
            self.client.deferrals.end(telling);
        }
        answer
    }

    /// Who commits: the lease is proof enough. But times that ride along are the owner's to set, and
    /// where the superuser is nobody only the owner itself may say so.
    async fn committer(&self, ino: Ino) -> Result<Credentials> {
        if !self.client.session.root_squash() {
            return Ok(system());
        }
        let attr = self.client.attr(ino).await?;
        Ok(Credentials::new(attr.uid, attr.gid, Vec::new()))
    }

    /// The base moved although the lease is ours. That is our own doing if an earlier commit has no
    /// known outcome: the same changes are valid on the version it made. Else somebody broke the
    /// rules (row I12).
    async fn own_newer_base(&self, file: &Arc<File>, job: &Job, error: FsError) -> Result<u64> {
        if !file.lock().unsure {
            let text = format!("the base of inode {} moved under its lease: {error}", file.ino);
            return Err(FsError::new(Code::Fenced, text));
        }
        let wanted = Wanted { have_ver: job.snapshot.base_ver, data_max: 0, from: 0, opened: true };
        Ok(self.get_content(&system(), file.ino, wanted).await?.attr.content_ver)
    }

    /// Takes the new version over.
    async fn committed(&self, file: &Arc<File>, job: &Job, attr: &Attr, extents: &[Extent]) {
        let _gate = file.gate.write().await;
        let (view, ver) = (&job.view, attr.content_ver);
        if job.content {
            if let Err(error) = view.working.committed(&job.snapshot, ver) {
                tracing::warn!(ino = %file.ino, %error, "cannot note a commit on disk");
            }
            let mut manifest = view.manifest();
            if manifest.ver() != job.snapshot.base_ver {
                *manifest = super::manifest::Manifest::new(ver, 0);
            }
            manifest.commit(ver, job.snapshot.min_size, job.snapshot.size, extents);
        }
        let mut state = file.lock();
        state.unsure = false;
        if job.content {
            state.pages = state.pages.move_to(ver);
        }
        state.unstage(job);
        let clean =
            !state.view.working.has_work() && state.staged.is_empty() && state.written_at.is_none();
        self.step_locked(file, &mut state, Event::Committed { clean });
    }
}

impl Job {
    /// Attribute changes of the commit: a time set explicitly wins over that of the last write.
    fn set(&self) -> SetAttr {
        SetAttr { mtime: self.staged.mtime.or(self.written_at.map(SetTime::To)), ..self.staged }
    }
}

impl State {
    /// Forgets what the job has committed; what was staged since stays.
    fn unstage(&mut self, job: &Job) {
        fn unless_newer<T: PartialEq + Copy>(now: &mut Option<T>, then: Option<T>) {
            if *now == then {
                *now = None;
            }
        }
        let (now, then) = (&mut self.staged, &job.staged);
        unless_newer(&mut now.mode, then.mode);
        unless_newer(&mut now.uid, then.uid);
        unless_newer(&mut now.gid, then.gid);
        unless_newer(&mut now.atime, then.atime);
        unless_newer(&mut now.mtime, then.mtime);
        unless_newer(&mut self.written_at, job.written_at);
        // A write since then says so again at its own commit.
        now.drop_suid &= self.written_at.is_some();
    }
}

impl Content {
    /// No object crosses a multiple of this many bytes.
    pub(crate) fn stripe_unit(&self) -> u64 {
        or(self.client.session.limits().stripe_unit_bytes, STRIPE_UNIT)
    }
}

/// `told`, or the default of a server that told nothing.
fn or(told: u64, default: u64) -> u64 {
    if told == 0 { default } else { told }
}
