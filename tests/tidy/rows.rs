//! Each row of the protocol's tables stands at the branch that implements it and in the name of a
//! test (PROTOCOL 9.1 to 9.3, STYLE "Core state machines").

use crate::assert_none;
use crate::source::{self, code, files, without_tests, words};

/// Letter, number of rows, folder of the machine.
const TABLES: &[(char, usize, &str)] = &[
    ('S', 15, "dfs-core/src/session/"),
    ('K', 18, "dfs-core/src/grant/"),
    ('H', 12, "dfs-core/src/hub/"),
];

#[test]
fn rows_have_a_branch_and_a_test() {
    let all = files(".rs");
    let tests = source::test_files(&all);
    let mut findings = Vec::new();
    for (letter, rows, folder) in TABLES {
        let machine = || all.iter().filter(|f| f.path.starts_with(folder));
        let is_test = |path: &str| tests.contains(&path);
        let branches: Vec<String> = machine()
            .filter(|f| !is_test(&f.path))
            .map(|f| module_doc_removed(&without_tests(&f.text)))
            .collect();
        let names: Vec<String> = machine().flat_map(|f| function_names(&f.text)).collect();
        for row in (1..=*rows).map(|n| format!("{letter}{n}")) {
            if !branches.iter().any(|text| words(text).any(|w| w.1 == row)) {
                findings.push(format!("{row}: at no branch in {folder}"));
            }
            let part = row.to_lowercase();
            if !names.iter().any(|name| name.split('_').any(|p| p == part)) {
                findings.push(format!("{row}: in no test's name in {folder}"));
            }
        }
    }
    assert_none("every row has a branch and a test", findings);
}

/// What a module says of itself is not a branch.
fn module_doc_removed(text: &str) -> String {
    text.lines().filter(|l| !l.trim_start().starts_with("//!")).collect::<Vec<_>>().join("\n")
}

/// The names of all functions of a file.
pub fn function_names(text: &str) -> Vec<String> {
    let code = code(text);
    let all: Vec<&str> = words(&code).map(|w| w.1).collect();
    all.windows(2).filter(|pair| pair[0] == "fn").map(|pair| pair[1].to_owned()).collect()
}
