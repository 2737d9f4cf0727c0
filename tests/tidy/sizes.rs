//! Files and functions small enough to be read at once (STYLE "Shape").

use crate::assert_none;
use crate::source::{files, read};

const MEDIAN_MAX: usize = 200;
const P90_MAX: usize = 400;
const FILE_MAX: usize = 500;
const FUNCTION_MAX: usize = 70;

/// Functions that may be longer: path, name, reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn sizes_of_files_are_bounded() {
    let mut sizes: Vec<(usize, String)> =
        files(".rs").into_iter().map(|f| (f.text.lines().count(), f.path)).collect();
    sizes.sort();
    let at = |part: usize| sizes[(sizes.len() - 1) * part / 100].0;
    assert!(at(50) < MEDIAN_MAX, "median file has {} lines", at(50));
    assert!(at(90) < P90_MAX, "one file in ten has {} lines or more", at(90));
    let too_long =
        sizes.iter().filter(|f| f.0 > FILE_MAX).map(|(n, path)| format!("{path}: {n} lines"));
    assert_none("a file has at most 500 lines", too_long.collect());
}

#[test]
fn sizes_of_functions_are_bounded() {
    let mut findings = Vec::new();
    for file in files(".rs") {
        for (line, name, length) in functions(&file.text) {
            let excepted = LONG_FUNCTIONS.iter().any(|e| e.0 == file.path && e.1 == name);
            if length >= FUNCTION_MAX && !excepted {
                findings.push(format!("{}:{line}: fn {name} has {length} lines", file.path));
            }
        }
    }
    assert_none("a function has fewer than 70 lines", findings);
}

#[test]
fn sizes_exceptions_are_needed() {
    for (path, name, reason) in LONG_FUNCTIONS {
        let text = read(path);
        let long = functions(&text).into_iter().any(|f| f.1 == *name && f.2 >= FUNCTION_MAX);
        assert!(long, "fn {name} in {path} needs no exception ({reason})");
    }
}

/// Line, name and number of lines of each function with a body. Relies on rustfmt: the closing brace
/// of a body stands under the first letter of the function.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        let Some(length) = lines[at..].iter().position(|l| *l == close) else { continue };
        // A declaration or a body on one line ends before any closing brace of its own.
        let ends_itself = |l: &&str| l.ends_with(';') || l.ends_with("{}") || l.ends_with(" }");
        let head = lines[at..].iter().take_while(|l| !l.ends_with('{')).find(|l| ends_itself(l));
        if head.is_none() {
            found.push((at + 1, name, length + 1));
        }
    }
    found
}

/// The name of the function a line declares.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    while let Some((word, more)) = rest.split_once(' ') {
        if word == "fn" {
            let end = more.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            return Some(&more[..end]);
        }
        let modifier = word.starts_with("pub")
            || ["const", "async", "unsafe", "extern", "\"C\""].contains(&word);
        rest = if modifier { more } else { return None };
    }
    None
}

#[test]
fn functions_are_found_with_their_length() {
    let text = "impl A {\n    pub(crate) async fn b(\n        c: D,\n    ) -> E {\n        f();\n    }\n    fn g();\n    fn h() {}\n}\nfn i() {\n}\n";
    assert_eq!(functions(text), [(2, "b", 5), (10, "i", 2)]);
}
