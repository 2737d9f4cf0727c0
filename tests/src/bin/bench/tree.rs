//! A source tree, and the programs people run on one.

use crate::run::{Failure, Run, command};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const NEEDLE: &str = "the needle in this haystack";

/// Unpacks, commits, copies, searches and removes a tree of 5,000 text files.
pub fn tree(run: &mut Run<'_>) {
    let (top, files) = (run.folder().to_owned(), run.count(5_000));
    let archive = match archive(files) {
        Ok(archive) => archive,
        Err(error) => return run.record("tar-extract", Err(error)),
    };
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.args(["-c", "user.name=bench", "-c", "user.email=bench@localhost"]);
        git.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        command(git.arg("-C").arg(&top).args(words))
    };
    let status =
        || git(&["diff-index", "--quiet", "HEAD"]).and_then(|()| git(&["status", "--short"]));
    let grep = || command(Command::new("grep").args(["-rq", "--", "no such line"]).arg(&top));
    run.seconds("tar-extract", || {
        command(
            Command::new("tar").args(["--no-same-owner", "-xf"]).arg(&archive).arg("-C").arg(&top),
        )
    });
    run.seconds("git-commit", || {
        git(&["init", "-q"])?;
        git(&["add", "-A"])?;
        git(&["commit", "-qm", "all"])
    });
    run.seconds("git-status-warm", status);
    run.seconds("cp-r", || {
        command(Command::new("cp").arg("-r").args([top.join("tree"), top.join("copy")]))
    });
    // Reads everything once, so that the next one finds it warm. It ends with 1: nothing is found.
    let _ = grep();
    run.seconds("grep-r-warm", || {
        command(Command::new("grep").args(["-rc", NEEDLE]).arg(top.join("tree")))
    });
    run.seconds("rm-rf", || {
        command(Command::new("rm").arg("-rf").args([top.join("tree"), top.join("copy")]))
    });
    // A program that comes back to an archive finds it in the page cache on every side.
    let _ = std::fs::remove_file(archive);
}

/// A tar file of text files of 200 bytes to 60 KB, the same on every machine, on a local disk.
fn archive(files: u64) -> Result<PathBuf, Failure> {
    let folder = std::env::temp_dir().join(format!("dfs-bench-{}", std::process::id()));
    let packed = folder.with_extension("tar");
    let mut random = StdRng::seed_from_u64(7);
    for number in 0..files {
        let path =
            folder.join(format!("tree/m{:02}/s{:03}/f{number:05}.c", number % 20, number % 300));
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::write(path, text(&mut random, number % 100 == 0))?;
    }
    command(Command::new("tar").arg("-cf").arg(&packed).arg("-C").arg(&folder).arg("tree"))?;
    std::fs::remove_dir_all(folder)?;
    Ok(packed)
}

fn text(random: &mut StdRng, needle: bool) -> String {
    let lines = 5 << random.random_range(0..8);
    let mut text = String::new();
    for _ in 0..lines {
        let (one, two): (u32, u32) = random.random();
        // Writing to a string does not fail.
        let _ = writeln!(text, "let value_{one:x} = other({two});");
    }
    if needle {
        text.push_str(NEEDLE);
    }
    text
}
