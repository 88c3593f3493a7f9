//! One attack from beginning to end: a relay, those who behave, the attacker, and what became of them.

use std::time::{Duration, Instant};

use crate::bystander::Bystanders;
use crate::relay::{MEMORY, Relay, Usage};
use crate::wire::{self, Attack, Over, Seen};

/// Objects that everybody must have before the attack begins.
const BEFORE: u64 = 5;
/// Objects that everybody must get after it.
const AFTER: u64 = 10;

/// What is attacked, and what must hold.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) runtime: &'a str,
    /// What the attacker speaks below MoQT.
    pub(crate) over: Over,
    /// Limits of the relay, so low that the attack reaches them.
    pub(crate) flags: &'a str,
    /// Bytes of tables that `--max_memory_bytes` does not count: what the flags allow.
    pub(crate) tables: u64,
}

/// `--max_log_lines`, and `--max_log_lines_per_peer`.
const LOG_LINES: usize = 200;
const LOG_LINES_PER_PEER: usize = 30;
/// For how long those count.
const LOG_WINDOW: Duration = Duration::from_secs(10);
/// Lines that are not about peers, such as what to try next.
const OTHER_LINES: usize = 20;
/// Bytes of a line at most, with the time.
const LOG_LINE: usize = 600;

impl Case<'_> {
    /// Carries out the attack, and checks everything that holds for all of them. Returns what became of the attacker.
    pub(crate) fn withstand<A: Attack>(&self, attack: A) -> (A, Seen) {
        let start = Instant::now();
        let flags = format!(
            "--max_log_lines {LOG_LINES} --max_log_lines_per_peer {LOG_LINES_PER_PEER} {}",
            self.flags
        );
        let relay = Relay::start(self.runtime, &flags);
        let bystanders = Bystanders::start(relay.port);
        bystanders.wait_for(BEFORE);
        let before = relay.usage();
        let begin = Instant::now();
        let (attack, seen) = wire::carry_out(attack, relay.port, self.over);
        let took = begin.elapsed();
        bystanders.wait_for(bystanders.sent() + AFTER);
        let after = relay.usage();
        let served = bystanders.end();
        let log = relay.end();
        let lines = log.lines().count();
        let growth = growth(&before, &after);
        let seconds = took.as_secs_f64();
        #[expect(
            clippy::print_stderr,
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "the figures are what the full run is for"
        )]
        {
            eprintln!(
                "| {} | {}, {:?} | {} -> {} (peak {}) kB, {} allowed | {} operations in {seconds:.2} s, {:.0}/s | CPU {:.2} s | {} objects to each \
                 of {}, at most {} ms late | {lines} lines | {:?} |",
                self.name,
                self.runtime,
                self.over,
                before.resident >> 10,
                after.resident >> 10,
                after.peak >> 10,
                (MEMORY + self.tables) >> 10,
                seen.operations,
                seen.operations as f64 / seconds.max(0.001),
                (after.cpu - before.cpu) as f64 / 100.0,
                served.objects,
                served.subscribers,
                served.worst.as_millis(),
                seen
            );
        }
        assert!(
            growth <= MEMORY + self.tables,
            "{growth} bytes more than before, {MEMORY} and {} at most: {before:?} {after:?}",
            self.tables
        );
        assert!(
            after.descriptors <= before.descriptors,
            "{before:?} {after:?}"
        );
        let windows = start.elapsed().as_secs() / LOG_WINDOW.as_secs() + 1;
        let most = usize::try_from(windows).unwrap() * (LOG_LINES + 1) + OTHER_LINES;
        assert!(lines <= most, "{lines} lines:\n{log}");
        let longest = log.lines().map(str::len).max();
        assert!(longest.is_some_and(|bytes| bytes <= LOG_LINE), "{log}");
        let is_fit = |letter: char| !letter.is_control() || letter == '\n';
        assert!(log.chars().all(is_fit), "{log:?}");
        (attack, seen)
    }
}

/// By how many bytes the relay grew, its program apart.
const fn growth(before: &Usage, after: &Usage) -> u64 {
    let program = after.program.saturating_sub(before.program);
    after
        .peak
        .saturating_sub(before.resident)
        .saturating_sub(program)
}
