//! `dfs-test-load`: one process of a workload of the tests.
//!
//! `contend FOLDER ID SEED SECONDS` prints the number of operations;
//! `append FILE TAG COUNT once|reopen` appends lines. Exits with 1 and one line when something was
//! not as on a local file system.

use dfs_tests::load;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dfs-test-load {}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<String, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    match words {
        ["contend", folder, id, seed, seconds] => {
            let contender =
                load::Contender::new(Path::new(folder), number(id)? as u32, number(seed)?);
            Ok(contender.run(Duration::from_secs(number(seconds)?))?.to_string())
        }
        ["append", file, tag, count, how] => {
            load::append_lines(Path::new(file), tag, number(count)? as usize, *how == "reopen")?;
            Ok((*count).to_owned())
        }
        _ => Err("unknown workload".to_owned()),
    }
}
