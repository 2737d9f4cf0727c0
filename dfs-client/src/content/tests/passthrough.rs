//! Readers that the kernel serves by itself.

use super::rig::{Rig, run};
use crate::vfs::Opened;
use dfs_core::limits::PASSTHROUGH_MIN;
use std::future::poll_fn;
use std::pin::{Pin, pin};
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
