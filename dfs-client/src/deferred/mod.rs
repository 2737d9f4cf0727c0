//! Files made here that the server has not heard of yet (`docs/design/0025`): in a directory that is
//! delegated to this client a file is made at once, with numbers drawn before, and the server is told
//! with the first commit.
//!
//! Nothing else is asked of the server before it has heard of every file that was made before the
//! question ([`Client::tell_all`](crate::client::Client::tell_all)); only commits, each of which
//! tells of its own file, may come in any order.

mod journal;

use dfs_core::access::Credentials;
use dfs_core::attr::{NewMode, SetAttr};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{BootTime, Code, Fence, FsError, Ino, Result};
use dfs_proto::{convert, v1};
use journal::Journal;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// A file that is still open is told after so long.
pub(crate) const TELL_WITHIN: Duration = Duration::from_millis(10);
/// A server that had no room, or did not answer, is told nothing new for so long.
const PAUSE: Duration = Duration::from_secs(10);
/// A server that had much room may have none after so long.
const ROOMY: Duration = Duration::from_secs(1);
/// More numbers are drawn when so few are left.
const STOCK_LOW: usize = 32;

/// Numbers for one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub(crate) ino: Ino,
    /// Of its write grant; the number of the grant, too.
    pub(crate) fence: Fence,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) drawn: Drawn,
    pub(crate) dir: Ino,
    pub(crate) name: Name,
    pub(crate) who: Credentials,
    pub(crate) mode: NewMode,
    /// By the server's clock.
    pub(crate) at: Timestamp,
    pub(crate) made: BootTime,
    /// Mode and owner that it got since.
    changed: Mutex<SetAttr>,
    /// Held by who tells the server; true: it knows, or never will.
    over: Arc<tokio::sync::Mutex<bool>>,
}

impl Deferred {
    pub(crate) fn new(
        drawn: Drawn,
        (dir, name): (Ino, Name),
        who: Credentials,
        mode: NewMode,
        (at, made): (Timestamp, BootTime),
    ) -> Deferred {
        let (changed, over) = (Mutex::default(), Arc::default());
        Deferred { drawn, dir, name, who, mode, at, made, changed, over }
    }

    /// Mode and owner that it got since it was made: they go along with what tells of it.
    fn changed(&self) -> SetAttr {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The commit that tells of it alone.
    pub(crate) fn telling(&self) -> v1::CommitReq {
        let fence = self.drawn.fence.0;
        let mut request = v1::CommitReq {
            ino: self.drawn.ino.0,
            grant: fence,
            fence,
            attrs_only: true,
            ..v1::CommitReq::default()
        };
        self.go_along(&mut request, None);
        request
    }

    /// Has a commit make it, with the mode and owner it got since.
    /// `changed_at`: its last change, if there was one.
    pub(crate) fn go_along(&self, request: &mut v1::CommitReq, changed_at: Option<Timestamp>) {
        let changed = self.changed();
        let set = request.set.get_or_insert_default();
        (set.mode, set.uid, set.gid) = (changed.mode, changed.uid, changed.gid);
        request.create = Some(Box::new(v1::NewFile {
            who: Some(convert::credentials_to(&self.who)),
            dir: self.dir.0,
            name: self.name.as_bytes().to_vec().into(),
            mode: self.mode.mode,
            umask: self.mode.umask,
            at: Some(convert::time_to(self.at)),
            changed_at: changed_at.map(convert::time_to),
            left_over: false,
        }));
    }
}

/// The right to tell the server of a file.
pub(crate) struct Telling {
    pub(crate) file: Arc<Deferred>,
    over: OwnedMutexGuard<bool>,
}

/// All such files of a client, and the numbers for more.
#[derive(Debug, Default)]
pub(crate) struct Deferrals {
    files: Mutex<BTreeMap<Ino, Arc<Deferred>>>,
    /// As many as `files` has, to be read without its lock.
    count: AtomicUsize,
    stock: Mutex<Stock>,
    /// The same files, for the next daemon; none before it was opened.
    journal: Mutex<Option<Journal>>,
    /// The journal has files that the server knows.
    stale: AtomicBool,
    /// Somebody looks at the time.
    pub(crate) watched: AtomicBool,
    /// Shared by who makes a file, from drawing its numbers until its lease is known.
    making: RwLock<()>,
}

#[derive(Debug, Default)]
struct Stock {
    numbers: VecDeque<Drawn>,
    /// More are asked for.
    asked: bool,
    /// None are given out before.
    paused_until: BootTime,
    /// The server has much room, for all that is known.
    roomy_until: BootTime,
    /// Counts the times that numbers became void.
    age: u64,
}

impl Deferrals {
    fn files(&self) -> MutexGuard<'_, BTreeMap<Ino, Arc<Deferred>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server has heard of everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// To be held while a file is made.
    pub(crate) fn making(&self) -> RwLockReadGuard<'_, ()> {
        self.making.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes numbers; none if there are none, or should be none now.
    pub(crate) fn draw(&self, now: BootTime) -> Option<Drawn> {
        let mut stock = self.stock();
        if now < stock.paused_until { None } else { stock.numbers.pop_front() }
    }

    /// The numbers were not used.
    pub(crate) fn put_back(&self, drawn: Drawn) {
        self.stock().numbers.push_front(drawn);
    }

    /// Whether more numbers must be asked for, by the caller, who then calls
    /// [`fill`](Deferrals::fill) with the age told here.
    pub(crate) fn runs_low(&self) -> Option<u64> {
        let mut stock = self.stock();
        let low = !stock.asked && stock.numbers.len() < STOCK_LOW;
        stock.asked |= low;
        low.then_some(stock.age)
    }

    /// Takes the numbers that the server gave, if it did.
    pub(crate) fn fill(&self, age: u64, numbers: impl IntoIterator<Item = Drawn>) {
        let mut stock = self.stock();
        stock.asked = false;
        if stock.age == age {
            stock.numbers.extend(numbers);
        }
    }

    /// The server, or the session, that the numbers came from is gone. Returns when every file that was
    /// made with one has its lease, so that it can be restated.
    pub(crate) fn void_numbers(&self) {
        let _nobody_makes = self.making.write().unwrap_or_else(PoisonError::into_inner);
        let mut stock = self.stock();
        stock.numbers.clear();
        stock.age += 1;
    }

    /// Nothing is made here for a while: the server could not make what it was told.
    pub(crate) fn pause(&self, now: BootTime) {
        let mut stock = self.stock();
        (stock.paused_until, stock.roomy_until) = (now + PAUSE, now);
    }

    /// Whether that is so now.
    pub(crate) fn is_paused(&self, now: BootTime) -> bool {
        now < self.stock().paused_until
    }

    /// The server has made a file, and has much room or not.
    pub(crate) fn found(&self, roomy: bool, now: BootTime) {
        self.stock().roomy_until = if roomy { now + ROOMY } else { now };
    }

    /// Whether what is sent will not be refused for want of room.
    pub(crate) fn has_room(&self, now: BootTime) -> bool {
        now < self.stock().roomy_until
    }

    /// Keeps such files in this file from now on. Returns what tells the server of those that an earlier
    /// daemon left there.
    pub(crate) fn keep_in(&self, path: &Path) -> Result<Vec<v1::CommitReq>> {
        let failed = |e| FsError::new(Code::Io, format!("cannot open {}: {e}", path.display()));
        let (journal, left) = Journal::open(path).map_err(failed)?;
        *self.journal() = Some(journal);
        Ok(left)
    }

    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file is being made: to be called before anybody can see it.
    pub(crate) fn add(&self, file: Arc<Deferred>) {
        if self.files().insert(file.drawn.ino, file).is_none() {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// It was made: the next daemon shall know. A failure costs no more than that.
    pub(crate) fn note(&self, file: &Deferred) {
        if let Err(error) = self.try_note(file) {
            tracing::warn!(%error, "a new file cannot be noted on disk");
        }
    }

    fn try_note(&self, file: &Deferred) -> std::io::Result<()> {
        let files = self.files();
        let first = files.keys().all(|ino| *ino == file.drawn.ino);
        match &mut *self.journal() {
            Some(journal) => match journal.add(file, first) {
                // What was told since takes most of it.
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    journal.set(files.values())
                }
                other => other,
            },
            None => Ok(()),
        }
    }

    /// Names are about to be removed, or others to look at them: what the server knows is not left to the
    /// next daemon, which would make it again.
    pub(crate) fn forget_told(&self) {
        if self.stale.load(Ordering::Acquire) {
            self.note_anew();
        }
    }

    /// The next daemon shall know what the server has not heard of now, and nothing else.
    pub(crate) fn note_anew(&self) {
        self.stale.store(false, Ordering::Release);
        let files = self.files();
        if let Some(Err(error)) = self.journal().as_mut().map(|journal| journal.set(files.values()))
        {
            tracing::warn!(%error, "the list of new files cannot be written");
        }
    }

    /// The file was not made after all.
    pub(crate) fn remove(&self, ino: Ino) {
        if self.files().remove(&ino).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether the server has not heard of it.
    pub(crate) fn has(&self, ino: Ino) -> bool {
        !self.is_empty() && self.files().contains_key(&ino)
    }

    /// The file of this number, if the server has not heard of it.
    pub(crate) fn get(&self, ino: Ino) -> Option<Arc<Deferred>> {
        self.files().get(&ino).cloned()
    }

    /// All.
    pub(crate) fn all(&self) -> Vec<Arc<Deferred>> {
        self.files().values().cloned().collect()
    }

    /// Those in a directory.
    pub(crate) fn within(&self, dir: Ino) -> Vec<Arc<Deferred>> {
        self.files().values().filter(|file| file.dir == dir).cloned().collect()
    }

    /// Gives a file another mode and owner. False: the server knows the file, or is just told of it.
    pub(crate) fn change(&self, ino: Ino, set: &SetAttr) -> bool {
        let Some(file) = self.get(ino) else { return false };
        // Who tells reads the change under this lock.
        match file.over.try_lock() {
            Ok(over) if !*over => {
                let mut changed = file.changed.lock().unwrap_or_else(PoisonError::into_inner);
                changed.mode = set.mode.or(changed.mode);
                changed.uid = set.uid.or(changed.uid);
                changed.gid = set.gid.or(changed.gid);
            }
            _ => return false,
        }
        self.note(&file);
        true
    }

    /// The right to tell of a file, once nobody else does; none if the server knows it.
    pub(crate) async fn begin(&self, ino: Ino) -> Option<Telling> {
        if self.is_empty() {
            return None;
        }
        let file = self.get(ino)?;
        let over = Arc::clone(&file.over).lock_owned().await;
        (!*over).then_some(Telling { file, over })
    }

    /// The server knows the file now, or never will.
    pub(crate) fn end(&self, mut telling: Telling) {
        *telling.over = true;
        self.remove(telling.file.drawn.ino);
        self.stale.store(true, Ordering::Release);
    }
}

/// Whether the server will never make a file that it refused to make so: the name is taken, the
/// directory or the session is gone.
pub(crate) fn is_final(error: &FsError) -> bool {
    !matches!(
        error.code,
        Code::NoSpace
            | Code::QuotaExceeded
            | Code::NoLocks
            | Code::Unavailable
            | Code::Busy
            | Code::Interrupted
            | Code::Retry(_)
            | Code::Grace(_)
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn drawn(n: u64) -> Drawn {
        Drawn { ino: Ino(n), fence: Fence(n) }
    }

    pub(super) fn file(n: u64, dir: u64) -> Arc<Deferred> {
        let place = (Ino(dir), Name::new(b"x").unwrap());
        let times = (Timestamp::default(), BootTime::default());
        Arc::new(Deferred::new(drawn(n), place, Credentials::root(), 0o644.into(), times))
    }

    #[test]
    fn deferred_numbers_are_given_once_and_become_void() {
        let (all, now) = (Deferrals::default(), BootTime::default());
        let age = all.runs_low().unwrap();
        assert!(all.runs_low().is_none(), "they are asked for");
        all.fill(age, [drawn(7), drawn(8)]);
        let first = all.draw(now).unwrap();
        all.put_back(first);
        assert_eq!(all.draw(now).unwrap().ino, Ino(7));
        all.pause(now);
        assert!(all.draw(now).is_none() && all.draw(now + PAUSE).is_some());
        let age = all.runs_low().unwrap();
        all.void_numbers();
        all.fill(age, [drawn(9)]);
        assert!(all.draw(now + PAUSE).is_none(), "they are of another time");
    }

    #[tokio::test]
    async fn deferred_file_changes_until_it_is_told() {
        let (all, file) = (Deferrals::default(), file(1, 10));
        all.add(Arc::clone(&file));
        let set = |mode, uid| SetAttr { mode, uid, ..SetAttr::default() };
        assert!(all.change(Ino(1), &set(Some(0o600), None)));
        assert!(all.change(Ino(1), &set(None, Some(5))));
        assert!(!all.change(Ino(2), &set(None, Some(5))), "there is no such file");
        let told = file.telling().set.unwrap();
        assert_eq!((told.mode, told.uid, told.gid), (Some(0o600), Some(5), None));
        let telling = all.begin(Ino(1)).await.unwrap();
        assert!(!all.change(Ino(1), &set(Some(0o640), None)), "it is being told");
        all.end(telling);
        assert!(!all.change(Ino(1), &set(Some(0o640), None)), "it was told");
        assert_eq!(file.changed(), set(Some(0o600), Some(5)));
    }

    #[tokio::test]
    async fn deferred_file_is_told_by_one_at_a_time_and_once() {
        let all = Deferrals::default();
        all.add(file(1, 10));
        all.add(file(2, 20));
        assert_eq!(all.within(Ino(20)).len(), 1);
        let telling = all.begin(Ino(1)).await.unwrap();
        let again = all.begin(Ino(1));
        tokio::pin!(again);
        let waits = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::future::Future::poll(again.as_mut(), cx).is_pending())
        });
        assert!(waits.await, "another one tells");
        all.end(telling);
        assert!(again.await.is_none(), "it was told");
        assert!(all.begin(Ino(1)).await.is_none() && !all.is_empty());
        // A refusal for now leaves it.
        drop(all.begin(Ino(2)).await.unwrap());
        assert!(all.begin(Ino(2)).await.is_some());
    }
    #[test]
    fn deferred_files_that_were_made_are_left_to_the_next_daemon() {
        let (all, temp) = (Deferrals::default(), tempfile::tempdir().unwrap());
        let path = temp.path().join("deferred");
        assert!(all.keep_in(&path).unwrap().is_empty());
        let left = || {
            let left = Deferrals::default().keep_in(&path).unwrap();
            left.into_iter().map(|request| request.ino).collect::<Vec<_>>()
        };
        for n in 1..4 {
            all.add(file(n, 10));
        }
        all.remove(Ino(1));
        assert!(left().is_empty(), "none was made");
        [2, 3].iter().for_each(|n| all.note(&file(*n, 10)));
        assert_eq!(left(), [2, 3]);
        all.remove(Ino(2));
        all.note_anew();
        assert_eq!(left(), [3]);
        all.remove(Ino(3));
        all.note_anew();
        assert!(left().is_empty());
    }

    #[test]
    fn deferred_files_are_noted_anew_when_the_list_is_full_of_others() {
        let (all, temp) = (Deferrals::default(), tempfile::tempdir().unwrap());
        let path = temp.path().join("deferred");
        all.keep_in(&path).unwrap();
        all.add(file(1, 10));
        all.note(&file(1, 10));
        let mut longest = 0;
        for n in 2..30_000 {
            all.add(file(n, 10));
            all.try_note(&file(n, 10)).unwrap();
            longest = longest.max(std::fs::metadata(&path).unwrap().len());
            if n > 2 {
                all.remove(Ino(n - 1));
            }
        }
        let left: Vec<u64> =
            Deferrals::default().keep_in(&path).unwrap().iter().map(|left| left.ino).collect();
        assert!(left.contains(&1) && left.contains(&29_999) && left.len() < 29_998);
        assert!(longest <= 1 << 20, "{longest} bytes");
    }

    #[tokio::test]
    async fn deferred_file_that_was_told_is_not_left_when_names_are_removed() {
        let (all, temp) = (Deferrals::default(), tempfile::tempdir().unwrap());
        let path = temp.path().join("deferred");
        all.keep_in(&path).unwrap();
        let left = || Deferrals::default().keep_in(&path).unwrap().len();
        for n in [1, 2] {
            all.add(file(n, 10));
            all.note(&file(n, 10));
        }
        let telling = all.begin(Ino(1)).await.unwrap();
        all.forget_told();
        assert_eq!(left(), 2);
        all.end(telling);
        assert_eq!(left(), 2, "nothing is written for each");
        all.forget_told();
        assert_eq!(left(), 1);
    }
}
