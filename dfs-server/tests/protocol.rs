//! The server behind a real socket: promises, leases, exactly-once, restart.

mod harness;

use dfs_core::Code;
use dfs_proto::call::Reply;
use dfs_proto::v1::extent::Source;
use dfs_proto::v1::*;
use harness::{Client, Running, run};

#[test]
fn commit_is_seen_by_the_next_reader_with_its_bytes() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let (mut a, mut b) = (Client::connect(&server, 1).await, Client::connect(&server, 2).await);
        let attr = a.make("f", b"hello").await;
        let found = b.lookup("f").await.attr.unwrap();
        assert_eq!((found.ino, found.size), (attr.ino, 5));
        let read =
            b.ask(GetContentReq { ino: attr.ino, data_max_bytes: 100, ..Default::default() });
        let content = b.coherence.get_content(read).await.unwrap().into_inner();
        let extents = content.manifest.unwrap().extents;
        let inline = Some(Source::Inline(bytes::Bytes::from_static(b"hello")));
        assert!(extents.len() == 1 && extents[0].source == inline, "{extents:?}");
        assert_eq!(content.data, None, "the bytes do not come twice");
    });
}

#[test]
fn contents_are_answered_in_order_as_far_as_they_fit() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let mut a = Client::connect(&server, 1).await;
        let mut inos = Vec::new();
        for n in 0..20u8 {
            inos.push(a.make(&format!("f{n}"), &[n; 60_000]).await.ino);
        }
        inos.insert(1, u64::MAX);
        let ask = a.ask(GetContentsReq { inos, ..Default::default() });
        let answer = a.coherence.get_contents(ask).await.unwrap().into_inner();
        let contents = answer.into_result().unwrap().contents;
        let first = |content: ContentRep| {
            let manifest = content.into_result().map_err(|e| e.code)?.manifest.unwrap();
            match manifest.extents[0].source.as_ref().unwrap() {
                Source::Inline(bytes) => Ok(bytes[0]),
                Source::Object(_) => panic!("small content is no object"),
            }
        };
        let found: Vec<_> = contents.into_iter().map(first).collect();
        let mut expected: Vec<_> = (0..18).map(Ok).collect();
        expected.insert(1, Err(Code::Stale));
        assert_eq!(found, expected, "a MiB, and the file that ends it");
    });
}

#[test]
fn change_waits_until_the_holder_of_a_promise_has_forgotten() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let (mut a, mut b) = (Client::connect(&server, 1).await, Client::connect(&server, 2).await);
        let mut control = b.attach().await;
        let absent = b.lookup("new").await;
        assert!(absent.attr.is_none() && absent.mark.unwrap().promised_dir);
        let create = a.create("new");
        tokio::pin!(create);
        let (number, push) = tokio::select! {
            (number, push) = control.push() => (number, push),
            _ = &mut create => panic!("created before the holder has forgotten"),
        };
        // The old state is a legal answer until then, but nothing to keep.
        let meanwhile = b.lookup("new").await;
        assert!(meanwhile.attr.is_none() && !meanwhile.mark.unwrap().promised_dir);
        let names: Vec<_> = push
            .items
            .iter()
            .filter_map(|item| match &item.what {
                Some(inval_item::What::DirNames(names)) => Some(names.names.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(names, [[bytes::Bytes::from_static(b"new")]]);
        control.ack(number).await;
        create.await.into_result().unwrap();
        assert!(b.lookup("new").await.attr.is_some());
    });
}

/// The first call ends the upload, and with it the right to name its objects.
#[test]
fn regression_repeated_commit_of_objects_gets_the_first_answer() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let mut a = Client::connect(&server, 1).await;
        let created = a.create("f").await.into_result().unwrap();
        let (attr, grant) = (created.attr.unwrap(), created.grant.unwrap());
        let request = NewUploadReq {
            ino: attr.ino,
            grant: grant.id,
            fence: grant.fence,
            size_hint_bytes: 5,
            ..Default::default()
        };
        let request = a.ask(request);
        let upload = a.coherence.new_upload(request).await.unwrap().into_inner();
        let ver = upload.into_result().unwrap().ver;
        let name = Some(ObjectName { ino: attr.ino, born: ver, n: 0 });
        let header = Some(ObjectHeader { name, len: 5, caller: Some(a.caller(0)) });
        let piece = CreateObjectReq { header, data: "hello".into(), crc: crc32c::crc32c(b"hello") };
        let stored = a.objects().create(tokio_stream::iter([piece])).await.unwrap().into_inner();
        stored.into_result().unwrap();
        let mut commit = a.inline(&attr, &grant, b"hello");
        commit.upload_ver = ver;
        commit.extents[0].source = name.map(extent::Source::Object);
        let first = a.coherence.commit(commit.clone()).await.unwrap().into_inner();
        let again = a.coherence.commit(commit.clone()).await.unwrap().into_inner();
        assert_eq!(first.into_result().unwrap().attr, again.into_result().unwrap().attr);
        // Another call may not name them any more.
        commit.caller = Some(a.next_caller());
        let other = a.coherence.commit(commit).await.unwrap().into_inner();
        assert_eq!(other.fail.unwrap().code(), ErrorCode::Fenced);
    });
}

#[test]
fn repeated_operation_gets_the_first_answer_also_after_a_restart() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let mut a = Client::connect(&server, 1).await;
        let mkdir = a.ask(MkdirReq { dir: 1, name: "d".into(), mode: 0o755, ..Default::default() });
        let first = a.meta.mkdir(mkdir.clone()).await.unwrap().into_inner().into_result().unwrap();
        let again = a.meta.mkdir(mkdir.clone()).await.unwrap().into_inner().into_result().unwrap();
        assert_eq!(first.attr, again.attr);
        let identity = a.identity;
        drop(a);
        server.kill().await;
        let server = Running::start(dir.path()).await;
        let mut a = Client::connect_as(&server, identity).await;
        assert!(a.rep.resumed && a.rep.reclaim);
        let refused = a.meta.mkdir(mkdir.clone()).await.unwrap().into_inner();
        assert_eq!(refused.fail.unwrap().code(), ErrorCode::Grace);
        let done = ReclaimDoneReq { caller: Some(a.caller(0)) };
        a.session.reclaim_done(done).await.unwrap().into_inner().into_result().unwrap();
        let stored = a.meta.mkdir(mkdir).await.unwrap().into_inner().into_result().unwrap();
        assert_eq!(first.attr, stored.attr);
    });
}

#[test]
fn second_writer_waits_for_the_first_to_give_back() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let (mut a, mut b) = (Client::connect(&server, 1).await, Client::connect(&server, 2).await);
        let mut control = a.attach().await;
        let created = a.create("f").await.into_result().unwrap();
        let (ino, grant) = (created.attr.unwrap().ino, created.grant.unwrap());
        let nonblock = b.ask(AcquireReq { ino, write: true, nonblock: true, ..Default::default() });
        let refused = b.coherence.acquire(nonblock).await.unwrap().into_inner();
        assert_eq!(refused.fail.unwrap().code(), ErrorCode::WouldBlock);
        let wanted = b.ask(AcquireReq { ino, write: true, ..Default::default() });
        let waiting = b.coherence.acquire(wanted);
        tokio::pin!(waiting);
        let recall = tokio::select! {
            kind = control.next() => kind,
            _ = &mut waiting => panic!("granted while another holds it"),
        };
        assert!(
            matches!(&recall, from_server::Kind::Recall(r) if r.grant == grant.id && r.hold_ms > 0)
        );
        let back =
            a.ask(ReleaseReq { ino, grant: grant.id, fence: grant.fence, ..Default::default() });
        a.coherence.release(back).await.unwrap().into_inner().into_result().unwrap();
        let granted = waiting.await.unwrap().into_inner().into_result().unwrap();
        assert!(granted.grant.unwrap().fence > grant.fence);
    });
}

#[test]
fn commit_under_a_grant_that_is_gone_is_fenced() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let mut a = Client::connect(&server, 1).await;
        let created = a.create("f").await.into_result().unwrap();
        let (attr, grant) = (created.attr.unwrap(), created.grant.unwrap());
        let back = a.ask(ReleaseReq {
            ino: attr.ino,
            grant: grant.id,
            fence: grant.fence,
            ..Default::default()
        });
        a.coherence.release(back).await.unwrap().into_inner().into_result().unwrap();
        let late = a.inline(&attr, &grant, b"late");
        let refused = a.coherence.commit(late).await.unwrap().into_inner();
        assert_eq!(refused.fail.unwrap().code(), ErrorCode::Fenced);
    });
}

#[test]
fn session_of_a_new_daemon_start_ends_the_old_one() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let mut old = Client::connect_as(&server, ([1; 16], [1; 16])).await;
        let mut new = Client::connect_as(&server, ([1; 16], [2; 16])).await;
        let refused = old.lookup("x").await;
        assert_eq!(refused.fail.unwrap().code(), ErrorCode::SessionExpired);
        assert_eq!(new.lookup("x").await.fail, None);
    });
}

/// A stream of calls, and that of their answers.
async fn call_stream(
    mut client: calls_client::CallsClient<tonic::transport::Channel>,
) -> (tokio::sync::mpsc::UnboundedSender<OneCall>, tonic::Streaming<OneAnswer>) {
    let (calls, queue) = tokio::sync::mpsc::unbounded_channel();
    let queue = tokio_stream::wrappers::UnboundedReceiverStream::new(queue);
    (calls, client.run(queue).await.unwrap().into_inner())
}

#[test]
fn calls_over_one_stream_are_each_answered_by_number() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let (mut a, mut b) = (Client::connect(&server, 1).await, Client::connect(&server, 2).await);
        let mut control = b.attach().await;
        assert!(b.lookup("d").await.mark.unwrap().promised_dir);
        let (calls, mut answers) = call_stream(a.calls()).await;
        let ask = |id, request| calls.send(OneCall { id, after: 0, request }).unwrap();
        // It waits for the other client, and nobody waits for it.
        let mkdir = a.ask(MkdirReq { dir: 1, name: "d".into(), mode: 0o755, ..Default::default() });
        ask(7, Some(one_call::Request::Mkdir(mkdir)));
        let refused = a.ask(GetAttrReq { ino: 99, ..Default::default() });
        ask(8, Some(one_call::Request::GetAttr(refused)));
        let Some(OneAnswer { id: 8, reply: Some(one_answer::Reply::GetAttr(reply)) }) =
            answers.message().await.unwrap()
        else {
            panic!("the answer to the call that need not wait comes first");
        };
        assert_eq!(reply.into_result().unwrap_err().code, dfs_core::Code::Stale);
        ask(9, None);
        let Some(OneAnswer { id: 9, reply: Some(one_answer::Reply::Unread(unread)) }) =
            answers.message().await.unwrap()
        else {
            panic!("what the server does not know is refused by itself");
        };
        assert_eq!(unread.code, i32::from(tonic::Code::Unimplemented));
        // What was read is finished, though the client asks nothing more.
        drop(calls);
        let (number, _) = control.push().await;
        control.ack(number).await;
        let Some(OneAnswer { id: 7, reply: Some(one_answer::Reply::Mkdir(made)) }) =
            answers.message().await.unwrap()
        else {
            panic!("the change is answered when the other client has forgotten");
        };
        assert_eq!(made.into_result().unwrap().attr.unwrap().kind(), Kind::Directory);
        assert_eq!(answers.message().await.unwrap(), None);
    });
}

#[test]
fn call_that_follows_another_begins_when_that_one_is_answered() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let (mut a, mut b) = (Client::connect(&server, 1).await, Client::connect(&server, 2).await);
        let mut control = b.attach().await;
        assert!(b.lookup("d").await.mark.unwrap().promised_dir);
        let (calls, mut answers) = call_stream(a.calls()).await;
        let ask = |id, after, request| {
            calls.send(OneCall { id, after, request: Some(request) }).unwrap();
        };
        // It waits for the other client.
        let mkdir = a.ask(MkdirReq { dir: 1, name: "d".into(), mode: 0o755, ..Default::default() });
        ask(7, 0, one_call::Request::Mkdir(mkdir));
        let rename = RenameReq {
            from_dir: 1,
            from_name: "d".into(),
            to_dir: 1,
            to_name: "e".into(),
            ..Default::default()
        };
        ask(8, 7, one_call::Request::Rename(a.ask(rename)));
        let rmdir = a.ask(RmdirReq { dir: 1, name: "e".into(), ..Default::default() });
        ask(9, 8, one_call::Request::Rmdir(rmdir));
        // It follows one that is not under way.
        let unknown = a.ask(GetAttrReq { ino: 99, ..Default::default() });
        ask(10, 6, one_call::Request::GetAttr(unknown));
        let mut order = Vec::new();
        while order.len() < 4 {
            // Each of the changes waits for the other client.
            if !order.is_empty() {
                let (number, _) = control.push().await;
                control.ack(number).await;
            }
            let OneAnswer { id, reply } = answers.message().await.unwrap().unwrap();
            match reply.unwrap() {
                one_answer::Reply::Mkdir(reply) => drop(reply.into_result().unwrap()),
                one_answer::Reply::Rename(reply) => drop(reply.into_result().unwrap()),
                one_answer::Reply::Rmdir(reply) => drop(reply.into_result().unwrap()),
                one_answer::Reply::GetAttr(reply) => drop(reply.into_result().unwrap_err()),
                other => panic!("{other:?}"),
            }
            order.push(id);
        }
        assert_eq!(order, [10, 7, 8, 9]);
    });
}

/// A client may have answered for what it sent (`docs/design/0028`). Here the server finds the calls and
/// the end of the connection at the same time.
#[test]
fn what_a_client_sent_before_it_died_is_carried_out() {
    const CALLS: usize = 30;
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let mut a = Client::connect(&server, 1).await;
        let mkdir = |n: usize| MkdirReq {
            dir: 1,
            name: n.to_string().into(),
            mode: 0o755,
            ..Default::default()
        };
        let requests: Vec<_> = (0..CALLS).map(|n| a.ask(mkdir(n))).collect();
        let (url, (ready, is_ready)) = (server.url.clone(), tokio::sync::oneshot::channel());
        let (go, told) = std::sync::mpsc::channel();
        let client = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let channel = tonic::transport::Channel::from_shared(url).unwrap();
                let channel = channel.connect().await.unwrap();
                let client = calls_client::CallsClient::new(channel);
                let (calls, _answers) = call_stream(client).await;
                ready.send(()).unwrap();
                told.recv().unwrap();
                for (id, request) in requests.into_iter().enumerate() {
                    let request = Some(one_call::Request::Mkdir(request));
                    calls.send(OneCall { id: id as u64, after: 0, request }).unwrap();
                }
                // The connection writes whenever nothing else can go on.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                // Dead, as far as the server can tell: no call is ended, nobody says goodbye.
                std::mem::forget(calls);
            });
        });
        is_ready.await.unwrap();
        go.send(()).unwrap();
        client.join().unwrap();
        for n in 0..CALLS {
            // Another connection of the same session.
            while a.lookup(&n.to_string()).await.attr.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    });
}

/// A directory that its client has made before it says so has the number that was drawn (0041): a call that is
/// repeated makes it once, and a number is used once.
#[test]
fn directory_is_made_once_with_the_number_that_was_drawn_for_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let (mut a, mut b) = (Client::connect(&server, 1).await, Client::connect(&server, 2).await);
        let _control = a.attach().await;
        let reserve = a.ask(ReserveReq { count: 2, ..Default::default() });
        let drawn = a.coherence.reserve(reserve).await.unwrap().into_inner().into_result().unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        let at = Timestamp { seconds: now - 1, nanos: 7 };
        let made = |name: &'static str, n: u64| MkdirReq {
            dir: 1,
            name: name.into(),
            mode: 0o755,
            ino: drawn.first_ino + n,
            fence: drawn.first_grant + n,
            at: Some(at),
            ..Default::default()
        };
        let request = a.ask(made("d", 0));
        let mut make = async |request: MkdirReq| {
            a.meta.mkdir(request).await.unwrap().into_inner().into_result()
        };
        let first = make(request.clone()).await.unwrap();
        let attr = first.attr.as_ref().unwrap();
        assert_eq!((attr.ino, attr.mtime), (drawn.first_ino, Some(at)), "as it was shown");
        let mark = first.mark.unwrap();
        assert!(mark.promised_attr && mark.promised_dir);
        assert_eq!(make(request).await.unwrap().attr, first.attr, "the stored answer");
        let again = a.ask(made("e", 0));
        let refused = a.meta.mkdir(again).await.unwrap().into_inner().into_result().unwrap_err();
        assert_eq!(refused.code, Code::Fenced, "the number is used");
        let foreign = b.ask(made("e", 1));
        let refused = b.meta.mkdir(foreign).await.unwrap().into_inner().into_result().unwrap_err();
        assert_eq!(refused.code, Code::Fenced, "it was drawn for somebody else");
        let taken = a.ask(made("d", 1));
        let refused = a.meta.mkdir(taken).await.unwrap().into_inner().into_result().unwrap_err();
        assert_eq!(refused.code, Code::Exists);
        let other = a.ask(made("e", 1));
        let made = a.meta.mkdir(other).await.unwrap().into_inner().into_result().unwrap();
        assert_eq!(made.attr.unwrap().ino, drawn.first_ino + 1, "a refusal leaves the number");
    });
}
