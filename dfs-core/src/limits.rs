//! Every bound of the protocol (PROTOCOL 0.2), with its unit in the type or the name.

use std::time::Duration;

/// Session term `T`.
pub const SESSION_TERM: Duration = Duration::from_secs(15);
/// Clock rate error allowed between two machines, in thousandths (`rho`).
pub const CLOCK_RATE_ERROR_PER_MILLE: u32 = 5;
/// Safety margin added by the server to every term.
pub const CLOCK_GUARD: Duration = Duration::from_millis(250);
/// Guaranteed time of possession of a write lease (`G`).
pub const LEASE_HOLD_MIN: Duration = Duration::from_secs(5);
/// The same for a handle that only appends.
pub const LEASE_HOLD_MIN_APPEND: Duration = Duration::from_secs(1);
/// A recalled grant must show progress within this time (`D_recall`).
pub const RECALL_PROGRESS: Duration = Duration::from_secs(10);
/// A recalled grant is taken by force after this time, progress or not (`M_recall`).
pub const RECALL_HARD: Duration = Duration::from_secs(45);
/// An invalidation unacknowledged for this long blocks renewal (`D_inval`).
pub const INVAL_DEADLINE: Duration = Duration::from_secs(3);
/// A client whose kernel knows no epoch acknowledges a push so long after it found an entry
/// notification blocked (PROTOCOL 5.3 rule 8, docs/design/0009).
pub const SOFT_ACK_DELAY: Duration = Duration::from_millis(50);
/// Longest wait of an open or write for a lease.
pub const LEASE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Requests waiting for the grants of one inode; more are refused with `Busy`.
pub const GRANT_WAITERS: usize = 4096;
/// Reclaim window after a name-server start.
pub const GRACE: Duration = Duration::from_secs(30);
/// Longest time a client is told to wait before it asks again during grace, which may end early.
pub const GRACE_RETRY: Duration = Duration::from_secs(1);
/// How long a lapsed session without conflicts is kept.
pub const COURTESY_MAX: Duration = Duration::from_secs(24 * 3600);
/// More lost objects than this expire a courtesy session.
pub const LOST_MAX: usize = 4096;
/// Sessions that are not over. A further one takes the place of the session that is away the longest.
pub const SESSIONS_MAX: usize = 65_536;
/// Grants of one session.
pub const GRANTS_PER_SESSION: usize = 262_144;
/// Files that one session may have made without saying so, and numbers drawn for more of them; the
/// oldest are forgotten.
pub const RESERVED_PER_SESSION: usize = 1024;
/// Numbers drawn at a time.
pub const RESERVED_AT_ONCE: u32 = 128;
/// Uploads of one session that no commit has named yet.
pub const UPLOADS_PER_SESSION: usize = 4096;
/// Objects of old versions that all sessions restate after a restart; more are not recorded.
pub const RECLAIMED_OBJECTS: usize = 1_000_000;
/// Components of a path that is walked in one call (PATH_MAX, every other byte a slash).
pub const PATH_COMPONENTS: usize = 2048;
/// Soft mounts: how long requests wait for a lost server (`jeopardy`).
pub const JEOPARDY: Duration = Duration::from_secs(45);
/// Promises of one session.
pub const PROMISES_PER_SESSION: usize = 262_144;
/// Promises of all sessions.
pub const PROMISES_TOTAL: usize = 8_000_000;
/// Unacknowledged push items of one session before they collapse to "drop all".
pub const PUSH_QUEUE: usize = 65_536;
/// Operations of one session whose answers are kept.
pub const REPLAY_SLOTS: usize = 1024;
/// Content and dirty ranges up to this many bytes travel and live in the metadata store.
pub const INLINE_MAX: u64 = 64 * 1024;
/// Dirty ranges of one commit that travel inline, in bytes together; each is up to `INLINE_MAX`.
pub const COMMIT_INLINE_MAX: u64 = 1024 * 1024;
/// A stripe with more extents than this is compacted.
pub const COMPACT_EXTENTS: usize = 16;
/// A stripe with more inline bytes than this is compacted.
pub const COMPACT_INLINE: u64 = 64 * 1024;
/// An object must be unreferenced in two sweeps this far apart before it is removed.
pub const COLLECT_GAP: Duration = Duration::from_secs(120);
/// Candidates for removal of one sweep; further ones wait for a later sweep.
pub const COLLECT_CANDIDATES: usize = 1_000_000;
/// Stripe unit of new files: no object is longer and none crosses its boundary.
pub const STRIPE_UNIT: u64 = 4 * 1024 * 1024;
/// A file written from front to back for so many stripes is uploaded while the writing goes on.
pub const AHEAD_STRIPES: u64 = 2;
/// Stripes of one file that are uploaded at a time before a commit; each is in memory meanwhile.
pub const AHEAD_AT_ONCE: usize = 4;
/// The same of all files of a client together.
pub const AHEAD_OF_ALL: usize = 8;
/// Calls of a client that are answered when they are sent and under way at a time.
pub const AHEAD_CALLS: usize = 64;
/// Background commit of dirty data.
pub const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// The same for a handle that appends.
pub const COMMIT_EVERY_APPEND: Duration = Duration::from_secs(1);
/// An idle write lease without open writer is given back after this time.
pub const LEASE_IDLE: Duration = Duration::from_secs(10);
/// Subtracted from every lifetime given to the kernel.
pub const TTL_MARGIN: Duration = Duration::from_millis(500);
/// Longest name of a directory entry in bytes (NAME_MAX).
pub const NAME_MAX: usize = 255;
/// Longest symbolic link target in bytes (PATH_MAX - 1).
pub const SYMLINK_MAX: usize = 4095;
/// Most links of one inode (as ext4).
pub const LINK_MAX: u32 = 65_000;
/// Longest value of an extended attribute in bytes (XATTR_SIZE_MAX).
pub const XATTR_VALUE_MAX: usize = 65_536;
/// Longest list of extended attribute names of one inode in bytes (XATTR_LIST_MAX).
pub const XATTR_LIST_MAX: usize = 65_536;
/// Most bytes of all extended attribute values of one inode: they travel in one message.
pub const XATTR_TOTAL_MAX: usize = 1024 * 1024;
/// Largest file in bytes: the largest `off_t`.
pub const FILE_SIZE_MAX: u64 = i64::MAX as u64;
/// Largest message either side accepts, in bytes.
pub const MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// Content that a reply may carry with the attributes, in bytes.
pub const REPLY_DATA_MAX: u32 = 1024 * 1024;
/// Files whose content one call asks for.
pub const CONTENTS_MAX: usize = 64;
/// Entries on one page of a listing.
pub const READDIR_PAGE: usize = 1000;
/// Piece of a content stream, in bytes.
pub const CHUNK: usize = 256 * 1024;
/// Objects of at least so many bytes are written, and read the first time, past the server's page
/// cache, in steps of so many bytes.
pub const DIRECT_STEP: usize = 1024 * 1024;
/// Buffers of one step that are kept between two uses.
pub const DIRECT_BUFFERS: usize = 16;
/// Parts of objects that are remembered as read once: read again, they stay in the page cache.
pub const READ_ONCE: usize = 16_384;
/// Checksums cover this many bytes each, in objects and in cache files.
pub const CHECKSUM_BLOCK: u64 = 64 * 1024;
/// Files up to this many bytes have their pages given to the kernel when they are opened.
pub const PAGES_GIVEN_MAX: u64 = 64 * 1024;
/// Files below this many bytes are not read past the daemon (passthrough): what an open of them costs
/// more is not won back.
pub const PASSTHROUGH_MIN: u64 = 1024 * 1024;
/// An open that could be passthrough, if only handles that are being closed were gone, waits for that
/// so long.
pub const PASSTHROUGH_WAIT: Duration = Duration::from_millis(5);
/// Files whose working file the kernel reads itself, or may have mapped, take at most this part of the
/// cache together, one in so many: they cannot be evicted.
pub const PASSTHROUGH_PART: u64 = 2;
/// Key holders and changes per second above which a key gets no promises for a while.
pub const HOT_KEY_HOLDERS: usize = 64;
/// See `HOT_KEY_HOLDERS`.
pub const HOT_KEY_CHANGES_PER_SECOND: u32 = 5;
/// How long a hot key stays without promises.
pub const HOT_KEY_PAUSE: Duration = Duration::from_secs(2);
/// An inode without links is freed this long after the last link went at the earliest (PROTOCOL 3.6).
pub const ORPHAN_GRACE: Duration = Duration::from_secs(60);
/// How long a lapsed session counts as having open whatever it had an attribute promise on.
pub const WEAK_HOLD_MAX: Duration = Duration::from_secs(3600);
/// Open holds of one session; more are not recorded.
pub const OPEN_HOLDS_PER_SESSION: usize = 262_144;
/// Pinned versions of one session; more are not recorded.
pub const PINS_PER_SESSION: usize = 65_536;
/// A `Trim` asks for this part of a session's promises: one in so many.
pub const TRIM_ONE_IN: usize = 8;
/// Record locks, held and waited for, of one inode.
pub const LOCKS_PER_INODE: usize = 8192;
/// Record locks, held and waited for, of one session.
pub const LOCKS_PER_SESSION: usize = 65_536;
/// Oldest protocol number this program speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Newest protocol number this program speaks.
pub const PROTOCOL_MAX: u32 = 1;
