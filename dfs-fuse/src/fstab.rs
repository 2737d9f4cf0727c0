//! Words of mount(8) and fstab(5) that reach a helper and mean nothing to a file system
//! (mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS").

/// Words without value that are accepted and ignored. The access-time family is here because the
/// client decides about access times, not the kernel.
const WORDS: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "_rnetdev",
    "user",
    "nouser",
    "users",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "silent",
    "loud",
    "mand",
    "nomand",
    "iversion",
    "noiversion",
    "atime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "diratime",
    "nodiratime",
    "lazytime",
    "nolazytime",
];

/// Keys whose value is ignored too.
const KEYS: &[&str] = &["user", "uhelper", "helper", "comment"];

/// Keys the kernel shows of every FUSE mount; mount(8) repeats them at a remount.
const SHOWN: &[&str] = &["user_id", "group_id", "rootmode", "max_read", "blksize", "fd"];

/// Whether a word of an option list (`key` or `key=value`) concerns mount(8) only.
pub fn ignores(word: &str) -> bool {
    if word.starts_with("x-") || word.starts_with("X-") {
        return true;
    }
    match word.split_once('=') {
        Some((key, _)) => KEYS.contains(&key) || SHOWN.contains(&key),
        None => WORDS.contains(&word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_mount_are_ignored_and_ours_are_not() {
        for word in
            ["defaults", "_netdev", "x-systemd.automount", "X-mount.mkdir", "user=bob", "user_id=0"]
        {
            assert!(ignores(word), "{word}");
        }
        for word in ["cache=/x", "ro", "defaults=1", "xattr", "hard"] {
            assert!(!ignores(word), "{word}");
        }
    }
}
