//! One pass over a directory.

use crate::client::Client;
use crate::interrupt;
use crate::metadata::{Asked, FIRST_COOKIE, Item, LISTING_MAX, Listing, Target};
use crate::rpc::Pages;
use dfs_core::access::Credentials;
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result, Seq};
use dfs_proto::{convert, v1};
use std::sync::Arc;

/// Where a pass over a directory is. The items at hand are in order of their cookies.
#[derive(Default)]
pub(super) struct Walk {
    items: Arc<Vec<Item>>,
    /// What is behind this cookie is at hand or still to come.
    from: u64,
    /// Pages still to come; none before the first question, and after the last page.
    pages: Option<Pages>,
    begun: bool,
    /// Nothing was given out yet.
    unread: bool,
    /// The complete listing that is shown, once it is one that was kept.
    listing: Option<u64>,
    fresh: Option<Fresh>,
}

/// A listing that is being received and may be kept if it stays whole.
struct Fresh {
    asked: Asked,
    /// Version of the directory and number of the first page.
    version: Option<(Option<u64>, u64)>,
}

impl Walk {
    /// A pass over a complete listing of the cache.
    pub(super) fn of(client: &Client, listing: Listing) -> Walk {
        client.metrics.hits.inc();
        let Listing { items, id, .. } = listing;
        Walk { items, begun: true, unread: true, listing: Some(id), ..Walk::default() }
    }

    /// The next items are those behind `cookie`. Begins anew if that is the start, or if they are not
    /// at hand any more (seekdir(3)): then the next question sees the directory of that moment. Tells
    /// whether it showed, or was to show, something else before.
    pub(super) fn seek(&mut self, client: &Client, dir: Ino, cookie: u64) -> bool {
        // The kernel may have shown it for us and want the next one.
        let is_present = || client.metadata.listing(dir).map(|l| l.id) == self.listing;
        let unread = std::mem::take(&mut self.unread) && is_present();
        let back = cookie == 0 && !unread || cookie < self.from;
        let anew = back && self.begun;
        if back {
            *self = Walk { from: cookie, ..Walk::default() };
        }
        anew
    }

    /// The complete listing that was shown, once all is given out.
    pub(super) fn listing(&self) -> Option<u64> {
        self.listing
    }

    /// Up to `max` of the items at hand that are behind `cookie`.
    pub(super) fn after(&self, cookie: u64, max: usize) -> &[Item] {
        let start = self.items.partition_point(|item| item.cookie <= cookie);
        &self.items[start..self.items.len().min(start.saturating_add(max))]
    }

    /// Gets more items. False: there are none.
    pub(super) async fn more(
        &mut self,
        client: &Client,
        who: &Credentials,
        dir: Ino,
        want_attrs: bool,
    ) -> Result<bool> {
        if !self.begun {
            // A kept listing and the server number what was added here differently: who came from a
            // place that the server named goes on there.
            let whole = self.from == 0;
            if let Some(listing) = client.metadata.listing(dir).filter(|_| whole) {
                client.metrics.hits.inc();
                (self.begun, self.listing, self.items) = (true, Some(listing.id), listing.items);
                return Ok(!self.items.is_empty());
            }
            client.metrics.misses.inc();
            self.begin(client, who, dir, want_attrs);
        }
        self.next_page(client, dir).await
    }

    /// Asks the server for the whole directory of about so many `entries`, with attributes, for the
    /// cache only.
    pub(super) async fn through(
        client: &Client,
        who: &Credentials,
        dir: Ino,
        entries: u64,
    ) -> Result<()> {
        let mut walk = Walk::default();
        walk.begin(client, who, dir, true);
        // One that has grown much meanwhile is left alone.
        while (walk.items.len() as u64) <= entries && walk.next_page(client, dir).await? {}
        Ok(())
    }

    fn begin(&mut self, client: &Client, who: &Credentials, dir: Ino, want_attrs: bool) {
        let asked = client.metadata.asked();
        self.fresh = (self.from == 0).then_some(Fresh { asked, version: None });
        self.pages = Some(client.rpc.read_dir(who, dir, self.from, want_attrs));
        self.begun = true;
    }

    async fn next_page(&mut self, client: &Client, dir: Ino) -> Result<bool> {
        loop {
            let Some(pages) = &mut self.pages else { return Ok(false) };
            interrupt::wait(client.tell_all()).await?;
            let asked = client.metadata.asked();
            let Some(page) = pages.next().await? else { return Ok(false) };
            let end = page.end;
            let added = self.take(client, asked, dir, page)?;
            if end {
                self.pages = None;
                self.keep(client, dir);
            }
            if added {
                return Ok(true);
            }
        }
    }

    /// Takes a page: into the cache what was promised, and its items. Tells whether there were any.
    fn take(
        &mut self,
        client: &Client,
        asked: Asked,
        dir: Ino,
        page: v1::ReadDirRep,
    ) -> Result<bool> {
        let mark = page.mark.unwrap_or_default();
        self.check_whole(&mark, page.dir.as_ref());
        // Names and attributes were true when the whole question was sent, or later.
        let asked = self.fresh.as_ref().map_or(asked, |fresh| fresh.asked);
        if let Some(attr) = page.dir {
            client.metadata.store_attr(asked, &mark, convert::attr_from(attr)?);
        }
        if self.items.len() >= LISTING_MAX {
            // Too long to keep: what was given out makes way.
            self.from = self.items.last().map_or(self.from, |item| item.cookie);
            self.items = Arc::default();
            self.fresh = None;
        }
        let items = Arc::make_mut(&mut self.items);
        let before = items.len();
        for entry in page.entries {
            let (name, kind) = (Name::new(&entry.name)?, convert::kind_from(entry.kind)?);
            let last = items.last().map_or(self.from.max(FIRST_COOKIE - 1), |item| item.cookie);
            if entry.cookie <= last {
                let text =
                    format!("listing of directory {dir}: cookie {} out of order", entry.cookie);
                return Err(FsError::new(Code::Invalid, text));
            }
            if let Some(attr) = entry.attr {
                client.metadata.store_attr(asked, &mark, convert::attr_from(attr)?);
            }
            let target = Target::Present(Ino(entry.ino));
            client.metadata.store_name(asked, &mark, dir, &name, target);
            items.push(Item { name, ino: Ino(entry.ino), kind, cookie: entry.cookie });
        }
        Ok(items.len() > before)
    }

    /// The listing stays whole while every page is promised and shows one version of the directory.
    /// It is as of the first page: its promise holds from there on, so a change of names since then
    /// is pushed with a higher number, before it happens (PROTOCOL 3.2, 3.3). Changes elsewhere move
    /// the number of the later pages, and mean nothing here.
    fn check_whole(&mut self, mark: &v1::Mark, dir: Option<&v1::Attr>) {
        let Some(fresh) = &mut self.fresh else { return };
        let dir_ver = dir.map(|dir| dir.dir_ver);
        let version = *fresh.version.get_or_insert((dir_ver, mark.as_of));
        if !mark.promised_dir || dir_ver.is_none() || version.0 != dir_ver {
            self.fresh = None;
        }
    }

    /// The last page arrived: the listing is complete.
    fn keep(&mut self, client: &Client, dir: Ino) {
        if let Some(Fresh { asked, version: Some((Some(dir_ver), as_of)) }) = self.fresh.take() {
            let listing = Listing::new(dir_ver, Arc::clone(&self.items));
            self.listing = Some(listing.id);
            client.metadata.store_listing(asked, Seq(as_of), dir, listing);
        }
    }
}
