//! lseek(2) with SEEK_DATA and SEEK_HOLE: answered from extents and what is unsaved.

use super::Content;
use crate::vfs::Seek;
use dfs_core::extent::Source;
use dfs_core::range::{Range, RangeSet};
use dfs_core::{Code, FsError, Result};

impl Content {
    /// The next byte from `off` on that is in data, or in a hole.
    ///
    /// Errors: `NoDevice` (ENXIO) behind the end, or if no data follows.
    pub async fn lseek(&self, fh: u64, off: u64, seek: Seek) -> Result<u64> {
        let handle = self.handles.get(fh)?;
        handle.usable(false)?;
        let view = handle.view();
        let size = view.working.size();
        let rest = Range::new(off, size);
        if off >= size {
            return Err(FsError::new(Code::NoDevice, format!("{off} is behind the end")));
        }
        self.know_extents(&handle.file, &view, rest).await?;
        let _gate = handle.file.gate.read().await;
        let view = handle.view();
        let rest = Range::new(off, view.working.size());
        let mut data: RangeSet = RangeSet::new();
        let unsaved = view.working.unsaved();
        // What the base has to say ends at the smallest size since.
        let base_end = unsaved.as_ref().map_or(rest.end, |work| work.min_size);
        for extent in view.manifest().sources(rest.intersect(Range::new(0, base_end))) {
            if extent.source != Source::Hole {
                data.insert(extent.range);
            }
        }
        if let Some(work) = unsaved {
            work.ranges.iter().for_each(|r| data.insert(*r));
            // A snapshot would make that of a running commit void; zeros may pass for data then.
            if let Ok(_turn) = handle.file.commit_queue.try_lock() {
                let holes = view.working.dirty_snapshot()?.holes;
                holes.iter().for_each(|hole| data.remove(*hole));
            }
        }
        let found = match seek {
            Seek::Data => data.within(rest).next().map(|r| r.start),
            Seek::Hole => Some(data.gaps(rest).first().map_or(rest.end, |gap| gap.start)),
        };
        found.ok_or_else(|| FsError::new(Code::NoDevice, format!("no data behind {off}")))
    }
}
