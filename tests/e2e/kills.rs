//! Killed servers and clients (PROTOCOL G5, G9, 2.3, 2.5): what was acknowledged is there, and
//! nothing hangs.

mod acknowledged;
mod answered;
mod behind;
mod client;
mod closed;
mod made;
mod named;
mod power;
mod relaxed;

use acknowledged::Acknowledged;
use dfs_tests::{sizes, sys, wait, world};
use nix::libc;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One answer under load, with a server that comes back each time.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Files that were made ahead and not told when the server is killed (`docs/design/0025`).
#[test]
fn kills_of_the_server_keep_files_made_ahead() {
    world::run(Duration::from_secs(600), |w| {
        let (server, a, b) = w.two_mounts();
        let rounds = sizes::client_kills();
        for round in 0..rounds {
            let folder = format!("d{round}");
            std::fs::create_dir(a.at(&folder)).unwrap();
            let made: Vec<_> = (0..3)
                .map(|n| std::fs::File::create_new(a.at(format!("{folder}/{n}"))).unwrap())
                .collect();
            server.kill();
            made[0].write_all_at(b"written while nobody was there", 0).unwrap();
            server.start();
            wait::within(ANSWER_WITHIN, "saving", move || {
                made.iter().for_each(|file| file.sync_all().unwrap());
            });
            assert_eq!(sys::names(&b.at(&folder)).unwrap(), ["0", "1", "2"]);
            let read = std::fs::read(b.at(format!("{folder}/0"))).unwrap();
            assert_eq!(read, b"written while nobody was there");
        }
        w.say(format!("{rounds} kills right after 3 files were made, all there"));
    });
}

/// What was removed is removed, whoever of client and server dies in the next moment.
#[test]
fn kills_leave_nothing_of_what_was_removed() {
    world::run(Duration::from_secs(600), |w| {
        let (server, mut a, b) = w.two_mounts();
        let rounds = sizes::client_kills();
        for round in 0..rounds {
            let folder = format!("d{round}");
            std::fs::create_dir(a.at(&folder)).unwrap();
            for n in 0..20 {
                std::fs::write(a.at(format!("{folder}/{n}")), b"content").unwrap();
            }
            std::fs::create_dir(a.at(format!("{folder}/sub"))).unwrap();
            for n in 0..20 {
                std::fs::remove_file(a.at(format!("{folder}/{n}"))).unwrap();
            }
            std::fs::remove_dir(a.at(format!("{folder}/sub"))).unwrap();
            let on_b = b.at(&folder);
            match round % 2 {
                0 => server.kill_and_restart(),
                _ => a.kill_and_detach(),
            }
            wait::within(ANSWER_WITHIN, "a look at the folder", move || {
                assert_eq!(sys::names(&on_b).unwrap(), [""; 0], "{on_b:?}");
            });
            if round % 2 == 1 {
                a.again();
            }
        }
        w.say(format!("{rounds} kills right after 21 removals, none undone"));
    });
}

#[test]
fn kills_of_the_server_lose_nothing_acknowledged() {
    world::run_alone(Duration::from_secs(1200), |w| {
        let (server, a, b) = w.two_mounts();
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = [(&a, 1), (&b, 2), (&a, 3), (&b, 4)]
            .into_iter()
            .map(|(mount, id)| {
                let (folder, random, stop) =
                    (mount.at(format!("worker{id}")), w.random(id), stop.clone());
                wait::start(format!("worker {id}"), move || {
                    let mut known = Acknowledged::new(folder, random);
                    while !stop.load(Ordering::Relaxed) {
                        known.change();
                    }
                    known
                })
            })
            .collect();
        let kills = sizes::server_kills();
        for _ in 0..kills {
            let began = Instant::now();
            wait::until_true(ANSWER_WITHIN, "some seconds of work", || {
                began.elapsed() > Duration::from_secs(4)
            });
            server.kill_and_restart();
        }
        stop.store(true, Ordering::Relaxed);
        let mut changes = 0;
        for worker in workers {
            let known = worker.within(ANSWER_WITHIN);
            changes += known.changes();
            known.check(a.path());
            known.check(b.path());
        }
        server.kill_and_restart();
        let fresh = w.mount(&server, "c");
        assert_eq!(sys::names(fresh.path()).unwrap().len(), 4);
        w.say(format!("{kills} kills, {changes} acknowledged changes, all there"));
    });
}

#[test]
fn kills_of_the_server_leave_handles_and_locks() {
    world::run(Duration::from_secs(300), |w| {
        let (server, a, b) = w.two_mounts();
        // Shared, not cloned: closing a clone would give up the lock (fcntl(2)).
        let file = Arc::new(sys::open(&a.at("f"), libc::O_RDWR | libc::O_CREAT).unwrap());
        file.write_all_at(b"before", 0).unwrap();
        sys::try_record_lock(&file, true).unwrap();
        let unlinked = Arc::new(sys::open(&a.at("u"), libc::O_RDWR | libc::O_CREAT).unwrap());
        unlinked.write_all_at(b"unlinked", 0).unwrap();
        std::fs::remove_file(a.at("u")).unwrap();
        for round in 0..3 {
            server.kill_and_restart();
            let path = b.at("f");
            wait::within(ANSWER_WITHIN, "a refused lock", move || {
                let other = sys::open(&path, libc::O_RDWR).unwrap();
                let refused = sys::try_record_lock(&other, true).unwrap_err();
                assert_eq!(sys::errno(refused), libc::EAGAIN, "round {round}");
            });
            file.write_all_at(format!("round {round}").as_bytes(), 0).unwrap();
            let (file_too, unlinked_too) = (file.clone(), unlinked.clone());
            wait::within(ANSWER_WITHIN, "fsync and read", move || {
                file_too.sync_all().unwrap();
                let mut bytes = [0; 8];
                unlinked_too.read_exact_at(&mut bytes, 0).unwrap();
                assert_eq!(&bytes, b"unlinked");
            });
            assert_eq!(std::fs::read(b.at("f")).unwrap(), format!("round {round}").as_bytes());
        }
        w.say("3 restarts: 1 lock, 1 written handle and 1 unlinked file survived each");
    });
}

#[test]
fn kills_of_the_server_during_large_writes_leave_whole_files() {
    world::run(Duration::from_secs(600), |w| {
        let (server, a, b) = w.two_mounts();
        let mut random = w.random(1);
        let kills = sizes::server_kills();
        for round in 0..kills {
            let bytes = dfs_tests::tree::random_bytes(&mut random, 20 << 20);
            let (path, copy) = (a.at("big"), bytes.clone());
            let write = wait::start("large write", move || {
                let file = std::fs::File::create(path).unwrap();
                file.write_all_at(&copy, 0).unwrap();
                file.sync_all().unwrap();
            });
            write.let_run(Duration::from_millis(150));
            server.kill_and_restart();
            write.within(ANSWER_WITHIN);
            let path = b.at("big");
            let read = wait::within(ANSWER_WITHIN, "read", move || std::fs::read(path).unwrap());
            assert!(read == bytes, "round {round}: other bytes");
        }
        w.say(format!("{kills} kills during writes of 20 MiB, each whole afterwards"));
    });
}
