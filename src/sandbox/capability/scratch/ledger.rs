//! How much of its quota does an attempt's directory take?
//!
//! Pure: knows inodes and sizes, but no file. Hard links are refused, so an inode has
//! one name. What it is charged never falls below what it takes: a growth is charged
//! before it happens, and corrected when the file's true size is known. A file
//! without a name is charged until nothing has it open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Every file and directory is charged a multiple of this, and once at least.
/// A hole in a file is charged as if it were written.
pub(super) const BLOCK_BYTES: u64 = 4_096;

/// Files and directories of one attempt. Bounds the memory for listing them and the
/// time for removing them.
pub(super) const MAX_ENTRIES: usize = 16_384;

/// Files and directories one attempt has open at once: each is one of the server's.
pub(super) const MAX_OPEN: usize = 128;

/// And all attempts together: connections and the store need files too.
pub(super) const MAX_OPEN_EVERYWHERE: usize = 8_192;

/// Why something is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It would take more bytes than granted.
    Full,
    /// There would be more than [`MAX_ENTRIES`].
    TooManyEntries,
    /// There would be more than [`MAX_OPEN`], or [`MAX_OPEN_EVERYWHERE`].
    TooManyOpen,
}

/// Where a write begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    At(u64),
    End,
}

/// One attempt's account.
pub(super) struct Ledger {
    book: Mutex<Book>,
    /// What all attempts have open.
    open_everywhere: Arc<AtomicUsize>,
}

struct Book {
    most: u64,
    used: u64,
    /// Entries that are about to be made.
    reserved: usize,
    /// Descriptors, over all inodes.
    open: usize,
    inodes: HashMap<u64, Inode>,
}

#[derive(Default)]
struct Inode {
    /// At most, while it is written; then exactly.
    size: u64,
    unnamed: bool,
    open: usize,
    writes: usize,
}

/// Room for one more entry, given back when dropped.
#[must_use]
pub(super) struct Room(Option<Arc<Ledger>>);

/// A file is being changed: what it may have grown to stays charged.
#[must_use]
pub(super) struct Growth {
    ledger: Arc<Ledger>,
    inode: u64,
    settled: bool,
}

/// Something has the inode open.
pub(super) struct Opened {
    ledger: Arc<Ledger>,
    inode: u64,
}

impl Ledger {
    /// An empty directory, whose own first block is not the guest's.
    pub(super) fn new(most_bytes: u64, root: u64, open_everywhere: Arc<AtomicUsize>) -> Arc<Self> {
        let inodes = HashMap::from([(root, Inode { open: 1, ..Inode::default() })]);
        let most = most_bytes.saturating_add(BLOCK_BYTES);
        let book = Book { most, used: BLOCK_BYTES, reserved: 0, open: 0, inodes };
        Arc::new(Self { book: Mutex::new(book), open_everywhere })
    }

    /// Charges an empty file or directory before it is made.
    pub(super) fn reserve(self: &Arc<Self>) -> Result<Room, Refused> {
        let mut book = self.book.lock();
        if book.inodes.len() + book.reserved > MAX_ENTRIES {
            return Err(Refused::TooManyEntries);
        }
        if book.free() < BLOCK_BYTES {
            return Err(Refused::Full);
        }
        book.used += BLOCK_BYTES;
        book.reserved += 1;
        Ok(Room(Some(self.clone())))
    }

    /// Whether a name may move. It takes no room by itself, but may have its new directory grow.
    pub(super) fn may_move(&self) -> Result<(), Refused> {
        let book = self.book.lock();
        if book.used > book.most { Err(Refused::Full) } else { Ok(()) }
    }

    /// Whether one more may be opened.
    pub(super) fn may_open(&self) -> Result<(), Refused> {
        let everywhere = self.open_everywhere.load(Ordering::Relaxed);
        match self.book.lock().open < MAX_OPEN && everywhere < MAX_OPEN_EVERYWHERE {
            true => Ok(()),
            false => Err(Refused::TooManyOpen),
        }
    }

    pub(super) fn open(self: &Arc<Self>, inode: u64) -> Opened {
        self.open_everywhere.fetch_add(1, Ordering::Relaxed);
        let mut book = self.book.lock();
        book.open += 1;
        book.inode(inode).open += 1;
        Opened { ledger: self.clone(), inode }
    }

    /// The inode has lost its name.
    pub(super) fn removed(&self, inode: u64) {
        let mut book = self.book.lock();
        book.inode(inode).unnamed = true;
        book.forget_if_gone(inode);
    }

    /// Its size as it was just seen, of a file that was opened or of a directory that
    /// an entry came to or went from. A directory may so exceed the quota by the
    /// blocks it grows for one entry.
    pub(super) fn seen(&self, inode: u64, size: u64) {
        let mut book = self.book.lock();
        if book.inode(inode).writes == 0 {
            book.charge(inode, size);
        }
    }

    /// Bytes that can be written from there on.
    pub(super) fn room(&self, inode: u64, start: Start) -> u64 {
        let mut book = self.book.lock();
        let size = book.inode(inode).size;
        let end = cost(size).saturating_add(book.free() / BLOCK_BYTES * BLOCK_BYTES);
        end.saturating_sub(start.offset(size))
    }

    /// Charges what the file will at most hold after so many bytes are written.
    pub(super) fn grow(self: &Arc<Self>, inode: u64, start: Start, bytes: u64) -> Result<Growth, Refused> {
        let mut book = self.book.lock();
        let size = book.inode(inode).size;
        let grown = start.offset(size).checked_add(bytes).ok_or(Refused::Full)?.max(size);
        if cost(grown) - cost(size) > book.free() {
            return Err(Refused::Full);
        }
        book.charge(inode, grown);
        book.inode(inode).writes += 1;
        Ok(Growth { ledger: self.clone(), inode, settled: false })
    }

    #[cfg(test)]
    fn used(&self) -> u64 {
        self.book.lock().used - BLOCK_BYTES
    }
}

impl Start {
    fn offset(self, size: u64) -> u64 {
        match self {
            Self::At(offset) => offset,
            Self::End => size,
        }
    }
}

impl Room {
    /// The entry is there.
    pub(super) fn filled(mut self, inode: u64, size: u64) {
        let Some(ledger) = self.0.take() else { return };
        let mut book = ledger.book.lock();
        book.reserved -= 1;
        book.used -= BLOCK_BYTES;
        // The number may have been another's, which is gone.
        if let Some(former) = book.inodes.remove(&inode) {
            book.used -= cost(former.size);
        }
        book.inode(inode);
        book.charge(inode, size);
    }

    /// The entry may be there, but which it is could not be seen: it stays charged for good.
    pub(super) fn keep(mut self) {
        self.0.take();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(ledger) = self.0.take() {
            let mut book = ledger.book.lock();
            book.reserved -= 1;
            book.used -= BLOCK_BYTES;
        }
    }
}

impl Growth {
    /// The change is over, and the file has this size.
    pub(super) fn settled(mut self, size: u64) {
        self.settled = true;
        let mut book = self.ledger.book.lock();
        book.inode(self.inode).writes -= 1;
        // Another write may still have it grow to what it is charged.
        if book.inode(self.inode).writes == 0 {
            book.charge(self.inode, size);
        }
        book.forget_if_gone(self.inode);
    }
}

impl Drop for Growth {
    /// Nobody looked what became of it: it stays charged.
    fn drop(&mut self) {
        if !self.settled {
            self.ledger.book.lock().inode(self.inode).writes -= 1;
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.ledger.open_everywhere.fetch_sub(1, Ordering::Relaxed);
        let mut book = self.ledger.book.lock();
        book.open -= 1;
        book.inode(self.inode).open -= 1;
        book.forget_if_gone(self.inode);
    }
}

impl Book {
    fn free(&self) -> u64 {
        self.most.saturating_sub(self.used)
    }

    /// One that is not known is charged from now on.
    fn inode(&mut self, number: u64) -> &mut Inode {
        self.inodes.entry(number).or_insert_with(|| {
            self.used += BLOCK_BYTES;
            Inode::default()
        })
    }

    fn charge(&mut self, number: u64, size: u64) {
        let inode = self.inode(number);
        let before = std::mem::replace(&mut inode.size, size);
        self.used = (self.used - cost(before)).saturating_add(cost(size));
    }

    fn forget_if_gone(&mut self, number: u64) {
        let gone = |inode: &Inode| inode.unnamed && inode.open == 0 && inode.writes == 0;
        if self.inodes.get(&number).is_some_and(gone)
            && let Some(inode) = self.inodes.remove(&number)
        {
            self.used -= cost(inode.size);
        }
    }
}

fn cost(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES).max(1).saturating_mul(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: u64 = 1;

    fn ledger(blocks: u64) -> Arc<Ledger> {
        Ledger::new(blocks * BLOCK_BYTES, ROOT, Arc::default())
    }

    fn make(ledger: &Arc<Ledger>, inode: u64) {
        ledger.reserve().expect("room").filled(inode, 0);
    }

    fn write(ledger: &Arc<Ledger>, inode: u64, start: Start, bytes: u64) -> Result<(), Refused> {
        let growth = ledger.grow(inode, start, bytes)?;
        let size = ledger.book.lock().inode(inode).size;
        growth.settled(size);
        Ok(())
    }

    #[test]
    fn every_entry_costs_a_block_and_gives_it_back() {
        let ledger = ledger(3);
        (10..13).for_each(|inode| make(&ledger, inode));
        assert_eq!((ledger.used(), ledger.reserve().err()), (3 * BLOCK_BYTES, Some(Refused::Full)));
        ledger.removed(11);
        drop(ledger.reserve().expect("room again"));
        make(&ledger, 11);
        assert_eq!(ledger.used(), 3 * BLOCK_BYTES);
    }

    #[test]
    fn a_file_may_have_all_there_is_and_not_a_byte_more() {
        let ledger = ledger(3);
        make(&ledger, 10);
        assert_eq!(ledger.room(10, Start::At(0)), 3 * BLOCK_BYTES);
        assert_eq!(write(&ledger, 10, Start::At(0), 3 * BLOCK_BYTES), Ok(()));
        assert_eq!(write(&ledger, 10, Start::At(5), 100), Ok(()), "in place");
        for (start, bytes) in
            [(Start::End, 1), (Start::At(3 * BLOCK_BYTES), 1), (Start::At(u64::MAX), 1), (Start::At(u64::MAX), 0)]
        {
            assert_eq!(write(&ledger, 10, start, bytes), Err(Refused::Full), "{start:?} {bytes}");
        }
        assert_eq!((ledger.room(10, Start::End), ledger.room(10, Start::At(1))), (0, 3 * BLOCK_BYTES - 1));
        assert_eq!(ledger.used(), 3 * BLOCK_BYTES);
    }

    #[test]
    fn a_file_without_a_name_is_charged_until_it_is_closed_and_written() {
        let ledger = ledger(3);
        make(&ledger, 10);
        let (one, other) = (ledger.open(10), ledger.open(10));
        let growth = ledger.grow(10, Start::End, 2 * BLOCK_BYTES).expect("room");
        ledger.removed(10);
        drop((one, other));
        assert_eq!(ledger.used(), 2 * BLOCK_BYTES);
        growth.settled(2 * BLOCK_BYTES);
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn a_file_that_is_still_written_stays_charged_for_it() {
        let ledger = ledger(4);
        make(&ledger, 10);
        let pending = ledger.grow(10, Start::End, 3 * BLOCK_BYTES).expect("room");
        // Cut meanwhile; the write may come after that.
        ledger.grow(10, Start::At(0), 0).expect("no room needed").settled(0);
        ledger.seen(10, 0);
        assert_eq!(ledger.used(), 3 * BLOCK_BYTES);
        assert_eq!(write(&ledger, 10, Start::End, 2 * BLOCK_BYTES), Err(Refused::Full));
        pending.settled(BLOCK_BYTES);
        assert_eq!(ledger.used(), BLOCK_BYTES);
        drop(ledger.grow(10, Start::End, BLOCK_BYTES).expect("room"));
        assert_eq!(ledger.used(), 2 * BLOCK_BYTES, "nobody looked how it ended");
    }

    #[test]
    fn a_directory_that_grew_beyond_the_quota_lets_nothing_move() {
        let ledger = ledger(2);
        make(&ledger, 10);
        assert_eq!(ledger.may_move(), Ok(()));
        ledger.seen(ROOT, 3 * BLOCK_BYTES);
        assert_eq!((ledger.used(), ledger.may_move()), (3 * BLOCK_BYTES, Err(Refused::Full)));
        ledger.removed(10);
        assert_eq!((ledger.may_move(), ledger.reserve().err()), (Ok(()), Some(Refused::Full)));
    }

    #[test]
    fn entries_and_open_files_are_bounded() {
        let ledger = ledger(1 << 30);
        let rooms: Vec<Room> = (0..MAX_ENTRIES).map(|_| ledger.reserve().expect("room")).collect();
        assert_eq!(ledger.reserve().err(), Some(Refused::TooManyEntries));
        drop(rooms);
        make(&ledger, 10);
        let open: Vec<Opened> = (0..MAX_OPEN).map(|_| ledger.open(10)).collect();
        assert_eq!(ledger.may_open(), Err(Refused::TooManyOpen));
        drop(open);
        assert_eq!(ledger.may_open(), Ok(()));
        assert_eq!(ledger.open_everywhere.load(Ordering::Relaxed), 0);
        ledger.open_everywhere.store(MAX_OPEN_EVERYWHERE, Ordering::Relaxed);
        assert_eq!(ledger.may_open(), Err(Refused::TooManyOpen), "other attempts have taken them");
    }

    #[test]
    fn an_inode_number_that_is_used_again_is_charged_once() {
        let ledger = ledger(4);
        make(&ledger, 10);
        write(&ledger, 10, Start::End, 3 * BLOCK_BYTES).expect("room");
        make(&ledger, 10);
        assert_eq!(ledger.used(), BLOCK_BYTES);
    }

    /// What a guest may do to one of four files.
    #[derive(Debug, Clone)]
    enum Step {
        Make(u64),
        Write(u64, Start, u64),
        Cut(u64, u64),
        Remove(u64),
        Open(u64),
        Close,
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = 0..6 * BLOCK_BYTES;
        let start = prop_oneof![Just(Start::End), size.clone().prop_map(Start::At)];
        prop_oneof![
            (10..14_u64).prop_map(Step::Make),
            (10..14_u64, start, size.clone()).prop_map(|(inode, start, bytes)| Step::Write(inode, start, bytes)),
            (10..14_u64, size).prop_map(|(inode, size)| Step::Cut(inode, size)),
            (10..14_u64).prop_map(Step::Remove),
            (10..14_u64).prop_map(Step::Open),
            Just(Step::Close),
        ]
    }

    proptest! {
        /// Beside a disk that only knows sizes, names and open files.
        #[test]
        fn what_is_charged_is_what_the_disk_holds(steps in proptest::collection::vec(step(), 0..60)) {
            let ledger = ledger(8);
            let mut named: HashMap<u64, u64> = HashMap::new();
            let mut open: Vec<(Opened, u64)> = Vec::new();
            let mut unnamed: HashMap<u64, u64> = HashMap::new();
            for step in steps {
                match step {
                    // A number is not given again while it is in use.
                    Step::Make(inode) if !named.contains_key(&inode) && !unnamed.contains_key(&inode) => {
                        if let Ok(room) = ledger.reserve() {
                            room.filled(inode, 0);
                            named.insert(inode, 0);
                        }
                    }
                    Step::Write(inode, start, bytes) if named.contains_key(&inode) => {
                        let room = ledger.room(inode, start);
                        let grown = ledger.grow(inode, start, bytes);
                        prop_assert!(bytes == 0 || grown.is_ok() == (bytes <= room), "{bytes} {room}");
                        if let Ok(growth) = grown {
                            let size = named.get_mut(&inode).expect("looked up");
                            *size = (*size).max(start.offset(*size) + bytes);
                            growth.settled(*size);
                        }
                    }
                    Step::Cut(inode, size) if named.contains_key(&inode) => {
                        if let Ok(growth) = ledger.grow(inode, Start::At(size), 0) {
                            growth.settled(size);
                            named.insert(inode, size);
                        }
                    }
                    Step::Remove(inode) => {
                        if let Some(size) = named.remove(&inode) {
                            ledger.removed(inode);
                            if open.iter().any(|(_, opened)| *opened == inode) {
                                unnamed.insert(inode, size);
                            }
                        }
                    }
                    Step::Open(inode) if named.contains_key(&inode) => open.push((ledger.open(inode), inode)),
                    Step::Close => {
                        if let Some((opened, inode)) = open.pop() {
                            drop(opened);
                            if !open.iter().any(|(_, other)| *other == inode) {
                                unnamed.remove(&inode);
                            }
                        }
                    }
                    Step::Make(_) | Step::Write(..) | Step::Cut(..) | Step::Open(_) => {}
                }
                let held: u64 = named.values().chain(unnamed.values()).map(|size| cost(*size)).sum();
                prop_assert_eq!(ledger.used(), held);
                prop_assert!(held <= 8 * BLOCK_BYTES);
            }
        }
    }
}
