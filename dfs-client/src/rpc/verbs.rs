//! Every call of the protocol: its name, its service, and whether it changes anything.

use super::channel::Channels;
use dfs_proto::call::{Reply, Request};
use dfs_proto::status;
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
    /// As it goes over a stream of calls; nothing: it does not.
    fn packed(&self) -> Option<one_call::Request>;
    /// The reply out of such a stream. Errors: it is that of another call.
    fn unpacked(reply: one_answer::Reply) -> Result<Self::Reply, Status>;
    /// Sends it once.
    fn send(self, to: &Channels) -> impl Future<Output = Result<Self::Reply, Status>> + Send;
}

/// A call goes over the stream of calls if it says so; one that may wait for other clients does not,
/// since it could not be given up there.
macro_rules! streamed {
    (pack $verb:ident, $request:expr, alone) => {
        None::<one_call::Request>
    };
    (pack $verb:ident, $request:expr, streamed) => {
        Some(one_call::Request::$verb($request.clone()))
    };
    (pack $verb:ident, $request:expr, streamed unless $waits:ident) => {
        (!$waits($request)).then(|| one_call::Request::$verb($request.clone()))
    };
    (unpack $verb:ident, $reply:expr, alone) => {{
        let _: one_answer::Reply = $reply;
        None
    }};
    (unpack $verb:ident, $reply:expr, streamed $($unless:tt)*) => {
        match $reply {
            one_answer::Reply::$verb(reply) => Some(reply),
            _ => None,
        }
    };
}

/// A new size takes the write lease.
fn sizes(request: &SetAttrReq) -> bool {
    request.set.as_ref().is_some_and(|set| set.size.is_some())
}

macro_rules! verbs {
    (
        calls { $($verb:ident $text:literal: $request:ty => $reply:ty, $service:ident $client:ident::$method:ident,
                  $mutates:literal, [$($way:tt)*];)* }
        others { $($other:ident $other_text:literal;)* }
    ) => {
        /// Names of all calls, unary and streamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // Each is the call of this name in the `.proto` files.
        pub enum Verb { $($verb,)* $($other,)* }

        impl Verb {
            /// All of them, in order of their numbers.
            pub const ALL: &'static [Verb] = &[$(Verb::$verb,)* $(Verb::$other,)*];

            /// Whether it needs no file that was made here and is not told yet: a commit tells of its own
            /// (`docs/design/0025`).
            pub(crate) fn tells_itself(self) -> bool {
                matches!(self, Verb::Commit | Verb::Reserve)
            }

            /// Whether a name may be gone after it.
            pub(crate) fn removes(self) -> bool {
                matches!(self, Verb::Unlink | Verb::Rmdir | Verb::Rename)
            }

            /// The name in logs and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Verb::$verb => $text,)* $(Verb::$other => $other_text,)* }
            }
        }

        $(impl Call for $request {
            type Reply = $reply;
            const VERB: Verb = Verb::$verb;
            const MUTATES: bool = $mutates;

            fn packed(&self) -> Option<one_call::Request> {
                streamed!(pack $verb, self, $($way)*)
            }

            fn unpacked(reply: one_answer::Reply) -> Result<$reply, Status> {
                let reply = streamed!(unpack $verb, reply, $($way)*);
                reply.ok_or_else(|| status::internal("the reply of another call"))
            }

            async fn send(self, to: &Channels) -> Result<$reply, Status> {
                if let Some(stream) = to.stream()
                    && let Some(request) = self.packed()
                    && let Some(reply) = stream.call(request).await?
                {
                    return Self::unpacked(reply);
                }
                let mut client = to.$service();
                $client::$method(&mut client, self).await.map(tonic::Response::into_inner)
            }
        })*
    };
}

verbs! {
    calls {
    Lookup "lookup": LookupReq => EntryRep, meta MetaClient::lookup, false, [streamed];
    LookupPath "lookup_path": LookupPathReq => EntryRep, meta MetaClient::lookup_path, false, [streamed];
    GetAttr "get_attr": GetAttrReq => AttrRep, meta MetaClient::get_attr, false, [streamed];
    SetAttr "set_attr": SetAttrReq => AttrRep, meta MetaClient::set_attr, true, [streamed unless sizes];
    Create "create": CreateReq => CreateRep, meta MetaClient::create, true, [streamed];
    Mkdir "mkdir": MkdirReq => EntryRep, meta MetaClient::mkdir, true, [streamed];
    Mknod "mknod": MknodReq => EntryRep, meta MetaClient::mknod, true, [streamed];
    Symlink "symlink": SymlinkReq => EntryRep, meta MetaClient::symlink, true, [streamed];
    Link "link": LinkReq => EntryRep, meta MetaClient::link, true, [streamed];
    Unlink "unlink": UnlinkReq => RemoveRep, meta MetaClient::unlink, true, [streamed];
    Rmdir "rmdir": RmdirReq => RemoveRep, meta MetaClient::rmdir, true, [streamed];
    Rename "rename": RenameReq => RenameRep, meta MetaClient::rename, true, [streamed];
    GetXattrs "get_xattrs": GetXattrsReq => XattrsRep, meta MetaClient::get_xattrs, false, [streamed];
    SetXattr "set_xattr": SetXattrReq => AttrRep, meta MetaClient::set_xattr, true, [streamed];
    RemoveXattr "remove_xattr": RemoveXattrReq => AttrRep, meta MetaClient::remove_xattr, true, [streamed];
    StatFs "stat_fs": StatFsReq => StatFsRep, meta MetaClient::stat_fs, false, [streamed];
    Access "access": AccessReq => AccessRep, meta MetaClient::access, false, [streamed];
    Flush "flush": FlushReq => FlushRep, meta MetaClient::flush, false, [streamed];
    GetContent "get_content": GetContentReq => ContentRep, coherence CoherenceClient::get_content, false, [streamed];
    GetContents "get_contents": GetContentsReq => ContentsRep, coherence CoherenceClient::get_contents, false, [streamed];
    Acquire "acquire": AcquireReq => AcquireRep, coherence CoherenceClient::acquire, true, [alone];
    Release "release": ReleaseReq => ReleaseRep, coherence CoherenceClient::release, true, [streamed];
    Rescue "rescue": RescueReq => AcquireRep, coherence CoherenceClient::rescue, true, [alone];
    NewUpload "new_upload": NewUploadReq => NewUploadRep, coherence CoherenceClient::new_upload, true, [streamed];
    Reserve "reserve": ReserveReq => ReserveRep, coherence CoherenceClient::reserve, false, [alone];
    Commit "commit": CommitReq => CommitRep, coherence CoherenceClient::commit, true, [streamed];
    Clone "clone": CloneReq => CommitRep, coherence CoherenceClient::clone, true, [streamed];
    Lock "lock": LockReq => LockRep, coherence CoherenceClient::lock, true, [alone];
    Unlock "unlock": UnlockReq => UnlockRep, coherence CoherenceClient::unlock, true, [streamed];
    TestLock "test_lock": TestLockReq => TestLockRep, coherence CoherenceClient::test_lock, false, [streamed];
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
