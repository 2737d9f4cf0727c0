//! Each row of the protocol's tables stands at the branch that implements it and in the name of a
//! test, and nothing names a row that is not there (PROTOCOL 9.1 to 9.4, STYLE "Core state
//! machines"). What the code does without has a decision record that says so.

use crate::assert_none;
use crate::source::{self, File, code, files, without_tests, words};
use std::collections::BTreeSet;

/// A table: the letter of its rows, how many there are, the folder of the machine.
struct Table {
    letter: char,
    rows: u32,
    folder: &'static str,
    /// Rows left out, and the record of why.
    dropped: &'static [(u32, &'static str)],
}

const TABLES: &[Table] = &[
    Table { letter: 'S', rows: 15, folder: "dfs-core/src/session/", dropped: &[] },
    Table { letter: 'K', rows: 18, folder: "dfs-core/src/grant/", dropped: &[] },
    Table {
        letter: 'H',
        rows: 12,
        folder: "dfs-core/src/hub/",
        dropped: &[(6, "docs/design/0009-the-client-waits-for-its-soft-ack.md")],
    },
    // Numbered in the module, in the order of table 9.4.
    Table { letter: 'I', rows: 12, folder: "dfs-core/src/inode_state/", dropped: &[] },
];

#[test]
fn rows_have_a_branch_and_a_test() {
    let all = files(".rs");
    let tests = source::test_files(&all);
    let mut findings = Vec::new();
    for table in TABLES {
        let machine = || all.iter().filter(|f| f.path.starts_with(table.folder));
        let is_test = |file: &&File| tests.contains(&file.path.as_str());
        let branches: BTreeSet<u32> = machine()
            .filter(|file| !is_test(file))
            .flat_map(|file| table.mentions(&module_doc_removed(&without_tests(&file.text))))
            .collect();
        let tested: BTreeSet<u32> = machine()
            .flat_map(|file| test_names(&file.text))
            .flat_map(|name| table.named(&name))
            .collect();
        findings.extend(table.compare("branch", &branches));
        findings.extend(table.compare("test's name", &tested));
    }
    assert_none("every row has a branch and a test", findings);
}

#[test]
fn rows_left_out_have_a_record() {
    let records = files(".md");
    let mut findings = Vec::new();
    for table in TABLES {
        for (row, path) in table.dropped {
            let id = format!("{}{row}", table.letter);
            let record = records.iter().find(|file| file.path == *path);
            if !record.is_some_and(|file| words(&file.text).any(|word| word.1 == id)) {
                findings.push(format!("{id}: not explained in {path}"));
            }
        }
    }
    assert_none("every row left out is explained", findings);
}

impl Table {
    /// Rows that a text names.
    fn mentions(&self, text: &str) -> Vec<u32> {
        words(text).filter_map(|(_, word)| self.row(word)).collect()
    }

    /// Rows in the name of a function: a part of its own each.
    fn named(&self, name: &str) -> Vec<u32> {
        name.split('_').filter_map(|part| self.row(&part.to_uppercase())).collect()
    }

    fn row(&self, word: &str) -> Option<u32> {
        let digits = word.strip_prefix(self.letter)?;
        digits.chars().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())?
    }

    /// What is missing in `found`, and what is too much.
    fn compare(&self, place: &str, found: &BTreeSet<u32>) -> Vec<String> {
        let dropped = |row: &u32| self.dropped.iter().any(|(left_out, _)| left_out == row);
        let expected: BTreeSet<u32> = (1..=self.rows).filter(|row| !dropped(row)).collect();
        let missing = expected.difference(found).map(|row| (row, "in no"));
        let unknown = found.difference(&expected).map(|row| (row, "not in the table, but in a"));
        let say = |(row, what): (&u32, &str)| {
            format!("{}{row}: {what} {place} in {}", self.letter, self.folder)
        };
        missing.chain(unknown).map(say).collect()
    }
}

#[test]
fn rows_missing_and_unknown_are_found() {
    let table = Table { letter: 'K', rows: 3, folder: "x/", dropped: &[(2, "why")] };
    assert_eq!(table.mentions("// K1, K12: aK3 K3x K"), [1, 12]);
    assert_eq!(table.named("k1_and_k3_or_k"), [1, 3]);
    assert_eq!(table.compare("place", &[1, 3].into()), [""; 0]);
    let (missing, unknown) =
        ("K3: in no place in x/", "K2: not in the table, but in a place in x/");
    assert_eq!(table.compare("place", &[1, 2].into()), [missing, unknown]);
    let names = test_names("fn a() {}\n#[test]\nfn b() {}\n/// x\n#[test]\n    fn c(\n");
    assert_eq!(names, ["b", "c"]);
}

/// What a module says of itself is not a branch.
fn module_doc_removed(text: &str) -> String {
    text.lines().filter(|l| !l.trim_start().starts_with("//!")).collect::<Vec<_>>().join("\n")
}

/// The names of the functions marked as tests.
fn test_names(text: &str) -> Vec<String> {
    let code = code(text);
    let marked = code.split("#[test]").skip(1);
    marked.filter_map(|rest| function_names(rest).into_iter().next()).collect()
}

/// The names of all functions of a file.
pub fn function_names(text: &str) -> Vec<String> {
    let code = code(text);
    let all: Vec<&str> = words(&code).map(|w| w.1).collect();
    all.windows(2).filter(|pair| pair[0] == "fn").map(|pair| pair[1].to_owned()).collect()
}
