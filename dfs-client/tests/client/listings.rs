//! What the kernel may keep of a listing (`dfs_core::dir_mode`).

use crate::fake::{Fake, Fate, ROOT, run, tree};
use dfs_client::config::Patience;
use dfs_client::vfs::Vfs;
use dfs_core::Ino;
use dfs_core::access::Credentials;
use dfs_core::dir_mode::DirOpen;
use dfs_proto::v1::DirNames;
use dfs_proto::v1::inval_item::What;

const DIR: Ino = Ino(ROOT);

fn root() -> Credentials {
    Credentials::root()
}

fn seven(fake: &Fake) {
    fake.with(|s| s.names = (0..7).map(|i| (format!("f{i}").into_bytes(), 10 + i)).collect());
}

async fn read(vfs: &Vfs, fh: u64) -> usize {
    let (mut after, mut count) = (0, 0);
    loop {
        let page = vfs.readdir(fh, after, 3, false).await.unwrap();
        let Some(last) = page.last() else { return count };
        (after, count) = (last.cookie, count + page.len());
    }
}

/// Opens, reads to the end and closes.
async fn pass(vfs: &Vfs) -> DirOpen {
    let (fh, open) = vfs.opendir(&root(), DIR).await.unwrap();
    read(vfs, fh).await;
    vfs.releasedir(fh);
    open
}

#[test]
fn listing_read_to_its_end_is_kept_until_a_name_changes_here_or_elsewhere() {
    run(async {
        let fake = Fake::new();
        seven(&fake);
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        let (fh, open) = vfs.opendir(&root(), DIR).await.unwrap();
        assert_eq!(open, DirOpen::Fill);
        assert_eq!(vfs.readdir(fh, 0, 3, false).await.unwrap().len(), 3);
        vfs.releasedir(fh);
        assert_eq!(pass(&vfs).await, DirOpen::Fill, "it was not read to its end");
        assert_eq!(pass(&vfs).await, DirOpen::Keep);
        vfs.mkdir(&root(), DIR, b"d", 0o755.into()).await.unwrap();
        assert_eq!(pass(&vfs).await, DirOpen::Fill);
        assert_eq!(pass(&vfs).await, DirOpen::Keep);
        assert!(kernel.listings.lock().unwrap().is_empty(), "it knows of its own changes");

        let new = vec![b"new".to_vec().into()];
        let number = fake.push(vec![What::DirNames(DirNames { ino: ROOT, names: new })]);
        fake.until("the push is acknowledged", |s| s.acks.iter().any(|a| a.number == number)).await;
        assert_eq!(*kernel.listings.lock().unwrap(), [DIR]);
        assert_eq!(pass(&vfs).await, DirOpen::Fill);
        assert_eq!(pass(&vfs).await, DirOpen::Keep);
    });
}

#[test]
fn listing_that_is_read_anew_shows_what_changed_and_is_not_kept() {
    run(async {
        let fake = Fake::new();
        seven(&fake);
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        pass(&vfs).await;
        let (fh, open) = vfs.opendir(&root(), DIR).await.unwrap();
        assert_eq!(open, DirOpen::Keep);
        // The kernel may have shown it without a word, and now asks because of the new name.
        vfs.mkdir(&root(), DIR, b"d", 0o755.into()).await.unwrap();
        assert_eq!(
            vfs.opendir(&root(), DIR).await.unwrap().1,
            DirOpen::Plain,
            "beside the old one"
        );
        assert_eq!(read(&vfs, fh).await, 10);
        vfs.releasedir(fh);
        assert_eq!(kernel.pages.lock().unwrap().last(), Some(&DIR));
        assert_eq!(pass(&vfs).await, DirOpen::Fill);
    });
}

#[test]
fn listing_of_two_versions_is_not_kept_by_the_kernel() {
    run(async {
        let fake = Fake::new();
        seven(&fake);
        let (vfs, kernel, _dir) = tree(&fake, Patience::Hard).await;
        fake.fate("read_dir", Fate::Move);
        for (open, told) in [(DirOpen::Fill, 1), (DirOpen::Fill, 1), (DirOpen::Keep, 1)] {
            assert_eq!(pass(&vfs).await, open);
            assert_eq!(kernel.pages.lock().unwrap().len(), told);
        }
    });
}
