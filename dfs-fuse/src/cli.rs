//! The command line, in the four forms in which the program is called:
//!
//! * `dfs-fuse SOURCE MOUNTPOINT [-o OPTIONS] [-f]` by people and service managers,
//! * `dfs-fuse SOURCE MOUNTPOINT -o rw,...,dev,suid` by mount.fuse3(8),
//! * `mount.fuse.dfs SOURCE MOUNTPOINT [-sfnv] [-o OPTIONS]` by mount(8), where `-f` means "fake",
//! * `umount.fuse.dfs MOUNTPOINT [-flnrv]` by umount(8), where `-f` means "force".

use crate::exit::{Failure, Result};
use crate::options::Options;
use crate::source::{self, Source};
use lexopt::Arg::{Long, Short, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the program was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Mount, or change a mount.
    Mount(Box<MountArgs>),
    /// Unmount.
    Unmount(UnmountArgs),
}

/// A mount to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountArgs {
    /// The source as written, shown in the mount table.
    pub source_text: String,
    /// The same, parsed.
    pub source: Source,
    /// Where.
    pub mountpoint: PathBuf,
    /// How.
    pub options: Options,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Check everything but do not mount.
    pub fake: bool,
}

/// A mount to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnmountArgs {
    /// Where.
    pub mountpoint: PathBuf,
    /// Fail all requests that wait.
    pub force: bool,
    /// Detach now, end when unused.
    pub lazy: bool,
    /// If it is busy, make it read-only.
    pub read_only: bool,
    /// Say what happens.
    pub verbose: bool,
}

/// Reads the arguments; the first is the name the program was called by.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation> {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parser = lexopt::Parser::from_args(args);
    if name.starts_with("umount.") {
        return unmount(parser);
    }
    mount(parser, name.starts_with("mount."))
}

/// `helper`: called by mount(8).
fn mount(mut parser: lexopt::Parser, helper: bool) -> Result<Invocation> {
    let mut lists = Vec::new();
    let mut places = Vec::new();
    let (mut foreground, mut fake, mut sloppy) = (false, false, false);
    while let Some(arg) = parser.next().map_err(misuse)? {
        match arg {
            Short('h') | Long("help") => return Ok(Invocation::Help),
            Short('V') | Long("version") => return Ok(Invocation::Version),
            Short('o') | Long("options") => lists.push(text(parser.value().map_err(misuse)?)?),
            Short('f') if helper => fake = true,
            Short('s') if helper => sloppy = true,
            Short('n' | 'v') if helper => {}
            Short('t' | 'N') if helper => drop(parser.value().map_err(misuse)?),
            Short('f') | Long("foreground") => foreground = true,
            Value(value) => places.push(value),
            other => return Err(misuse(other.unexpected())),
        }
    }
    let Ok([source, mountpoint]) = <[OsString; 2]>::try_from(places) else {
        return Err(Failure::usage(
            "give a source and a mount point: dfs-fuse SOURCE MOUNTPOINT [-o OPTIONS]",
        ));
    };
    let source_text = text(source)?;
    let mut options = Options::default();
    for list in lists {
        options.add(&list, sloppy)?;
    }
    Ok(Invocation::Mount(Box::new(MountArgs {
        source: source::parse(&source_text)?,
        source_text,
        mountpoint: mountpoint.into(),
        options,
        foreground,
        fake,
    })))
}

fn unmount(mut parser: lexopt::Parser) -> Result<Invocation> {
    let mut args = UnmountArgs::default();
    let mut places = Vec::new();
    while let Some(arg) = parser.next().map_err(misuse)? {
        match arg {
            Short('h') | Long("help") => return Ok(Invocation::Help),
            Short('V') | Long("version") => return Ok(Invocation::Version),
            Short('f') => args.force = true,
            Short('l') => args.lazy = true,
            Short('r') => args.read_only = true,
            Short('v') => args.verbose = true,
            Short('n') => {}
            Short('t' | 'N' | 'o') => drop(parser.value().map_err(misuse)?),
            Value(value) => places.push(value),
            other => return Err(misuse(other.unexpected())),
        }
    }
    let Ok([mountpoint]) = <[OsString; 1]>::try_from(places) else {
        return Err(Failure::usage("give one mount point: umount.fuse.dfs MOUNTPOINT [-flnrv]"));
    };
    args.mountpoint = mountpoint.into();
    Ok(Invocation::Unmount(args))
}

fn text(value: OsString) -> Result<String> {
    value
        .into_string()
        .map_err(|bytes| Failure::usage(format!("argument {bytes:?} is not valid UTF-8")))
}

fn misuse(error: lexopt::Error) -> Failure {
    Failure::usage(format!("{error}: see dfs-fuse --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Invocation> {
        parse(line.split(' ').map(OsString::from))
    }

    fn mounted(line: &str) -> MountArgs {
        match run(line).unwrap_or_else(|e| panic!("{line}: {e}")) {
            Invocation::Mount(args) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn cli_forms_of_people_and_mount_helpers() {
        let by_hand = mounted("dfs-fuse h:1/d /mnt -o ro -f -o soft");
        assert!(by_hand.foreground && !by_hand.fake && by_hand.options.read_only);
        assert_eq!((by_hand.source_text.as_str(), by_hand.mountpoint), ("h:1/d", "/mnt".into()));

        let helper = mounted("/sbin/mount.fuse.dfs h:1 /mnt -s -f -n -v -o rw,never_heard");
        assert!(helper.fake && !helper.foreground && !helper.options.read_only);

        let by_fuse3 = mounted("/usr/bin/dfs-fuse h:1 /mnt -o rw,dev,suid");
        assert_eq!(by_fuse3.options.flags.dev, Some(true));
        assert_eq!(run("dfs-fuse --help"), Ok(Invocation::Help));
        assert_eq!(run("mount.fuse.dfs -V"), Ok(Invocation::Version));
    }

    #[test]
    fn cli_form_of_umount() {
        let args = UnmountArgs {
            mountpoint: "/mnt".into(),
            force: true,
            lazy: true,
            read_only: true,
            verbose: true,
        };
        let line = "/sbin/umount.fuse.dfs /mnt -n -l -f -v -r -t fuse.dfs";
        assert_eq!(run(line), Ok(Invocation::Unmount(args)));
    }

    #[test]
    fn cli_mistakes_are_named_in_one_line() {
        for (line, part) in [
            ("dfs-fuse", "give a source and a mount point"),
            ("dfs-fuse h:1", "give a source and a mount point"),
            ("dfs-fuse h:1 /a /b", "give a source and a mount point"),
            ("dfs-fuse h:1 /a -s", "'-s'"),
            ("dfs-fuse h:1 /a --color", "'--color'"),
            ("dfs-fuse h:1 /a -o", "'-o'"),
            ("dfs-fuse h /a", "lacks a port"),
            ("dfs-fuse h:1 /a -o sofft", "did you mean 'soft'?"),
            ("umount.fuse.dfs", "give one mount point"),
            ("umount.fuse.dfs /a -x", "'-x'"),
        ] {
            let failure = run(line).unwrap_err();
            assert_eq!(failure.status, crate::exit::USAGE, "{line}");
            assert!(failure.message.contains(part), "{line}: {}", failure.message);
            assert!(!failure.message.contains('\n'));
        }
    }
}
