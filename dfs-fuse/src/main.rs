//! `dfs-fuse`: mounts a dfs file system; under the names `mount.fuse.dfs` and `umount.fuse.dfs` it
//! is what mount(8) and umount(8) call.

use dfs_fuse::cli::{self, Invocation};
use dfs_fuse::{daemon, help, remount, unmount};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result: Result<(), dfs_fuse::exit::Failure> =
        cli::parse(std::env::args_os()).and_then(|invocation| match invocation {
            Invocation::Help => {
                print!("{}", help::text());
                Ok(())
            }
            Invocation::Version => {
                println!("dfs-fuse {}", env!("CARGO_PKG_VERSION"));
                Ok(())
            }
            Invocation::Mount(args) if args.options.remount => remount::run(&args),
            Invocation::Mount(args) => daemon::mount(*args),
            Invocation::Unmount(args) => unmount::run(&args),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("dfs-fuse: {}", failure.message);
            ExitCode::from(failure.status)
        }
    }
}
