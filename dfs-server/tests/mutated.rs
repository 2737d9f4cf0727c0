//! Random messages: honest ones with bytes changed and fields appended, to every call and on the
//! control stream. Nothing panics, and an honest client is served after each.
//!
//! Repeat a failure with `SEED=N cargo test -p dfs-server --test mutated`; `ROUNDS=N` does more.

mod harness;

use dfs_core::Code;
use dfs_proto::v1::from_client::Kind as Word;
use dfs_proto::v1::*;
use harness::calls::{Call, mutated};
use harness::{Client, Running, run};
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng, TryRng};
use std::panic;
use std::sync::Mutex;
use std::time::Duration;
use tokio_stream::StreamExt;

/// A call that waits is left after this time.
const PATIENCE: Duration = Duration::from_millis(20);
/// Messages of one run without `ROUNDS`.
const ROUNDS: u64 = 500;

/// What panicked anywhere in this process.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Honest requests of every kind, about the root, a directory and the file `ino`.
fn honest(ino: u64, grant: &Grant) -> Vec<Call> {
    let (dir, mode, id, fence) = (1, 0o755, grant.id, grant.fence);
    let name = || "n".into();
    let version = Some(Version { ino, ver: 1 });
    let extent =
        Extent { len: 1, source: Some(extent::Source::Inline("x".into())), ..Extent::default() };
    let set = Some(SetAttr { mode: Some(0o600), size: Some(7), ..SetAttr::default() });
    let own = ReclaimGrant { ino, grant: id, fence, write: true, ..Default::default() };
    vec![
        LookupReq { dir, name: name(), ..Default::default() }.into(),
        LookupPathReq { dir, components: vec![name(); 2], ..Default::default() }.into(),
        GetAttrReq { ino, ..Default::default() }.into(),
        SetAttrReq { ino, set, ..Default::default() }.into(),
        CreateReq { dir, name: name(), mode, lease: true, ..Default::default() }.into(),
        MkdirReq { dir, name: name(), mode, ..Default::default() }.into(),
        MknodReq { dir, name: name(), mode, kind: Kind::Fifo.into(), ..Default::default() }.into(),
        SymlinkReq { dir, name: name(), target: "t".into(), ..Default::default() }.into(),
        LinkReq { ino, dir, name: name(), ..Default::default() }.into(),
        UnlinkReq { dir, name: name(), open: vec![ino], ..Default::default() }.into(),
        RmdirReq { dir, name: name(), ..Default::default() }.into(),
        RenameReq {
            from_dir: 1,
            from_name: name(),
            to_dir: 1,
            to_name: "m".into(),
            ..Default::default()
        }
        .into(),
        GetXattrsReq { ino, ..Default::default() }.into(),
        SetXattrReq {
            ino,
            xattr: Some(Xattr { name: "user.x".into(), value: "v".into() }),
            ..Default::default()
        }
        .into(),
        RemoveXattrReq { ino, name: "user.x".into(), ..Default::default() }.into(),
        StatFsReq::default().into(),
        AccessReq { ino, mask: 4, ..Default::default() }.into(),
        GetContentReq { ino, data_max_bytes: 100, ..Default::default() }.into(),
        GetContentsReq { inos: vec![ino, 1], ..Default::default() }.into(),
        AcquireReq { ino, write: true, nonblock: true, ..Default::default() }.into(),
        ReleaseReq { ino, grant: id, fence, ..Default::default() }.into(),
        RescueReq { ino, base_ver: 1, fence, ..Default::default() }.into(),
        NewUploadReq { ino, grant: id, fence, ..Default::default() }.into(),
        CommitReq { ino, grant: id, fence, size: 5, extents: vec![extent], ..Default::default() }
            .into(),
        CloneReq { src: ino, len: 3, dst: ino, dst_off: 9, grant: id, fence, ..Default::default() }
            .into(),
        LockReq { ino, owner: 1, end: 9, ..Default::default() }.into(),
        UnlockReq { ino, owner: 1, end: 9, ..Default::default() }.into(),
        TestLockReq { ino, owner: 2, end: 9, ..Default::default() }.into(),
        ReclaimReq {
            grants: vec![own],
            locks: vec![ReclaimLock { ino, end: 5, ..Default::default() }],
            open: vec![ino],
            pins: vec![ReclaimPin { version, objects: vec![ObjectName { ino, born: 1, n: 0 }] }],
            uploads: vec![ReclaimUpload { ino, ver: 1 }],
            ..Default::default()
        }
        .into(),
    ]
}

/// Honest words on the control stream.
fn words(ino: u64, grant: &Grant) -> Vec<FromClient> {
    let version = Version { ino, ver: 1 };
    let all = [
        Word::Renew(Renew { send_time_ms: 5 }),
        Word::Ack(Ack { number: 1, open: vec![ino], keep: vec![version] }),
        Word::Progress(Progress { grant: grant.id, bytes: 10 }),
        Word::Forget(Forget { attrs: vec![ino], dirs: vec![1] }),
        Word::OpenHold(OpenHold { inos: vec![ino] }),
        Word::Unpin(Unpin { versions: vec![version] }),
        Word::OrphanDone(OrphanDone { inos: vec![ino] }),
    ];
    all.map(|kind| FromClient { kind: Some(kind) }).to_vec()
}

/// A server and a client that is up to no good.
struct Duel {
    server: Running,
    rogue: Client,
    control: harness::Control,
    ino: u64,
    grant: Grant,
}

impl Duel {
    async fn new(dir: &std::path::Path) -> Duel {
        let server = Running::start(dir).await;
        let mut rogue = Client::connect(&server, 2).await;
        let control = rogue.attach().await;
        let made = rogue.create("rogue's").await;
        let (ino, grant) = (made.attr.unwrap().ino, made.grant.unwrap());
        Duel { server, rogue, control, ino, grant }
    }

    /// One message. Waits end with `PATIENCE`; the rogue comes back if it cost it its session.
    async fn round(&mut self, rng: &mut StdRng) {
        if rng.random_range(0..8) == 0 {
            let words = words(self.ino, &self.grant);
            let word = mutated(&words[rng.random_range(0..words.len())], rng);
            if let Some(kind) = word.kind {
                self.control.offer(kind);
            }
        }
        let calls = honest(self.ino, &self.grant);
        let mut call = calls[rng.random_range(0..calls.len())].mutated(rng);
        if rng.random_range(0..10) > 0 {
            call = call.by(self.rogue.next_caller());
        }
        let sent = tokio::time::timeout(PATIENCE, self.rogue.send(call)).await;
        if let Ok(Ok(Some(Code::SessionExpired))) = sent {
            self.rogue = Client::connect(&self.server, 2).await;
            self.control = self.rogue.attach().await;
        }
        let list =
            ReadDirReq { caller: Some(self.rogue.next_caller()), dir: 1, ..Default::default() };
        let list = mutated(&list, rng);
        if let Ok(mut pages) =
            self.rogue.meta.read_dir(list).await.map(|answer| answer.into_inner())
        {
            while let Ok(Some(Ok(_))) = tokio::time::timeout(PATIENCE, pages.next()).await {}
        }
    }

    /// In a session that ends at once, so that no change has to wait for its promises.
    async fn honest_is_served(&mut self) {
        self.control.offer(Word::Renew(Renew::default()));
        let mut honest = Client::connect(&self.server, 1).await;
        assert_eq!(honest.lookup("rogue's").await.fail, None);
        assert_eq!(honest.ask_code(CloseReq::default()).await, None);
        let panics = PANICS.lock().unwrap();
        assert!(panics.is_empty(), "the server panicked: {panics:?}");
    }
}

#[test]
fn mutated_messages_never_stop_the_server() {
    panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        PANICS.lock().unwrap().push(info.to_string());
    }));
    let seed = number("SEED").unwrap_or_else(|| SysRng.try_next_u64().unwrap());
    println!("SEED={seed} cargo test -p dfs-server --test mutated");
    let mut rng = StdRng::seed_from_u64(seed);
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut duel = Duel::new(dir.path()).await;
        for round in 0..number("ROUNDS").unwrap_or(ROUNDS) {
            duel.round(&mut rng).await;
            if round % 50 == 0 {
                duel.honest_is_served().await;
            }
        }
        duel.honest_is_served().await;
        // In grace, where sessions are believed.
        let rogue = duel.rogue.identity;
        duel.server.kill().await;
        let server = Running::start(dir.path()).await;
        let mut honest = Client::connect(&server, 1).await;
        let mut rogue = Client::connect_as(&server, rogue).await;
        let claims = honest_claims(duel.ino, &duel.grant);
        for _ in 0..300 {
            let call = claims.mutated(&mut rng).by(rogue.caller(0));
            rogue.send(call).await.unwrap();
        }
        // Too many claims of what is not its own may have cost it its session.
        rogue.ask_code(ReclaimDoneReq::default()).await;
        assert_eq!(honest.create("after").await.fail, None);
        let panics = PANICS.lock().unwrap();
        assert!(panics.is_empty(), "the server panicked: {panics:?}");
    });
}

fn honest_claims(ino: u64, grant: &Grant) -> Call {
    honest(ino, grant).pop().expect("the claims stand last")
}
