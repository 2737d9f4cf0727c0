//! The wire files: every service, call, message, field and number is documented.

use crate::assert_none;
use crate::source::files;

#[test]
fn wire_everything_is_documented() {
    let mut findings = Vec::new();
    for file in files(".proto") {
        let mut before = "";
        for (at, line) in file.text.lines().enumerate() {
            let line = line.trim();
            if declares(line) && !before.starts_with("//") {
                findings.push(format!("{}:{}: {line}", file.path, at + 1));
            }
            before = line;
        }
    }
    assert_none("every declaration has a comment on the line before", findings);
}

/// Whether a line starts a declaration other than `syntax`, `package` and `import`.
fn declares(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    let keyword = ["service", "rpc", "message", "enum", "oneof"].contains(&first);
    let header = ["syntax", "package", "import", "option", "reserved", "//", "}"].contains(&first);
    let numbered =
        line.split_once(" = ").is_some_and(|(_, n)| n.starts_with(|c: char| c.is_ascii_digit()));
    keyword || (!header && !first.starts_with("//") && numbered)
}

#[test]
fn wire_declarations_are_recognised() {
    for line in
        ["message A {", "uint64 a = 1;", "repeated B b = 12;", "A_B = 0;", "rpc A(B) returns (C);"]
    {
        assert!(declares(line), "{line}");
    }
    for line in ["// a = 1", "}", "", "syntax = \"proto3\";", "reserved 8;", "package dfs.v1;"] {
        assert!(!declares(line), "{line}");
    }
}
