//! A plain POSIX tree that keeps nothing it can count: links, sizes and parents of directories are
//! found by looking at every entry.

use dfs_core::Code;
use dfs_core::access::Credentials;
use dfs_core::attr::Kind;
use std::collections::BTreeMap;

pub type Id = u64;
pub type Answer = Result<Option<Id>, Code>;

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub entries: BTreeMap<String, Id>,
}

pub struct Model {
    pub nodes: BTreeMap<Id, Node>,
    last: Id,
}

pub const ROOT: Id = 1;

impl Model {
    pub fn new() -> Model {
        let entries = BTreeMap::new();
        let node = Node { kind: Kind::Directory, mode: 0o777, uid: 0, gid: 0, size: 0, entries };
        Model { nodes: BTreeMap::from([(ROOT, node)]), last: ROOT }
    }

    /// The directories that have an entry for `id`, each as often as it has one.
    fn parents(&self, id: Id) -> Vec<Id> {
        let entries = self
            .nodes
            .iter()
            .flat_map(|(dir, node)| node.entries.values().map(move |child| (*dir, *child)));
        entries.filter(|(_, child)| *child == id).map(|(dir, _)| dir).collect()
    }

    pub fn nlink(&self, id: Id) -> u32 {
        let node = &self.nodes[&id];
        let names = self.parents(id).len() as u32;
        if node.kind != Kind::Directory {
            return names;
        }
        if id != ROOT && names == 0 {
            return 0;
        }
        let is_dir = |child: &&Id| self.nodes[child].kind == Kind::Directory;
        2 + node.entries.values().filter(is_dir).count() as u32
    }

    pub fn size(&self, id: Id) -> u64 {
        let node = &self.nodes[&id];
        if node.kind == Kind::Directory { node.entries.len() as u64 } else { node.size }
    }

    fn within(&self, mut dir: Id, ancestor: Id) -> bool {
        loop {
            if dir == ancestor {
                return true;
            }
            match self.parents(dir).first() {
                Some(parent) => dir = *parent,
                None => return false,
            }
        }
    }

    fn may(&self, who: &Credentials, id: Id, want: &str) -> bool {
        let node = &self.nodes[&id];
        let bits = if who.uid == node.uid {
            node.mode >> 6
        } else if who.gid == node.gid || who.groups.contains(&node.gid) {
            node.mode >> 3
        } else {
            node.mode
        };
        who.uid == 0 || want.chars().all(|c| bits & [4, 2, 1]["rwx".find(c).unwrap()] != 0)
    }

    fn search(&self, who: &Credentials, dir: Id) -> Result<(), Code> {
        if self.nodes[&dir].kind != Kind::Directory {
            return Err(Code::NotDirectory);
        }
        if self.may(who, dir, "x") { Ok(()) } else { Err(Code::AccessDenied) }
    }

    fn change(&self, who: &Credentials, dir: Id) -> Result<(), Code> {
        if self.nlink(dir) == 0 {
            return Err(Code::NotFound);
        }
        if self.may(who, dir, "wx") { Ok(()) } else { Err(Code::AccessDenied) }
    }

    fn find(&self, dir: Id, name: &str) -> Option<Id> {
        self.nodes[&dir].entries.get(name).copied()
    }

    fn remove_check(&self, who: &Credentials, dir: Id, id: Id) -> Result<(), Code> {
        self.change(who, dir)?;
        let sticky = self.nodes[&dir].mode & 0o1000 != 0;
        let owns = [dir, id].iter().any(|id| self.nodes[id].uid == who.uid);
        if sticky && who.uid != 0 && !owns { Err(Code::NotPermitted) } else { Ok(()) }
    }

    pub fn make(
        &mut self,
        who: &Credentials,
        dir: Id,
        name: &str,
        kind: Kind,
        mode: u32,
    ) -> Answer {
        self.search(who, dir)?;
        if self.find(dir, name).is_some() {
            return Err(Code::Exists);
        }
        self.change(who, dir)?;
        let parent = &self.nodes[&dir];
        let (mut mode, mut gid) = (mode, who.gid);
        if kind == Kind::Directory {
            mode &= 0o1777;
        }
        if kind == Kind::Symlink {
            mode = 0o777;
        }
        if parent.mode & 0o2000 != 0 {
            gid = parent.gid;
            if kind == Kind::Directory {
                mode |= 0o2000;
            } else if mode & 0o2010 == 0o2010 && who.uid != 0 && !who.in_group(gid) {
                mode &= !0o2000;
            }
        }
        self.last += 1;
        let size = if kind == Kind::Symlink { 6 } else { 0 };
        let node = Node { kind, mode, uid: who.uid, gid, size, entries: BTreeMap::new() };
        self.nodes.insert(self.last, node);
        self.put(dir, name, self.last);
        Ok(Some(self.last))
    }

    fn put(&mut self, dir: Id, name: &str, id: Id) {
        self.nodes.get_mut(&dir).unwrap().entries.insert(name.into(), id);
    }

    fn take(&mut self, dir: Id, name: &str) -> Option<Id> {
        self.nodes.get_mut(&dir).unwrap().entries.remove(name)
    }

    pub fn open_or_make(&mut self, who: &Credentials, dir: Id, name: &str, mode: u32) -> Answer {
        self.search(who, dir)?;
        match self.find(dir, name) {
            Some(id) => Ok(Some(id)),
            None => self.make(who, dir, name, Kind::File, mode),
        }
    }

    pub fn link(&mut self, who: &Credentials, id: Id, dir: Id, name: &str) -> Answer {
        self.search(who, dir)?;
        if self.find(dir, name).is_some() {
            return Err(Code::Exists);
        }
        self.change(who, dir)?;
        if self.nodes[&id].kind == Kind::Directory {
            return Err(Code::NotPermitted);
        }
        if self.nlink(id) == 0 {
            return Err(Code::NotFound);
        }
        self.put(dir, name, id);
        Ok(Some(id))
    }

    pub fn remove(&mut self, who: &Credentials, dir: Id, name: &str, directory: bool) -> Answer {
        self.search(who, dir)?;
        let id = self.find(dir, name).ok_or(Code::NotFound)?;
        self.remove_check(who, dir, id)?;
        self.kind_check(id, directory)?;
        if !self.nodes[&id].entries.is_empty() {
            return Err(Code::NotEmpty);
        }
        self.take(dir, name);
        Ok(Some(id))
    }

    fn kind_check(&self, id: Id, directory: bool) -> Result<(), Code> {
        match (directory, self.nodes[&id].kind == Kind::Directory) {
            (true, false) => Err(Code::NotDirectory),
            (false, true) => Err(Code::IsDirectory),
            _ => Ok(()),
        }
    }

    /// `swap`: exchange.
    pub fn rename(
        &mut self,
        who: &Credentials,
        from: (Id, &str),
        to: (Id, &str),
        noreplace: bool,
        swap: bool,
    ) -> Answer {
        if noreplace && swap {
            return Err(Code::Invalid);
        }
        self.search(who, from.0)?;
        self.search(who, to.0)?;
        let moved = self.find(from.0, from.1).ok_or(Code::NotFound)?;
        let target = self.find(to.0, to.1);
        if noreplace && target.is_some() {
            return Err(Code::Exists);
        }
        if swap && target.is_none() || self.nlink(to.0) == 0 {
            return Err(Code::NotFound);
        }
        if self.within(to.0, moved) {
            return Err(Code::Invalid);
        }
        if target.is_some_and(|target| self.within(from.0, target)) {
            return Err(if swap { Code::Invalid } else { Code::NotEmpty });
        }
        if target == Some(moved) {
            return Ok(Some(moved));
        }
        self.remove_check(who, from.0, moved)?;
        let is_dir = |id: Id| self.nodes[&id].kind == Kind::Directory;
        match target {
            None => self.change(who, to.0)?,
            Some(target) => {
                self.remove_check(who, to.0, target)?;
                if !swap {
                    self.kind_check(target, is_dir(moved))?;
                }
            }
        }
        for id in [Some(moved), target.filter(|_| swap)].into_iter().flatten() {
            if from.0 != to.0 && is_dir(id) && !self.may(who, id, "w") {
                return Err(Code::AccessDenied);
            }
        }
        if !swap && target.is_some_and(|target| !self.nodes[&target].entries.is_empty()) {
            return Err(Code::NotEmpty);
        }
        self.take(from.0, from.1);
        if let (Some(target), true) = (target, swap) {
            self.put(from.0, from.1, target);
        }
        self.put(to.0, to.1, moved);
        Ok(Some(moved))
    }

    pub fn chmod(&mut self, who: &Credentials, id: Id, mode: u32) -> Answer {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.kind == Kind::Symlink {
            return Err(Code::NotSupported);
        }
        if who.uid != 0 && who.uid != node.uid {
            return Err(Code::NotPermitted);
        }
        let outsider = who.uid != 0 && !who.in_group(node.gid);
        node.mode = if outsider { mode & !0o2000 } else { mode };
        Ok(Some(id))
    }

    pub fn chown(
        &mut self,
        who: &Credentials,
        id: Id,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Answer {
        let node = self.nodes.get_mut(&id).unwrap();
        if who.uid != 0 {
            let owner = who.uid == node.uid;
            let uid_ok = uid.is_none_or(|uid| owner && uid == node.uid);
            let gid_ok = gid.is_none_or(|gid| owner && (gid == node.gid || who.in_group(gid)));
            if !uid_ok || !gid_ok {
                return Err(Code::NotPermitted);
            }
        }
        if node.kind != Kind::Directory && (uid.is_some() || gid.is_some()) {
            node.mode &= !0o4000;
            if node.mode & 0o010 != 0 || who.uid != 0 && !who.in_group(node.gid) {
                node.mode &= !0o2000;
            }
        }
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        Ok(Some(id))
    }

    pub fn truncate(&mut self, who: &Credentials, id: Id, size: u64) -> Answer {
        match self.nodes[&id].kind {
            Kind::File => {}
            Kind::Directory => return Err(Code::IsDirectory),
            _ => return Err(Code::Invalid),
        }
        if !self.may(who, id, "w") {
            return Err(Code::AccessDenied);
        }
        self.nodes.get_mut(&id).unwrap().size = size;
        Ok(Some(id))
    }
}
