//! Compiles the `.proto` files with protox, so that no protoc is needed on the machine.

use std::path::Path;

const FILES: [&str; 7] = ["common", "session", "meta", "coherence", "calls", "content", "admin"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files: Vec<String> = FILES.iter().map(|f| format!("dfs/v1/{f}.proto")).collect();
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, [Path::new(".")])?;
    // Few commits have it, and futures hold requests.
    let large = ".dfs.v1.CommitReq.create";
    tonic_prost_build::configure().bytes(".").boxed(large).compile_fds(descriptors)?;
    Ok(())
}
