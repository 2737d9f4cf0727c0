//! Corners of system calls, each asked of the local disk and of a mount: the answers must be the same,
//! but for a list that docs/SEMANTICS.md explains.

mod content;
mod handles;
mod lasting;
mod many;
mod names;
mod shared;

use dfs_tests::mount::Mount;
use dfs_tests::server::Server;
use dfs_tests::world::{self, World};
use std::fmt::{Debug, Display};
use std::path::Path;
use std::time::Duration;

/// What a group of calls answered: the call, and its result.
#[derive(Default)]
pub struct Answers(Vec<(String, String)>);

impl Answers {
    /// Notes a value.
    pub fn note(&mut self, call: impl Display, value: impl Debug) {
        self.0.push((call.to_string(), format!("{value:?}")));
    }

    /// Notes a result: the value, or the errno.
    pub fn call<T: Debug, E: Into<std::io::Error>>(
        &mut self,
        call: impl Display,
        got: Result<T, E>,
    ) {
        let text = got.map_or_else(|e| errno(e.into()), |value| format!("{value:?}"));
        self.0.push((call.to_string(), text));
    }

    /// Notes whether a call worked, or the errno.
    pub fn done<T, E: Into<std::io::Error>>(&mut self, call: impl Display, got: Result<T, E>) {
        self.call(call, got.map(drop));
    }
}

fn errno(error: std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", nix::errno::Errno::from_raw(number)),
        None => error.to_string(),
    }
}

type Group = fn(&Path, &mut Answers);

/// A difference that stays: the call, the mount's answer.
type Differs = (&'static str, &'static str);

/// Asks both sides and compares.
fn compare(groups: &'static [(&'static str, Group)], known: &'static [Differs]) {
    world::run(Duration::from_secs(300), move |w| {
        let (_server, a) = one_mount(w);
        let local = w.folder("local");
        let mut answers = 0;
        let (mut wrong, mut differ) = (Vec::new(), 0);
        for (name, group) in groups {
            let [here, there] = [&local, &a.path().to_path_buf()].map(|side| {
                let folder = side.join(name);
                std::fs::create_dir(&folder).unwrap();
                let mut answers = Answers::default();
                group(&folder, &mut answers);
                answers.0
            });
            assert_eq!(here.len(), there.len(), "{name}: one side gave up");
            answers += here.len();
            for ((call, disk), (_, mount)) in here.into_iter().zip(there) {
                let excused = known.iter().find(|(known, _)| *known == call);
                differ += usize::from(excused.is_some());
                let right = excused.map_or(disk.as_str(), |(_, answer)| *answer);
                if mount != right {
                    wrong.push(format!("{name}: {call}: disk {disk}, mount {mount}"));
                } else if excused.is_some() && disk == mount {
                    wrong.push(format!("{name}: {call}: the mount now answers as the disk"));
                }
            }
        }
        assert_eq!(differ, known.len(), "differences that nobody asked about");
        assert!(wrong.is_empty(), "{} of {answers} answers:\n{}", wrong.len(), wrong.join("\n"));
        w.say(format!(
            "{answers} answers, {} of them knowingly others than the disk's",
            known.len()
        ));
    });
}

fn one_mount(w: &World) -> (Server, Mount) {
    let server = w.server();
    let mount = w.mount(&server, "a");
    (server, mount)
}

#[test]
fn edges_of_names_are_those_of_a_local_disk() {
    compare(names::GROUPS, names::KNOWN);
}

#[test]
fn edges_of_content_are_those_of_a_local_disk() {
    compare(content::GROUPS, content::KNOWN);
}

#[test]
fn edges_of_handles_are_those_of_a_local_disk() {
    compare(handles::GROUPS, handles::KNOWN);
}
