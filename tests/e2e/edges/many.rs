//! Very many names: in one folder, while it changes, and of one file.

use dfs_tests::mount::Mount;
use dfs_tests::world;
use dfs_tests::{shell, sizes, sys, wait};
use nix::libc;
use rustix::fs::{CWD, Dir, FileType, Mode, mknodat};
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// For one step with a million names on a busy machine.
const STEP: Duration = Duration::from_secs(3 * 3600);
/// Names are made by so many callers on each mount.
const MAKERS: usize = 4;
/// A look at a name takes at most so much longer in a large folder than in a small one.
const SLOWER: u32 = 4;
/// Names that are looked at, each once: all of the small folder.
const LOOKS: usize = 100;
/// What the machine may add to any measured time.
const NOISE: Duration = Duration::from_millis(5);

/// Makes an entry: mostly files, with some of each other kind.
fn make(path: &Path, number: usize) {
    let kind = match number % 100 {
        98 => return std::fs::create_dir(path).unwrap(),
        99 => return std::os::unix::fs::symlink("target", path).unwrap(),
        97 => FileType::Fifo,
        _ => FileType::RegularFile,
    };
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), 0).unwrap();
}

fn fill(mounts: [&Mount; 2], folder: &str, count: usize) {
    let callers = mounts.iter().flat_map(|mount| (0..MAKERS).map(|_| mount.at(folder)));
    let makers: Vec<_> = callers
        .enumerate()
        .map(|(first, at)| {
            wait::start("maker", move || {
                (first..count)
                    .step_by(2 * MAKERS)
                    .for_each(|n| make(&at.join(format!("name{n}")), n));
            })
        })
        .collect();
    makers.into_iter().for_each(|maker| maker.within(STEP));
}

/// Whoever changes a folder beside those who list it.
struct Changing {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicUsize>,
    tasks: Vec<wait::Task<()>>,
}

impl Changing {
    /// On the first mount names come and go and are renamed; on the second, names that stay get
    /// other files by `rename`.
    fn start(mounts: [&Mount; 2], folder: &str, stay: usize) -> Changing {
        let (stop, changes) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let [come, replace] = mounts.map(|mount| mount.at(folder));
        let each = |what: &str, change: Box<dyn Fn(usize) + Send>| {
            let (stop, changes) = (stop.clone(), changes.clone());
            wait::start(what.to_owned(), move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    change(number);
                    changes.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = vec![
            each(
                "names that come and go",
                Box::new(move |number| {
                    File::create_new(come.join(format!("come{number}"))).unwrap();
                    let Some(old) = number.checked_sub(5) else { return };
                    let (from, to) = (format!("come{old}"), format!("gone{old}"));
                    std::fs::rename(come.join(from), come.join(&to)).unwrap();
                    std::fs::remove_file(come.join(to)).unwrap();
                }),
            ),
            each(
                "names that are replaced",
                Box::new(move |number| {
                    let name = number * 100 % stay;
                    File::create_new(replace.join("new")).unwrap();
                    std::fs::rename(replace.join("new"), replace.join(format!("name{name}")))
                        .unwrap();
                }),
            ),
        ];
        Changing { stop, changes, tasks }
    }

    fn changes(&self) -> usize {
        self.changes.load(Ordering::Relaxed)
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.into_iter().for_each(|task| task.within(STEP));
        self.changes.load(Ordering::Relaxed)
    }
}

/// What a listing says of a name.
pub struct Listed {
    pub name: String,
    pub ino: u64,
    pub kind: FileType,
    place: i64,
}

fn rest_of(dir: &mut Dir) -> Vec<Listed> {
    let mut listed = Vec::new();
    while let Some(entry) = dir.read() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_str().unwrap().to_owned();
        listed.push(Listed {
            name,
            ino: entry.ino(),
            kind: entry.file_type(),
            place: entry.offset(),
        });
    }
    listed
}

/// All that `getdents` tells of a folder.
pub fn list(folder: &Path) -> Vec<Listed> {
    rest_of(&mut Dir::new(File::open(folder).unwrap()).unwrap())
}

/// Every name once, and all that were there throughout.
fn check_whole(listed: &[Listed], stay: usize, what: &str) {
    let names: HashSet<&str> = listed.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names.len(), listed.len(), "{what}: names listed twice");
    let missing: Vec<_> =
        (0..stay).map(|n| format!("name{n}")).filter(|name| !names.contains(&name[..])).collect();
    let some = &missing[..missing.len().min(5)];
    assert!(missing.is_empty(), "{what}: {} names left out: {some:?}", missing.len());
}

/// Numbers and kinds of a listing are those of `lstat`.
fn check_told(folder: &Path, listed: &[Listed]) {
    let every = (listed.len() / 500).max(1);
    for entry in listed.iter().step_by(every).filter(|entry| !entry.name.starts_with('.')) {
        let meta = std::fs::symlink_metadata(folder.join(&entry.name)).unwrap();
        assert_eq!(entry.ino, meta.ino(), "{}", entry.name);
        assert_eq!(entry.kind, FileType::from_raw_mode(meta.mode()), "{}", entry.name);
    }
}

/// From any place that was told, all that stands behind it is listed again (seekdir(3)).
fn check_places(folder: &Path) {
    let mut dir = Dir::new(File::open(folder).unwrap()).unwrap();
    let all = rest_of(&mut dir);
    let names = |listed: &[Listed]| listed.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
    for at in [all.len() / 2, all.len() / 10, all.len() - 2, 5] {
        dir.seek(all[at].place).unwrap();
        assert!(names(&rest_of(&mut dir)) == names(&all[at + 1..]), "behind place {at}");
    }
}

/// The middle one of the times `work` takes.
fn middle(times: usize, mut work: impl FnMut(usize)) -> Duration {
    let mut took: Vec<_> = (0..times)
        .map(|number| {
            let begun = Instant::now();
            work(number);
            begun.elapsed()
        })
        .collect();
    took.sort();
    took[times / 2]
}

/// Times of a look at a name, at an absent one, and of making and removing one, for a mount that
/// knows nothing of the folder.
fn reaction(folder: &Path, names: usize) -> [Duration; 3] {
    let name = |n: usize| folder.join(format!("name{}", n * (names / LOOKS)));
    let look = middle(LOOKS, |n| assert!(std::fs::symlink_metadata(name(n)).is_ok()));
    let absent =
        middle(LOOKS, |n| assert!(std::fs::metadata(folder.join(format!("no{n}"))).is_err()));
    let change = middle(31, |n| {
        let path = folder.join(format!("more{n}"));
        File::create_new(&path).unwrap();
        std::fs::remove_file(path).unwrap();
    });
    [look, absent, change]
}

/// Programs that walk over it; then the folder goes with `rm`.
fn check_programs(a: &Mount, b: &Mount, count: usize) {
    let printed = |script: &str| shell::script(STEP, &a.at("many"), script).trim().to_owned();
    assert_eq!(printed("ls -U | wc -l"), count.to_string());
    let last = (0..count).map(|n| format!("name{n}")).max().unwrap();
    assert_eq!(printed("LC_ALL=C ls | tail -n 1"), last);
    assert_eq!(printed("find . -type d -name 'name*' | wc -l"), (count / 100).to_string());
    let number = std::fs::metadata(a.at("many/name7")).unwrap().ino();
    assert_eq!(printed(&format!("find . -inum {number}")), "./name7");
    shell::script(STEP, a.path(), "rm -r many");
    let gone = sys::look(&b.at("many")).unwrap_err();
    assert_eq!(gone, libc::ENOENT);
}

#[test]
fn edges_of_a_folder_of_many_names_are_those_of_a_small_one() {
    world::run_alone(STEP * 2, |w| {
        let count = sizes::names_of_one_folder();
        // What a name costs its disk is measured elsewhere.
        let server = w.server_builder().arg("--durability=relaxed").start();
        let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
        let mut step = Instant::now();
        let mut say = |what: &str| {
            let mib = [server.process(), a.daemon(), b.daemon()].map(|p| p.resident_bytes() >> 20);
            let took = std::mem::replace(&mut step, Instant::now()).elapsed();
            w.say(format!("{what}: {took:.1?}; server, daemons: {mib:?} MiB"));
            mib
        };
        for (folder, names) in [("few", LOOKS), ("many", count)] {
            std::fs::create_dir(a.at(folder)).unwrap();
            fill([&a, &b], folder, names);
        }
        say(&format!("{count} names made"));
        let changing = Changing::start([&a, &b], "many", count);
        for (round, mount) in [&b, &a, &b].into_iter().enumerate() {
            let before = changing.changes();
            check_whole(&list(&mount.at("many")), count, &format!("listing {round}"));
            wait::until_true(STEP, "some changes", || changing.changes() > before + 20);
        }
        let changes = changing.end();
        say(&format!("3 listings beside {changes} changes"));
        shell::script(STEP, &a.at("many"), "rm -f come* new");
        let listed = list(&b.at("many"));
        assert_eq!(listed.len(), count + 2);
        check_told(&b.at("many"), &listed);
        check_places(&b.at("many"));
        say("numbers, kinds, places");
        let c = w.mount(&server, "c");
        let few = reaction(&c.at("few"), LOOKS);
        let many = reaction(&c.at("many"), count);
        for (few, many) in few.into_iter().zip(many) {
            assert!(many < few * SLOWER + NOISE, "{few:?} among few, {many:?} among many");
        }
        say(&format!("look, absent, change: {few:.1?} among few, {many:.1?} among many"));
        check_programs(&a, &b, count);
        let mib = say("ls, find, rm");
        assert!(mib.into_iter().all(|mib| mib < sizes::MANY_NAMES_MIB), "{mib:?} MiB");
    });
}

/// As many as ext4 allows, then `EMLINK`; all of them are one file, for every mount.
#[test]
fn edges_of_a_file_of_many_links_are_those_of_a_local_disk() {
    world::run(STEP, |w| {
        let server = w.server_builder().arg("--durability=relaxed").start();
        let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
        let links = sizes::links_of_one_file();
        std::fs::write(a.at("file"), b"one").unwrap();
        std::fs::create_dir(a.at("links")).unwrap();
        let link = |n: usize| -> std::io::Result<PathBuf> {
            let path = a.at(format!("links/{n}"));
            std::fs::hard_link(a.at("file"), &path).map(|()| path)
        };
        (1..links).for_each(|n| drop(link(n).unwrap()));
        if sizes::full() {
            assert_eq!(sys::errno(link(links).unwrap_err()), libc::EMLINK);
            std::fs::remove_file(a.at("links/1")).unwrap();
            link(1).unwrap();
        }
        let count = |path: PathBuf| std::fs::metadata(path).unwrap().nlink();
        assert_eq!(count(a.at("file")), links as u64);
        assert_eq!(count(b.at(format!("links/{}", links - 1))), links as u64);
        std::fs::write(b.at(format!("links/{}", links / 2)), b"two").unwrap();
        assert_eq!(std::fs::read(a.at("links/1")).unwrap(), b"two");
        let number = std::fs::metadata(a.at("file")).unwrap().ino();
        let listed = list(&b.at("links"));
        assert!(listed.iter().filter(|e| !e.name.starts_with('.')).all(|e| e.ino == number));
        assert_eq!(listed.len(), links + 1);
        shell::script(STEP, b.path(), "rm -r links");
        assert_eq!(count(a.at("file")), 1);
        w.say(format!("{links} links, all gone again"));
    });
}
