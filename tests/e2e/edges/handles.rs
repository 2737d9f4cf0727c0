//! Handles that outlive names, totals, numbers that stay.

use super::{Answers, Differs, Group};
use dfs_tests::{sys, unwrapped, wait};
use nix::libc;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

pub const GROUPS: &[(&str, Group)] =
    &[("handles", handles), ("unnamed", unnamed), ("totals", totals), ("listing", listing)];

pub const KNOWN: &[Differs] = &[("O_TMPFILE", "EOPNOTSUPP")];

fn handles(folder: &Path, answers: &mut Answers) {
    let path = folder.join("f");
    std::fs::write(&path, b"content").unwrap();
    std::fs::create_dir_all(folder.join("d/e")).unwrap();
    let on = File::open(folder).unwrap();
    let handle = unwrapped::name_to_handle(&path).unwrap();
    let inner = unwrapped::name_to_handle(&folder.join("d/e")).unwrap();
    let read = |handle| {
        let mut text = String::new();
        unwrapped::open_by_handle(&on, handle, libc::O_RDONLY)?
            .read_to_string(&mut text)
            .map(|_| text)
    };
    answers.call("open by handle", read(&handle));
    std::fs::rename(&path, folder.join("d/g")).unwrap();
    answers.call("after a rename", read(&handle));
    let directory = unwrapped::open_by_handle(&on, &inner, libc::O_RDONLY);
    answers.done("a directory", directory);
    let open = File::open(folder.join("d/g")).unwrap();
    std::fs::remove_file(folder.join("d/g")).unwrap();
    answers.call("after an unlink, still open", read(&handle));
    drop(open);
    // The kernel tells the daemon of the last close and does not wait for it.
    let gone = wait::until(Duration::from_secs(10), "the file to go", || read(&handle).err());
    answers.call("after an unlink", Err::<(), _>(gone));
}

fn unnamed(folder: &Path, answers: &mut Answers) {
    answers.done("O_TMPFILE", sys::open(folder, libc::O_RDWR | libc::O_TMPFILE));
    // Libraries make one otherwise then.
    let temporary = tempfile::tempfile_in(folder);
    answers.done("temporary file", temporary.and_then(|mut file| file.write_all(b"temporary")));
    let path = folder.join("f");
    let mut file = File::create_new(&path).unwrap();
    file.write_all(b"before").unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(b" after").unwrap();
    answers.note("size without a name", file.metadata().unwrap().len());
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    answers.call("opened again", std::fs::read_to_string(&again));
    answers.done("fsync", file.sync_all());
    answers.done("truncate", file.set_len(3));
    answers
        .done("allocate", rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 9));
    answers.note("size", file.metadata().unwrap().len());
    answers.note("names", sys::names(folder).unwrap());
}

fn totals(folder: &Path, answers: &mut Answers) {
    let total = rustix::fs::statvfs(folder).unwrap();
    answers.note("free is part of all", total.f_bfree <= total.f_blocks);
    answers.note("available is part of free", total.f_bavail <= total.f_bfree);
    answers.note("free inodes are part of all", total.f_ffree <= total.f_files);
    answers.note("longest name", total.f_namemax);
    answers.note("unit", total.f_frsize);
    let path = folder.join("f");
    std::fs::write(&path, vec![1; 3_000_000]).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    let blocks = std::fs::metadata(&path).unwrap().blocks();
    answers.note("blocks of 3 MB", (5_859..=5_900).contains(&blocks));
}

/// Removing while listing, as `rm -r` does, leaves nothing out.
fn listing(folder: &Path, answers: &mut Answers) {
    // More than one page of the server; each costs a call that waits for a disk, twice.
    const NAMES: usize = 1_100;
    for number in 0..NAMES {
        std::os::unix::fs::symlink("target", folder.join(format!("name{number}"))).unwrap();
    }
    let mut removed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
        removed += 1;
    }
    answers.note("removed", removed);
    answers.note("left", sys::names(folder).unwrap());
    let before = std::fs::metadata(folder).unwrap().ino();
    let file = File::create_new(folder.join("f")).unwrap();
    let number = file.metadata().unwrap().ino();
    std::fs::rename(folder.join("f"), folder.join("g")).unwrap();
    answers.note(
        "number after a rename",
        std::fs::metadata(folder.join("g")).unwrap().ino() == number,
    );
    answers.note("number in the listing", {
        let mut entries = std::fs::read_dir(folder).unwrap();
        std::os::unix::fs::DirEntryExt::ino(&entries.next().unwrap().unwrap()) == number
    });
    answers.note("number of the folder", std::fs::metadata(folder).unwrap().ino() == before);
    answers.call(
        "read of an empty file",
        file.read_at(&mut [0; 1], 0).map_err(|_| std::io::Error::from_raw_os_error(libc::EBADF)),
    );
}
