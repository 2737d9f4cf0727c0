//! Every large dependency has one owner (STYLE "Shape"), and so has each choice of an errno and of a
//! transport status (STYLE "Errors").

use crate::assert_none;
use crate::source::{self, code, files, line_of, words};

/// A crate and the files that may name it, as beginnings of paths. Tests may name any.
const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["dfs-server/src/server.rs", "dfs-server/src/scrape.rs"]),
    ("fuser", &["dfs-fuse/src/"]),
    ("http_body", &["proto/src/bulk/receiving.rs", "proto/src/bulk/sending.rs"]),
    ("hyper_util", &["dfs-client/src/rpc/connector.rs"]),
    ("lexopt", &["dfs-server/src/cli.rs", "dfs-fuse/src/cli.rs"]),
    // Constants of system calls that `nix` and `fuser` have no name for.
    (
        "libc",
        &[
            "dfs-client/src/cache/alone.rs",
            "dfs-fuse/src/driver/",
            "dfs-fuse/src/notifier/sink.rs",
            "dfs-server/src/slice.rs",
        ],
    ),
    (
        "lru",
        &[
            "dfs-client/src/cache/mod.rs",
            "dfs-client/src/metadata/cache.rs",
            "dfs-client/src/metadata/places.rs",
            "dfs-client/src/metadata/siblings.rs",
            "dfs-client/src/content/beside.rs",
            "dfs-client/src/content/pages.rs",
            "dfs-server/src/filestore/once.rs",
            "dfs-server/src/metastore/recent.rs",
        ],
    ),
    ("mimalloc", &["dfs-server/src/main.rs", "dfs-fuse/src/main.rs"]),
    (
        "nix",
        &[
            "dfs-server/src/clock.rs",
            "dfs-server/src/datadir.rs",
            "dfs-server/src/disk/mod.rs",
            "dfs-server/src/main.rs",
            "dfs-server/src/slice.rs",
            "dfs-client/src/cache/",
            "dfs-client/src/clock.rs",
            "dfs-client/src/rpc/connector.rs",
            "dfs-fuse/src/",
        ],
    ),
    ("pin_project_lite", &["dfs-client/src/interrupt.rs"]),
    ("prometheus_client", &["dfs-server/src/metrics.rs"]),
    // Beside the wire: what the metadata store and a client's list of new files keep are
    // protocol-buffer messages.
    (
        "prost",
        &[
            "proto/src/bulk/mod.rs",
            "proto/src/bulk/receiving.rs",
            "proto/src/bulk/sending.rs",
            "dfs-client/src/deferred/journal.rs",
            "dfs-server/src/metastore/codec/",
            "dfs-server/src/nameserver/op/outcome.rs",
        ],
    ),
    ("protox", &["proto/build.rs"]),
    (
        "rand",
        &[
            "dfs-server/src/metastore/sqlite/open.rs",
            "dfs-client/src/cache/folder.rs",
            "dfs-client/src/rpc/backoff.rs",
        ],
    ),
    ("rusqlite", &["dfs-server/src/metastore/sqlite/", "dfs-client/src/cache/index.rs"]),
    ("sd_notify", &["dfs-server/src/server.rs", "dfs-fuse/src/daemon.rs"]),
    ("siphasher", &["dfs-server/src/metastore/rows.rs", "dfs-fuse/src/place.rs"]),
    ("strsim", &["dfs-fuse/src/options/"]),
    ("tokio_util", &["dfs-client/src/rpc/connector.rs"]),
    (
        "tonic",
        &[
            "proto/",
            "dfs-server/src/rpc/",
            "dfs-server/src/server.rs",
            "dfs-client/src/rpc/",
            "dfs-client/src/session/",
        ],
    ),
];

/// Where errno constants may stand outside `dfs-core/src/errno.rs`: what the program's own system
/// calls gave, and answers that the kernel's FUSE protocol itself fixes.
const ERRNO_READERS: &[&str] = &[
    "dfs-server/src/datadir.rs",
    "dfs-client/src/cache/disk.rs",
    "dfs-fuse/src/attr.rs",
    "dfs-fuse/src/driver/",
    "dfs-fuse/src/mounting.rs",
    "dfs-fuse/src/notifier/sink.rs",
    "dfs-fuse/src/remount.rs",
    "dfs-fuse/src/unmount.rs",
];

/// Program code, tests taken out: path and code.
fn program() -> Vec<(String, String)> {
    let all = files(".rs");
    let tests: Vec<String> = source::test_files(&all).into_iter().map(str::to_owned).collect();
    all.into_iter()
        .filter(|file| !tests.contains(&file.path))
        .map(|file| (code(&source::without_tests(&file.text)), file.path))
        .map(|(code, path)| (path, code))
        .collect()
}

fn is_below(path: &str, owners: &[&str]) -> bool {
    owners.iter().any(|owner| path.starts_with(owner))
}

#[test]
fn owners_of_dependencies_are_kept() {
    let mut findings = Vec::new();
    for (path, code) in program() {
        for (at, word) in words(&code) {
            let Some((_, owners)) = OWNERS.iter().find(|o| o.0 == word) else { continue };
            let is_path = code[at + word.len()..].starts_with("::");
            if is_path && !is_below(&path, owners) {
                findings.push(format!("{path}:{}: {word}", line_of(&code, at)));
            }
        }
    }
    assert_none("a dependency is named by its owners only", findings);
}

#[test]
fn owners_all_use_what_they_own() {
    let program = program();
    for (name, owners) in OWNERS {
        for owner in *owners {
            let mut code = program.iter().filter(|(path, _)| path.starts_with(owner)).map(|f| &f.1);
            let used = code.any(|code| words(code).any(|(_, word)| word == *name));
            assert!(used, "{owner} does not use {name} any more: take it off the list");
        }
    }
}

#[test]
fn owners_of_errno_and_status_are_kept() {
    let mut findings = Vec::new();
    for (path, code) in program() {
        for (at, word) in words(&code) {
            let next = code[at + word.len()..].strip_prefix("::").unwrap_or_default();
            let constant = |c: &str| {
                c.len() > 2
                    && c.starts_with('E')
                    && c.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
            };
            let target = words(next).next().filter(|w| w.0 == 0).map_or("", |w| w.1);
            let errno = matches!(word, "libc" | "Errno") && constant(target);
            if errno && path != "dfs-core/src/errno.rs" && !is_below(&path, ERRNO_READERS) {
                findings.push(format!("{path}:{}: {word}::{target}", line_of(&code, at)));
            }
            // A signature of a generated service names the type; making and reading one is the home's.
            if word == "Status" && !target.is_empty() && path != "proto/src/status.rs" {
                findings.push(format!("{path}:{}: Status::{target}", line_of(&code, at)));
            }
        }
    }
    assert_none("errno is chosen in errno.rs, a status made in status.rs", findings);
}
