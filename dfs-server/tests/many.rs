//! What a thousand sessions cost a server process. Not part of every run:
//! `cargo test --release -p dfs-server --test many -- --ignored --nocapture`.

mod harness;

use dfs_proto::v1::admin_client::AdminClient;
use dfs_proto::v1::*;
use harness::process::{Process, until_it_listens};
use harness::{Client, Control, Running, run};
use std::time::Instant;
use tokio::task::JoinSet;
use tonic::transport::Channel;

const SESSIONS: u16 = 1000;
/// Sessions that are opened side by side.
const AT_ONCE: usize = 100;
/// A session with its connection and its stream; the measurements for the design found 47 KiB for
/// an idle connection alone (GRPC.md 7).
const SESSION_BYTES_MAX: u64 = 256 << 10;

/// A session with its stream that was promised to hear of `f` and of the root.
async fn watcher(server: &Running, n: u16) -> (Client, Control) {
    let mut uuid = [7; 16];
    uuid[..2].copy_from_slice(&n.to_le_bytes());
    let mut client = Client::connect_as(server, (uuid, [1; 16])).await;
    let control = client.attach().await;
    (client, control)
}

async fn sessions(admin: &mut AdminClient<Channel>) -> usize {
    admin.sessions(SessionsReq {}).await.unwrap().into_inner().sessions.len()
}

#[test]
#[ignore = "takes 1,100 file descriptors; its figures are for people"]
fn many_sessions_cost_little_and_all_hear_of_a_change() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (process, server) = Process::start(&dir.path().join("data"));
        let mut admin = AdminClient::new(until_it_listens(&server).await);
        let mut writer = Client::connect(&server, 1).await;
        let stream = writer.attach().await;
        let made = writer.create("f").await;
        let ino = made.attr.unwrap().ino;
        let before = process.memory();

        let mut watchers = Vec::new();
        let began = Instant::now();
        for first in (0..SESSIONS).step_by(AT_ONCE) {
            let mut opening = JoinSet::new();
            for n in first..first + AT_ONCE as u16 {
                let server = Running::at(server.url.clone());
                opening.spawn(async move { watcher(&server, n).await });
            }
            watchers.extend(opening.join_all().await);
        }
        let opened = began.elapsed();
        let each = (process.memory() - before) / u64::from(SESSIONS);
        println!("{SESSIONS} sessions opened in {opened:?}, {} KiB each", each / 1024);
        assert!(each < SESSION_BYTES_MAX, "{each} bytes for an idle session");
        assert_eq!(sessions(&mut admin).await, usize::from(SESSIONS) + 1);

        for (client, control) in &mut watchers {
            control.say(from_client::Kind::Renew(Renew::default())).await;
            assert_eq!(client.lookup("f").await.fail, None);
        }
        stream.say(from_client::Kind::Renew(Renew::default())).await;
        let mut acks = JoinSet::new();
        let began = Instant::now();
        for (client, mut control) in watchers {
            acks.spawn(async move {
                let (number, _) = control.push().await;
                control.ack(number).await;
                (client, control, Instant::now())
            });
        }
        let set = Some(SetAttr { mode: Some(0o600), ..SetAttr::default() });
        assert_eq!(writer.ask_code(SetAttrReq { ino, set, ..Default::default() }).await, None);
        let changed = began.elapsed();
        let told = acks.join_all().await;
        let last = told.iter().map(|(_, _, at)| at.duration_since(began)).max().unwrap();
        println!(
            "a change told to all: last ack sent after {last:?}, change done after {changed:?}"
        );
        println!(
            "memory then: {} KiB more than without sessions",
            (process.memory() - before) / 1024
        );

        for (mut client, _control, _) in told {
            assert_eq!(client.ask_code(CloseReq::default()).await, None);
        }
        assert_eq!(sessions(&mut admin).await, 1, "nothing of them is left");
    });
}
