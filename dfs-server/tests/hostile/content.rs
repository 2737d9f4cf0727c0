//! Commits, clones and objects that do not fit.

use super::{MAX, Scene};
use crate::harness::calls::{Call, code};
use crate::harness::run;
use bytes::Bytes;
use dfs_core::Code::{self, *};
use dfs_core::limits::INLINE_MAX;
use dfs_proto::v1::*;
use tokio_stream::StreamExt;

fn inline(off: u64, len: u64, bytes: usize) -> Extent {
    let source = Some(extent::Source::Inline(vec![7; bytes].into()));
    Extent { off, len, source, object_off: 0 }
}

fn object(name: ObjectName, len: u64, object_off: u64) -> Extent {
    Extent { off: 0, len, source: Some(extent::Source::Object(name)), object_off }
}

#[test]
fn hostile_commits_and_clones_are_refused() {
    run(async {
        let mut scene = Scene::new().await;
        let ino = scene.attr.ino;
        let name = ObjectName { ino, born: 1, n: 0 };
        let extents = |list: Vec<Extent>| scene.commit(|c| c.extents = list);
        let clone = |src_off, dst_off, len| CloneReq {
            src: ino,
            src_off,
            len,
            dst: ino,
            dst_off,
            grant: scene.grant.id,
            fence: scene.grant.fence,
            ..Default::default()
        };
        let set_size = Some(SetAttr { size: Some(3), ..SetAttr::default() });
        let many = || (0..80).map(|i| inline(i * 16_384, 16_384, 16_384)).collect();
        let mut cases: Vec<(Call, Option<Code>)> = vec![
            (scene.commit(|c| c.grant += 1), Some(Fenced)),
            (scene.commit(|c| c.fence = MAX), Some(Fenced)),
            (scene.commit(|c| c.ino = 1), Some(IsDirectory)),
            (scene.commit(|c| c.base_ver = MAX), Some(StaleVersion)),
            (scene.commit(|c| c.size = MAX), Some(FileTooBig)),
            (scene.commit(|c| c.min_size = 11), Some(Invalid)),
            (scene.commit(|c| c.set = set_size), Some(Invalid)),
            (extents(vec![inline(0, 0, 0)]), Some(Invalid)),
            (extents(vec![inline(0, 5, 4)]), Some(Invalid)),
            (extents(vec![inline(6, 5, 5)]), Some(Invalid)),
            (extents(vec![inline(0, 5, 5), inline(4, 2, 2)]), Some(Invalid)),
            (extents(vec![inline(5, 2, 2), inline(0, 2, 2)]), Some(Invalid)),
            (extents(vec![Extent { off: MAX, len: 1, ..Extent::default() }]), Some(Invalid)),
            (extents(vec![Extent { off: 1, len: MAX, ..Extent::default() }]), Some(Invalid)),
            (extents(vec![object(name, 5, 0)]), Some(Invalid)),
            (extents(vec![object(ObjectName { ino: MAX, ..name }, 5, MAX)]), Some(Invalid)),
            (extents(vec![object(name, 5, MAX)]), Some(Invalid)),
        ];
        let big = scene.commit(|c| {
            (c.size, c.extents) =
                (1 << 22, vec![inline(0, INLINE_MAX + 1, INLINE_MAX as usize + 1)])
        });
        let crossing = inline((1 << 22) - 1, 2, 2);
        let crossing = scene.commit(|c| (c.size, c.extents) = (1 << 23, vec![crossing]));
        let much = scene.commit(|c| (c.size, c.extents) = (1 << 23, many()));
        cases.extend([big, crossing, much].map(|call| (call, Some(Invalid))));
        cases.push((scene.commit(|c| c.extents = vec![inline(0, 10, 10)]), None));
        cases.push((clone(0, MAX, 5).into(), Some(FileTooBig)));
        cases.push((clone(0, i64::MAX as u64, 5).into(), Some(FileTooBig)));
        cases.push((clone(MAX, MAX, MAX).into(), Some(FileTooBig)));
        cases.push((clone(0, 5, MAX).into(), Some(Invalid)));
        cases.push((clone(100, 0, MAX).into(), None));
        let hint = |size_hint_bytes| NewUploadReq {
            ino,
            grant: scene.grant.id,
            fence: scene.grant.fence,
            size_hint_bytes,
            ..Default::default()
        };
        cases.push((hint(MAX).into(), Some(NoSpace)));
        scene.refused(cases).await;
    });
}

/// A file that is there is not made again, however often it is tried.
#[test]
fn hostile_makers_of_files_are_refused() {
    run(async {
        let mut scene = Scene::new().await;
        let again = || {
            let name = b"again".to_vec().into();
            Some(Box::new(NewFile { dir: 1, name, mode: 0o644, ..NewFile::default() }))
        };
        // Nobody left it, whatever the client says.
        let left_over = || again().map(|file| Box::new(NewFile { left_over: true, ..*file }));
        let cases = vec![
            (scene.commit(|c| c.create = again()), Some(Invalid)),
            (scene.commit(|c| c.create = again()), Some(Invalid)),
            (scene.commit(|c| (c.create, c.ino) = (again(), 77)), Some(Fenced)),
            (scene.commit(|c| (c.create, c.ino) = (left_over(), 77)), Some(Fenced)),
        ];
        scene.refused(cases).await;
    });
}

#[test]
fn hostile_objects_are_refused_and_none_is_named_beyond_its_end() {
    run(async {
        let mut scene = Scene::new().await;
        let ino = scene.attr.ino;
        let mut objects = scene.client.objects();
        let new = NewUploadReq {
            ino,
            grant: scene.grant.id,
            fence: scene.grant.fence,
            ..Default::default()
        };
        let ask = scene.client.ask(new);
        let born = scene.client.coherence.new_upload(ask).await.unwrap().into_inner().ver;
        let good = ObjectName { ino, born, n: 0 };
        let header =
            |name, len| Some(ObjectHeader { name, len, caller: Some(scene.client.caller(0)) });
        let data = || Bytes::from(vec![5; 100]);
        let crc = crc32c::crc32c(&data());
        let first = |header| CreateObjectReq { header, data: data(), crc };
        let rest = || CreateObjectReq { header: None, data: data(), crc };
        let other = Some(ObjectName { born: born + 1, ..good });
        let cases = [
            (vec![], Some(Invalid)),
            (vec![rest()], Some(Invalid)),
            (vec![first(header(None, 100))], Some(Invalid)),
            (vec![first(header(Some(good), 0))], Some(Invalid)),
            (vec![first(header(Some(good), (1 << 22) + 1))], Some(Invalid)),
            (vec![first(header(Some(good), MAX))], Some(Invalid)),
            (vec![first(header(other, 100))], Some(Fenced)),
            (
                vec![CreateObjectReq { crc: crc ^ 1, ..first(header(Some(good), 100)) }],
                Some(BadChecksum),
            ),
            (vec![first(header(Some(good), 101))], Some(Invalid)),
            (vec![first(header(Some(good), 150)), rest()], Some(Invalid)),
            (vec![first(header(Some(good), 200)), rest()], None),
        ];
        for (messages, expected) in cases {
            let shown = format!("{messages:?}");
            let answer = objects.create(tokio_stream::iter(messages)).await.unwrap().into_inner();
            assert_eq!(code(&answer), expected, "{}", &shown[..shown.len().min(200)]);
        }
        for (name, off, len, expected) in [
            (Some(good), 0, 200, None),
            (Some(good), 0, 0, Some(Invalid)),
            (Some(good), 0, MAX, Some(Invalid)),
            (Some(good), 1, 200, Some(Invalid)),
            (Some(good), MAX, 1, Some(Invalid)),
            (None, 0, 1, Some(Invalid)),
            (other, 0, 1, Some(NotFound)),
        ] {
            let read = ReadObjectReq { name, off, len, caller: Some(scene.client.caller(0)) };
            let mut pieces = objects.read(read).await.unwrap().into_inner();
            let mut found = None;
            while let Some(piece) = pieces.next().await {
                found = found.or(code(&piece.unwrap()));
            }
            assert_eq!(found, expected, "{name:?} {off} {len}");
        }
        let named =
            |len, off| scene.commit(|c| (c.size, c.extents) = (300, vec![object(good, len, off)]));
        let cases = vec![
            (named(201, 0), Some(Invalid)),
            (named(1, 200), Some(Invalid)),
            (named(100, 100), None),
        ];
        scene.refused(cases).await;
    });
}
