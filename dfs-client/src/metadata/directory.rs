//! Directories that were made here before the server knows (`docs/design/0041`): each is this client's
//! alone from the beginning, and what is made in it too.

use super::cache::{Cache, Dir};
use super::{Asked, Listing, Metadata, Stale};
use dfs_core::attr::Attr;
use dfs_core::name::Name;
use dfs_core::{BootTime, Ino};
use dfs_proto::v1;
use std::sync::Arc;

impl Metadata {
    /// The server has made the directory: takes its attributes and those of the one above from the reply.
    /// If it has not been given to this client alone, nothing is known of it any more: returns what the
    /// kernel must forget.
    pub fn told_directory(
        &self,
        asked: Asked,
        mark: &v1::Mark,
        dir: Attr,
        name: &Name,
        attr: Attr,
    ) -> Stale {
        let now = self.clock.now();
        self.cache().told_directory(asked, mark, dir, (name, attr), now)
    }

    /// The server will never make the directory. Returns what the kernel must forget of it.
    pub fn unmade_directory(&self, dir: Ino, name: &Name, ino: Ino) -> Stale {
        let (now, mut stale) = (self.clock.now(), Stale::default());
        let mut cache = self.cache();
        cache.let_go(ino, now, &mut stale);
        cache.unmade(dir, name, ino);
        stale
    }
}

impl Cache {
    /// A directory was made here: nobody else knows it, and it has no names.
    pub(super) fn found_empty(&mut self, dir: Ino) {
        let known = self.dirs.get_or_insert_mut(dir, Dir::default);
        known.listing = Some(Listing::new(0, Arc::default()));
        known.delegated = Some(self.untold.delegation());
    }

    /// See [`Metadata::told_directory`](super::Metadata::told_directory).
    fn told_directory(
        &mut self,
        asked: Asked,
        mark: &v1::Mark,
        dir: Attr,
        (name, attr): (&Name, Attr),
        now: BootTime,
    ) -> Stale {
        let (ino, mut stale) = (attr.ino, Stale::default());
        self.told(asked, mark, dir, name, (attr, 0));
        let ours = mark.promised_attr && mark.delegated_made && asked.era == self.era;
        if !ours {
            self.let_go(ino, now, &mut stale);
        }
        stale
    }

    /// Nothing is promised of a directory: nobody has it to itself, and nothing of it is known.
    fn let_go(&mut self, dir: Ino, now: BootTime, stale: &mut Stale) {
        self.nodes.pop(&dir).iter().for_each(|node| stale.attr(dir, node, now));
        self.pop_dir(dir, now, stale);
    }
}

#[cfg(test)]
mod tests {
    use super::super::deferral::tests::{delegated, make};
    use super::super::tests::{name, promised};
    use super::super::{Target, plain_attr};
    use super::*;
    use dfs_core::attr::Kind;
    use std::time::Duration;

    /// Makes a directory and a file in it.
    fn make_with_a_file(metadata: &Metadata, dir: Ino) -> Attr {
        let made = |_: &Attr| Some(plain_attr(Ino(200), Kind::Directory));
        let made = metadata.defer(dir, &name(9), made).unwrap();
        assert!(make(metadata, made.ino, 1).is_some(), "it is this client's at once");
        made
    }

    fn told_directory(metadata: &Metadata, dir: Ino, made: &Attr, mark: v1::Mark) -> Stale {
        let attr = plain_attr(dir, Kind::Directory);
        let attr = Attr { attr_ver: 2, dir_ver: 1, nlink: 2, size: 1, ..attr };
        metadata.told_directory(metadata.asked(), &mark, attr, &name(9), made.clone())
    }

    #[test]
    fn directory_made_here_stays_this_clients_with_what_was_made_in_it() {
        let (metadata, dir) = delegated();
        let links = metadata.attr(dir).unwrap().nlink;
        let made = make_with_a_file(&metadata, dir);
        assert_eq!(metadata.attr(dir).unwrap().nlink, links + 1);
        let mark = v1::Mark { delegated_made: true, ..promised(10) };
        assert!(told_directory(&metadata, dir, &made, mark).is_empty());
        assert!(metadata.is_delegated(made.ino) && metadata.is_delegated(dir));
        assert_eq!(metadata.listing(made.ino).unwrap().items.len(), 1);
        assert_eq!(metadata.attr(made.ino).unwrap().size, 1);
        assert_eq!(metadata.name(dir, &name(9)), Some(Target::Present(made.ino)));
    }

    #[test]
    fn directory_that_was_not_given_to_this_client_is_asked_for() {
        let (metadata, dir) = delegated();
        let made = make_with_a_file(&metadata, dir);
        let ttl = Duration::from_secs(60);
        assert!(metadata.lend_attr(made.ino, ttl).is_some());
        assert!(metadata.lend_name(made.ino, &name(5), Target::Absent, ttl));
        let stale = told_directory(&metadata, dir, &made, promised(10));
        assert_eq!((stale.attrs.len(), stale.entries.len()), (1, 1), "the kernel forgets it, too");
        assert!(!metadata.is_delegated(made.ino) && make(&metadata, made.ino, 2).is_none());
        assert_eq!((metadata.attr(made.ino), metadata.name(made.ino, &name(5))), (None, None));
        // What was made there is told later.
        let attr = Attr { attr_ver: 2, dir_ver: 1, size: 1, ..made };
        let file = plain_attr(Ino(101), Kind::File);
        metadata.told(metadata.asked(), &promised(11), attr, &name(1), file);
        assert_eq!(metadata.attr(Ino(101)).unwrap().ino, Ino(101));
    }

    #[test]
    fn directory_that_was_refused_is_not_known() {
        let (metadata, dir) = delegated();
        let made = make_with_a_file(&metadata, dir);
        metadata.unmade_directory(dir, &name(9), made.ino);
        assert_eq!((metadata.name(dir, &name(9)), metadata.attr(made.ino)), (None, None));
        assert!(!metadata.is_delegated(made.ino));
    }
}
