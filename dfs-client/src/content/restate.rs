//! What to tell a name server that restarted (PROTOCOL 2.5).

use super::Content;
use super::inode::File;
use crate::client::Restated;
use dfs_core::extent::Source;
use dfs_core::inode_state::Held;
use dfs_core::range::Range;
use dfs_proto::{convert, v1};
use std::sync::Arc;

impl Content {
    /// Grants held, inodes open, versions pinned and uploads under way.
    pub(crate) fn restated(&self) -> Restated {
        let files: Vec<Arc<File>> = self.files().known.values().cloned().collect();
        let mut all = Restated::default();
        for file in files {
            let state = file.lock();
            let content_ver = state.view.working.version();
            let grants =
                [(state.machine.committable(), true), (state.readers.committable(), false)];
            for (held, write) in grants {
                let claim = |held| grant(&file, held, write, content_ver);
                all.grants.extend(held.map(claim));
            }
            if state.open > 0 {
                all.open.push(file.ino.0);
            }
            let uploads = state.uploading.iter();
            all.uploads.extend(uploads.map(|&ver| v1::ReclaimUpload { ino: file.ino.0, ver }));
        }
        for view in self.handles.snapshots() {
            let ver = view.working.version();
            let version = v1::Version { ino: view.working.ino().0, ver };
            let sources = view.manifest().sources(Range::new(0, view.working.size()));
            let objects = sources.iter().filter_map(|extent| match extent.source {
                Source::Object(name, _) => Some(convert::object_to(name)),
                _ => None,
            });
            let objects = objects.collect();
            all.pins.push(v1::ReclaimPin { version: Some(version), objects });
        }
        all
    }
}

fn grant(file: &File, held: Held, write: bool, content_ver: u64) -> v1::ReclaimGrant {
    v1::ReclaimGrant {
        ino: file.ino.0,
        grant: held.grant.0,
        fence: held.fence.0,
        write,
        range: Some(convert::range_to(Range::ALL)),
        content_ver,
    }
}
