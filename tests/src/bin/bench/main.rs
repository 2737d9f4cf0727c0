//! `dfs-bench`: times the same workloads in several folders, one after another in one run, and prints
//! how they compare. `scripts/bench` makes the folders.
//!
//! `dfs-bench [OPTION VALUE]... --side LABEL FOLDER COLD...`: the first side is what the others are
//! compared with; COLD is a shell command that empties the client's caches, or an empty word.
//! Needs git, tar, cp, grep and rm; root, for the kernel's caches; 1.5 GiB in each folder.
//!
//! `dfs-bench scale` is another measurement, see [`scale`].

mod big;
mod report;
mod rows;
mod run;
mod scale;
mod small;
mod tree;

use report::Report;
use run::{Run, Side};
use std::path::PathBuf;
use std::process::ExitCode;

/// What a group measures, in this order, in a folder of its own.
type Group = fn(&mut Run<'_>);

const GROUPS: &[(&str, Group)] = &[
    ("big", big::sequential),
    ("random", big::random),
    ("small", small::files),
    ("parallel", small::parallel),
    ("dirs", small::directories),
    ("fsync", small::append_and_sync),
    ("latency", small::latency),
    ("tree", tree::tree),
];

struct Options {
    sides: Vec<Side>,
    groups: Vec<&'static (&'static str, Group)>,
    scale: f64,
    runs: usize,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let ran = match words.split_first() {
        Some((first, rest)) if first == "scale" => scale::run(rest),
        _ => options(&words).and_then(|options| measure(&options)),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dfs-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(words: &[String]) -> Result<Options, String> {
    let all = || GROUPS.iter().collect();
    let mut options = Options { sides: Vec::new(), groups: all(), scale: 1.0, runs: 1, json: None };
    let mut words = words.iter().map(String::as_str);
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or(format!("{option} needs a value"));
        match option {
            "--side" => {
                let (label, folder, cold) =
                    (value()?.to_owned(), value()?.into(), value()?.to_owned());
                options.sides.push(Side { label, folder, cold });
            }
            "--only" => options.groups = chosen(GROUPS, value()?)?,
            "--scale" => options.scale = number(option, value()?)?,
            "--runs" => options.runs = number(option, value()?)?,
            "--json" => options.json = Some(value()?.into()),
            _ => return Err(format!("unknown option {option}")),
        }
    }
    if options.sides.is_empty() {
        return Err("no --side".to_owned());
    }
    if !(options.scale > 0.0 && options.scale.is_finite()) || options.runs == 0 {
        return Err("--scale and --runs must be above zero".to_owned());
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{option}: '{text}' is not a number"))
}

/// The entries of a table that are named.
fn chosen<T>(
    table: &'static [(&str, T)],
    names: &str,
) -> Result<Vec<&'static (&'static str, T)>, String> {
    let find = |name| {
        let known = || table.iter().map(|entry| entry.0).collect::<Vec<_>>().join(", ");
        let found = table.iter().find(|entry| entry.0 == name);
        found.ok_or_else(|| format!("there is no '{name}'; there are: {}", known()))
    };
    names.split(',').map(find).collect()
}

/// Each group on all sides before the next group: what is compared is measured close together.
fn measure(options: &Options) -> Result<(), String> {
    let labels = options.sides.iter().map(|side| side.label.clone()).collect();
    let mut report = Report::new(labels, options.scale);
    for _ in 0..options.runs {
        for (name, group) in &options.groups {
            for side in &options.sides {
                eprintln!("-- {name}: {}", side.label);
                let mut run = Run::new(side, options.scale, &mut report)?;
                group(&mut run);
                run.end()?;
            }
        }
    }
    print!("{}", report.table());
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    match report.failures() {
        0 => Ok(()),
        failures => Err(format!("{failures} measurements failed")),
    }
}
