//! Numbers that name things. Each is its own type, so that one cannot be passed for another.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Inode number: never reused, the same on every client.
    Ino
);
id!(
    /// Session number.
    SessionId
);
id!(
    /// Number of a grant, unique in the life of a name server.
    GrantId
);
id!(
    /// Fencing number of a grant: grows with every grant of any inode (PROTOCOL 1, "Orders").
    Fence
);
id!(
    /// Operation number of a session, the key of exactly-once answers (PROTOCOL 2.7).
    OpId
);
id!(
    /// Number by which a shell knows a waiting request; chosen by the shell, never reused.
    RequestId
);

impl Ino {
    /// The root directory.
    pub const ROOT: Ino = Ino(1);
}
