//! Somebody else looks, or a kill comes, right behind what a program has done.

use dfs_tests::mount::Mount;
use dfs_tests::sizes;
use dfs_tests::world::World;
use rand::rngs::StdRng;
use std::path::Path;

/// Another client sees at once the `work` that a program did in a folder that it made, and that the folder
/// is gone.
pub fn others_look<T>(
    w: &World,
    work: impl Fn(&Path, &mut StdRng) -> T,
    check: impl Fn(&Mount, &str, &T),
) {
    let server = w.server();
    let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
    let mut random = w.random(1);
    for round in 0..20 {
        let folder = format!("d{round}");
        let done = work(&a.at(&folder), &mut random);
        check(&b, &folder, &done);
        check(&a, &folder, &done);
        std::fs::remove_dir_all(a.at(&folder)).unwrap();
        assert!(!b.at(&folder).exists());
    }
}

/// Kills the daemon behind the `work` that a program did in a folder that it made; what it did is there for
/// another client before the next daemon is, and then for that one.
pub fn kills_of_the_client<T>(
    w: &World,
    work: impl Fn(&Path, &mut StdRng) -> T,
    check: impl Fn(&Mount, &str, &T),
) {
    let server = w.server();
    let mut a = w.mount(&server, "a");
    let b = w.mount(&server, "b");
    let (kills, mut random) = (sizes::client_kills(), w.random(1));
    for round in 0..kills {
        let folder = format!("d{round}");
        let done = work(&a.at(&folder), &mut random);
        a.kill();
        // The server has what was sent.
        check(&b, &folder, &done);
        a.again();
        check(&a, &folder, &done);
    }
    w.say(format!("{kills} kills of the daemon: all is there"));
}

/// The same with the server: what was done is there for both, whoever looks first.
pub fn kills_of_the_server<T>(
    w: &World,
    kills: usize,
    work: impl Fn(&Path, &mut StdRng) -> T,
    check: impl Fn(&Mount, &str, &T),
) {
    let server = w.server();
    let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
    let mut random = w.random(1);
    for round in 0..kills {
        let folder = format!("d{round}");
        let done = work(&a.at(&folder), &mut random);
        server.kill();
        server.start();
        let order = if round % 2 == 0 { [&b, &a] } else { [&a, &b] };
        order.iter().for_each(|mount| check(mount, &folder, &done));
    }
    w.say(format!("{kills} kills of the server: all is there"));
}
