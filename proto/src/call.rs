//! What all requests and all replies have in common.

use crate::fail;
use crate::v1::*;
use dfs_core::{FsError, Result};

/// A request that says who asks.
pub trait Request: Clone + Send + 'static {
    /// Says who asks and which operation this is.
    fn set_caller(&mut self, caller: Caller);
    /// Who asks; an absent caller is session 0, which never exists.
    fn caller(&self) -> Caller;
    /// Session and operation number, for logs.
    fn identity(&self) -> (u64, u64);
}

/// A reply that may be a refusal.
pub trait Reply: Default + Send + 'static {
    /// The refusal.
    fn refusal(&self) -> Option<&Fail>;
    /// A refusal.
    fn refuse(error: &FsError) -> Self;

    /// The reply, or the error it carries.
    fn into_result(self) -> Result<Self> {
        match self.refusal() {
            Some(fail) => Err(fail::from_wire(fail)),
            None => Ok(self),
        }
    }
}

macro_rules! requests {
    ($($name:ident),* $(,)?) => {$(
        impl Request for $name {
            fn set_caller(&mut self, caller: Caller) {
                self.caller = Some(caller);
            }
            fn caller(&self) -> Caller {
                self.caller.clone().unwrap_or_default()
            }
            fn identity(&self) -> (u64, u64) {
                self.caller.as_ref().map_or((0, 0), |caller| (caller.sid, caller.op_id))
            }
        }
    )*};
}

macro_rules! replies {
    ($($name:ident),* $(,)?) => {$(
        impl Reply for $name {
            fn refusal(&self) -> Option<&Fail> {
                self.fail.as_ref()
            }
            #[allow(clippy::needless_update)] // some replies have no other field
            fn refuse(error: &FsError) -> Self {
                Self { fail: Some(fail::to_wire(error)), ..Self::default() }
            }
        }
    )*};
}

requests!(
    ReclaimReq,
    ReclaimDoneReq,
    CloseReq,
    LookupReq,
    LookupPathReq,
    GetAttrReq,
    SetAttrReq,
    ReadDirReq,
    CreateReq,
    MkdirReq,
    MknodReq,
    SymlinkReq,
    LinkReq,
    UnlinkReq,
    RmdirReq,
    RenameReq,
    GetXattrsReq,
    SetXattrReq,
    RemoveXattrReq,
    StatFsReq,
    AccessReq,
    FlushReq,
    GetContentReq,
    GetContentsReq,
    AcquireReq,
    ReleaseReq,
    RescueReq,
    NewUploadReq,
    ReserveReq,
    CommitReq,
    CloneReq,
    LockReq,
    UnlockReq,
    TestLockReq,
    ObjectHeader,
    ReadObjectReq,
);

replies!(
    EstablishRep,
    Attached,
    ReclaimRep,
    ReclaimDoneRep,
    CloseRep,
    EntryRep,
    AttrRep,
    ReadDirRep,
    CreateRep,
    RemoveRep,
    RenameRep,
    XattrsRep,
    StatFsRep,
    AccessRep,
    FlushRep,
    ContentRep,
    ContentsRep,
    AcquireRep,
    ReleaseRep,
    NewUploadRep,
    ReserveRep,
    CommitRep,
    LockRep,
    UnlockRep,
    TestLockRep,
    CreateObjectRep,
    ReadObjectRep,
    CollectRep,
);
