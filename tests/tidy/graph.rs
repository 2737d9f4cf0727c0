//! Which crate may use which, what the core must not touch, and how many versions of a dependency
//! there are.

use crate::assert_none;
use crate::licences::strings_of;
use crate::source::{code, files, line_of, read, words};
use std::collections::BTreeMap;

/// Folder of each crate, and the crates of ours it may use: imports point one way.
const ALLOWED: &[(&str, &[&str])] = &[
    ("dfs-core", &[]),
    ("proto", &["dfs-core"]),
    ("dfs-server", &["dfs-core", "dfs-proto"]),
    ("dfs-client", &["dfs-core", "dfs-proto"]),
    ("dfs-fuse", &["dfs-core", "dfs-client"]),
];

/// Crates the core may use; anything else could bring clocks, chance or the outside world.
const CORE_USES: &[&str] = &["bytes", "thiserror"];
const CORE_TESTS_USE: &[&str] = &["datadriven", "proptest"];

/// Modules of `std` that lead outside (the core's clippy.toml forbids single calls, too).
const OUTSIDE: &[&str] = &["env", "fs", "io", "net", "process", "thread"];
/// Clocks, undefined order, waiting.
const FORBIDDEN: &[&str] = &[
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
    "Mutex",
    "RwLock",
    "Condvar",
    "mpsc",
    "async",
    "await",
];

#[test]
fn graph_of_crates_points_one_way() {
    let mut findings = Vec::new();
    for (folder, allowed) in ALLOWED {
        for name in dependencies(folder, "dependencies") {
            if name.starts_with("dfs-") && !allowed.contains(&name.as_str()) {
                findings.push(format!("{folder}/Cargo.toml: {name}"));
            }
        }
    }
    assert_none("core <- proto <- server, client; client <- fuse", findings);
}

#[test]
fn graph_core_is_pure() {
    assert_eq!(dependencies("dfs-core", "dependencies"), CORE_USES);
    assert_eq!(dependencies("dfs-core", "dev-dependencies"), CORE_TESTS_USE);
    let mut findings = Vec::new();
    for file in files(".rs").into_iter().filter(|f| f.path.starts_with("dfs-core/src/")) {
        let code = code(&crate::source::without_tests(&file.text));
        if file.path.contains("/tests") {
            continue;
        }
        let leads_outside =
            |at: usize, word| code[..at].ends_with("std::") && OUTSIDE.contains(&word);
        for (at, word) in
            words(&code).filter(|(at, word)| FORBIDDEN.contains(word) || leads_outside(*at, word))
        {
            findings.push(format!("{}:{}: {word}", file.path, line_of(&code, at)));
        }
    }
    assert_none("the core knows no clock, chance, thread, file or socket", findings);
}

/// The names in one table of a crate's manifest, in order.
fn dependencies(folder: &str, table: &str) -> Vec<String> {
    let text = read(&format!("{folder}/Cargo.toml"));
    let lines = text.lines().skip_while(|l| *l != format!("[{table}]")).skip(1);
    let entries = lines.take_while(|l| !l.starts_with('['));
    entries.filter_map(|l| l.split_once(['.', ' ', '='])).map(|(name, _)| name.to_owned()).collect()
}

/// A second version of a dependency is built, loaded and audited for nothing; where a dependency of
/// ours forces one, `deny.toml` lists it.
#[test]
fn graph_has_no_duplicates_without_reason() {
    let lock = read("Cargo.lock");
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lock.lines() {
        if let Some(name) = line.strip_prefix("name = \"") {
            *versions.entry(name.trim_end_matches('"')).or_default() += 1;
        }
    }
    let skipped = strings_of("deny.toml", "skip");
    let doubled: Vec<&str> = versions.into_iter().filter(|v| v.1 > 1).map(|v| v.0).collect();
    let unlisted = doubled.iter().filter(|d| !skipped.iter().any(|s| s == **d));
    assert_none("one version each", unlisted.map(|d| format!("{d}: see cargo tree -d")).collect());
    let needless = skipped.iter().filter(|s| !doubled.contains(&s.as_str()));
    assert_none("deny.toml lists what is doubled only", needless.cloned().collect());
}
