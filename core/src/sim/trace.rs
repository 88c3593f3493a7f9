//! What happened, for people (the last lines) and for comparing two runs (a hash over everything).

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use crate::time::Time;
use crate::transport::{Answer, Input, Output};

/// How many lines are kept unless all are asked for.
const KEPT_LINES: usize = 60;

/// The record of a run: one line for each thing told to or done by a node.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    count: u64,
    lines: VecDeque<String>,
    keep_all: bool,
}

impl Trace {
    pub(super) const fn new() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            lines: VecDeque::new(),
            keep_all: false,
        }
    }

    /// Keeps every line from now on, for tests that look at them; otherwise only the last ones stay.
    pub const fn keep_all(&mut self) {
        self.keep_all = true;
    }

    /// A hash (FNV-1a) over every line and every byte that was carried so far, those no longer kept included.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The lines that are still kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    pub(super) fn line(&mut self, now: Time, node: &str, what: fmt::Arguments<'_>) {
        let micros = now.as_micros();
        let line = format!(
            "{:>6}.{:06} {node}: {what}",
            micros / 1_000_000,
            micros % 1_000_000
        );
        self.absorb(line.as_bytes());
        self.count += 1;
        if !self.keep_all && self.lines.len() >= KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(super) fn absorb(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// An input, output or answer in one line, bytes as their number, and the bytes themselves for the hash.
pub(super) trait Summary {
    fn summary(&self) -> (String, Option<&Bytes>);
}

impl Summary for Input {
    fn summary(&self) -> (String, Option<&Bytes>) {
        if let Self::Datagram(bytes) = self {
            (format!("datagram of {} bytes", bytes.len()), Some(bytes))
        } else {
            (format!("{self:?}"), None)
        }
    }
}

impl Summary for Output {
    fn summary(&self) -> (String, Option<&Bytes>) {
        if let Self::Write {
            stream,
            bytes,
            fin,
            urgent,
        } = self
        {
            let end = if *fin { " and fin" } else { "" };
            let class = if *urgent { " urgently" } else { "" };
            let text = format!("write {} bytes{end} to {stream}{class}", bytes.len());
            (text, Some(bytes))
        } else if let Self::Datagram(bytes) = self {
            (format!("datagram of {} bytes", bytes.len()), Some(bytes))
        } else {
            (format!("{self:?}"), None)
        }
    }
}

impl Summary for Answer {
    fn summary(&self) -> (String, Option<&Bytes>) {
        if let Self::Data(bytes) = self {
            (format!("{} bytes", bytes.len()), Some(bytes))
        } else {
            (format!("{self:?}"), None)
        }
    }
}
