//! What happens to the caches when the server says that something changes (PROTOCOL 5.3).
//!
//! Order: first nothing here knows the old state any more, then the content layer, then the kernel,
//! and when the kernel has forgotten, the acknowledgement. Runs on the control thread and never
//! waits: the kernel's own waiting is done by threads of [`KernelCache`](crate::kernel::KernelCache).

use crate::client::Client;
use crate::deferred::Deferred;
use crate::kernel::StaleEntry;
use crate::metadata::{GivenUp, Key, Stale};
use crate::session::Events;
use dfs_core::{BootTime, Ino};
use dfs_proto::v1;
use dfs_proto::v1::inval_item::What;
use std::sync::Arc;

impl Events for Client {
    fn inval(&self, number: u64, push: v1::Inval) {
        let mut stale = self.metadata.push(&push);
        let mut ack = v1::Ack { number, ..v1::Ack::default() };
        let mut deleted = Vec::new();
        let (mut untold, mut given_back) = (Vec::new(), Vec::new());
        for what in push.items.into_iter().filter_map(|item| item.what) {
            if let What::Undelegate(dir) = what {
                untold.extend(self.deferrals.within(Ino(dir)));
                given_back.push(Ino(dir));
            }
            self.tell_content(what, &mut ack, &mut deleted);
        }
        if let [ino] = deleted[..]
            && let [entry] = &mut stale.entries[..]
        {
            // One name and one inode that loses its last name: they belong together, so that those
            // who watch the file see it go.
            entry.deleted = Some(ino);
        }
        self.forget_in_kernel(stale, self.ack_when_told(untold, given_back, ack));
    }

    fn drop_all(&self, number: u64, seq: Option<u64>) {
        let stale = match seq {
            Some(seq) => self.metadata.push_all(seq),
            None => self.metadata.drop_all(self.clock.now()),
        };
        self.kernel.bump_epoch();
        // No promise covers the open inodes any more: the ack names them all (PROTOCOL 3.6).
        let open = self.hooks().map(|hooks| hooks.restate().open).unwrap_or_default();
        let ack = v1::Ack { number, open, ..v1::Ack::default() };
        self.forget_in_kernel(
            stale,
            self.ack_when_told(self.deferrals.all(), self.removals.under_way(), ack),
        );
        // Nobody would tell them of newer versions.
        if let Some(hooks) = self.hooks() {
            hooks.resumed();
        }
    }

    fn trim(&self, number: u64, push: v1::Trim) {
        let given_up = self.metadata.give_up(push.count as usize);
        let ack = v1::Ack { number, ..v1::Ack::default() };
        self.give_up(given_up, Some(ack));
    }

    fn recall(&self, recall: v1::Recall) {
        if let Some(hooks) = self.hooks() {
            hooks.recall(recall);
        }
    }

    fn revoked(&self, revoked: v1::Revoked) {
        if let Some(hooks) = self.hooks() {
            hooks.revoked(revoked);
        }
    }

    fn lost(&self, lost: v1::Lost) {
        if let Some(v1::lost::What::Locks(_)) = lost.what {
            self.locks.forget(Ino(lost.ino));
        }
        if let Some(hooks) = self.hooks() {
            hooks.lost(lost);
        }
    }

    fn lapsed(&self, since: BootTime) {
        let stale = self.metadata.drop_all(since);
        self.kernel.bump_epoch();
        self.forget_in_kernel(stale, None);
        if let Some(hooks) = self.hooks() {
            hooks.lapsed();
        }
    }

    fn stopped(&self, since: BootTime) {
        self.kernel.bump_epoch();
        self.forget_in_kernel(self.metadata.believed(since), None);
    }

    fn resumed(&self) {
        if let Some(hooks) = self.hooks() {
            hooks.resumed();
        }
    }

    fn restarted(&self) -> v1::ReclaimReq {
        self.deferrals.void_numbers();
        let stale = self.metadata.drop_all(self.clock.now());
        self.kernel.bump_epoch();
        self.forget_in_kernel(stale, None);
        let restated = self.hooks().map(|hooks| hooks.restate()).unwrap_or_default();
        v1::ReclaimReq {
            caller: None,
            grants: restated.grants,
            locks: self.locks.restate(),
            open: restated.open,
            pins: restated.pins,
            uploads: restated.uploads,
        }
    }

    fn replaced(&self) {
        self.deferrals.void_numbers();
        self.metadata.heard_all();
        let lost = self.locks.forget_all();
        let Some(hooks) = self.hooks() else { return };
        for ino in lost {
            hooks.lost(v1::Lost { ino: ino.0, what: Some(v1::lost::What::Locks(true)) });
        }
        hooks.session_replaced();
    }

    fn heard(&self, attrs: &[Ino], dirs: &[Ino]) {
        self.metadata.heard(attrs, dirs);
    }

    fn beat(&self) {
        let given_up = self.metadata.give_up(0);
        if !given_up.is_empty() {
            self.give_up(given_up, None);
        }
    }
}

impl Client {
    /// Tells the content layer of one change and notes its answer in the acknowledgement.
    fn tell_content(&self, what: What, ack: &mut v1::Ack, deleted: &mut Vec<Ino>) {
        let Some(hooks) = self.hooks() else { return };
        let ino = match what {
            What::Attr(ino) => {
                hooks.attr_changed(Ino(ino));
                ino
            }
            What::Nlink0(ino) => {
                deleted.push(Ino(ino));
                hooks.attr_changed(Ino(ino));
                ino
            }
            What::Data(data) => {
                let kept = hooks.data_changed(Ino(data.ino), data.old_ver, data.unchanged_below);
                ack.keep.extend(kept.map(|ver| v1::Version { ino: data.ino, ver }));
                data.ino
            }
            What::DirNames(_) | What::DirAll(_) | What::Undelegate(_) => return,
        };
        if hooks.is_open(Ino(ino)) && !ack.open.contains(&ino) {
            ack.open.push(ino);
        }
    }

    /// The acknowledgement, unless the server must first hear of these files, or of removals in these
    /// directories; then it follows that.
    fn ack_when_told(
        &self,
        files: Vec<Arc<Deferred>>,
        dirs: Vec<Ino>,
        ack: v1::Ack,
    ) -> Option<v1::Ack> {
        if files.is_empty() && !self.removals.touch(&dirs) {
            self.deferrals.forget_told();
            return Some(ack);
        }
        self.rpc.hurry();
        let (session, metrics) = (Arc::clone(&self.session), Arc::clone(&self.metrics));
        let (told, removals) = (self.tell(files), Arc::clone(&self.removals));
        let deferrals = Arc::clone(&self.deferrals);
        self.runtime.spawn(async move {
            told.await;
            removals.over(&dirs).await;
            deferrals.forget_told();
            metrics.acks.inc();
            session.outbox.ack(ack);
        });
        None
    }

    /// Makes the kernel forget, then acknowledges. Calls that concern nothing the kernel can have
    /// are left out (rule 3). Attributes are gone too when `forget_entries` says that it is done.
    pub(crate) fn forget_in_kernel(&self, stale: Stale, ack: Option<v1::Ack>) {
        let nothing = stale.is_empty();
        for ino in stale.attrs {
            self.kernel.forget_attr(ino);
        }
        let (session, metrics) = (Arc::clone(&self.session), Arc::clone(&self.metrics));
        let done = move || {
            if let Some(ack) = ack {
                metrics.acks.inc();
                session.outbox.ack(ack);
            }
        };
        if nothing {
            return done();
        }
        self.kernel.forget_entries(stale.entries, stale.listings, Box::new(done));
    }

    /// Gives promises up: the kernel first, then those inodes that must stay alive, then the server.
    fn give_up(&self, given_up: GivenUp, ack: Option<v1::Ack>) {
        let GivenUp { attrs, dirs, stale } = given_up;
        let nothing = stale.is_empty();
        stale.attrs.iter().for_each(|ino| self.kernel.forget_attr(*ino));
        attrs.iter().filter(|ino| self.is_open(**ino)).for_each(|ino| self.open_hold(*ino));
        let (session, metrics) = (Arc::clone(&self.session), Arc::clone(&self.metrics));
        let done = move || {
            session.outbox.forget(&attrs, &dirs);
            if let Some(ack) = ack {
                metrics.acks.inc();
                session.outbox.ack(ack);
            }
        };
        if nothing {
            return done();
        }
        self.kernel.forget_entries(stale.entries, stale.listings, Box::new(done));
    }

    /// Makes the kernel forget what a change made here touched, because nobody knows its outcome.
    pub(crate) fn tell_kernel(&self, touched: &[Key]) {
        let mut entries = Vec::new();
        for key in touched {
            match key {
                Key::Attr(ino) => self.kernel.forget_attr(*ino),
                Key::Name(dir, name) => {
                    entries.push(StaleEntry { dir: *dir, name: name.clone(), deleted: None });
                }
                Key::Listing(_) | Key::Dir(_) => {}
            }
        }
        if !entries.is_empty() {
            self.kernel.forget_entries(entries, Vec::new(), Box::new(|| {}));
        }
    }
}
