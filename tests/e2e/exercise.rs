//! File content through several mounts in turn, against one image of what it must be: every promise
//! about content at once (PROTOCOL G2; POSIX read(), write(), ftruncate(), mmap()).

mod check;
mod player;

use dfs_tests::{sizes, world};
use player::{Passing, Player, Shape};
use std::path::Path;
use std::time::Duration;

/// Contents that are sent inline, and some blocks.
const SMALL: Shape = Shape { limit: 300_000, step: 40_000, passing: Passing::Close, direct: true };
/// Contents with several stripes.
const LARGE: Shape =
    Shape { limit: 9_500_000, step: 700_000, passing: Passing::Close, direct: true };

fn play(folders: &[&Path], shape: Shape, random: rand::rngs::StdRng, operations: usize) {
    let mut player = Player::new(folders, shape, random);
    for number in 0..operations {
        player.step().unwrap_or_else(|wrong| panic!("operation {number}: {wrong}"));
    }
    player.finish().unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn exercise_holds_on_a_local_disk() {
    world::run(Duration::from_secs(120), |w| {
        let folder = w.folder("local");
        let shape = Shape { direct: false, ..SMALL };
        play(&[&folder, &folder, &folder], shape, w.random(1), 2_000);
        w.say("2000 operations on a local disk, as the image says");
    });
}

#[test]
fn exercise_of_two_mounts_that_close_in_between() {
    world::run(Duration::from_secs(7200), |w| {
        let (_server, a, b) = w.two_mounts();
        let operations = sizes::exercised();
        play(&[a.path(), b.path()], SMALL, w.random(1), operations);
        w.say(format!("{operations} operations, all as the image says"));
    });
}

#[test]
fn exercise_of_three_mounts_that_close_in_between() {
    world::run(Duration::from_secs(7200), |w| {
        let (server, a, b) = w.two_mounts();
        let c = w.mount(&server, "c");
        let operations = sizes::exercised();
        play(&[a.path(), b.path(), c.path()], SMALL, w.random(1), operations);
        w.say(format!("{operations} operations, all as the image says"));
    });
}

#[test]
fn exercise_of_a_file_of_several_stripes() {
    world::run(Duration::from_secs(7200), |w| {
        let (_server, a, b) = w.two_mounts();
        let operations = sizes::exercised() / 10;
        play(&[a.path(), b.path()], LARGE, w.random(1), operations);
        w.say(format!("{operations} operations, all as the image says"));
    });
}

#[test]
fn exercise_of_three_mounts_that_pass_a_lock_around() {
    world::run(Duration::from_secs(7200), |w| {
        let (server, a, b) = w.two_mounts();
        let c = w.mount(&server, "c");
        let shape = Shape { passing: Passing::Lock, ..SMALL };
        let operations = sizes::exercised();
        play(&[a.path(), b.path(), c.path()], shape, w.random(1), operations);
        w.say(format!("{operations} operations, all as the image says"));
    });
}
