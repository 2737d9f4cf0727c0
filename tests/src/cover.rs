//! Folders of the system that a test may write to: what it writes goes to memory, and nobody else
//! sees it. Only for tests that run apart ([`world::run_apart`](crate::world::run_apart)).

use crate::shell;
use crate::world::World;
use nix::mount::{MsFlags, mount};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder of the system, covered by an overlay for one test.
pub struct Cover {
    upper: PathBuf,
}

impl Cover {
    /// Covers `folder`: it shows what was there, and takes changes.
    pub fn over(world: &World, folder: &str) -> Cover {
        let folder = Path::new(folder).canonicalize().expect("a folder of the system");
        let layers = memory(world, &format!("cover{}", folder.display()).replace('/', "-"));
        let [upper, work] = ["upper", "work"].map(|name| layers.join(name));
        for layer in [&upper, &work] {
            std::fs::create_dir(layer).expect("cannot make a folder in memory");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            folder.display(),
            upper.display(),
            work.display()
        );
        let kind = Some("overlay");
        mount(kind, &folder, kind, MsFlags::empty(), Some(options.as_str()))
            .unwrap_or_else(|e| panic!("overlay on {}: {e}", folder.display()));
        world.left().mount(&folder);
        Cover { upper }
    }

    /// What was added, changed or removed below and is so still; folders do not count.
    pub fn changes(&self) -> String {
        shell::script(Duration::from_secs(20), &self.upper, "find . ! -type d")
    }
}

/// A folder in memory.
fn memory(world: &World, name: &str) -> PathBuf {
    let folder = world.folder(name);
    let (kind, none) = (Some("tmpfs"), MsFlags::empty());
    mount(kind, &folder, kind, none, Some("mode=755")).expect("cannot mount a tmpfs");
    world.left().mount(&folder);
    folder
}
