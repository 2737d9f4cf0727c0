//! The program `dfs-server`.

fn main() {}
