//! How handles are opened: readers that the kernel serves by itself, those that close without a word,
//! and writers past its pages.

use super::rig::{Kernel, Rig, flags, root, run};
use crate::vfs::Opened;
use dfs_core::limits::PASSTHROUGH_MIN;
use dfs_core::range::Range;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

/// A file wholly here, whose writer is open.
async fn written(rig: &Rig) -> u64 {
    let fh = rig.create(7).await;
    rig.content.write(fh, 0, &vec![5; PASSTHROUGH_MIN as usize], false).await.unwrap();
    rig.content.flush(fh).await.unwrap();
    fh
}

async fn waits<F: Future<Output = Opened>>(opening: &mut Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx).is_pending())).await
}

#[test]
fn passthrough_open_after_a_close_waits_for_the_end_of_the_handle() {
    run(async {
        let rig = Rig::new().await;
        let writer = written(&rig).await;
        let mut opening = pin!(rig.opened(7, "r"));
        assert!(waits(&mut opening).await);
        rig.content.release(writer).unwrap();
        assert!(opening.await.backing.is_some());
    });
}

#[test]
fn passthrough_open_does_not_wait_long_nor_again_for_a_handle_with_another_descriptor() {
    run(async {
        let rig = Rig::new().await;
        let writer = written(&rig).await;
        let first = rig.opened(7, "r").await;
        assert!(first.backing.is_none() && !first.direct_io);
        rig.content.release(first.fh).unwrap();
        assert!(!waits(&mut pin!(rig.opened(7, "r"))).await);
        rig.content.release(writer).unwrap();
    });
}

#[test]
fn handles_that_only_read_a_small_file_need_no_flush() {
    run(async {
        let rig = Rig::new().await;
        rig.fake.lock().put(8, b"small");
        let made = rig.fake.lock().attr(8);
        rig.promise(8);
        let made = rig.content.open_created(&root(), &made, None, flags("r")).await.unwrap();
        assert!(made.flush, "the server may have to be told of a new file");
        rig.content.release(made.fh).unwrap();
        assert!(!rig.opened(8, "r").await.flush);
        assert!(rig.opened(8, "w").await.flush && rig.opened(8, "rw").await.flush);
        written(&rig).await;
        assert!(rig.opened(7, "r").await.flush);
    });
}

#[test]
fn handles_that_only_write_from_the_beginning_are_direct() {
    run(async {
        let rig = Rig::new().await;
        rig.fake.lock().put(8, b"small");
        rig.promise(8);
        for (how, direct) in [("wt", true), ("rwt", false), ("w", false), ("rt", false)] {
            let opened = rig.opened(8, how).await;
            assert_eq!(opened.direct_io, direct, "{how}");
            rig.content.release(opened.fh).unwrap();
        }
        for (how, direct) in [("w", true), ("rw", false)] {
            let made = rig.fake.lock().attr(8);
            let opened = rig.content.open_created(&root(), &made, None, flags(how)).await.unwrap();
            assert_eq!(opened.direct_io, direct, "new, {how}");
            rig.content.release(opened.fh).unwrap();
        }
    });
}

#[test]
fn writes_past_the_pages_have_the_kernel_forget_those_it_was_given_since() {
    run(async {
        let kernel = Arc::new(Kernel::default());
        let rig = Rig::under(Arc::clone(&kernel) as _, |_| {}, |_, _| {}).await;
        let writer = rig.create(7).await;
        let write_now = |at| rig.content.write_now(writer, at, b"new", false);
        rig.content.write(writer, 0, b"new", false).await.unwrap();
        let reader = rig.open(7, "r").await;
        assert_eq!(write_now(3), Some(Ok(3)), "nothing was read");
        assert_eq!(rig.content.read(reader, 0, 9).await.unwrap(), b"newnew");
        // Closed again, it leaves its pages behind.
        rig.content.release(reader).unwrap();
        assert_eq!(write_now(6), None);
        assert_eq!(kernel.forgotten(), []);
        rig.content.write(writer, 6, b"new", false).await.unwrap();
        let forgotten = kernel.forgotten();
        assert!(
            matches!(forgotten[..], [range] if range.start <= 6 && range.end > 9),
            "{forgotten:?}"
        );
        assert_eq!(write_now(9), Some(Ok(3)));
        assert_eq!(kernel.forgotten(), []);
    });
}

#[test]
fn passthrough_that_cannot_come_leaves_the_kernel_its_pages() {
    run(async {
        let kernel = Arc::new(Kernel::default());
        let len = 24 << 20;
        let small = |config: &mut crate::config::Config| config.cache_bytes = 2 * len as u64 - 1;
        let file = |fake: &super::fake::Fake| fake.lock().put(7, &vec![3; len]);
        let rig = Rig::under(Arc::clone(&kernel) as _, small, |_, fake| file(fake)).await;
        rig.promise(7);
        let reader = rig.open(7, "r").await;
        for at in (0..len).step_by(1 << 20) {
            rig.content.read(reader, at as u64, 1 << 20).await.unwrap();
        }
        assert_eq!(kernel.forgotten(), []);
    });
}

#[test]
fn passthrough_to_come_the_kernel_forgets_once_what_a_lone_reader_is_done_with() {
    const LENGTH: u64 = 24 << 20;
    const STEP: u32 = 1 << 20;
    run(async {
        let kernel = Arc::new(Kernel::default());
        let file = |fake: &super::fake::Fake| fake.lock().put(7, &vec![3; LENGTH as usize]);
        let rig = Rig::under(Arc::clone(&kernel) as _, |_| {}, |_, fake| file(fake)).await;
        rig.promise(7);
        let read = async |fh| {
            for at in (0..LENGTH).step_by(STEP as usize) {
                assert_eq!(rig.content.read(fh, at, STEP).await.unwrap().len(), STEP as usize);
            }
            kernel.forgotten()
        };
        let reader = rig.open(7, "r").await;
        let steps = [0, 4, 8, 12].map(|at| Range::of_len(at << 20, 4 << 20));
        assert_eq!(read(reader).await, steps);
        assert_eq!(read(reader).await, [], "from the start again");
        let (second, third) = (rig.open(7, "r").await, rig.open(7, "r").await);
        assert_eq!(read(second).await, [], "beside others");
        for fh in [reader, second, third] {
            rig.content.release(fh).unwrap();
        }
        let passed = rig.opened(7, "r").await;
        assert!(passed.backing.is_some());
    });
}
