//! What `dfs-fuse --help` prints.

use dfs_core::limits::{JEOPARDY, LEASE_WAIT_MAX};

/// The help text; the defaults in it are taken from where they are set.
pub fn text() -> String {
    format!(
        "\
Mount a dfs file system

Usage:
  dfs-fuse SOURCE MOUNTPOINT [-o OPTIONS] [-f]
  mount -t fuse.dfs SOURCE MOUNTPOINT [-o OPTIONS]
  umount MOUNTPOINT

SOURCE is HOST:PORT[/DIR] or unix:/SOCKET[:/DIR]; IPv6 addresses stand in brackets.

Arguments:
  -o, --options OPTIONS  options separated by commas, see below
  -f, --foreground       stay in the foreground and log to stderr
  -V, --version          print the version
  -h, --help             print this help

Cache:
  cache=DIR              folder of the cache, one for each mount
                         (default: below /var/cache/dfs, for users below ~/.cache/dfs)
  cache_size=SIZE        its size with suffix k, m, g or t, at least 64m
                         (default: a tenth of the disk, at most half of what is free)

Access:
  ro, rw                 mount read-only or for reading and writing (default: rw)
  allow_other            let other users in (default for root; users need user_allow_other
                         in /etc/fuse.conf)
  noallow_other          do not (default for other users)
  dev, suid, exec        as in mount(8) (default for root; users get nodev,nosuid)

Waiting:
  hard                   wait for a lost server as long as it takes (default)
  soft[=SECONDS]         fail with an error after that time (default: {soft})
  lease_wait=SECONDS     longest wait for a file another client writes (default: {wait})

  passthrough=on|off     let the kernel read large cached files by itself (default: on)

Sharing:
  reads=follow           open readers see each new version of a file (default)
  reads=snapshot         open readers keep the version they opened
  rdwr_lease=try         opening read-write takes the write lease if it is free (default)
  rdwr_lease=open        opening read-write waits for the write lease
  rwlock=on|off          opening for reading takes a read lease too (default: off)

Logs:
  log=LEVEL              error, warn, info, debug or trace, or a filter (default: info)
  log_file=PATH          where to (default: log/dfs-fuse.log in the cache folder)

Changing a mount:
  mount -o remount,ro MOUNTPOINT   refuse changes from now on; fails while files are being written

Words of mount(8) such as defaults, noauto, nofail, _netdev, user and x-* are accepted.
Exit status as mount(8): 0 done, 1 misused, 2 system error, 4 internal error, 32 mount failed.
",
        soft = JEOPARDY.as_secs(),
        wait = LEASE_WAIT_MAX.as_secs(),
    )
}
