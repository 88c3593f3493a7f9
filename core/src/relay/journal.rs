//! What the relay tells its operator of its peers: not more than a person can read, whatever the peers do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::Duration;

use log::Level;

use super::Limits;
use crate::time::Time;
use crate::transport::ConnectionId;

/// For how long [`Limits::max_log_lines`] and [`Limits::max_log_lines_per_peer`] count.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// The most bytes of a line: names chosen by peers may have 4096, which take three times as many when they are written so
/// that they do no harm.
const MAX_LINE: usize = 512;

/// Where all these lines come from, for whoever chooses what to log.
const TARGET: &str = "oxymoq_core::relay";

/// Counts lines about peers, and holds back what is too much.
#[derive(Debug)]
pub(super) struct Journal {
    limit: usize,
    limit_per_peer: usize,
    /// When the lines that are counted began.
    since: Option<Time>,
    lines: usize,
    held_back: u64,
    peers: BTreeMap<ConnectionId, usize>,
    /// Of these only what an operator ought to read is told: other shards pass on what was told there.
    left_out: BTreeSet<ConnectionId>,
}

impl Journal {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.max_log_lines,
            limit_per_peer: limits.max_log_lines_per_peer,
            since: None,
            lines: 0,
            held_back: 0,
            peers: BTreeMap::new(),
            left_out: BTreeSet::new(),
        }
    }

    /// Tells nothing of a peer but what the operator ought to read.
    pub(super) fn leave_out(&mut self, peer: ConnectionId) {
        self.left_out.insert(peer);
    }

    /// A line that anybody may want to read, about this peer if it is about one.
    pub(super) fn info(
        &mut self,
        now: Time,
        peer: Option<ConnectionId>,
        words: fmt::Arguments<'_>,
    ) {
        if peer.is_none_or(|peer| !self.left_out.contains(&peer)) {
            self.tell(now, peer, Level::Info, words);
        }
    }

    /// A line that the operator ought to read.
    pub(super) fn warn(
        &mut self,
        now: Time,
        peer: Option<ConnectionId>,
        words: fmt::Arguments<'_>,
    ) {
        self.tell(now, peer, Level::Warn, words);
    }

    fn tell(
        &mut self,
        now: Time,
        peer: Option<ConnectionId>,
        level: Level,
        words: fmt::Arguments<'_>,
    ) {
        if !log::log_enabled!(target: TARGET, level) {
            return;
        }
        self.expire(now);
        if self.may_tell(now, peer) {
            let mut line = Line::default();
            // Fails if the line is full, and then ends as it should.
            let _is_cut = line.write_fmt(words);
            log::log!(target: TARGET, level, "{}", line.text);
        } else {
            self.held_back = self.held_back.saturating_add(1);
        }
    }

    fn may_tell(&mut self, now: Time, peer: Option<ConnectionId>) -> bool {
        self.since.get_or_insert(now);
        if self.lines >= self.limit {
            return false;
        }
        if let Some(peer) = peer {
            // No more entries than lines.
            let told = self.peers.entry(peer).or_default();
            if *told >= self.limit_per_peer {
                return false;
            }
            *told += 1;
        }
        self.lines += 1;
        true
    }

    /// When [`expire`](Self::expire) is to be called: when there is something to say then.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let since = self.since.filter(|_| self.held_back > 0)?;
        Some(since + WINDOW)
    }

    /// Begins to count anew if it is time.
    pub(super) fn expire(&mut self, now: Time) {
        if self.since.is_some_and(|since| since + WINDOW <= now) {
            self.tell_held_back();
            self.since = None;
            self.lines = 0;
            self.peers.clear();
        }
    }

    /// Says how many lines were held back that it was not said of before.
    pub(super) fn tell_held_back(&mut self) {
        let held_back = std::mem::take(&mut self.held_back);
        if held_back > 0 {
            log::warn!(
                target: TARGET,
                "{held_back} lines about peers were held back (--max_log_lines, --max_log_lines_per_peer)"
            );
        }
    }
}

/// Text that is cut where it gets too long.
#[derive(Debug, Default)]
struct Line {
    text: String,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_LINE.saturating_sub(self.text.len());
        if text.len() <= room {
            self.text.push_str(text);
            return Ok(());
        }
        let end = text
            .char_indices()
            .map(|(at, _)| at)
            .take_while(|at| *at <= room)
            .last();
        self.text
            .push_str(text.get(..end.unwrap_or(0)).unwrap_or_default());
        self.text.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(lines: usize, per_peer: usize) -> Journal {
        Journal::new(&Limits {
            max_log_lines: lines,
            max_log_lines_per_peer: per_peer,
            ..Limits::default()
        })
    }

    const PEERS: [Option<ConnectionId>; 3] = [Some(ConnectionId(1)), Some(ConnectionId(2)), None];

    #[test]
    fn a_peer_has_so_many_lines_and_does_not_silence_others() {
        let [one, other, nobody] = PEERS;
        let mut journal = journal(10, 2);
        let at = Time::ZERO;
        assert!(journal.may_tell(at, one));
        assert!(journal.may_tell(at, one));
        assert!(!journal.may_tell(at, one));
        assert!(journal.may_tell(at, other));
        assert!(journal.may_tell(at, nobody));
    }

    #[test]
    fn all_peers_together_have_so_many_lines_in_ten_seconds() {
        let mut journal = journal(3, 2);
        let at = Time::ZERO;
        let told = (0..1000).filter(|peer| journal.may_tell(at, Some(ConnectionId(*peer))));
        assert_eq!(told.count(), 3);
        assert_eq!(journal.peers.len(), 3, "the table is bounded too");
        assert!(!journal.may_tell(at + WINDOW, PEERS[0]));
        journal.expire(at + WINDOW);
        assert!(journal.may_tell(at + WINDOW, PEERS[0]));
    }

    #[test]
    fn it_asks_to_be_called_only_if_lines_were_held_back() {
        let mut journal = journal(1, 1);
        assert!(journal.may_tell(Time::ZERO, None));
        assert_eq!(journal.poll_timeout(), None);
        journal.held_back += 1;
        assert_eq!(journal.poll_timeout(), Some(Time::ZERO + WINDOW));
        journal.expire(Time::ZERO + WINDOW);
        assert_eq!(journal.poll_timeout(), None);
    }

    #[test]
    fn a_long_line_is_cut_between_two_letters() {
        let mut line = Line::default();
        assert!(line.write_str("short").is_ok());
        assert!(line.write_str(&"ü".repeat(MAX_LINE)).is_err());
        assert!(line.text.starts_with("shortü") && line.text.ends_with("ü…"));
        assert!(line.text.len() <= MAX_LINE + '…'.len_utf8());
        let mut exact = Line::default();
        assert!(exact.write_str(&"x".repeat(MAX_LINE)).is_ok());
        assert!(!exact.text.contains('…'));
    }
}
