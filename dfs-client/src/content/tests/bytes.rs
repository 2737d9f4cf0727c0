//! Any order of writes, truncations, holes, commits and evictions gives the bytes a plain array
//! would hold, here and at the server.

use super::rig::{Rig, root, run};
use crate::vfs::Fallocate;
use dfs_core::Ino;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u64, usize, u8),
    Truncate(u64),
    Zero(u64, u64, bool),
    Commit,
    Recall,
    Reread(u64, u32),
    Elsewhere(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..200_000u64;
    prop_oneof![
        (at.clone(), 1..60_000usize, 1..255u8).prop_map(|(at, len, b)| Step::Write(at, len, b)),
        at.clone().prop_map(Step::Truncate),
        (at.clone(), 1..50_000u64, any::<bool>())
            .prop_map(|(at, len, keep)| Step::Zero(at, len, keep)),
        Just(Step::Commit),
        Just(Step::Recall),
        (at, 1..70_000u32).prop_map(|(at, len)| Step::Reread(at, len)),
        (0..150_000usize, 1..255u8).prop_map(|(len, b)| Step::Elsewhere(len, b)),
    ]
}

async fn carry_out(rig: &Rig, fh: u64, model: &mut Vec<u8>, step: Step) {
    let content = &rig.content;
    match step {
        Step::Write(at, len, b) => {
            content.write(fh, at, &vec![b; len], false).await.unwrap();
            let end = at as usize + len;
            model.resize(model.len().max(end), 0);
            model[at as usize..end].fill(b);
        }
        Step::Truncate(size) => {
            content.set_size(&root(), Ino(7), Some(fh), size).await.unwrap();
            model.resize(size as usize, 0);
        }
        Step::Zero(at, len, keep_size) => {
            let how = Fallocate { keep_size, punch_hole: keep_size, zero_range: !keep_size };
            content.fallocate(fh, at, len, how).await.unwrap();
            let end = (at + len) as usize;
            if !keep_size {
                model.resize(model.len().max(end), 0);
            }
            let end = end.min(model.len());
            if (at as usize) < end {
                model[at as usize..end].fill(0);
            }
        }
        Step::Commit => {
            content.fsync(fh).await.unwrap();
            assert!(rig.fake.lock().bytes(7) == *model);
        }
        Step::Recall => give_back(rig).await,
        Step::Reread(at, len) => {
            let from = (at as usize).min(model.len());
            let to = (at as usize + len as usize).min(model.len());
            assert!(content.read(fh, at, len).await.unwrap() == model[from..to]);
        }
        Step::Elsewhere(len, b) => {
            give_back(rig).await;
            *model = vec![b; len];
            rig.publish(7, model);
            let attr = rig.fake.lock().attr(7);
            crate::client::ContentHooks::advance(&*rig.content, &attr).await;
        }
    }
}

async fn give_back(rig: &Rig) {
    let held = rig.fake.lock().files[&7].held;
    if let Some(fence) = held {
        let recall = dfs_proto::v1::Recall { grant: fence, fence, ino: 7, hold_ms: 0 };
        crate::client::ContentHooks::recall(&*rig.content, recall);
        rig.until("the lease is back", |rig| rig.fake.lock().files[&7].held.is_none()).await;
        let file = rig.content.find(Ino(7)).unwrap();
        file.wait_until(|state| !state.machine.in_transit()).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn content_equals_a_byte_array(steps in prop::collection::vec(step(), 1..25)) {
        run(async {
            // Stripes so small that some are uploaded before their commit.
            let rig = Rig::build(|_| {}, |_, fake| fake.lock().unit = 16 * 1024).await;
            rig.create(7).await;
            let fh = rig.open(7, "rw").await;
            let mut model = Vec::new();
            for step in steps {
                carry_out(&rig, fh, &mut model, step).await;
            }
            assert!(rig.content.read(fh, 0, 1 << 20).await.unwrap() == model);
            rig.content.flush(fh).await.unwrap();
            assert!(rig.fake.lock().bytes(7) == model);
        });
    }
}
