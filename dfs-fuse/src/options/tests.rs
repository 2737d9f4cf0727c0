//! Every option and every wrong value.

use super::*;

fn parse(list: &str) -> Options {
    let mut options = Options::default();
    options.add(list, false).unwrap_or_else(|e| panic!("{list}: {e}"));
    options
}

fn with(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

#[test]
fn options_every_word_sets_its_field() {
    let secs = Duration::from_secs;
    for (list, want) in [
        ("", Options::default()),
        ("defaults,_netdev,nofail,x-systemd.automount,user=bob,relatime", Options::default()),
        ("default_permissions", Options::default()),
        ("cache=/var/c", with(|o| o.cache = Some("/var/c".into()))),
        ("cache_size=64m", with(|o| o.cache_bytes = Some(64 << 20))),
        ("cache_size=3G", with(|o| o.cache_bytes = Some(3 << 30))),
        ("cache_size=1t", with(|o| o.cache_bytes = Some(1 << 40))),
        ("cache_size=65536k", with(|o| o.cache_bytes = Some(64 << 20))),
        ("cache_size=67108864", with(|o| o.cache_bytes = Some(64 << 20))),
        ("ro", with(|o| o.read_only = true)),
        ("ro,rw", Options::default()),
        ("soft", with(|o| o.patience = Patience::Soft(secs(45)))),
        ("soft=7", with(|o| o.patience = Patience::Soft(secs(7)))),
        ("soft,hard", Options::default()),
        ("reads=snapshot", with(|o| o.reads = Reads::Snapshot)),
        ("reads=snapshot,reads=follow", Options::default()),
        ("rdwr_lease=open", with(|o| o.rdwr_lease = RdwrLease::Open)),
        ("rdwr_lease=try", Options::default()),
        ("rwlock=on", with(|o| o.rwlock = true)),
        ("rwlock=off", Options::default()),
        ("passthrough=off", with(|o| o.passthrough = false)),
        ("passthrough=on", Options::default()),
        ("lease_wait=5", with(|o| o.lease_wait = secs(5))),
        ("allow_other", with(|o| o.allow_other = Some(true))),
        ("noallow_other", with(|o| o.allow_other = Some(false))),
        ("log=debug", with(|o| o.log = "debug".into())),
        ("log=dfs_client::cache=trace", with(|o| o.log = "dfs_client::cache=trace".into())),
        ("log_file=/l", with(|o| o.log_file = Some("/l".into()))),
        ("remount,ro", with(|o| (o.remount, o.read_only) = (true, true))),
        (
            "dev,suid,exec",
            with(|o| {
                o.flags.dev = Some(true);
                o.flags.suid = Some(true);
                o.flags.exec = Some(true);
            }),
        ),
        (
            "nodev,nosuid,noexec",
            with(|o| {
                o.flags.dev = Some(false);
                o.flags.suid = Some(false);
                o.flags.exec = Some(false);
            }),
        ),
        ("noatime", with(|o| o.flags.noatime = true)),
        ("sync,dirsync", with(|o| (o.flags.sync, o.flags.dirsync) = (true, true))),
        ("sync,async", Options::default()),
    ] {
        assert_eq!(parse(list), want, "{list}");
    }
}

#[test]
fn options_mistakes_are_named_in_one_line() {
    const SIZE: &str = "is not a size: write a number with k, m, g or t, as in 10g";
    const SECONDS: &str = "is not a number of seconds from 1 to 86400";
    for (word, why) in [
        ("cache=c", "is not an absolute path"),
        ("cache=", "is not an absolute path"),
        ("cache_size=", SIZE),
        ("cache_size=-1", SIZE),
        ("cache_size=+1g", SIZE),
        ("cache_size=10x", SIZE),
        ("cache_size=1.5g", SIZE),
        ("cache_size=99999999999t", SIZE),
        ("cache_size=63m", "is less than 64m"),
        ("soft=0", SECONDS),
        ("soft=x", SECONDS),
        ("soft=86401", SECONDS),
        ("reads=never", "is unknown: write follow or snapshot"),
        ("rdwr_lease=write", "is unknown: write try or open"),
        ("rwlock=yes", "is unknown: write on or off"),
        ("passthrough=yes", "is unknown: write on or off"),
        ("lease_wait=0", SECONDS),
        ("lease_wait=1s", SECONDS),
        ("log=a=b=c", "is not a log level or filter: write info or debug"),
        ("log_file=l", "is not an absolute path"),
        ("ro=1", "takes no value"),
        ("allow_other=yes", "takes no value"),
        ("cache", "needs a value"),
        ("cache_size", "needs a value"),
        ("lease_wait", "needs a value"),
        ("log", "needs a value"),
    ] {
        let failure = Options::default().add(word, false).unwrap_err();
        assert_eq!(failure.message, format!("option '{word}' {why}"));
        assert_eq!(failure.status, crate::exit::USAGE);
    }
}

#[test]
fn options_unknown_words_get_the_nearest_known_one() {
    for (word, message) in [
        ("cache_siz=1g", "unknown option 'cache_siz=1g': did you mean 'cache_size'?"),
        ("sofft", "unknown option 'sofft': did you mean 'soft'?"),
        ("allow_others", "unknown option 'allow_others': did you mean 'allow_other'?"),
        ("read=follow", "unknown option 'read=follow': did you mean 'reads'?"),
        ("rdwrlease=try", "unknown option 'rdwrlease=try': did you mean 'rdwr_lease'?"),
        ("qqqq", "unknown option 'qqqq': see dfs-fuse --help"),
    ] {
        assert_eq!(Options::default().add(word, false).unwrap_err().message, message);
        assert!(Options::default().add(word, true).is_ok(), "sloppy");
    }
    assert!(Options::default().add("soft=x", true).is_err(), "sloppy forgives no wrong value");
}
