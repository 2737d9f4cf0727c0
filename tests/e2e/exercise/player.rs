//! One file that mounts hand to each other, changed in every way a program can, and compared with an
//! image of what it must hold.

use super::check::{Step, copy, said, same};
use dfs_tests::mapping::{Mapping, Sharing};
use dfs_tests::{sys, tree};
use nix::libc;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Operations shown when one went wrong.
const HISTORY: usize = 24;

/// How the mounts hand the file to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// One closes it before the next opens it.
    Close,
    /// All keep it open, and a record lock goes around.
    Lock,
}

/// What an exercise works on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The longest the file becomes.
    pub limit: usize,
    /// The longest range of one operation.
    pub step: usize,
    /// How the file goes around.
    pub passing: Passing,
    /// Whether it is opened with O_DIRECT at times.
    pub direct: bool,
}

/// A file in the hands of one mount at a time.
pub struct Player {
    folders: Vec<PathBuf>,
    shape: Shape,
    random: StdRng,
    files: Vec<Option<File>>,
    holder: usize,
    image: Vec<u8>,
    /// What a second file holds, a partner for copies.
    partner: Vec<u8>,
    history: VecDeque<String>,
}

impl Player {
    /// Begins with an empty file in the hands of the first of `folders`, which show one folder.
    pub fn new(folders: &[&Path], shape: Shape, mut random: StdRng) -> Player {
        let partner = tree::random_bytes(&mut random, shape.limit / 2);
        std::fs::write(folders[0].join("partner"), &partner).unwrap();
        std::fs::write(folders[0].join("file"), b"").unwrap();
        let mut player = Player {
            folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
            shape,
            random,
            files: folders.iter().map(|_| None).collect(),
            holder: 0,
            image: Vec::new(),
            partner,
            history: VecDeque::new(),
        };
        if shape.passing == Passing::Lock {
            player.files = folders.iter().map(|f| Some(open_file(f, libc::O_RDWR))).collect();
            sys::wait_record_lock(player.file()).unwrap();
        } else {
            player.files[0] = Some(open_file(folders[0], libc::O_RDWR));
        }
        player
    }

    /// One operation, checked.
    pub fn step(&mut self) -> Step {
        self.operation().map_err(|wrong| {
            let before: Vec<_> = self.history.iter().map(String::as_str).collect();
            format!("{wrong}; before:\n  {}", before.join("\n  "))
        })
    }

    /// Compares everything, through every mount, after a last close.
    pub fn finish(&mut self) -> Step {
        self.files.iter_mut().for_each(|file| *file = None);
        for number in 0..self.folders.len() {
            let read = std::fs::read(self.path(number)).map_err(|e| format!("last read: {e}"))?;
            same(&format!("last read on mount {number}"), 0, &read, &self.image)?;
            let read = std::fs::read(self.folders[number].join("partner")).unwrap();
            same(&format!("partner on mount {number}"), 0, &read, &self.partner)?;
        }
        Ok(())
    }

    fn operation(&mut self) -> Step {
        let closes = self.shape.passing == Passing::Close;
        match self.random.random_range(0..100) {
            0..10 => self.pass_on(),
            10..30 => self.write(),
            30..36 if closes => self.append(),
            30..42 => self.truncate(),
            42..46 => self.allocate(),
            46..52 => self.punch(),
            52..58 => self.zero(),
            58..65 => self.store(),
            65..70 => self.copy_inside(),
            70..73 => self.copy_from_partner(),
            73..75 => self.copy_to_partner(),
            75..84 => self.read(),
            84..88 => self.load(),
            88..91 => self.publish(),
            91..93 => self.seek(),
            93..96 => self.size(),
            96..98 if closes => self.reopen(),
            98 if closes => self.truncate_by_name(),
            _ => self.forget_pages(),
        }
    }

    fn file(&self) -> &File {
        self.files[self.holder].as_ref().expect("the holder has it open")
    }

    fn path(&self, mount: usize) -> PathBuf {
        self.folders[mount].join("file")
    }

    fn note(&mut self, what: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(format!("mount {}: {what}; size {}", self.holder, self.image.len()));
    }

    /// A range for an operation, not necessarily inside the file.
    fn range(&mut self) -> (usize, usize) {
        let length = match self.random.random_range(0..4) {
            0 => self.random.random_range(1..100),
            1 => self.random.random_range(1..20_000.min(self.shape.step)),
            _ => self.random.random_range(1..self.shape.step),
        };
        let at = self.random.random_range(0..self.shape.limit - length);
        // Half of all ranges begin at a page, where kernels like to make mistakes.
        (if self.random.random_bool(0.5) { at & !4095 } else { at }, length)
    }

    /// A range inside the file; none if it is empty.
    fn inside(&mut self) -> Option<(usize, usize)> {
        let (at, length) = self.range();
        let at = at.min(self.image.len());
        let length = length.min(self.image.len() - at);
        (length > 0).then_some((at, length))
    }

    fn grow(&mut self, end: usize) {
        self.image.resize(self.image.len().max(end), 0);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.grow(at + bytes.len());
        self.image[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn pass_on(&mut self) -> Step {
        let next = self.random.random_range(0..self.folders.len());
        self.note(format!("passes on to {next}"));
        match self.shape.passing {
            Passing::Close => {
                self.close()?;
                self.holder = next;
                self.open(0);
            }
            Passing::Lock => {
                sys::record_unlock(self.file()).map_err(|e| format!("unlock: {e}"))?;
                self.holder = next;
                sys::wait_record_lock(self.file()).map_err(|e| format!("lock: {e}"))?;
            }
        }
        let read = self.read_at(0, self.image.len() + 1)?;
        same(&format!("mount {next} sees"), 0, &read, &self.image)
    }

    fn close(&mut self) -> Step {
        let file = self.files[self.holder].take().expect("the holder has it open");
        nix::unistd::close(file).map_err(|e| format!("close: {e}"))
    }

    fn open(&mut self, more: i32) {
        let way = match self.random.random_range(0..10) {
            0 if self.shape.direct => libc::O_DIRECT,
            1 => libc::O_SYNC,
            _ => 0,
        };
        let flags = libc::O_RDWR | way | more;
        self.note(format!("open with flags {flags:#o}"));
        self.files[self.holder] = Some(open_file(&self.folders[self.holder], flags));
    }

    fn reopen(&mut self) -> Step {
        self.close()?;
        let empty = self.random.random_bool(0.1);
        self.open(if empty { libc::O_TRUNC } else { 0 });
        if empty {
            self.image.clear();
        }
        Ok(())
    }

    fn write(&mut self) -> Step {
        let (at, length) = self.range();
        self.note(format!("write {length} at {at}"));
        let bytes = tree::random_bytes(&mut self.random, length);
        self.file().write_all_at(&bytes, at as u64).map_err(|e| format!("write: {e}"))?;
        self.put(at, &bytes);
        Ok(())
    }

    fn append(&mut self) -> Step {
        use std::io::Write;
        let length = self.random.random_range(1..5_000);
        if self.image.len() + length > self.shape.limit {
            return Ok(());
        }
        self.note(format!("append {length}"));
        let bytes = tree::random_bytes(&mut self.random, length);
        let path = self.path(self.holder);
        let mut file = sys::open(&path, libc::O_WRONLY | libc::O_APPEND).map_err(said("open"))?;
        file.write_all(&bytes).map_err(said("append"))?;
        self.put(self.image.len(), &bytes);
        nix::unistd::close(file).map_err(|e| format!("close of the appending one: {e}"))
    }

    fn truncate(&mut self) -> Step {
        let size = self.random.random_range(0..self.shape.limit);
        self.note(format!("truncate to {size}"));
        self.file().set_len(size as u64).map_err(said("truncate"))?;
        self.image.resize(size, 0);
        Ok(())
    }

    fn truncate_by_name(&mut self) -> Step {
        self.close()?;
        let by = self.random.random_range(0..self.folders.len());
        let size = self.random.random_range(0..self.shape.limit);
        self.note(format!("closed, mount {by} truncates the name to {size}"));
        nix::unistd::truncate(&self.path(by), size as i64).map_err(|e| format!("truncate: {e}"))?;
        self.image.resize(size, 0);
        self.open(0);
        self.read()
    }

    fn allocate(&mut self) -> Step {
        let (at, length) = self.range();
        let keep = self.random.random_bool(0.3);
        let flags = if keep { FallocateFlags::KEEP_SIZE } else { FallocateFlags::empty() };
        self.note(format!("allocate {length} at {at}, keep {keep}"));
        self.fallocate(flags, at, length)?;
        if !keep {
            self.grow(at + length);
        }
        Ok(())
    }

    fn punch(&mut self) -> Step {
        let (at, length) = self.range();
        self.note(format!("punch {length} at {at}"));
        self.fallocate(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, length)?;
        self.clear(at, length);
        Ok(())
    }

    fn zero(&mut self) -> Step {
        let (at, length) = self.range();
        let keep = self.random.random_bool(0.5);
        self.note(format!("zero {length} at {at}, keep {keep}"));
        let more = if keep { FallocateFlags::KEEP_SIZE } else { FallocateFlags::empty() };
        self.fallocate(FallocateFlags::ZERO_RANGE | more, at, length)?;
        if !keep {
            self.grow(at + length);
        }
        self.clear(at, length);
        Ok(())
    }

    fn fallocate(&self, flags: FallocateFlags, at: usize, length: usize) -> Step {
        rustix::fs::fallocate(self.file(), flags, at as u64, length as u64)
            .map_err(|e| format!("fallocate: {e}"))
    }

    fn clear(&mut self, at: usize, length: usize) {
        let end = (at + length).min(self.image.len());
        if at < end {
            self.image[at..end].fill(0);
        }
    }

    /// Stores through a shared mapping. Handles with O_DIRECT cannot be mapped.
    fn store(&mut self) -> Step {
        let Some((at, length)) = self.inside() else { return Ok(()) };
        self.note(format!("store {length} at {at} in a mapping"));
        let mut mapping = match self.map(Sharing::Shared, false) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            mapping => mapping.map_err(said("map"))?,
        };
        let bytes = tree::random_bytes(&mut self.random, length);
        mapping.put(at, &bytes);
        if self.random.random_bool(0.7) {
            mapping.sync().map_err(said("msync"))?;
        }
        drop(mapping);
        self.put(at, &bytes);
        Ok(())
    }

    fn load(&mut self) -> Step {
        let Some((at, length)) = self.inside() else { return Ok(()) };
        let sharing = if self.random.random_bool(0.5) { Sharing::Shared } else { Sharing::Private };
        self.note(format!("load {length} at {at}, {sharing:?}"));
        let mapping = match self.map(sharing, true) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            mapping => mapping.map_err(said("map"))?,
        };
        same("mapping", at, &mapping.get(at, length), &self.image[at..at + length])
    }

    fn map(&self, sharing: Sharing, read_only: bool) -> io::Result<Mapping> {
        Mapping::new(self.file(), self.image.len(), sharing, read_only)
    }

    /// Ranges of one file may not overlap: the second half of the file comes from the first.
    fn copy_inside(&mut self) -> Step {
        let Some((at, length)) = self.inside() else { return Ok(()) };
        let end = at + length;
        let to = end + self.random.random_range(0..self.shape.step);
        let length = length.min(self.shape.limit.saturating_sub(to));
        self.note(format!("copy {length} from {at} to {to}"));
        let copied = copy(self.file(), at, self.file(), to, length)?;
        let bytes = self.image[at..at + copied].to_vec();
        self.put_if_any(to, &bytes);
        Ok(())
    }

    fn copy_from_partner(&mut self) -> Step {
        let (to, length) = self.range();
        let from = self.random.random_range(0..self.partner.len());
        self.note(format!("copy {length} from {from} of the partner to {to}"));
        let partner = self.open_partner(libc::O_RDONLY)?;
        let copied = copy(&partner, from, self.file(), to, length)?;
        let bytes = self.partner[from..from + copied].to_vec();
        self.put_if_any(to, &bytes);
        Ok(())
    }

    fn copy_to_partner(&mut self) -> Step {
        let Some((at, length)) = self.inside() else { return Ok(()) };
        let to = self.random.random_range(0..self.partner.len());
        let length = length.min(self.partner.len() - to);
        self.note(format!("copy {length} from {at} to {to} of the partner"));
        let partner = self.open_partner(libc::O_RDWR)?;
        let copied = copy(self.file(), at, &partner, to, length)?;
        self.partner[to..to + copied].copy_from_slice(&self.image[at..at + copied]);
        let mut read = vec![0; copied];
        partner.read_exact_at(&mut read, to as u64).map_err(said("read the partner"))?;
        same("the partner", to, &read, &self.partner[to..to + copied])
    }

    fn open_partner(&self, flags: i32) -> Result<File, String> {
        sys::open(&self.folders[self.holder].join("partner"), flags).map_err(said("open partner"))
    }

    fn put_if_any(&mut self, at: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.put(at, bytes);
        }
    }

    fn read(&mut self) -> Step {
        let (at, length) = self.range();
        self.note(format!("read {length} at {at}"));
        let read = self.read_at(at, length)?;
        let end = (at + length).min(self.image.len());
        same("read", at, &read, self.image.get(at..end).unwrap_or_default())
    }

    /// Reads until `length` bytes are here or the file ends.
    fn read_at(&self, at: usize, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        let mut got = 0;
        while got < length {
            match self.file().read_at(&mut bytes[got..], (at + got) as u64) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(error) => return Err(format!("read: {error}")),
            }
        }
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Saves the file while it is open; whoever opens it then sees everything.
    fn publish(&mut self) -> Step {
        let by = self.random.random_range(0..self.folders.len());
        self.note(format!("fsync, mount {by} reads"));
        let saved = match self.random.random_bool(0.5) {
            true => self.file().sync_all(),
            false => self.file().sync_data(),
        };
        saved.map_err(said("fsync"))?;
        // A close on the holder would take its record locks away.
        if self.shape.passing == Passing::Lock && by == self.holder {
            return Ok(());
        }
        let read = std::fs::read(self.path(by)).map_err(said("read elsewhere"))?;
        same("read elsewhere", 0, &read, &self.image)
    }

    /// What is called a hole is zeros, and data and holes take turns up to the end.
    fn seek(&mut self) -> Step {
        self.note("seek holes and data".to_owned());
        let mut at = 0;
        while at < self.image.len() {
            let hole = self.found(SeekFrom::Hole(at as u64))?.unwrap_or(self.image.len());
            let data = self.found(SeekFrom::Data(hole as u64))?.unwrap_or(self.image.len());
            if hole < at || data < hole || (data == at && at < self.image.len()) {
                return Err(format!("from {at}: hole at {hole}, data at {data}"));
            }
            same("hole", hole, &vec![0; data - hole], &self.image[hole..data])?;
            at = data;
        }
        Ok(())
    }

    fn found(&self, from: SeekFrom) -> Result<Option<usize>, String> {
        match rustix::fs::seek(self.file(), from) {
            Ok(at) => Ok(Some(at as usize)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(format!("seek {from:?}: {error}")),
        }
    }

    fn size(&mut self) -> Step {
        self.note("stat".to_owned());
        let size = self.file().metadata().map_err(said("stat"))?.len();
        let named = std::fs::metadata(self.path(self.holder)).map_err(said("stat"))?.len();
        match (size, named) == (self.image.len() as u64, self.image.len() as u64) {
            true => Ok(()),
            false => Err(format!("size {size}, by name {named}, must be {}", self.image.len())),
        }
    }

    fn forget_pages(&mut self) -> Step {
        self.note("forget pages".to_owned());
        rustix::fs::fadvise(self.file(), 0, None, Advice::DontNeed)
            .map_err(|e| format!("fadvise: {e}"))?;
        self.read()
    }
}

fn open_file(folder: &Path, flags: i32) -> File {
    sys::open(&folder.join("file"), flags).unwrap_or_else(|e| panic!("open: {e}"))
}
