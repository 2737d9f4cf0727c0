//! A client and a server that is older or newer, or not the one to talk to.

use crate::fake::{Fake, Fate, ROOT, config, run, tree};
use dfs_client::config::Patience;
use dfs_client::kernel::NoKernel;
use dfs_client::vfs::{Found, Vfs};
use dfs_core::access::Credentials;
use dfs_core::{Code, FsError, Ino, negotiate};
use dfs_proto::v1::inval_item::What;
use dfs_proto::v1::{FromServer, Inval, InvalItem, from_server};
use std::sync::Arc;
use tokio::runtime::Handle;

const DIR: Ino = Ino(ROOT);

/// What a mount against the fake ends with.
async fn refused(fake: &Fake) -> FsError {
    let dir = tempfile::tempdir().unwrap();
    let config = config(fake.tcp().await, dir.path().join("cache"), Patience::Hard);
    let error = Vfs::start(config, Arc::new(NoKernel), Handle::current()).await.err().unwrap();
    assert!(!error.message.contains('\n'), "{error}");
    error
}

#[test]
fn server_without_common_protocol_is_refused_in_one_line() {
    run(async {
        for protocol in [0, 9] {
            let fake = Fake::new();
            fake.with(|s| s.protocol = protocol);
            let error = refused(&fake).await;
            assert_eq!(error.code, Code::TooOld);
            let text = format!("speaks protocol {protocol}, this side 1");
            assert!(error.message.contains(&text), "{error}");
        }
    });
}

#[test]
fn refusal_of_the_server_reaches_the_one_line_of_the_mount() {
    run(async {
        let fake = Fake::new();
        fake.fate("establish", Fate::Refuse(Code::TooOld));
        let error = refused(&fake).await;
        assert_eq!(error.code, Code::TooOld);
        assert!(error.message.ends_with("cannot talk: as the test says"), "{error}");
    });
}

#[test]
fn server_that_does_not_lead_is_named_and_not_asked_again() {
    run(async {
        let fake = Fake::new();
        fake.fate("establish", Fate::Refuse(Code::NotLeader));
        let error = refused(&fake).await;
        assert_eq!(error.code, Code::NotLeader);
        assert!(error.message.contains("does not lead"), "{error}");
        assert!(error.message.ends_with(": as the test says"), "{error}");
        let (vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.fate("lookup", Fate::Refuse(Code::NotLeader));
        let error = vfs.lookup(&Credentials::root(), DIR, b"a").await.unwrap_err();
        assert_eq!(error.code, Code::NotLeader);
    });
}

#[test]
fn features_offered_are_those_of_the_program_and_foreign_ones_are_passed_over() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.features = vec!["of-the-future".into()]);
        let (_vfs, _kernel, _dir) = tree(&fake, Patience::Hard).await;
        let offered = fake.with(|s| s.hellos[0].features.clone());
        assert_eq!(offered, negotiate::FEATURES);
    });
}

#[test]
fn push_of_an_unknown_kind_or_item_drops_everything_and_is_acknowledged() {
    run(async {
        let fake = Fake::new();
        fake.with(|s| s.names.insert(b"a".to_vec(), 5));
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        let look = async || vfs.lookup(&Credentials::root(), DIR, b"a").await.unwrap();
        let lookups = || vfs.client().rpc.counts()["lookup"];
        look().await;
        // Not a push: nobody has to forget anything.
        fake.with(|s| s.say_message(FromServer { kind: None, push: 0 }));
        let known = What::Attr(77);
        let items = vec![InvalItem { what: Some(known) }, InvalItem { what: None }];
        let seq = fake.with(|s| s.seq - 1);
        let item = Some(from_server::Kind::Inval(Inval { seq, items }));
        for (number, kind, asked) in [(0, None, 1), (1, None, 2), (2, item, 3)] {
            if number > 0 {
                fake.with(|s| s.say_message(FromServer { kind, push: number }));
                fake.until("it is acknowledged", |s| s.acks.iter().any(|a| a.number == number))
                    .await;
                kernel.until_bumped(number as usize).await;
            }
            assert!(matches!(look().await, Found::Entry(entry) if !entry.ttl.is_zero()));
            assert_eq!(lookups(), asked);
        }
        assert_eq!(fake.with(|s| s.attaches.len()), 1, "the stream goes on");
    });
}
