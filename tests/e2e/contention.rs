//! Many processes on two mounts fight over one folder (issue 5): no deadlock, no stale name, no error
//! that a local file system would not give.

use dfs_tests::{programs, shell, sizes, sys, tree, world};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn contention_in_one_folder_is_as_on_a_local_disk() {
    world::run_alone(Duration::from_secs(400), |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::create_dir(a.at("arena")).unwrap();
        let time = sizes::contention();
        let mut children = Vec::new();
        for id in 0..2 * sizes::CONTENDERS {
            let mount = if id % 2 == 0 { &a } else { &b };
            let out = w.dir().join(format!("contender{id}"));
            let mut command = Command::new(programs::ours("dfs-test-load"));
            command.arg("contend").arg(mount.at("arena"));
            command.args([id.to_string(), w.seed().to_string(), time.as_secs().to_string()]);
            command.stdin(Stdio::null()).stdout(std::fs::File::create(&out).unwrap());
            command.stderr(std::fs::File::create(out.with_extension("err")).unwrap());
            children.push((shell::Running::start(command), out));
        }
        let mut operations = 0u64;
        for (child, out) in &mut children {
            let status = child.end_within(time + Duration::from_secs(120));
            let error = std::fs::read_to_string(out.with_extension("err")).unwrap();
            assert!(status.success(), "{status}: {error}");
            operations += std::fs::read_to_string(out).unwrap().trim().parse::<u64>().unwrap();
        }
        let names = sys::names(&a.at("arena")).unwrap();
        assert_eq!(sys::names(&b.at("arena")).unwrap(), names);
        for name in &names {
            let seen = [&a, &b].map(|mount| sys::look(&mount.at("arena").join(name)).unwrap());
            assert_eq!(seen[0], seen[1], "{name}");
        }
        tree::compare(&a.at("arena"), &b.at("arena"));
        assert!(operations > 100, "only {operations} operations");
        w.say(format!("{operations} operations of {} processes, 0 odd answers", children.len()));
    });
}

#[test]
fn contention_of_lock_files_has_one_winner() {
    world::run(Duration::from_secs(200), |w| {
        let (_server, a, b) = w.two_mounts();
        let rounds = 100;
        for round in 0..rounds {
            let name = format!("lock{round}");
            let tries = [a.at(&name), b.at(&name), a.at(&name), b.at(&name)].map(|path| {
                dfs_tests::wait::start("create_new", move || std::fs::File::create_new(path))
            });
            let made = tries.map(|t| t.within(Duration::from_secs(30)));
            let winners = made.iter().filter(|result| result.is_ok()).count();
            assert_eq!(winners, 1, "round {round}: {made:?}");
        }
        w.say(format!("{rounds} lock files, 4 racers each, 1 winner each"));
    });
}
