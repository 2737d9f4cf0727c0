//! Who this mount is to the server (PROTOCOL 2.1, rule 1). The cache folder keeps it.

/// Identity of a mount.
#[derive(Clone, Copy, Debug)]
pub struct MountId {
    /// The same as long as the cache folder lives.
    pub uuid: [u8; 16],
    /// New with each start of the program: a server that sees a new one knows the old is gone.
    pub verifier: [u8; 16],
}
