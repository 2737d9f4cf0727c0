//! git, as people use it: clone, commit, gc and fsck, worktrees and pushes, on two mounts.

use super::{LIMIT, STEP};
use dfs_tests::mount::Mount;
use dfs_tests::{programs, shell, sizes, sys, tree, wait, world};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Who commits.
const NAMED: &str = "export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@x GIT_COMMITTER_NAME=x \
                     GIT_COMMITTER_EMAIL=x@x\n";

#[test]
fn git_clone_and_fsck() {
    world::run(LIMIT, |w| {
        programs::need("git");
        let (_server, a, b) = w.two_mounts();
        let repository = source_repository(w.dir());
        let clone = format!("git clone -q --no-local '{}' clone", repository.display());
        shell::script(STEP, a.path(), &clone);
        shell::script(
            STEP,
            &b.at("clone"),
            "git fsck --strict && test -z \"$(git status --short)\"",
        );
        let commit =
            "echo more >> file0.txt && git -c user.name=x -c user.email=x@x commit -qam two";
        shell::script(STEP, &b.at("clone"), commit);
        let log =
            shell::script(STEP, &a.at("clone"), "git log --oneline | wc -l; git status --short");
        assert_eq!(log.trim(), "2");
        shell::script(STEP, &a.at("clone"), "git gc -q && git fsck --strict");
        shell::script(STEP, &b.at("clone"), "git fsck --strict && git log --oneline");
        tree::compare(&a.at("clone"), &b.at("clone"));
        w.say("git clone, fsck, status, commit and gc, both mounts agree");
    });
}

#[test]
fn git_worktrees_of_one_mount_are_used_on_the_other() {
    world::run(LIMIT, |w| {
        programs::need("git");
        let (_server, a, b) = w.two_mounts();
        let git = |mount: &Mount, folder: &str, text: &str| {
            shell::script(STEP, &mount.at(folder), &format!("{NAMED}{text}"))
        };
        let init = "git init -q -b main clone && cd clone && echo 1 > f && git add f && git commit -qm one";
        git(&a, "", init);
        for side in ["side", "gone"] {
            git(&a, "clone", &format!("git worktree add -q ../{side} -b {side}"));
            // Both mounts are on one machine here: what git writes names the first one.
            let link = format!("gitdir: ../clone/.git/worktrees/{side}\n");
            std::fs::write(a.at(side).join(".git"), link).unwrap();
        }
        git(&b, "side", "test -z \"$(git status --short)\" && echo 2 > f && git commit -qam two");
        assert_eq!(git(&a, "side", "git log --format=%s && cat f"), "two\none\n2\n");
        git(&a, "clone", "git merge -q side && git fsck --strict");
        assert_eq!(git(&b, "clone", "cat f && git status --short"), "2\n");
        git(&a, "clone", "git worktree remove ../side");
        assert_eq!(sys::names(b.path()).unwrap(), ["clone", "gone"]);
        std::fs::remove_dir_all(b.at("gone")).unwrap();
        git(&a, "clone", "git worktree prune");
        assert_eq!(git(&b, "clone", "git worktree list | wc -l").trim(), "1");
        assert_eq!(
            git(&b, "clone", "git branch --format='%(refname:short)'"),
            "gone\nmain\nside\n"
        );
        w.say("2 worktrees: added here, committed to there, merged, removed and pruned");
    });
}

/// Commits to a clone of its own and pushes until the branch has the commit; prints each by then.
const PUSH: &str = "\
git clone -q --no-local hub.git $who 2>/dev/null; cd $who; git checkout -q -B main; tries=0
for n in $(seq $rounds); do
    echo $n >> $who.txt; git add $who.txt; git commit -qm \"$who $n\"
    until git push -q origin main 2>>../errors; do
        tries=$((tries + 1)); test $tries -lt $((rounds * 50))
        git fetch -q origin; git rebase -q origin/main
    done
    git rev-parse HEAD
done
echo tries $tries";

#[test]
fn git_pushes_of_two_mounts_are_all_there() {
    world::run(LIMIT, |w| {
        programs::need("git");
        let (_server, a, b) = w.two_mounts();
        let init =
            "git init -q --bare -b main hub.git && git -C hub.git config receive.autogc false
                    git clone -q hub.git first 2>/dev/null && cd first && git checkout -q -B main
                    echo 0 > f && git add f && git commit -qm zero && git push -q origin main";
        shell::script(STEP, a.path(), &format!("{NAMED}{init}"));
        let rounds = sizes::pushes();
        let push = |mount: &Mount, who: &str| {
            let text = format!("{NAMED}who={who} rounds={rounds}\n{PUSH}");
            let path = mount.path().to_path_buf();
            wait::start("pushes", move || shell::script(STEP, &path, &text))
        };
        let (one, two) = (push(&a, "a"), push(&b, "b"));
        // Beside them, everything is packed again and again. It gives way to a push.
        let hub = a.at("hub.git");
        let gc = "for n in 1 2 3; do git gc -q 2>>../errors || test $n -lt 3; done";
        shell::script(STEP, &hub, gc);
        let printed = one.within(STEP) + &two.within(STEP);
        let (tries, commits): (Vec<&str>, Vec<&str>) =
            printed.lines().partition(|line| line.starts_with("tries"));
        assert_eq!(commits.len(), 2 * rounds);
        for mount in [&a, &b] {
            // A push that loses the race for the branch may leave its commit behind, in no branch.
            let check = "git fsck --strict --no-dangling && git rev-list main";
            let there = shell::script(STEP, &mount.at("hub.git"), check);
            let there: BTreeSet<&str> = there.lines().collect();
            let lost: Vec<_> = commits.iter().filter(|id| !there.contains(*id)).collect();
            assert!(lost.is_empty(), "pushed and not in the branch: {lost:?}");
            assert_eq!(there.len(), 2 * rounds + 1, "{there:?}");
        }
        w.say(format!("2 x {rounds} commits pushed beside gc ({tries:?} rejected), all there"));
    });
}

#[test]
fn git_references_raced_for_by_two_mounts_have_one_winner() {
    world::run(LIMIT, |w| {
        programs::need("git");
        let (_server, a, b) = w.two_mounts();
        let rounds = sizes::reference_races();
        // Any commits will do; every round has one for each mount.
        let init = format!(
            "{NAMED}git init -q --bare hub.git && cd hub.git
             tree=$(git hash-object -t tree -w /dev/null)
             for n in $(seq {}); do git commit-tree -m $n $tree; done",
            2 * rounds + 1
        );
        let commits = shell::script(STEP, a.path(), &init);
        let mut commits = commits.lines().map(str::to_owned);
        let mut current = commits.next().unwrap();
        let set = format!("git update-ref refs/heads/main {current}");
        shell::script(STEP, &a.at("hub.git"), &set);
        let mut wins = [0, 0];
        for round in 0..rounds {
            let race = |mount: &Mount, new: &str| {
                let text = format!("git update-ref refs/heads/main {new} {current}");
                let path = mount.at("hub.git");
                wait::start("update-ref", move || shell::try_script(STEP, &path, &text))
            };
            let new = [commits.next().unwrap(), commits.next().unwrap()];
            let races = [race(&a, &new[0]), race(&b, &new[1])];
            let won = races.map(|task| task.within(STEP).status.success());
            assert_ne!(won[0], won[1], "round {round}: {won:?}");
            let winner = usize::from(won[1]);
            wins[winner] += 1;
            current = new[winner].clone();
            for mount in [&a, &b] {
                let found = shell::script(STEP, &mount.at("hub.git"), "git rev-parse main");
                assert_eq!(found.trim(), current, "round {round}");
            }
        }
        w.say(format!("{rounds} races for one reference, one winner each: {wins:?}"));
    });
}

/// A small repository on a local disk, made of this workspace's own sources.
fn source_repository(folder: &Path) -> PathBuf {
    let path = folder.join("repository");
    std::fs::create_dir(&path).unwrap();
    for source in ["dfs-core", "proto"] {
        let from = programs::workspace().join(source);
        shell::script(STEP, &path, &format!("cp -r '{}' .", from.display()));
    }
    std::fs::write(path.join("file0.txt"), "text\n").unwrap();
    let commit = "git init -q . && git add -A && \
                  git -c user.name=x -c user.email=x@x commit -qm one";
    shell::script(STEP, &path, commit);
    path
}
