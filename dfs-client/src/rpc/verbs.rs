//! Every call of the protocol: its name, its service, and whether it changes anything.

use super::channel::Channels;
use dfs_proto::call::{Reply, Request};
use dfs_proto::v1::coherence_client::CoherenceClient;
use dfs_proto::v1::meta_client::MetaClient;
use dfs_proto::v1::*;
use std::future::Future;
use tonic::Status;

/// A unary request, its reply, and how it is sent.
pub trait Call: Request + Sync {
    /// What comes back.
    type Reply: Reply;
    /// Which call it is.
    const VERB: Verb;
    /// Whether it changes state at the server and so needs an operation number (PROTOCOL 2.7).
    const MUTATES: bool;
    /// Sends it once.
    fn send(self, to: &Channels) -> impl Future<Output = Result<Self::Reply, Status>> + Send;
}

macro_rules! verbs {
    (
        calls { $($verb:ident $text:literal: $request:ty => $reply:ty, $service:ident $client:ident::$method:ident,
                  $mutates:literal;)* }
        others { $($other:ident $other_text:literal;)* }
    ) => {
        /// Names of all calls, unary and streamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // Each is the call of this name in the `.proto` files.
        pub enum Verb { $($verb,)* $($other,)* }

        impl Verb {
            /// All of them, in order of their numbers.
            pub const ALL: &'static [Verb] = &[$(Verb::$verb,)* $(Verb::$other,)*];

            /// The name in logs and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Verb::$verb => $text,)* $(Verb::$other => $other_text,)* }
            }
        }

        $(impl Call for $request {
            type Reply = $reply;
            const VERB: Verb = Verb::$verb;
            const MUTATES: bool = $mutates;

            async fn send(self, to: &Channels) -> Result<$reply, Status> {
                let mut client = to.$service();
                $client::$method(&mut client, self).await.map(tonic::Response::into_inner)
            }
        })*
    };
}

verbs! {
    calls {
    Lookup "lookup": LookupReq => EntryRep, meta MetaClient::lookup, false;
    LookupPath "lookup_path": LookupPathReq => EntryRep, meta MetaClient::lookup_path, false;
    GetAttr "get_attr": GetAttrReq => AttrRep, meta MetaClient::get_attr, false;
    SetAttr "set_attr": SetAttrReq => AttrRep, meta MetaClient::set_attr, true;
    Create "create": CreateReq => CreateRep, meta MetaClient::create, true;
    Mkdir "mkdir": MkdirReq => EntryRep, meta MetaClient::mkdir, true;
    Mknod "mknod": MknodReq => EntryRep, meta MetaClient::mknod, true;
    Symlink "symlink": SymlinkReq => EntryRep, meta MetaClient::symlink, true;
    Link "link": LinkReq => EntryRep, meta MetaClient::link, true;
    Unlink "unlink": UnlinkReq => RemoveRep, meta MetaClient::unlink, true;
    Rmdir "rmdir": RmdirReq => RemoveRep, meta MetaClient::rmdir, true;
    Rename "rename": RenameReq => RenameRep, meta MetaClient::rename, true;
    GetXattrs "get_xattrs": GetXattrsReq => XattrsRep, meta MetaClient::get_xattrs, false;
    SetXattr "set_xattr": SetXattrReq => AttrRep, meta MetaClient::set_xattr, true;
    RemoveXattr "remove_xattr": RemoveXattrReq => AttrRep, meta MetaClient::remove_xattr, true;
    StatFs "stat_fs": StatFsReq => StatFsRep, meta MetaClient::stat_fs, false;
    Access "access": AccessReq => AccessRep, meta MetaClient::access, false;
    Flush "flush": FlushReq => FlushRep, meta MetaClient::flush, false;
    GetContent "get_content": GetContentReq => ContentRep, coherence CoherenceClient::get_content, false;
    Acquire "acquire": AcquireReq => AcquireRep, coherence CoherenceClient::acquire, true;
    Release "release": ReleaseReq => ReleaseRep, coherence CoherenceClient::release, true;
    Rescue "rescue": RescueReq => AcquireRep, coherence CoherenceClient::rescue, true;
    NewUpload "new_upload": NewUploadReq => NewUploadRep, coherence CoherenceClient::new_upload, true;
    Commit "commit": CommitReq => CommitRep, coherence CoherenceClient::commit, true;
    Clone "clone": CloneReq => CommitRep, coherence CoherenceClient::clone, true;
    Lock "lock": LockReq => LockRep, coherence CoherenceClient::lock, true;
    Unlock "unlock": UnlockReq => UnlockRep, coherence CoherenceClient::unlock, true;
    TestLock "test_lock": TestLockReq => TestLockRep, coherence CoherenceClient::test_lock, false;
    }
    others {
    ReadDir "read_dir";
    CreateObject "create_object";
    ReadObject "read_object";
    Establish "establish";
    Control "control";
    Reclaim "reclaim";
    ReclaimDone "reclaim_done";
    Close "close";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verb_numbers_follow_the_list() {
        for (i, verb) in Verb::ALL.iter().enumerate() {
            assert_eq!(*verb as usize, i, "{}", verb.name());
        }
    }
}
