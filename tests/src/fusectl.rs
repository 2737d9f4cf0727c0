//! Mounts as the kernel sees them, and the control files that break a hung one.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::Path;
use std::sync::Once;

const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// A line of /proc/self/mountinfo.
#[derive(Clone, Debug)]
pub struct MountLine {
    /// Minor device number: the number of the FUSE connection.
    pub minor: u32,
    /// `fuse.dfs` and the like.
    pub kind: String,
    /// Options of the mount and of its superblock.
    pub options: String,
}

/// What is mounted at `path`, the topmost if several are.
pub fn mounted(path: &Path) -> Option<MountLine> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("no mountinfo");
    let wanted = path.to_str().expect("test paths are text");
    let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some(wanted))?;
    let (left, right) = line.split_once(" - ")?;
    let fields: Vec<&str> = left.split(' ').collect();
    let minor = fields[2].split_once(':')?.1.parse().ok()?;
    let mut rest = right.split(' ');
    let kind = rest.next()?.to_owned();
    let options = format!("{},{}", fields[5], rest.nth(1).unwrap_or_default());
    Some(MountLine { minor, kind, options })
}

/// Ends the connection of the FUSE mount at `path`: whoever waits for its daemon gets an error.
pub fn abort(path: &Path) {
    static CONTROL: Once = Once::new();
    let Some(line) = mounted(path).filter(|line| line.kind.starts_with("fuse")) else { return };
    CONTROL.call_once(|| {
        let empty = std::fs::read_dir(CONNECTIONS).is_ok_and(|mut d| d.next().is_none());
        if empty {
            let none = None::<&str>;
            // Without the control files, killing the daemon has to do.
            let _ = mount(Some("fusectl"), CONNECTIONS, Some("fusectl"), MsFlags::empty(), none);
        }
    });
    // Gone in the meantime is as good.
    let _ = std::fs::write(format!("{CONNECTIONS}/{}/abort", line.minor), b"1");
}

/// Takes the mount away from the tree at once, whatever state it is in.
pub fn detach(path: &Path) {
    while mounted(path).is_some() {
        if umount2(path, MntFlags::MNT_DETACH).is_err() {
            return;
        }
    }
}

/// Takes every dfs mount out of a mount table of our own. A copy of it that stayed here would keep the
/// file system alive when its owner unmounts it.
pub(crate) fn leave_others() {
    let table = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let parent = nix::unistd::getppid().to_string();
    assert_ne!(table("self"), table(&parent), "the mount table is not our own");
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("no mountinfo");
    let dfs = text.lines().filter(|line| line.contains(" - fuse.dfs "));
    for path in dfs.filter_map(|line| line.split(' ').nth(4)) {
        // Its owner may have been faster.
        let _ = umount2(path, MntFlags::MNT_DETACH);
    }
}
