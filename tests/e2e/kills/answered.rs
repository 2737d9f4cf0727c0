//! Writes that are answered before they are carried out (`docs/design/0047`): seen at once, and there
//! after a kill.

use dfs_tests::mapping::{Mapping, Sharing};
use dfs_tests::{sizes, sys, tree, wait, world};
use nix::libc;
use rand::RngExt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
const BACK_WITHIN: Duration = Duration::from_secs(90);
const SIZE: usize = 8 << 20;
const WRITE: usize = 4096;

#[test]
fn kills_of_the_client_lose_no_answered_write_into_a_file() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let mut random = w.random(1);
        let mut model = tree::random_bytes(&mut random, SIZE);
        std::fs::write(a.at("f"), &model).unwrap();
        let (kills, mut answered) = (sizes::client_kills(), 0);
        for _ in 0..kills {
            assert!(std::fs::read(a.at("f")).unwrap() == model);
            let file = sys::open(&a.at("f"), libc::O_RDWR).unwrap();
            let places: Vec<usize> =
                (0..100_000).map(|_| random.random_range(0..SIZE - WRITE)).collect();
            let fill = random.random();
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            // It ends with the write that the kill meets.
            let writer = wait::start("the writer", move || {
                let meets_the_kill = |at: &usize| {
                    let failed = file.write_all_at(&[fill; WRITE], *at as u64).is_err();
                    counted.fetch_add(1, Ordering::SeqCst);
                    failed
                };
                let ended = places.iter().position(meets_the_kill).expect("no kill");
                (places[..ended].to_vec(), places[ended])
            });
            let after = random.random_range(1..400);
            wait::until_true(LIMIT, "writes", || count.load(Ordering::SeqCst) > after);
            a.kill();
            let (done, cut) = writer.within(BACK_WITHIN);
            a.again();
            for at in &done {
                model[*at..at + WRITE].fill(fill);
            }
            answered += done.len();
            let path = a.at("f");
            let is = wait::within(BACK_WITHIN, "read", move || std::fs::read(path).unwrap());
            let new = |at: usize| (cut..cut + WRITE).contains(&at) && is[at] == fill;
            let wrong = (0..SIZE).find(|at| is[*at] != model[*at] && !new(*at));
            assert_eq!((is.len(), wrong), (SIZE, None), "{} writes answered", done.len());
            model = is;
        }
        w.say(format!("{kills} kills amid {answered} answered writes"));
    });
}

#[test]
fn writes_are_in_a_mapping_whose_handle_is_closed_when_they_return() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mount = w.mount(&server, "a");
        let mut random = w.random(1);
        std::fs::write(mount.at("f"), tree::random_bytes(&mut random, SIZE)).unwrap();
        let reader = File::open(mount.at("f")).unwrap();
        let mapping = Mapping::new(&reader, SIZE, Sharing::Shared, true).unwrap();
        mapping.get(0, SIZE);
        drop(reader);
        let writer = sys::open(&mount.at("f"), libc::O_WRONLY).unwrap();
        let writes = 50 * sizes::page_games();
        for n in 0..writes {
            let at = random.random_range(0..SIZE - WRITE);
            writer.write_all_at(&[n as u8; WRITE], at as u64).unwrap();
            assert!(mapping.get(at, WRITE) == [n as u8; WRITE], "write {n}");
        }
        w.say(format!("{writes} writes seen through a mapping"));
    });
}
