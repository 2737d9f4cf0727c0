//! What a commit asks of the server's disk.

use super::rig::{Rig, flags, root, run};
use crate::content::remote::{Update, Wanted};
use crate::vfs::OpenFlags;
use dfs_core::Ino;

#[test]
fn commit_of_a_close_is_shown_and_that_of_an_fsync_is_flushed() {
    run(async {
        for relaxed in [false, true] {
            let rig = Rig::build(|_| {}, |_, fake| fake.lock().relaxed = relaxed).await;
            let later = || rig.fake.lock().commits.last().unwrap().later;
            let fh = rig.create(7).await;
            rig.content.write(fh, 0, b"closed", false).await.unwrap();
            rig.content.flush(fh).await.unwrap();
            assert!(later());
            assert_eq!(rig.client.late.is_flushed(), !relaxed, "strict servers flush it, too");
            rig.content.write(fh, 0, b"synced", false).await.unwrap();
            rig.content.fsync(fh).await.unwrap();
            assert!(!later());
            assert!(rig.client.late.is_flushed(), "with what was answered before");
            let sync = OpenFlags { sync: true, ..flags("w") };
            let fh = rig.content.open(&root(), Ino(7), sync).await.unwrap().fh;
            rig.content.write(fh, 0, b"O_SYNC", false).await.unwrap();
            assert!(!later());
            assert_eq!(rig.fake.lock().commits.len(), 3);
        }
    });
}

#[test]
fn version_is_left_for_an_older_one_only_if_it_was_undone() {
    run(async {
        let rig = Rig::build(|_| {}, |_, fake| fake.lock().put(7, b"older")).await;
        let fh = rig.open(7, "r").await;
        let file = rig.content.find(Ino(7)).unwrap();
        let wanted = Wanted { have_ver: 0, data_max: 100, from: 0, opened: true };
        let ask = async || rig.content.get_content(&root(), Ino(7), wanted).await;
        let news = ask().await.unwrap();
        rig.publish(7, b"newer");
        rig.content.adopt(&file, ask().await.unwrap()).await.unwrap();
        assert_eq!(rig.content.read(fh, 0, 10).await.unwrap(), b"newer");
        let newer = file.view().working.version();
        for (first_version, read) in [(0, "newer"), (newer, "newer"), (newer + 1, "older")] {
            let (attr, page, data) = (news.attr.clone(), news.page.clone(), news.data.clone());
            let update = Update { attr, page, data, first_version };
            rig.content.adopt(&file, update).await.unwrap();
            let here = rig.content.read(fh, 0, 10).await.unwrap();
            assert_eq!(here, read.as_bytes(), "the server gives versions from {first_version} on");
        }
    });
}
