//! The table of PROTOCOL 5.6 row by row, and random sequences against the kernel's own rules.

use super::*;
use proptest::prelude::*;

const KINDS: [(&str, OpenKind); 3] =
    [("read", OpenKind::Read), ("write", OpenKind::Write), ("direct", OpenKind::Direct)];

fn kind_named(name: &str) -> OpenKind {
    KINDS.iter().find(|k| k.0 == name).unwrap_or_else(|| panic!("no kind {name}")).1
}

fn env_of(words: &[String]) -> Env {
    let has = |name: &str| words.iter().any(|w| w == name);
    Env { available: !has("unavailable"), whole: !has("partly") }
}

/// The number of the handle, if it matters which one it is.
fn fh_of<'a>(mut words: impl Iterator<Item = &'a String>) -> u64 {
    words.next().map_or(0, |word| word.parse().expect("a handle is a number"))
}

#[test]
fn open_mode_table() {
    datadriven::walk("testdata/open_mode", |file| {
        let mut inode = OpenMode::default();
        file.run(|case| {
            let mut out = String::new();
            match case.directive.as_str() {
                "reset" => inode = OpenMode::default(),
                "close" => inode.close(fh_of(case.args.keys())),
                "closing" => inode.closing(fh_of(case.args.keys())),
                "lasts" => inode.lasts(),
                "open" | "fall-back" => {
                    let words: Vec<String> = case.args.keys().cloned().collect();
                    let kind = words.iter().find(|w| KINDS.iter().any(|k| k.0 == w.as_str()));
                    let kind = kind_named(kind.expect("an open names its kind"));
                    let answer = match case.directive.as_str() {
                        "open" => inode.open(kind, env_of(&words)),
                        _ => inode.fall_back(kind),
                    };
                    out = format!("{answer:?}, ");
                }
                other => panic!("unknown directive {other}"),
            }
            let ends = if inode.ends_soon() { ", which ends soon" } else { "" };
            out + &format!("inode {:?} with {}{ends}\n", inode.mode(), inode.handles())
        });
    });
}

/// FUSE.md, "Mode rules per inode": whether the kernel opens `new` while `held` is open. All
/// passthrough handles share one registration here, as the shell does it.
fn kernel_allows(held: OpenAs, new: OpenAs) -> bool {
    use OpenAs::{Cached, Direct, Passthrough, PassthroughDirect};
    match (held, new) {
        (Passthrough | PassthroughDirect, Passthrough | PassthroughDirect) => true,
        (Passthrough | PassthroughDirect, Cached | Direct) => false,
        (Cached, Passthrough | PassthroughDirect) => false,
        (Cached, Cached | Direct) => true,
        (Direct, _) => true,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Open(usize, Env),
    Close(usize),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..3usize, any::<bool>(), any::<bool>())
            .prop_map(|(kind, available, whole)| { Op::Open(kind, Env { available, whole }) }),
        (0..8usize).prop_map(Op::Close),
    ]
}

proptest! {
    #[test]
    fn open_mode_never_meets_a_refusal_of_the_kernel(ops in prop::collection::vec(any_op(), 0..60)) {
        let mut inode = OpenMode::default();
        let mut held: Vec<OpenAs> = Vec::new();
        for op in ops {
            match op {
                Op::Open(kind, env) => {
                    let kind = KINDS[kind].1;
                    let before = inode.mode();
                    let new = inode.open(kind, env);
                    for &h in &held {
                        prop_assert!(kernel_allows(h, new), "{h:?} is open, {new:?} is refused");
                    }
                    if new == OpenAs::Passthrough {
                        prop_assert!(kind == OpenKind::Read && env.whole);
                        prop_assert!(env.available || before == Mode::Passthrough);
                    }
                    if !matches!(before, Mode::Idle | Mode::Direct) {
                        prop_assert_eq!(inode.mode(), before);
                    }
                    held.push(new);
                }
                Op::Close(at) if !held.is_empty() => {
                    held.swap_remove(at % held.len());
                    inode.close(0);
                }
                Op::Close(_) => {}
            }
            prop_assert_eq!(inode.handles(), held.len() as u64);
            prop_assert_eq!(inode.mode() == Mode::Idle, held.is_empty());
        }
    }
}
