//! Words that must not appear: marks of unfinished work, and terms for which we have another.

use crate::assert_none;
use crate::source::{self, code, files, line_of, words};

/// Marks of unfinished work, anywhere. Put together so that this file does not contain them.
const MARKS: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[ig", "nore]"),
    concat!("HA", "CK"),
];

/// Words of identifiers, and ours for the same thing (STYLE "Words", GLOSSARY).
const TERMS: &[(&str, &str)] = &[
    ("master", "name server"),
    ("slave", "replica"),
    ("metaserver", "name server"),
    ("namenode", "name server"),
    ("datanode", "file store"),
    ("login", "session"),
    ("trash", "tombstone"),
];

#[test]
fn words_of_unfinished_work_are_absent() {
    let mut findings = Vec::new();
    for file in files(".rs").into_iter().chain(files(".proto")).chain(files(".sh")) {
        for mark in MARKS {
            if let Some(at) = file.text.find(mark) {
                findings.push(format!("{}:{}: {mark}", file.path, line_of(&file.text, at)));
            }
        }
    }
    assert_none("no mark of unfinished work", findings);
}

#[test]
fn words_are_ours() {
    let mut findings = Vec::new();
    for file in files(".rs") {
        let code = code(&file.text);
        for (at, word) in words(&code) {
            for part in parts(word) {
                if let Some((_, ours)) = TERMS.iter().find(|t| t.0 == part) {
                    let line = line_of(&code, at);
                    findings.push(format!("{}:{line}: {word} (ours: {ours})", file.path));
                }
            }
        }
    }
    assert_none("identifiers use our words", findings);
}

/// The words of an identifier in either case style, in lower case.
fn parts(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = '_';
    for c in identifier.chars() {
        if c == '_' || c.is_uppercase() && before.is_lowercase() {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        before = c;
    }
    parts
}

#[test]
fn words_of_identifiers_are_split() {
    assert_eq!(parts("masterKey"), ["master", "key"]);
    assert_eq!(parts("OLD_MASTER"), ["old", "master"]);
    assert_eq!(parts("mastery"), ["mastery"]);
}

/// Tests wait for a condition; where one has to let time pass, it says why.
#[test]
fn words_of_sleeping_tests_are_explained() {
    let all = files(".rs");
    let tests = source::test_files(&all);
    let mut findings = Vec::new();
    for file in all.iter().filter(|f| tests.contains(&f.path.as_str())) {
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, line) in code(&file.text).lines().enumerate() {
            let sleeps = line.contains("sleep(") && !line.contains("fn ");
            let near = &lines[at.saturating_sub(2)..=at];
            if sleeps && !near.iter().any(|l| l.contains("//")) {
                findings.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    assert_none("a sleep in a test says why it is needed", findings);
}
