//! Access control lists against a model written from acl(5), and against what ext4 was seen to do.

use super::*;
use crate::access::permits;
use crate::attr::tests::attr;
use crate::attr::{Attr, Kind};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A list as acl(5) describes it: what each object of the access check has.
#[derive(Debug, Default)]
struct Manual {
    user_obj: u32,
    users: BTreeMap<u32, u32>,
    group_obj: u32,
    groups: BTreeMap<u32, u32>,
    mask: Option<u32>,
    other: u32,
}

impl Manual {
    fn entries(&self) -> Vec<Entry> {
        let entry = |tag, perm| Entry { tag, perm };
        let mut all = vec![entry(Tag::UserObj, self.user_obj)];
        all.extend(self.users.iter().map(|(uid, perm)| entry(Tag::User(*uid), *perm)));
        all.push(entry(Tag::GroupObj, self.group_obj));
        all.extend(self.groups.iter().map(|(gid, perm)| entry(Tag::Group(*gid), *perm)));
        all.extend(self.mask.map(|perm| entry(Tag::Mask, perm)));
        all.push(entry(Tag::Other, self.other));
        all
    }

    /// The mode that belongs to it (CORRESPONDENCE BETWEEN ACL ENTRIES AND FILE PERMISSION BITS).
    fn mode(&self) -> u32 {
        self.user_obj << 6 | self.mask.unwrap_or(self.group_obj) << 3 | self.other
    }

    /// ACCESS CHECK ALGORITHM, point by point.
    fn grants(&self, who: &Credentials, owner: u32, group: u32, want: u32) -> bool {
        let has = |perm: u32| perm & want == want;
        if who.uid == owner {
            return has(self.user_obj);
        }
        let mask = self.mask.unwrap_or(7);
        if let Some(perm) = self.users.get(&who.uid) {
            return has(*perm) && has(mask);
        }
        let mut all = who.groups.clone();
        all.push(who.gid);
        let mut perms = Vec::new();
        for gid in all {
            if gid == group {
                perms.push(self.group_obj);
            }
            perms.extend(self.groups.get(&gid));
        }
        if !perms.is_empty() {
            return match self.mask {
                Some(mask) => perms.into_iter().any(|perm| has(perm) && has(mask)),
                None => perms.into_iter().any(has),
            };
        }
        has(self.other)
    }
}

fn manual() -> impl Strategy<Value = Manual> {
    let named = || prop::collection::btree_map(10..14u32, 0..8u32, 0..3);
    (0..8u32, named(), 0..8u32, named(), prop::option::of(0..8u32), 0..8u32).prop_map(
        |(user_obj, users, group_obj, groups, mask, other)| {
            let needed = !users.is_empty() || !groups.is_empty();
            let mask = if needed { mask.or(Some(5)) } else { mask };
            Manual { user_obj, users, group_obj, groups, mask, other }
        },
    )
}

fn somebody() -> impl Strategy<Value = Credentials> {
    (9..15u32, 9..15u32, prop::collection::vec(9..15u32, 0..4))
        .prop_map(|(uid, gid, groups)| Credentials::new(uid, gid, groups))
}

fn inode(mode: u32) -> Attr {
    Attr { mode, uid: 10, gid: 11, ..attr(Kind::File) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn acl_check_equals_the_manual(model in manual(), who in somebody(), want in 0..8u32) {
        let acl = Acl::new(model.entries()).unwrap();
        let file = inode(acl.mode());
        prop_assert_eq!(file.mode, model.mode());
        let expected = match model.mode() & 0o070 {
            // Linux does not look at the list then.
            0 => permits(&who, &file, None, want),
            _ => model.grants(&who, file.uid, file.gid, want),
        };
        prop_assert_eq!(permits(&who, &file, Some(&acl), want), expected);
    }

    #[test]
    fn acl_bytes_survive_both_ways(model in manual()) {
        let acl = Acl::new(model.entries()).unwrap();
        prop_assert_eq!(Acl::decode(&acl.encode()).unwrap(), acl);
    }

    #[test]
    fn acl_bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(0..40u8, 0..60)) {
        let mut framed = 2u32.to_le_bytes().to_vec();
        framed.extend(bytes);
        if let Ok(acl) = Acl::decode(&framed) {
            prop_assert_eq!(acl.encode(), framed);
        }
    }

    #[test]
    fn acl_after_chmod_has_its_mode_and_nothing_else_moves(model in manual(), mode in 0..0o1000u32) {
        let mut acl = Acl::new(model.entries()).unwrap();
        acl.set_mode(mode);
        prop_assert_eq!(acl.mode(), mode);
        let expected = Manual {
            user_obj: mode >> 6,
            group_obj: if model.mask.is_some() { model.group_obj } else { mode >> 3 & 7 },
            mask: model.mask.map(|_| mode >> 3 & 7),
            other: mode & 7,
            ..model
        };
        prop_assert_eq!(acl.entries(), expected.entries());
    }

    #[test]
    fn acl_of_a_new_file_grants_no_more_than_mode_and_default(model in manual(), mode in 0..0o1000u32) {
        let default = Acl::new(model.entries()).unwrap();
        let acl = default.inherited(mode);
        prop_assert_eq!(acl.mode(), default.mode() & mode);
        let named = |acl: &Acl| -> Vec<Entry> {
            let named = |e: &&Entry| matches!(e.tag, Tag::User(_) | Tag::Group(_));
            acl.entries().iter().filter(named).copied().collect()
        };
        prop_assert_eq!(named(&acl), named(&default));
    }
}

#[test]
fn acl_of_three_entries_is_a_mode() {
    let model = Manual { user_obj: 6, group_obj: 4, other: 4, ..Manual::default() };
    assert!(Acl::new(model.entries()).unwrap().is_mode());
    let masked = Manual { mask: Some(7), ..model };
    assert!(!Acl::new(masked.entries()).unwrap().is_mode());
}

#[test]
fn acl_that_is_none_is_refused() {
    let good = Manual { users: BTreeMap::from([(5, 6)]), mask: Some(7), ..Manual::default() };
    let bytes = Acl::new(good.entries()).unwrap().encode();
    let code = |bytes: &[u8]| Acl::decode(bytes).unwrap_err().code;
    for cut in 0..bytes.len() {
        assert_eq!(code(&bytes[..cut]), Code::Invalid, "{cut} bytes");
    }
    for missing in 0..good.entries().len() {
        let mut entries = good.entries();
        entries.remove(missing);
        // Without the user the mask stays, which is allowed.
        assert_eq!(Acl::new(entries).is_err(), missing != 1, "entry {missing}");
    }
    let mut swapped = good.entries();
    swapped.swap(0, 1);
    assert!(Acl::new(swapped).is_err());
    let mut twice = good.entries();
    twice.insert(0, twice[0]);
    assert!(Acl::new(twice).is_err());
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        code(&bytes)
    };
    assert_eq!(with(0, 1), Code::NotSupported, "version");
    assert_eq!(with(4, 3), Code::Invalid, "tag");
    assert_eq!(with(6, 8), Code::Invalid, "permissions");
    let mut nobody = bytes.clone();
    nobody[16..20].fill(0xff);
    assert_eq!(code(&nobody), Code::Invalid, "user without number");
    let long = [&bytes[..], &[0; 512 * 8]].concat();
    assert_eq!(code(&long), Code::ArgumentsTooLong);
}
