//! Thousands of random operations by several users against the plain model.

use super::harness::{World, name, user};
use super::model::{Answer, Id, Model};
use crate::nameserver::op::*;
use dfs_core::Ino;
use dfs_core::access::Credentials;
use dfs_core::attr::{Kind, SetAttr};
use dfs_core::name::Name;
use proptest::prelude::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const MODES: [u32; 8] = [0o755, 0o777, 0o1777, 0o2775, 0o700, 0o444, 0o6777, 0o2770];

/// Numbers to be reduced to what exists when the command runs.
#[derive(Clone, Copy, Debug)]
struct Step {
    verb: u8,
    who: usize,
    dir: usize,
    other_dir: usize,
    any: usize,
    name: usize,
    other_name: usize,
    mode: usize,
    flag: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let small = 0..1000usize;
    let places = (small.clone(), small.clone(), small.clone());
    (0..24u8, 0..4usize, places, 0..4usize, 0..4usize, 0..8usize, 0..8u8).prop_map(
        |(verb, who, (dir, other_dir, any), name, other_name, mode, flag)| Step {
            verb,
            who,
            dir,
            other_dir,
            any,
            name,
            other_name,
            mode,
            flag,
        },
    )
}

fn users() -> [Credentials; 4] {
    // Root twice, so that trees grow beyond what permissions let the others do.
    [user(0, 0, &[]), user(0, 0, &[]), user(1000, 100, &[200]), user(1001, 200, &[])]
}

/// Both sides of one run.
struct Pair {
    world: World,
    model: Model,
}

fn fifo(dir: Ino, name: Name, mode: u32) -> Mknod {
    Mknod { dir, name, mode: mode.into(), kind: Kind::Fifo, rdev: 3 }
}

fn rename(from: (Ino, Name), to: (Ino, Name), (noreplace, exchange): (bool, bool)) -> Rename {
    let ((from_dir, from_name), (to_dir, to_name)) = (from, to);
    let (whiteout, at) = (false, None);
    Rename { from_dir, from_name, to_dir, to_name, noreplace, exchange, whiteout, at }
}

fn removal(dir: Ino, name: Name, directory: bool) -> Box<dyn Op> {
    match directory {
        true => Box::new(Rmdir { dir, name, at: None }),
        false => Box::new(Unlink { dir, name, at: None }),
    }
}

impl Pair {
    /// A directory, or seldom something else in its place.
    fn dir(&self, pick: usize) -> Id {
        let dirs: Vec<Id> = self
            .model
            .nodes
            .iter()
            .filter(|(_, node)| node.kind == Kind::Directory || pick % 16 == 15)
            .map(|(id, _)| *id)
            .collect();
        dirs[pick % dirs.len()]
    }

    fn any(&self, pick: usize) -> Id {
        *self.model.nodes.keys().nth(pick % self.model.nodes.len()).unwrap()
    }

    /// Runs one command on both sides.
    fn run(&mut self, step: Step) {
        let who = &users()[step.who];
        let (dir, to, any) = (self.dir(step.dir), self.dir(step.other_dir), self.any(step.any));
        let (text, other) = (NAMES[step.name], NAMES[step.other_name]);
        let (mode, model) = (MODES[step.mode], &mut self.model);
        let (ino, dir_ino, name, to_name) = (Ino(any), Ino(dir), name(text), name(other));
        let (wanted, op): (Answer, Box<dyn Op>) = match step.verb {
            0..3 => {
                let exclusive = step.flag & 1 == 0;
                let wanted = if exclusive {
                    model.make(who, dir, text, Kind::File, mode)
                } else {
                    model.open_or_make(who, dir, text, mode)
                };
                let mode = mode.into();
                (wanted, Box::new(Create { dir: dir_ino, name, mode, exclusive, leased: false }))
            }
            3..6 => (
                model.make(who, dir, text, Kind::Directory, mode),
                Box::new(Mkdir { dir: dir_ino, name, mode: mode.into(), made: None }),
            ),
            6 => (
                model.make(who, dir, text, Kind::Symlink, 0),
                Box::new(Symlink { dir: dir_ino, name, target: b"target".to_vec() }),
            ),
            7 => {
                (model.make(who, dir, text, Kind::Fifo, mode), Box::new(fifo(dir_ino, name, mode)))
            }
            8..10 => (
                model.link(who, any, dir, text),
                Box::new(Link { ino, dir: dir_ino, name, at: None }),
            ),
            10..15 => {
                let directory = step.verb >= 12;
                (model.remove(who, dir, text, directory), removal(dir_ino, name, directory))
            }
            15..21 => {
                let how = (step.flag & 3 == 3, step.flag & 4 == 4);
                (
                    model.rename(who, (dir, text), (to, other), how.0, how.1),
                    Box::new(rename((dir_ino, name), (Ino(to), to_name), how)),
                )
            }
            21 => {
                let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
                (model.chmod(who, any, mode), Box::new(SetAttributes { ino, set, opened: false }))
            }
            22 => {
                let uid = [None, Some(1000), Some(1001), Some(0)][step.flag as usize % 4];
                let gid = [Some(100), Some(200)][step.flag as usize / 4];
                let set = SetAttr { uid, gid, ..SetAttr::default() };
                let op = SetAttributes { ino, set, opened: false };
                (model.chown(who, any, uid, gid), Box::new(op))
            }
            _ => {
                let (size, set) = (u64::from(step.flag) * 1000, SetAttr::default());
                let op = Truncate { ino, size, set, opened: false };
                (model.truncate(who, any, size), Box::new(op))
            }
        };
        let got = self.world.run(who, op.as_ref());
        let got = got.map(|outcome| outcome.object.map(|attr| attr.ino.0));
        assert_eq!(got, wanted, "{step:?}: {} as {}", op.verb(), who.uid);
    }

    /// The store and the model say the same of every inode; some orphans are freed.
    fn compare(&mut self, free: bool) {
        self.world.check_tree();
        let ids: Vec<Id> = self.model.nodes.keys().copied().collect();
        for id in ids {
            let attr = self.world.attr(Ino(id));
            let node = &self.model.nodes[&id];
            let wanted = (node.kind, node.mode, node.uid, node.gid);
            assert_eq!((attr.kind, attr.mode, attr.uid, attr.gid), wanted, "inode {id}");
            assert_eq!(attr.nlink, self.model.nlink(id), "links of {id}");
            assert_eq!(attr.size, self.model.size(id), "size of {id}");
            if attr.nlink == 0 && free {
                self.model.nodes.remove(&id);
                self.world.run(&Credentials::root(), &FreeOrphan { ino: Ino(id) }).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_operations_do_what_posix_says(steps in prop::collection::vec(step(), 1..160)) {
        let mut pair = Pair { world: World::new(), model: Model::new() };
        for step in steps {
            pair.run(step);
            pair.compare(step.flag == 0);
        }
    }
}
