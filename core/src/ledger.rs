//! The account of memory held by payloads: bytes count as used until the last clone of them is dropped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// Largest chunk that payload is copied into, in bytes.
pub const MAX_CHUNK: usize = 64 << 10;

/// What a chunk costs besides its bytes: allocations that hold it together.
pub const CHUNK_OVERHEAD: usize = 128;

/// Smallest chunk that a payload of unknown progress is copied into, in bytes, unless less is left of it.
const MIN_GROWING_CHUNK: usize = 1 << 10;

/// Most bytes that a shard borrows from the total at a time, and a third of what it keeps at most without need.
pub const LEASE: usize = 1 << 20;

/// A shard's lease is no more than this part of the limit, shared by all shards: what one keeps is not there for others.
const PART_OF_LIMIT: usize = 64;

/// Counts the bytes of payloads in memory, and refuses more than its limit.
///
/// Clones share one account. What is charged is given back when the last [`Bytes`] that refers to it is dropped, be it
/// in a track, in a cache or in a transport's send buffer, and on whichever thread.
///
/// Shards of one relay share one limit ([`Ledger::shared`]) without meeting at one number for every object: each borrows
/// from the total in leases of up to [`LEASE`] and charges against what it borrowed. All leases together stay within the
/// limit, so what is charged does; a shard may be refused while others keep a little that they do not use.
#[derive(Clone)]
pub struct Ledger(Arc<Account>);

/// What one shard has of the total.
struct Account {
    total: Arc<Total>,
    shard: usize,
}

/// What all shards share.
struct Total {
    limit: usize,
    lease: usize,
    /// What was lent to all shards. What is charged is this less what they have to spare.
    lent: Counter,
    /// What each shard has borrowed and not charged.
    spare: Box<[Counter]>,
}

/// A number that others do not share a cache line with.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

impl Counter {
    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it, unless `change` says `None`. Returns what it was before.
    fn change(&self, change: impl FnMut(usize) -> Option<usize>) -> Option<usize> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
            .ok()
    }

    fn add(&self, bytes: usize) -> usize {
        self.0.fetch_add(bytes, Ordering::Relaxed)
    }

    fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Account {
    fn spare(&self) -> &Counter {
        // There is one for each.
        self.total.spare.get(self.shard).unwrap_or(&self.total.lent)
    }

    /// Takes from what was borrowed.
    fn take(&self, bytes: usize) -> bool {
        let taken = self.spare().change(|spare| spare.checked_sub(bytes));
        taken.is_some()
    }

    /// Borrows what is missing for `bytes`, and some more if there is. False if there is not as much.
    fn borrow(&self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.spare().now());
        if missing == 0 {
            return true; // Somebody gave something back meanwhile.
        }
        let total = &self.total;
        let lent = |before: usize| {
            let free = total.limit.saturating_sub(before);
            (missing <= free).then(|| missing.max(total.lease).min(free))
        };
        let Some(before) = total.lent.change(|now| Some(now + lent(now)?)) else {
            return false;
        };
        self.spare().add(lent(before).unwrap_or(0));
        true
    }

    /// Takes even what cannot be borrowed.
    fn take_always(&self, bytes: usize) {
        if !self.take(bytes) {
            let spare = self.spare().0.swap(0, Ordering::Relaxed);
            // Somebody may have given something back meanwhile.
            match bytes.checked_sub(spare) {
                Some(missing) => {
                    self.total.lent.add(missing);
                }
                None => {
                    self.spare().add(spare - bytes);
                }
            }
        }
    }

    fn give_back(&self, bytes: usize) {
        let total = &self.total;
        let spare = self.spare().add(bytes).saturating_add(bytes);
        let kept = if total.lent.now() > total.limit {
            0
        } else {
            total.lease
        };
        if spare > kept.saturating_mul(3) {
            let before = self.spare().change(|now| (now > kept).then_some(kept));
            total
                .lent
                .subtract(before.map_or(0, |before| before - kept));
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let spare = self.spare().0.swap(0, Ordering::Relaxed);
        self.total.lent.subtract(spare);
    }
}

impl Ledger {
    /// An empty account of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Account {
            total: Arc::new(Total::new(limit, 1)),
            shard: 0,
        }))
    }

    /// Accounts for so many shards, at least one, of at most `limit` bytes together.
    pub fn shared(limit: usize, shards: usize) -> Vec<Self> {
        let total = Arc::new(Total::new(limit, shards.max(1)));
        let account = |shard| {
            Self(Arc::new(Account {
                total: Arc::clone(&total),
                shard,
            }))
        };
        (0..shards.max(1)).map(account).collect()
    }

    /// Bytes charged and not given back, by all shards; while others are at work, about so many.
    pub fn used(&self) -> usize {
        let total = &self.0.total;
        let spare: usize = total.spare.iter().map(Counter::now).sum();
        total.lent.now().saturating_sub(spare)
    }

    /// Whether more than so many bytes are charged by all shards. Cheaper than [`Ledger::used`] if it is much less.
    pub fn is_above(&self, bytes: usize) -> bool {
        self.0.total.lent.now() > bytes && self.used() > bytes
    }

    /// The most that may be charged by all shards, in bytes.
    pub fn limit(&self) -> usize {
        self.0.total.limit
    }

    /// Charges `bytes`, to be given back when the charge is dropped; `None` if the limit would be passed.
    pub fn charge(&self, bytes: usize) -> Option<Charge> {
        while !self.0.take(bytes) {
            if !self.0.borrow(bytes) {
                return None;
            }
        }
        Some(Charge {
            account: Arc::clone(&self.0),
            bytes,
        })
    }

    /// Charges `bytes` even beyond the limit: for small things whose number another limit bounds.
    pub fn charge_always(&self, bytes: usize) -> Charge {
        if !(self.0.take(bytes) || self.0.borrow(bytes) && self.0.take(bytes)) {
            self.0.take_always(bytes);
        }
        Charge {
            account: Arc::clone(&self.0),
            bytes,
        }
    }

    /// Charges bytes that are in memory of their own already, even beyond the limit.
    pub fn hold(&self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let charge = self.charge_always(bytes.len().saturating_add(CHUNK_OVERHEAD));
        Bytes::from_owner(Held {
            bytes,
            _charge: charge,
        })
    }

    /// Copies bytes into a chunk of exactly their size; `None` if the limit would be passed.
    pub fn copy(&self, bytes: &[u8]) -> Option<Bytes> {
        if bytes.is_empty() {
            return Some(Bytes::new());
        }
        let charge = self.charge(bytes.len().saturating_add(CHUNK_OVERHEAD))?;
        Some(Bytes::from_owner(Copied {
            bytes: bytes.into(),
            _charge: charge,
        }))
    }
}

impl Total {
    fn new(limit: usize, shards: usize) -> Self {
        Self {
            limit,
            lease: LEASE.min(limit / PART_OF_LIMIT / shards),
            lent: Counter::default(),
            spare: std::iter::repeat_with(Counter::default)
                .take(shards)
                .collect(),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({} of {} bytes)", self.used(), self.limit())
    }
}

/// Bytes charged to a [`Ledger`]; given back on drop.
pub struct Charge {
    account: Arc<Account>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charge({} bytes)", self.bytes)
    }
}

/// A chunk of its own.
struct Copied {
    bytes: Box<[u8]>,
    _charge: Charge,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes charged after they were made.
struct Held {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A part of a chunk that other parts share.
struct Part {
    bytes: Bytes,
    _chunk: Arc<Charge>,
    _part: Charge,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A payload that grows as it arrives: copied once into chunks, readable by many before it is complete.
///
/// Bytes are frozen into a [`Bytes`] only when a reader reaches them, so that what arrived in one go leaves in one
/// piece, however finely it was cut on the way in.
#[derive(Debug, Default)]
pub struct Payload {
    pieces: Vec<Bytes>,
    growing: Option<Growing>,
    length: u64,
}

/// The chunk being filled.
#[derive(Debug)]
struct Growing {
    ledger: Ledger,
    bytes: BytesMut,
    chunk: Arc<Charge>,
}

impl Payload {
    /// Bytes received so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends bytes; `expected` is how many are still to come, these included. False if the ledger has no room for
    /// all of them: some may have been appended then.
    pub fn append(&mut self, ledger: &Ledger, expected: u64, mut bytes: &[u8]) -> bool {
        if self.length == 0 && widen(bytes.len()) == expected && bytes.len() <= MAX_CHUNK {
            // The usual case: a small object, all of it at once.
            let Some(whole) = ledger.copy(bytes) else {
                return false;
            };
            self.length = expected;
            self.pieces.push(whole);
            return true;
        }
        let mut expected = expected;
        while !bytes.is_empty() {
            if self.spare() == 0 && !self.start_chunk(ledger, expected, bytes.len()) {
                return false;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.spare()));
            if let Some(growing) = self.growing.as_mut() {
                growing.bytes.extend_from_slice(now);
            }
            self.length = self.length.saturating_add(widen(now.len()));
            expected = expected.saturating_sub(widen(now.len()));
            bytes = later;
        }
        if expected == 0 || self.spare() == 0 {
            self.freeze();
            self.growing = None;
        }
        true
    }

    /// Appends bytes that are charged already, as they are: those of another shard of the same relay.
    pub fn adopt(&mut self, bytes: Bytes) {
        self.freeze();
        self.growing = None;
        self.length = self.length.saturating_add(widen(bytes.len()));
        self.pieces.push(bytes);
    }

    /// The `index`th piece; `None` if that much was not received yet. Pieces never change once they were seen.
    pub fn piece(&mut self, index: usize) -> Option<&Bytes> {
        if index >= self.pieces.len() {
            self.freeze();
        }
        self.pieces.get(index)
    }

    /// Whether the `index`th piece exists, or would if asked for.
    pub fn has_piece(&self, index: usize) -> bool {
        index < self.pieces.len()
            || (index == self.pieces.len()
                && self
                    .growing
                    .as_ref()
                    .is_some_and(|growing| !growing.bytes.is_empty()))
    }

    /// The pieces that readers have seen.
    #[cfg(feature = "sim")]
    pub(crate) fn frozen(&self) -> &[Bytes] {
        &self.pieces
    }

    /// How much is in the chunk being filled, and the most that such a chunk may have been charged.
    #[cfg(feature = "sim")]
    pub(crate) fn growing(&self) -> (usize, usize) {
        let used = self
            .growing
            .as_ref()
            .map_or(0, |growing| growing.bytes.len());
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        (used, length.clamp(MIN_GROWING_CHUNK, MAX_CHUNK))
    }

    /// All of a payload of `length` bytes; `None` if it was not all received yet.
    pub fn pieces(&mut self, length: u64) -> Option<Pieces> {
        if self.length != length {
            return None;
        }
        self.freeze();
        Some(Pieces::from(self.pieces.as_slice()))
    }

    /// Whether the payload has exactly these bytes at `offset`, as far as it was received.
    pub fn agrees(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut position = 0_u64;
        let growing = self
            .growing
            .as_ref()
            .map(|growing| growing.bytes.as_ref())
            .unwrap_or_default();
        for piece in self.pieces.iter().map(Bytes::as_ref).chain([growing]) {
            let end = position.saturating_add(widen(piece.len()));
            let from = position.max(offset);
            let to = end.min(offset.saturating_add(widen(bytes.len())));
            if from < to {
                let mine = slice(piece, from - position, to - position);
                let theirs = slice(bytes, from - offset, to - offset);
                if mine != theirs {
                    return false;
                }
            }
            position = end;
        }
        true
    }

    /// Room left in the chunk being filled.
    fn spare(&self) -> usize {
        self.growing
            .as_ref()
            .map_or(0, |growing| growing.bytes.capacity() - growing.bytes.len())
    }

    /// Begins a chunk as large as what arrived so far, so that a length claimed but never sent costs little.
    fn start_chunk(&mut self, ledger: &Ledger, expected: u64, arrived: usize) -> bool {
        self.freeze();
        let wanted = usize::try_from(self.length)
            .unwrap_or(usize::MAX)
            .max(arrived)
            .clamp(MIN_GROWING_CHUNK, MAX_CHUNK)
            .min(usize::try_from(expected).unwrap_or(usize::MAX))
            .max(1);
        let Some(charge) = ledger.charge(wanted.saturating_add(CHUNK_OVERHEAD)) else {
            return false;
        };
        self.growing = Some(Growing {
            ledger: ledger.clone(),
            bytes: BytesMut::with_capacity(wanted),
            chunk: Arc::new(charge),
        });
        true
    }

    /// Makes a piece of what is in the chunk being filled.
    fn freeze(&mut self) {
        let Some(growing) = self.growing.as_mut() else {
            return;
        };
        if growing.bytes.is_empty() {
            return;
        }
        let part = Part {
            bytes: growing.bytes.split().freeze(),
            _chunk: Arc::clone(&growing.chunk),
            _part: growing.ledger.charge_always(CHUNK_OVERHEAD),
        };
        self.pieces.push(Bytes::from_owner(part));
    }
}

/// A complete payload in shared pieces: a clone is another handle to the same bytes.
///
/// Two are equal if their bytes are, however they are cut.
#[derive(Clone)]
pub struct Pieces(Cut);

#[derive(Clone)]
enum Cut {
    /// In one piece, or empty: most are.
    One(Bytes),
    Many {
        pieces: Arc<[Bytes]>,
        length: u64,
    },
}

impl Pieces {
    /// Bytes of the whole payload.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Cut::One(bytes) => widen(bytes.len()),
            Cut::Many { length, .. } => *length,
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in order; none of them is empty.
    pub fn iter(&self) -> std::slice::Iter<'_, Bytes> {
        match &self.0 {
            Cut::One(bytes) if bytes.is_empty() => [].iter(),
            Cut::One(bytes) => std::slice::from_ref(bytes).iter(),
            Cut::Many { pieces, .. } => pieces.iter(),
        }
    }
}

impl Default for Pieces {
    fn default() -> Self {
        Self(Cut::One(Bytes::new()))
    }
}

impl From<Bytes> for Pieces {
    fn from(whole: Bytes) -> Self {
        Self(Cut::One(whole))
    }
}

impl From<&[Bytes]> for Pieces {
    fn from(pieces: &[Bytes]) -> Self {
        let mut full = pieces.iter().filter(|piece| !piece.is_empty());
        match (full.next(), full.next()) {
            (None, _) => Self::default(),
            (Some(one), None) => Self(Cut::One(one.clone())),
            (Some(_), Some(_)) => {
                let full = pieces.iter().filter(|piece| !piece.is_empty());
                let pieces: Arc<[Bytes]> = full.cloned().collect();
                let length = pieces.iter().map(|piece| widen(piece.len())).sum();
                Self(Cut::Many { pieces, length })
            }
        }
    }
}

impl<'a> IntoIterator for &'a Pieces {
    type Item = &'a Bytes;
    type IntoIter = std::slice::Iter<'a, Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let (mut mine, mut theirs) = (self.iter(), other.iter());
        let (mut a, mut b): (&[u8], &[u8]) = (&[], &[]);
        loop {
            if a.is_empty() {
                a = mine.next().map(AsRef::as_ref).unwrap_or_default();
            }
            if b.is_empty() {
                b = theirs.next().map(AsRef::as_ref).unwrap_or_default();
            }
            let common = a.len().min(b.len());
            if common == 0 {
                return true; // As long as one another, and both read to the end.
            }
            let ((head, rest), (other, others)) = (a.split_at(common), b.split_at(common));
            if head != other {
                return false;
            }
            (a, b) = (rest, others);
        }
    }
}

impl Eq for Pieces {}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({} bytes in {})", self.len(), self.iter().count())
    }
}

fn widen(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// `bytes[from..to]`, empty if out of bounds.
fn slice(bytes: &[u8], from: u64, to: u64) -> &[u8] {
    let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    bytes.get(bound(from)..bound(to)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(payload: &mut Payload) -> Vec<u8> {
        let mut all = Vec::new();
        let mut index = 0;
        while let Some(piece) = payload.piece(index) {
            all.extend_from_slice(piece);
            index += 1;
        }
        all
    }

    #[test]
    fn a_chunk_counts_until_its_last_clone_is_dropped() {
        let ledger = Ledger::new(1 << 20);
        let chunk = ledger.copy(&[7; 160]).unwrap();
        let clone = chunk.slice(3..9);
        drop(chunk);
        assert_eq!(ledger.used(), 160 + CHUNK_OVERHEAD);
        drop(clone);
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn a_charge_beyond_the_limit_is_refused_and_changes_nothing() {
        let ledger = Ledger::new(1000);
        let first = ledger.charge(600).unwrap();
        assert!(ledger.charge(401).is_none());
        assert!(ledger.copy(&[0; 400]).is_none());
        assert_eq!(ledger.used(), 600);
        drop(first);
        assert!(ledger.charge(1000).is_some());
        assert!(ledger.charge(usize::MAX).is_none());
    }

    #[test]
    fn a_small_payload_takes_its_own_size() {
        let ledger = Ledger::new(1 << 20);
        let mut payload = Payload::default();
        assert!(payload.append(&ledger, 160, &[1; 160]));
        assert_eq!(ledger.used(), 160 + CHUNK_OVERHEAD);
        assert_eq!(collect(&mut payload), vec![1; 160]);
    }

    #[test]
    fn a_length_that_is_claimed_but_not_sent_costs_little() {
        let ledger = Ledger::new(1 << 20);
        let mut payload = Payload::default();
        assert!(payload.append(&ledger, 1 << 40, &[1]));
        assert!(ledger.used() <= MIN_GROWING_CHUNK + CHUNK_OVERHEAD);
    }

    #[test]
    fn what_arrives_unread_in_small_cuts_leaves_in_large_pieces() {
        let ledger = Ledger::new(1 << 24);
        let mut payload = Payload::default();
        let total = 300_000_u64;
        let sent: Vec<u8> = (0..total).map(|n| n.to_le_bytes()[0]).collect();
        let mut left = total;
        for cut in sent.chunks(700) {
            assert!(payload.append(&ledger, left, cut));
            left -= widen(cut.len());
        }
        assert_eq!(payload.length(), total);
        assert_eq!(collect(&mut payload), sent);
        assert!(payload.pieces.len() < 16, "{}", payload.pieces.len());
        assert!(payload.pieces.iter().all(|piece| piece.len() <= MAX_CHUNK));
        drop(payload);
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn readers_follow_a_payload_while_it_grows() {
        let ledger = Ledger::new(1 << 24);
        let mut payload = Payload::default();
        let mut seen = Vec::new();
        let mut index = 0;
        for n in 0..100_u8 {
            assert!(payload.append(&ledger, 1000 - u64::from(n) * 10, &[n; 10]));
            while payload.has_piece(index) {
                seen.extend_from_slice(payload.piece(index).unwrap());
                index += 1;
            }
            assert_eq!(widen(seen.len()), payload.length());
        }
        assert_eq!(seen.len(), 1000);
        assert!(payload.piece(index).is_none());
    }

    #[test]
    fn agreement_is_checked_across_pieces_and_only_where_bytes_were_received() {
        let ledger = Ledger::new(1 << 24);
        let mut payload = Payload::default();
        assert!(payload.append(&ledger, 100, b"hello "));
        assert_eq!(payload.piece(0).unwrap(), &b"hello "[..]);
        assert!(payload.append(&ledger, 94, b"world"));
        assert!(payload.agrees(0, b"hello world"));
        assert!(payload.agrees(4, b"o wo"));
        assert!(payload.agrees(9, b"ld and more"));
        assert!(!payload.agrees(4, b"o Wo"));
        assert!(!payload.agrees(0, b"j"));
        assert!(payload.agrees(50, b"unknown"));
    }

    #[test]
    fn a_payload_is_handed_out_whole_once_all_of_it_was_received() {
        let ledger = Ledger::new(1 << 24);
        let mut payload = Payload::default();
        assert!(payload.append(&ledger, 10, b"hello"));
        assert_eq!(payload.piece(0).unwrap(), &b"hello"[..]);
        assert_eq!(payload.pieces(10), None);
        assert!(payload.append(&ledger, 5, b"world"));
        let pieces = payload.pieces(10).unwrap();
        assert_eq!(pieces.len(), 10);
        assert_eq!(pieces.iter().count(), 2);
        assert_eq!(pieces, Pieces::from(Bytes::from_static(b"helloworld")));
        let charged = ledger.used();
        drop(payload);
        assert_eq!(ledger.used(), charged, "the pieces hold the bytes");
        drop(pieces);
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn an_empty_payload_has_no_pieces() {
        let pieces = Payload::default().pieces(0).unwrap();
        assert!(pieces.is_empty() && pieces.iter().next().is_none());
        assert_eq!(pieces, Pieces::default());
    }

    #[test]
    fn payloads_are_equal_if_their_bytes_are_however_they_are_cut() {
        let cut = |parts: &[&'static str]| {
            let parts: Vec<Bytes> = parts.iter().map(|part| Bytes::from(*part)).collect();
            Pieces::from(parts.as_slice())
        };
        let whole = cut(&["abcdefgh"]);
        for same in [&["abc", "defgh"][..], &["", "a", "b", "", "cdefgh", ""]] {
            assert_eq!(cut(same), whole);
            assert_eq!(cut(same).len(), 8);
            assert_eq!(cut(same), cut(&["abcd", "efgh"]));
        }
        for other in [
            &["abc", "defgx"][..],
            &["abc", "defg"],
            &["abcdefgh", "i"],
            &[],
        ] {
            assert_ne!(cut(other), whole);
        }
    }

    #[test]
    fn a_full_ledger_stops_a_payload() {
        let ledger = Ledger::new(100_000);
        let mut payload = Payload::default();
        assert!(!payload.append(&ledger, 1 << 20, &[0; 200_000]));
        drop(payload);
        assert_eq!(ledger.used(), 0);
    }
}
