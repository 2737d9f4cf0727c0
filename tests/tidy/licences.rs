//! Every crate we ship or build with has a licence that `deny.toml` allows. `cargo deny` checks the
//! same and more where it is installed; this needs nothing but cargo.

use crate::assert_none;
use crate::source::{read, root};
use std::process::Command;

#[test]
fn licences_of_all_crates_are_allowed() {
    let allowed = strings_of("deny.toml", "allow");
    assert!(allowed.iter().any(|a| a == "MIT"), "deny.toml allows {allowed:?}");
    let packages = packages();
    assert!(packages.len() > 50, "cargo metadata lists {} crates", packages.len());
    let bad = packages.into_iter().filter(|(_, licence)| !is_allowed(licence, &allowed));
    assert_none(
        "licences are allowed by deny.toml",
        bad.map(|(n, l)| format!("{n}: {l}")).collect(),
    );
}

/// The strings of a list `key = [ ... ]` of a TOML file; of inline tables the value of `crate`.
pub fn strings_of(path: &str, key: &str) -> Vec<String> {
    let text = read(path);
    let start = text.find(&format!("\n{key} = [")).unwrap_or_else(|| panic!("{path}: no {key}"));
    let list = text[start..].split_once("\n]").expect("the list ends on a line of its own").0;
    let entries = list.lines().skip(2).map(|l| l.split('#').next().unwrap_or_default());
    entries.filter_map(|l| l.split('"').nth(1)).map(str::to_owned).collect()
}

/// Name and licence of every crate of the build on Linux.
fn packages() -> Vec<(String, String)> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version=1", "--filter-platform", &platform])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    // A package is written as {"name":…,"version":…,"id":…,"license":…; targets have no licence.
    json.match_indices("\"license\":")
        .map(|(at, key)| {
            let name = &json[..at].rsplit_once("{\"name\":\"").expect("a package has a name").1;
            let value = &json[at + key.len()..];
            let licence = value.strip_prefix('"').and_then(|v| v.split('"').next());
            let name = name.split('"').next().unwrap_or_default();
            (name.to_owned(), licence.unwrap_or("none").to_owned())
        })
        .collect()
}

/// Whether an SPDX expression can be met with the allowed licences.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    any(&tokens, &mut at, allowed) && at == tokens.len()
}

fn any(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(tokens, at, allowed);
    }
    met
}

fn all(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(tokens, at, allowed);
    }
    met
}

fn one(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(token) = tokens.get(*at) else { return false };
    *at += 1;
    if *token == "(" {
        let met = any(tokens, at, allowed);
        *at += 1;
        return met;
    }
    if tokens.get(*at) == Some(&"WITH") {
        // An exception only gives more freedom.
        *at += 2;
    }
    allowed.iter().any(|a| a == token)
}

#[test]
fn licences_expressions_are_understood() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
    for (expression, wanted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("none", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Zlib", true),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", false),
        ("Zlib WITH exception OR GPL-3.0", true),
    ] {
        assert_eq!(is_allowed(expression, &allowed), wanted, "{expression}");
    }
}
