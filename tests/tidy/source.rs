//! The files of the repository, and Rust source with comments, strings and tests taken out.

use std::fs;
use std::path::{Path, PathBuf};

/// A file, its path relative to the root of the repository with `/` between the parts.
pub struct File {
    pub path: String,
    pub text: String,
}

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate has a folder above").into()
}

/// All files with this ending, in the order of their paths.
pub fn files(ending: &str) -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), "", ending, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no {ending} files below {}", root().display());
    found
}

fn walk(folder: &Path, prefix: &str, ending: &str, found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().expect("file names here are UTF-8");
        let path = format!("{prefix}{name}");
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && name != ".git" {
                walk(&entry.path(), &format!("{path}/"), ending, found);
            }
        } else if name.ends_with(ending) {
            let text = fs::read_to_string(entry.path()).unwrap();
            found.push(File { path, text });
        }
    }
}

/// The text of one file.
pub fn read(path: &str) -> String {
    let full = root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()))
}

/// All Rust files whose path says or whose parent module declares that they are tests.
pub fn test_files(files: &[File]) -> Vec<&str> {
    let mut test = Vec::new();
    let declared: Vec<String> = files.iter().flat_map(test_modules).collect();
    for file in files {
        let path = file.path.as_str();
        let by_path = path.starts_with("tests/")
            || path.contains("/tests/")
            || path.ends_with("/tests.rs")
            || declared.iter().any(|m| path.starts_with(m.as_str()));
        if by_path {
            test.push(path);
        }
    }
    test
}

/// Paths, without ending, of `#[cfg(test)] mod NAME;`.
fn test_modules(file: &File) -> Vec<String> {
    let folder = match file.path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
        _ => file.path.trim_end_matches(".rs").to_owned(),
    };
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].strip_suffix(';')?.rsplit_once("mod ")?.1;
        Some([format!("{folder}/{name}.rs"), format!("{folder}/{name}/")])
    });
    declared.flatten().collect()
}

/// The text without `#[cfg(test)]` items that have a body; lines keep their numbers.
pub fn without_tests(text: &str) -> String {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            out.push(line);
            continue;
        }
        out.push("");
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        for inner in lines.by_ref() {
            out.push("");
            if inner == close || inner.ends_with(';') && inner.starts_with(indent) {
                break;
            }
        }
    }
    out.join("\n")
}

/// The text with comments and the contents of strings replaced by spaces; lines keep their numbers.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = opaque(rest);
        if len == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        out.extend(rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[len..];
    }
    out
}

/// Length of the comment, string or character literal that `text` starts with; 0: something else.
fn opaque(text: &str) -> usize {
    let until = |end: &str, from: usize| {
        text[from..].find(end).map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until("*/", 2);
    }
    for hashes in ["", "#", "##"] {
        if text.starts_with(&format!("r{hashes}\"")) {
            return until(&format!("\"{hashes}"), 2 + hashes.len());
        }
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), _) => quoted(text, '\''),
        (Some('\''), Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The identifiers of a piece of code with the byte offset of each.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        at += code[at..].find(is_word)?;
        let start = at;
        at += code[at..].find(|c| !is_word(c)).unwrap_or(code.len() - at);
        Some((start, &code[start..at]))
    })
}

/// Number of the line at a byte offset, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

#[test]
fn source_code_is_told_from_comments_strings_and_tests() {
    let text = "a // b\n\"c \\\" d\" e r#\"f \" g\"# 'h' <'i> /* j\n k */ l '\\'' m";
    let found: Vec<&str> =
        words(&code(text)).map(|w| w.1).collect::<Vec<_>>().join(" ").leak().split(' ').collect();
    assert_eq!(found, ["a", "e", "i", "l", "m"]);
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
    assert_eq!(without_tests(text), "fn a() {}\n\n\n\n\nfn c() {}\n\n\nfn e() {}");
}
