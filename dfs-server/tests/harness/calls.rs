//! Every unary call of a client as one value, to be sent, forged and mutated alike.

use super::Client;
use dfs_core::Code;
use dfs_proto::call::{Reply, Request};
use dfs_proto::{fail, v1::*};
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, seq::IndexedRandom};
use tonic::Status;

/// Numbers at the edges of what a field can hold.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    255,
    4096,
    1 << 22,
    u32::MAX as u64,
    1 << 48,
    i64::MAX as u64 - 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

macro_rules! calls {
    ($($service:ident.$method:ident($request:ident)),* $(,)?) => {
        /// A request.
        #[derive(Clone, Debug)]
        #[allow(clippy::enum_variant_names)] // named after the messages
        pub enum Call {
            $($request($request),)*
        }

        $(impl From<$request> for Call {
            fn from(request: $request) -> Call {
                Call::$request(request)
            }
        })*

        impl Call {
            /// Says who asks.
            pub fn by(mut self, caller: Caller) -> Call {
                match &mut self {
                    $(Call::$request(request) => request.set_caller(caller),)*
                }
                self
            }

            /// The same with some bytes changed that still make a message.
            pub fn mutated(&self, rng: &mut StdRng) -> Call {
                match self {
                    $(Call::$request(request) => Call::$request(mutated(request, rng)),)*
                }
            }
        }

        impl Client {
            /// Sends a request: how it was refused, if it was.
            pub async fn send(&mut self, call: Call) -> Result<Option<Code>, Status> {
                match call {
                    $(Call::$request(request) => {
                        // By reference: a call may be named as a method of the stub itself.
                        let stub = &mut self.$service;
                        stub.$method(request).await.map(|answer| code(&answer.into_inner()))
                    })*
                }
            }
        }
    };
}

calls! {
    meta.lookup(LookupReq),
    meta.lookup_path(LookupPathReq),
    meta.get_attr(GetAttrReq),
    meta.set_attr(SetAttrReq),
    meta.create(CreateReq),
    meta.mkdir(MkdirReq),
    meta.mknod(MknodReq),
    meta.symlink(SymlinkReq),
    meta.link(LinkReq),
    meta.unlink(UnlinkReq),
    meta.rmdir(RmdirReq),
    meta.rename(RenameReq),
    meta.get_xattrs(GetXattrsReq),
    meta.set_xattr(SetXattrReq),
    meta.remove_xattr(RemoveXattrReq),
    meta.stat_fs(StatFsReq),
    meta.access(AccessReq),
    coherence.get_content(GetContentReq),
    coherence.get_contents(GetContentsReq),
    coherence.acquire(AcquireReq),
    coherence.release(ReleaseReq),
    coherence.rescue(RescueReq),
    coherence.new_upload(NewUploadReq),
    coherence.commit(CommitReq),
    coherence.clone(CloneReq),
    coherence.lock(LockReq),
    coherence.unlock(UnlockReq),
    coherence.test_lock(TestLockReq),
    session.reclaim(ReclaimReq),
    session.reclaim_done(ReclaimDoneReq),
    session.close(CloseReq),
}

/// How a reply refuses, if it does.
pub fn code(reply: &impl Reply) -> Option<Code> {
    reply.refusal().map(|refusal| fail::from_wire(refusal).code)
}

/// A message with some of its bytes changed, and fields of any number appended: those replace or
/// extend what is there.
pub fn mutated<M: Message + Default + Clone>(message: &M, rng: &mut StdRng) -> M {
    loop {
        let mut bytes = message.encode_to_vec();
        for _ in 0..rng.random_range(1..4) {
            change(&mut bytes, rng);
        }
        if let Ok(changed) = M::decode(&bytes[..]) {
            return changed;
        }
    }
}

fn change(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    let field = rng.random_range(2..12u64);
    match rng.random_range(0..6) {
        0 | 1 => {
            varint(bytes, field << 3);
            varint(bytes, *EDGES.choose(rng).expect("there are edges"));
        }
        2 => {
            let mut inner = Vec::new();
            for _ in 0..rng.random_range(0..3) {
                change(&mut inner, rng);
            }
            nested(bytes, field, &inner);
        }
        3 => {
            let len = *[0, 1, 3, 255, 256, 5000, 70_000].choose(rng).expect("there are lengths");
            let byte = *b"x/.\0\xff".choose(rng).expect("there are bytes");
            nested(bytes, field, &vec![byte; len]);
        }
        4 if !bytes.is_empty() => {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        _ if !bytes.is_empty() => bytes.truncate(rng.random_range(0..bytes.len())),
        _ => {}
    }
}

fn nested(bytes: &mut Vec<u8>, field: u64, inner: &[u8]) {
    varint(bytes, field << 3 | 2);
    varint(bytes, inner.len() as u64);
    bytes.extend_from_slice(inner);
}

fn varint(bytes: &mut Vec<u8>, value: u64) {
    prost::encoding::encode_varint(value, bytes);
}
