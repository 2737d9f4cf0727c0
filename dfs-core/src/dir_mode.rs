//! Which listings of a directory the kernel keeps by itself.
//!
//! The kernel keeps one listing of a directory, put together from what is read through handles that
//! allow it (`FOPEN_CACHE_DIR`), and shows it at later handles that ask for that (`FOPEN_KEEP_CACHE`).
//! It knows of changes made through it only; and it takes what any such handle reads for the next part
//! of what another one began. So all of them show one listing, or the kernel keeps nothing of what
//! later ones read; and a later one is shown what is kept only if that is the present listing, read to
//! its end.
//!
//! A listing is known by a number that no other one has.

/// How a directory is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirOpen {
    /// Everything is asked of the daemon, and nothing is kept.
    Plain,
    /// The kernel drops what it has, and keeps what is read.
    Fill,
    /// The kernel shows what it has.
    Keep,
}

/// The handles of one directory that let the kernel keep what is read, and what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirMode {
    handles: u64,
    /// The listing that all of them show; none: it is still being received.
    shown: Option<u64>,
    /// They show several.
    mixed: bool,
    /// What the kernel has, whole.
    kept: Option<u64>,
}

impl DirMode {
    /// Opens a handle that shows `listing`, or one that is still to come.
    pub fn open(&mut self, listing: Option<u64>) -> DirOpen {
        let alike = listing.is_some() && listing == self.shown && !self.mixed;
        if self.handles > 0 && !alike {
            return DirOpen::Plain;
        }
        self.handles += 1;
        self.shown = listing;
        if listing.is_some() && self.kept == listing {
            return DirOpen::Keep;
        }
        self.kept = None;
        DirOpen::Fill
    }

    /// A handle that was not opened plain begins anew (rewinddir(3)): it shows the listing of now, of
    /// which the kernel may have a part of another.
    pub fn restarted(&mut self) {
        (self.mixed, self.kept) = (true, None);
    }

    /// A handle that was not opened plain was read to its end, where it showed `listing`, if that is
    /// still true and the kernel will be told of its end. False: the kernel has to forget what it has.
    pub fn ended(&mut self, listing: Option<u64>) -> bool {
        let other = self.shown.is_some() && self.shown != listing;
        let listing = listing.filter(|_| !self.mixed && !other);
        self.kept = listing;
        self.shown = self.shown.or(listing);
        listing.is_some()
    }

    /// A handle that was not opened plain is closed.
    ///
    /// # Panics
    /// If none is open.
    pub fn close(&mut self) {
        assert!(self.handles > 0, "closed a directory that was not open");
        self.handles -= 1;
        if self.handles == 0 {
            (self.shown, self.mixed) = (None, false);
        }
    }

    /// Whether a handle is open that was not opened plain.
    pub fn is_open(&self) -> bool {
        self.handles > 0
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.handles == 0 && self.kept.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The kernel as far as it matters: what it keeps, and which of its parts come from which listing.
    #[derive(Default)]
    struct Kernel {
        /// Listings that parts of what it keeps are of.
        parts: Vec<u64>,
        /// It counts as whole.
        whole: bool,
    }

    #[derive(Clone, Copy, Debug)]
    struct Handle {
        open: DirOpen,
        listing: u64,
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Change,
        /// Is the listing at hand?
        Open {
            known: bool,
        },
        Read(usize),
        End(usize),
        Rewind(usize),
        Close(usize),
    }

    fn any_op() -> impl Strategy<Value = Op> {
        prop_oneof![
            Just(Op::Change),
            any::<bool>().prop_map(|known| Op::Open { known }),
            (0..4usize).prop_map(Op::Read),
            (0..4usize).prop_map(Op::End),
            (0..4usize).prop_map(Op::Rewind),
            (0..4usize).prop_map(Op::Close),
        ]
    }

    proptest! {
        #[test]
        fn dir_mode_shows_the_present_listing_to_who_opens(
            ops in prop::collection::vec(any_op(), 0..60)
        ) {
            let (mut mode, mut kernel, mut now) = (DirMode::default(), Kernel::default(), 1);
            let mut handles: Vec<Handle> = Vec::new();
            for op in ops {
                let at = |n: usize| n % handles.len().max(1);
                match op {
                    Op::Change => now += 1,
                    Op::Open { known } => {
                        let open = mode.open(known.then_some(now));
                        if open == DirOpen::Keep {
                            prop_assert!(known);
                            // What it finds missing it reads anew.
                            if kernel.whole {
                                prop_assert!(kernel.parts.iter().all(|part| *part == now));
                            }
                        } else {
                            kernel = Kernel::default();
                        }
                        handles.push(Handle { open, listing: now });
                    }
                    Op::Read(n) | Op::End(n) if !handles.is_empty() => {
                        let handle = handles[at(n)];
                        if handle.open == DirOpen::Plain {
                            continue;
                        }
                        // The worst: every part that is read goes into what is kept.
                        kernel.parts.push(handle.listing);
                        if matches!(op, Op::End(_)) {
                            kernel.whole = true;
                            let true_yet = (handle.listing == now).then_some(now);
                            if !mode.ended(true_yet) {
                                kernel = Kernel::default();
                            }
                        }
                    }
                    Op::Rewind(n) if !handles.is_empty() => {
                        let n = at(n);
                        if handles[n].open != DirOpen::Plain {
                            mode.restarted();
                        }
                        handles[n].listing = now;
                    }
                    Op::Close(n) if !handles.is_empty() => {
                        if handles.swap_remove(at(n)).open != DirOpen::Plain {
                            mode.close();
                        }
                    }
                    Op::Read(_) | Op::End(_) | Op::Rewind(_) | Op::Close(_) => {}
                }
                let cached = handles.iter().filter(|h| h.open != DirOpen::Plain).count();
                prop_assert_eq!(mode.handles, cached as u64);
            }
        }
    }

    #[test]
    fn dir_mode_keeps_what_was_read_to_its_end() {
        let mut mode = DirMode::default();
        assert_eq!(mode.open(None), DirOpen::Fill);
        assert_eq!(mode.open(None), DirOpen::Plain, "it may show another one");
        assert!(mode.ended(Some(5)));
        assert_eq!(mode.open(Some(5)), DirOpen::Keep);
        mode.close();
        mode.close();
        assert_eq!(mode.open(Some(6)), DirOpen::Fill);
        assert_eq!(mode.open(Some(6)), DirOpen::Fill, "nobody read to the end");
        assert_eq!(mode.open(Some(7)), DirOpen::Plain);
        assert!(!mode.ended(None), "it changed meanwhile");
        mode.restarted();
        assert!(!mode.ended(Some(7)), "a part may be of the old one");
        mode.close();
        mode.close();
        assert!(mode.is_idle());
    }
}
