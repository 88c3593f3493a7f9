//! What of one FETCH was fed and not taken by the transport yet.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

use super::Limits;
use crate::ledger::{Ledger, Pieces};
use crate::wire::NotExpressible;
use crate::wire::object::{FetchEncoder, FetchEntry};

/// Payloads up to this many bytes are copied behind their header, so that small objects leave many at a time.
const MAX_WHOLE: u64 = 1024;

/// Headers and small payloads are written together up to about this many bytes.
const MAX_RUN: usize = 16 << 10;

/// The most that a fresh entry is expected to need besides its payload and properties.
const ENTRY_ROOM: usize = 64;

/// Bytes of a stream, in order, each piece with the priority of the objects in it.
#[derive(Debug)]
pub(super) struct Ahead {
    encoder: FetchEncoder,
    chunks: VecDeque<Chunk>,
    /// What was written last and may still grow.
    run: BytesMut,
    run_entries: usize,
    run_priority: u8,
    bytes: usize,
    entries: usize,
    ledger: Ledger,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// How many entries end with it.
    entries: usize,
    priority: u8,
}

impl Ahead {
    /// A stream of which only `header`, which the encoder wrote, is there.
    pub(super) fn new(
        encoder: FetchEncoder,
        header: BytesMut,
        priority: u8,
        ledger: Ledger,
    ) -> Self {
        Self {
            encoder,
            chunks: VecDeque::new(),
            bytes: header.len(),
            run: header,
            run_entries: 0,
            run_priority: priority,
            entries: 0,
            ledger,
        }
    }

    pub(super) const fn is_full(&self, limits: &Limits) -> bool {
        self.entries >= limits.max_ahead_entries || self.bytes >= limits.max_ahead_bytes
    }

    /// Whether enough left that refilling is worth a turn of the owner.
    pub(super) const fn is_low(&self, limits: &Limits) -> bool {
        self.entries <= limits.max_ahead_entries / 2 && self.bytes <= limits.max_ahead_bytes / 2
    }

    /// The priority of what leaves next.
    pub(super) fn priority(&self) -> Option<u8> {
        let front = self.chunks.front().map(|chunk| chunk.priority);
        front.or_else(|| (!self.run.is_empty()).then_some(self.run_priority))
    }

    /// Appends an entry and its payload; after an error nothing changed.
    pub(super) fn push(
        &mut self,
        entry: &FetchEntry,
        payload: &Pieces,
    ) -> Result<(), NotExpressible> {
        let priority = match entry {
            FetchEntry::Object(object) => object.priority,
            FetchEntry::NonExistent(_) | FetchEntry::Unknown(_) => self.run_priority,
        };
        let mut head = BytesMut::with_capacity(ENTRY_ROOM);
        self.encoder.entry(entry, &mut head)?;
        if priority != self.run_priority && self.entries > 0 || self.run.len() >= MAX_RUN {
            self.end_run();
        }
        self.run_priority = priority;
        self.entries += 1;
        self.run_entries += 1;
        self.bytes += head.len();
        self.run.extend_from_slice(&head);
        let is_small = payload.len() <= MAX_WHOLE;
        if is_small {
            for piece in payload {
                self.bytes += piece.len();
                self.run.extend_from_slice(piece);
            }
            return Ok(());
        }
        // The entry ends with its last piece.
        self.run_entries -= 1;
        self.end_run();
        for piece in payload {
            self.bytes += piece.len();
            self.chunks.push_back(Chunk {
                bytes: piece.clone(),
                entries: 0,
                priority,
            });
        }
        if let Some(last) = self.chunks.back_mut() {
            last.entries = 1;
        }
        Ok(())
    }

    /// The next bytes, and whether nothing is behind them.
    pub(super) fn peek(&mut self) -> Option<(Bytes, bool)> {
        if self.chunks.is_empty() {
            self.end_run();
        }
        let front = self.chunks.front()?;
        let is_last = self.chunks.len() == 1 && self.run.is_empty();
        Some((front.bytes.clone(), is_last))
    }

    /// The first `count` bytes of what was peeked at last have left.
    pub(super) fn advance(&mut self, count: usize) {
        let Some(front) = self.chunks.front_mut() else {
            return;
        };
        let count = count.min(front.bytes.len());
        front.bytes.advance(count);
        self.bytes -= count;
        if front.bytes.is_empty() {
            self.entries -= front.entries;
            self.chunks.pop_front();
        }
    }

    /// Makes a chunk of what was written last.
    fn end_run(&mut self) {
        if self.run.is_empty() {
            return;
        }
        self.chunks.push_back(Chunk {
            bytes: self.ledger.hold(std::mem::take(&mut self.run).freeze()),
            entries: std::mem::take(&mut self.run_entries),
            priority: self.run_priority,
        });
    }
}
