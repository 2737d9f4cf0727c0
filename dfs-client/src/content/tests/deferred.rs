//! Files that are made before the server hears of them.

use super::rig::{Rig, flags, root, run};
use crate::client::ContentHooks;
use crate::config::Config;
use crate::metadata::{Key, Listing, Target};
use crate::session::Events;
use dfs_core::attr::{Kind, SetAttr};
use dfs_core::name::Name;
use dfs_core::{Code, Ino, Seq, birth};
use dfs_proto::v1;
use std::sync::Arc;

const DIR: Ino = Ino(500);

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

/// A client that has an empty directory to itself, and numbers.
async fn alone() -> Rig {
    alone_with(|_| {}).await
}

pub(super) async fn alone_with(change: impl FnOnce(&mut Config)) -> Rig {
    let rig = Rig::with(change).await;
    let metadata = &rig.client.metadata;
    let (asked, mark) = (metadata.asked(), rig.fake.lock().mark());
    let dir = birth::blank(DIR, Kind::Directory, Default::default());
    metadata.store_attr(asked, &mark, dir);
    metadata.store_listing(asked, Seq(mark.as_of), DIR, Listing::new(0, Arc::default()));
    metadata.delegated(asked, Seq(mark.as_of), DIR);
    assert!(make(&rig, "first").is_none(), "there are no numbers yet");
    rig.until("there are numbers", |rig| match rig.client.deferrals.draw(Default::default()) {
        Some(drawn) => {
            rig.client.deferrals.put_back(drawn);
            true
        }
        None => false,
    })
    .await;
    rig
}

pub(super) fn make(rig: &Rig, text: &str) -> Option<(Ino, u64)> {
    let made = rig.content.make_here(root, DIR, &name(text), 0o666.into(), flags("w"))?;
    let (attr, opened) = made.unwrap();
    Some((attr.ino, opened.fh))
}

fn commits(rig: &Rig) -> usize {
    rig.fake.lock().commits.len()
}

#[test]
fn deferred_file_is_made_by_the_commit_of_its_content() {
    run(async {
        let rig = alone().await;
        let (ino, fh) = make(&rig, "a").unwrap();
        assert_eq!(rig.client.metadata.name(DIR, &name("a")), Some(Target::Present(ino)));
        assert_eq!(rig.client.metadata.attr(DIR).unwrap().size, 1);
        assert!(make(&rig, "a").is_none(), "there is such a name");
        rig.content.write(fh, 0, b"content", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        assert_eq!((commits(&rig), rig.fake.lock().bytes(ino.0)), (1, b"content".to_vec()));
        assert!(rig.client.deferrals.is_empty());
        assert_eq!(rig.client.metadata.name(DIR, &name("a")), Some(Target::Present(ino)));
        rig.content.write(fh, 0, b"C", false).await.unwrap();
        rig.content.flush(fh).await.unwrap();
        assert!(rig.fake.lock().commits[1].create.is_none(), "it is made once");
    });
}

#[test]
fn deferred_file_is_told_with_the_mode_and_owner_it_got_since() {
    run(async {
        let rig = alone().await;
        let new = SetAttr { mode: Some(0o600), gid: Some(7), ..SetAttr::default() };
        let told = |rig: &Rig, n: usize| {
            let set = rig.fake.lock().commits[n].set.unwrap();
            (set.mode, set.uid, set.gid)
        };
        let (with_content, fh) = make(&rig, "a").unwrap();
        rig.content.write(fh, 0, b"content", false).await.unwrap();
        assert!(rig.client.deferrals.change(with_content, &new));
        rig.content.flush(fh).await.unwrap();
        assert_eq!(told(&rig, 0), (Some(0o600), None, Some(7)));
        assert!(!rig.client.deferrals.change(with_content, &new), "the server knows it");
        let (alone, _) = make(&rig, "b").unwrap();
        assert!(rig.client.deferrals.change(alone, &new));
        rig.client.tell_all().await;
        assert_eq!(told(&rig, 1), (Some(0o600), None, Some(7)), "others see it at once");
    });
}

#[test]
fn deferred_file_is_told_at_close_after_a_while_and_before_anything_is_asked() {
    run(async {
        let rig = alone().await;
        let (_, fh) = make(&rig, "closed").unwrap();
        rig.content.flush(fh).await.unwrap();
        assert_eq!(commits(&rig), 1);
        assert!(!rig.client.late.is_flushed(), "a name without content may not be flushed");
        make(&rig, "open").unwrap();
        rig.until("it is told", |rig| rig.client.deferrals.is_empty()).await;
        let (ino, _) = make(&rig, "asked").unwrap();
        let request = v1::GetContentReq { ino: ino.0, ..Default::default() };
        rig.client.call(&root(), request).await.unwrap();
        assert_eq!(rig.fake.lock().names, [&b"closed"[..], b"open", b"asked"]);
    });
}

#[test]
fn deferred_file_is_not_told_for_a_question_about_the_content_of_another() {
    run(async {
        let rig = alone().await;
        rig.fake.lock().put(7, b"another");
        let ask = async |ino: Ino| {
            let request = v1::GetContentReq { ino: ino.0, ..Default::default() };
            rig.client.call_about(&[ino], &root(), request).await.unwrap();
            *rig.fake.lock().told_before.last().unwrap()
        };
        // A file is told after a while anyway: on a busy machine that may be before the question.
        for n in 0..20 {
            let (made, _) = make(&rig, &n.to_string()).unwrap();
            let told = (ask(Ino(7)).await, ask(made).await);
            assert_eq!(told.1, n + 1);
            if told.0 == n {
                return;
            }
        }
        panic!("the other one was told each time");
    });
}

#[test]
fn deferred_file_is_told_before_others_look() {
    run(async {
        let rig = alone().await;
        make(&rig, "a").unwrap();
        let items = vec![v1::InvalItem { what: Some(v1::inval_item::What::Undelegate(DIR.0)) }];
        let seq = rig.fake.lock().mark().as_of;
        let acks = rig.client.metrics.acks.get();
        rig.client.inval(1, v1::Inval { seq, items });
        assert!(make(&rig, "b").is_none(), "the directory is not delegated any more");
        assert_eq!((commits(&rig), rig.client.metrics.acks.get()), (0, acks));
        rig.until("the ack", |rig| rig.client.metrics.acks.get() > acks).await;
        assert_eq!(rig.fake.lock().names, [b"a"]);
    });
}

#[test]
fn refused_file_is_forgotten_and_its_bytes_are_kept() {
    run(async {
        let rig = alone().await;
        let (ino, fh) = make(&rig, "taken").unwrap();
        rig.content.write(fh, 0, b"precious", false).await.unwrap();
        rig.fake.lock().refuse = Some(Code::Exists);
        assert_eq!(rig.content.flush(fh).await.unwrap_err().code, Code::Io);
        rig.until("the bytes are aside", |rig| rig.content.conflict_of(ino).is_some()).await;
        assert_eq!(rig.client.metadata.name(DIR, &name("taken")), None, "the server is asked");
        assert!(rig.client.deferrals.is_empty());
        assert_eq!(rig.content.write(fh, 0, b"more", false).await.unwrap_err().code, Code::Io);
        assert!(make(&rig, "next").is_none(), "for a while files are made by asking");
    });
}

#[test]
fn file_for_which_there_is_no_room_is_told_again() {
    run(async {
        let rig = alone().await;
        let (ino, fh) = make(&rig, "a").unwrap();
        rig.content.write(fh, 0, b"content", false).await.unwrap();
        rig.fake.lock().refuse = Some(Code::NoSpace);
        assert_eq!(rig.content.flush(fh).await.unwrap_err().code, Code::NoSpace);
        assert!(!rig.client.deferrals.is_empty());
        // It may just be told again, for it is open.
        let is_known = |rig: &Rig| rig.client.metadata.attr(ino).is_some();
        rig.until("it is known: the server could not say", is_known).await;
        rig.fake.lock().refuse = None;
        rig.content.fsync(fh).await.unwrap();
        assert_eq!(rig.fake.lock().bytes(ino.0), b"content");
        assert!(rig.client.deferrals.is_empty());
    });
}

#[test]
fn file_for_which_there_is_no_room_can_be_removed() {
    run(async {
        let rig = alone().await;
        let (ino, _) = make(&rig, "a").unwrap();
        rig.fake.lock().refuse = Some(Code::NoSpace);
        assert_eq!(rig.content.remove_untold(ino).await, Ok(true));
        rig.fake.lock().refuse = None;
        assert!(rig.client.deferrals.is_empty() && rig.client.metadata.attr(ino).is_none());
        assert_eq!(rig.content.remove_untold(ino).await, Ok(false), "the server removes it");
        assert!(rig.fake.lock().names.is_empty());
    });
}

/// A server that was started anew learns from the grant that the number was drawn.
#[test]
fn deferred_file_restates_its_grant_and_other_numbers_are_void() {
    run(async {
        let rig = alone().await;
        let (ino, _) = make(&rig, "a").unwrap();
        let request = rig.client.restarted();
        assert!(request.grants.iter().any(|grant| grant.ino == ino.0 && grant.write));
        assert!(rig.client.deferrals.draw(Default::default()).is_none());
        assert!(make(&rig, "b").is_none());
        ContentHooks::tell(&*rig.content, ino).await.unwrap().unwrap();
        assert_eq!(rig.fake.lock().names, [b"a"]);
    });
}

#[test]
fn changes_of_the_directory_are_not_mixed_with_files_that_are_made_in_it() {
    run(async {
        let rig = alone().await;
        let running = [Key::Attr(DIR)];
        rig.client.metadata.begin_change(&running);
        assert!(make(&rig, "a").is_none());
        rig.client.metadata.end_change(&running);
        assert!(make(&rig, "a").is_some());
    });
}
