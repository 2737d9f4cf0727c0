//! Documents that stay true: links lead somewhere, files that are named exist, and each promise
//! names a test that exists.

use crate::assert_none;
use crate::rows::function_names;
use crate::source::{files, line_of, read, root};

const SEMANTICS: &str = "docs/SEMANTICS.md";

#[test]
fn docs_links_lead_somewhere() {
    let mut findings = Vec::new();
    for file in files(".md") {
        let folder = file.path.rsplit_once('/').map_or("", |p| p.0);
        for (at, _) in file.text.match_indices("](") {
            let target = file.text[at + 2..].split([')', ' ', '\n']).next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !path.is_empty() && !root().join(folder).join(path).exists() {
                findings.push(format!("{}:{}: {target}", file.path, line_of(&file.text, at)));
            }
        }
    }
    assert_none("relative links lead to something", findings);
}

/// Paths in backticks count from the root, from the document's folder, or from a crate's `src`.
#[test]
fn docs_name_files_that_exist() {
    const ENDINGS: [&str; 6] = [".rs", ".proto", ".toml", ".md", ".sh", "/"];
    let bases = [
        "",
        "dfs-core/src",
        "dfs-server/src",
        "dfs-server/src/nameserver",
        "dfs-client/src",
        "dfs-fuse/src",
        "proto",
    ];
    let mut findings = Vec::new();
    for file in files(".md").into_iter().filter(|f| f.path != "CHANGELOG.md") {
        let folder = file.path.rsplit_once('/').map_or("", |p| p.0);
        for (line, text) in file.text.lines().enumerate() {
            for name in text.split('`').skip(1).step_by(2) {
                let is_path = name.contains('/')
                    && !name.starts_with('/')
                    && ENDINGS.iter().any(|ending| name.ends_with(ending))
                    && !name.contains(['*', '<', '{', ' ', ':', '$']);
                let exists = |base: &str| root().join(base).join(name).exists();
                if is_path && !bases.into_iter().any(exists) && !exists(folder) && !is_data(name) {
                    findings.push(format!("{}:{}: {name}", file.path, line + 1));
                }
            }
        }
    }
    assert_none("files that documents name exist", findings);
}

/// Folders and files that programs make, not ones of this repository.
fn is_data(name: &str) -> bool {
    ["data/", "objects/", "recovered/", "unsaved/", "log/", "target/", "DIR/", "tmp/", "cache-"]
        .iter()
        .any(|start| name.starts_with(start))
}

#[test]
fn docs_promises_name_their_tests() {
    let text = read(SEMANTICS);
    let names: Vec<String> = files(".rs").iter().flat_map(|f| function_names(&f.text)).collect();
    let mut findings = Vec::new();
    let promises = promises(&text);
    assert!(promises.len() >= 20, "{SEMANTICS} holds {} promises", promises.len());
    for (at, (number, paragraph)) in promises.iter().enumerate() {
        if *number != at + 1 {
            findings.push(format!("P{number}: should be P{}", at + 1));
        }
        let Some((_, tests)) = paragraph.rsplit_once("Test") else {
            findings.push(format!("P{number}: names no test"));
            continue;
        };
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            findings.push(format!("P{number}: names no test"));
        }
        for test in tests.into_iter().filter(|test| !names.iter().any(|n| n == test)) {
            findings.push(format!("P{number}: there is no test {test}"));
        }
    }
    assert_none("every promise has a test", findings);
}

/// Number and text of each paragraph that begins with `**P<number>.**`.
fn promises(text: &str) -> Vec<(usize, String)> {
    let paragraphs = text.split("\n\n").map(|p| p.replace('\n', " "));
    let numbered = paragraphs.filter_map(|p| {
        let (number, rest) = p.trim_start().strip_prefix("**P")?.split_once(".")?;
        Some((number.parse().ok()?, rest.to_owned()))
    });
    numbered.collect()
}
