//! The wire format, written down: one filled example of every message as bytes, every number of every
//! enum and the path of every call. A change of any line is a change of the protocol: a new field or
//! message may add lines, but what programs in the field speak must keep its bytes.
//!
//! The examples are made from the `.proto` files alone; the generated types must read them and write
//! the same bytes. `REWRITE=1 cargo test -p dfs-proto --test golden` writes the files anew.

use dfs_proto::v1;
use prost::Message;
use protox::prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, FileDescriptor, Kind,
    MessageDescriptor, Value,
};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/golden");
const FILES: [&str; 6] = ["admin", "coherence", "common", "content", "meta", "session"];

/// Reads bytes as the generated type of a name and writes them again.
fn reencode(name: &str, bytes: &[u8]) -> Vec<u8> {
    macro_rules! generated {
        ($($name:ident)*) => {
            match name {
                $(stringify!($name) => v1::$name::decode(bytes).unwrap().encode_to_vec(),)*
                other => panic!("message {other} is missing in this list"),
            }
        };
    }
    generated! {
        AccessRep AccessReq Ack AcquireRep AcquireReq Attach Attached Attr AttrRep Caller CloneReq CloseRep CloseReq CollectRep CollectReq CommitRep CommitReq ContentRep ContentsRep CreateObjectRep CreateObjectReq CreateRep CreateReq Data DirEntry DirNames DropAll EntryRep EstablishRep EstablishReq Extent Fail FlushRep FlushReq Forget FromClient FromServer GetAttrReq GetContentReq GetContentsReq GetXattrsReq Grant GrantInfo GrantsRep GrantsReq HeldLock IdRange Inval InvalItem Limits LinkReq LockInfo LockRep LockReq LocksRep LocksReq LookupPathReq LookupReq Lost Manifest Mark MkdirReq MknodReq NewFile NewUploadRep NewUploadReq ObjectHeader ObjectName OpenHold OrphanDone Progress Range ReadDirRep ReadDirReq ReadObjectRep ReadObjectReq Realm Recall ReclaimDoneRep ReclaimDoneReq ReclaimGrant ReclaimLock ReclaimPin ReclaimRep ReclaimReq ReclaimUpload ReleaseRep ReleaseReq RemoveRep RemoveXattrReq RenameRep RenameReq Renew RenewAck RescueReq ReserveRep ReserveReq Revoked RmdirReq SessionInfo SessionsRep SessionsReq SetAttr SetAttrReq SetTime SetXattrReq Shutdown StatFsRep StatFsReq SymlinkReq TestLockRep TestLockReq Timestamp Trim UnlinkReq UnlockRep UnlockReq Unpin Version Xattr XattrsRep
    }
}

#[test]
fn golden_messages_calls_and_numbers_keep_their_bytes() {
    let rewrite = std::env::var_os("REWRITE").is_some();
    for file in descriptors().files().filter(|f| f.package_name() == "dfs.v1") {
        let name = Path::new(file.name()).file_stem().unwrap().to_str().unwrap();
        assert!(FILES.contains(&name), "{name}.proto is missing in this list");
        let path = PathBuf::from(FOLDER).join(name).with_extension("txt");
        let found = describe(&file);
        if rewrite {
            std::fs::write(&path, &found).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        for (stored, found) in stored.lines().zip(found.lines()) {
            assert_eq!(stored, found, "{} differs", path.display());
        }
        assert_eq!(stored.lines().count(), found.lines().count(), "lines of {}", path.display());
    }
}

fn descriptors() -> DescriptorPool {
    let files = FILES.map(|f| format!("dfs/v1/{f}.proto"));
    let set = protox::compile(files, [env!("CARGO_MANIFEST_DIR")]).unwrap();
    DescriptorPool::from_file_descriptor_set(set).unwrap()
}

/// All lines of one file.
fn describe(file: &FileDescriptor) -> String {
    let mut text = String::new();
    for service in file.services() {
        for call in service.methods() {
            let stream = |is: bool| if is { "stream " } else { "" };
            let (input, output) = (call.input(), call.output());
            writeln!(
                text,
                "rpc /{}/{} {}{} -> {}{}",
                service.full_name(),
                call.name(),
                stream(call.is_client_streaming()),
                input.name(),
                stream(call.is_server_streaming()),
                output.name()
            )
            .unwrap();
        }
    }
    for an_enum in file.enums() {
        for value in an_enum.values() {
            writeln!(text, "enum {} {} {}", an_enum.name(), value.number(), value.name()).unwrap();
        }
    }
    for message in file.messages() {
        for choice in 0..choices(&message) {
            let bytes = example(&message, choice).encode_to_vec();
            assert_eq!(reencode(message.name(), &bytes), bytes, "{}", message.name());
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            writeln!(text, "message {} {choice} {hex}", message.name()).unwrap();
        }
    }
    text
}

/// How many examples show each member of the message's `oneof`.
fn choices(message: &MessageDescriptor) -> usize {
    message.oneofs().map(|o| o.fields().len()).max().unwrap_or(1).max(1)
}

/// The message with every field set; of a `oneof` the member number `choice`.
fn example(message: &MessageDescriptor, choice: usize) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let members = field.containing_oneof().map(|o| o.fields().collect::<Vec<_>>());
        // The compiler wraps each optional field into a oneof of its own.
        if let Some(members) = members
            && members[choice % members.len()] != field
        {
            continue;
        }
        let value = match field.cardinality() {
            Cardinality::Repeated => Value::List(vec![value(&field, 0), value(&field, 1)]),
            _ => value(&field, 0),
        };
        filled.set_field(&field, value);
    }
    filled
}

/// A value that takes several bytes and differs between the fields of a message.
fn value(field: &FieldDescriptor, nth: u32) -> Value {
    let number = field.number() + 100 * nth;
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Uint32 => Value::U32(70_000 + number),
        Kind::Uint64 => Value::U64((1 << 40) + u64::from(number)),
        Kind::Int32 => Value::I32(-(number as i32)),
        Kind::Sint64 => Value::I64(-i64::from(number) - (1 << 33)),
        Kind::String => Value::String(format!("{} {nth}", field.name())),
        Kind::Bytes => Value::Bytes(vec![number as u8, 0, 0xff].into()),
        Kind::Enum(an_enum) => {
            let last = an_enum.values().last().expect("an enum has values");
            Value::EnumNumber(last.number())
        }
        Kind::Message(message) => Value::Message(example(&message, nth as usize)),
        other => panic!("{}: no example of {other:?} yet", field.full_name()),
    }
}
