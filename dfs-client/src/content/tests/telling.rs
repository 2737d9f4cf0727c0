//! Nobody who is owed the newest content goes on while the kernel is being told.

use super::rig::{Rig, flags, root, run};
use crate::client::ContentHooks;
use crate::kernel::{KernelCache, StaleEntry};
use dfs_core::Ino;
use dfs_core::range::Range;
use std::future::Future;
use std::sync::{Arc, Mutex};

/// A kernel that takes its time: nothing is done before `go_on`.
#[derive(Default)]
struct SlowKernel(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl SlowKernel {
    fn go_on(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap());
        waiting.into_iter().for_each(|done| done());
    }

    fn is_busy(&self) -> bool {
        !self.0.lock().unwrap().is_empty()
    }
}

impl KernelCache for SlowKernel {
    fn forget_attr(&self, _: Ino) {}
    fn forget_entries(
        &self,
        entries: Vec<StaleEntry>,
        _: Vec<Ino>,
        done: Box<dyn FnOnce() + Send>,
    ) {
        // Only what concerns content is slow here; acknowledgements go on.
        match entries.is_empty() {
            true => self.0.lock().unwrap().push(done),
            false => done(),
        }
    }
    fn forget_pages(&self, _: Ino, _: Range, done: Box<dyn FnOnce() + Send>) {
        self.0.lock().unwrap().push(done);
    }
    fn bump_epoch(&self) {}
}

/// Runs `work` to its end, but lets the kernel go on only when it has to; says whether it had to.
async fn waited(rig: &Rig, kernel: &SlowKernel, work: impl Future) -> bool {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        _ = &mut work => return false,
        () = rig.until("the kernel is told", |_| kernel.is_busy()) => {}
    }
    // What is left of the work must be the wait.
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = &mut work => return false,
            () = tokio::task::yield_now() => {}
        }
    }
    kernel.go_on();
    work.await;
    true
}

async fn rig_with_reader(kernel: &Arc<SlowKernel>) -> Rig {
    let rig = Rig::under(Arc::<SlowKernel>::clone(kernel), |_| {}, |_, _| {}).await;
    rig.fake.lock().put(7, b"first");
    rig.promise(7);
    rig.open(7, "r").await;
    rig.publish(7, b"second, longer");
    rig
}

#[test]
fn regression_open_waits_until_the_kernel_has_heard_of_the_new_version() {
    run(async {
        let kernel = Arc::new(SlowKernel::default());
        let rig = rig_with_reader(&kernel).await;
        let who = root();
        let open = Box::pin(rig.content.open(&who, Ino(7), flags("r")));
        assert!(waited(&rig, &kernel, open).await);
    });
}

#[test]
fn regression_record_lock_waits_until_the_kernel_has_heard_of_the_new_version() {
    run(async {
        let kernel = Arc::new(SlowKernel::default());
        let rig = rig_with_reader(&kernel).await;
        let attr = rig.fake.lock().attr(7);
        assert!(waited(&rig, &kernel, ContentHooks::advance(&*rig.content, &attr)).await);
        let file = rig.content.find(Ino(7)).unwrap();
        // No read of the lock's owner moves the file any more.
        assert_eq!(file.view().working.version(), attr.content_ver);
    });
}
