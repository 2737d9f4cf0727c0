//! Exit codes as mount(8) defines them ("EXIT STATUS"), and the failure that carries one.

/// Wrong use or lacking permissions.
pub const USAGE: u8 = 1;
/// A system call failed.
pub const SYSTEM: u8 = 2;
/// A bug of ours.
pub const INTERNAL: u8 = 4;
/// The mount or unmount failed.
pub const MOUNT: u8 = 32;

/// Why the program gives up. `message` is one line, lower case, without the program's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code.
    pub status: u8,
    /// What to print.
    pub message: String,
}

impl Failure {
    /// Wrong use.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { status: USAGE, message: message.into() }
    }

    /// A system call failed.
    pub fn system(message: impl Into<String>) -> Failure {
        Failure { status: SYSTEM, message: message.into() }
    }

    /// The mount or unmount failed.
    pub fn mount(message: impl Into<String>) -> Failure {
        Failure { status: MOUNT, message: message.into() }
    }
}

/// Shorthand for results that fail with [`Failure`].
pub type Result<T> = std::result::Result<T, Failure>;
