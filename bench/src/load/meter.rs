//! What the relay and this process use, from window to window.

use crate::process::{self, Cost, Usage};
use crate::report::Memory;

/// Looks at the relay's process, if it is known, and at this one.
#[derive(Debug)]
pub(super) struct Meter {
    relay: Option<u32>,
    own: u32,
    /// Both when the window began.
    before: [Usage; 2],
    /// Both when it ended.
    after: [Usage; 2],
    memory: Memory,
}

impl Meter {
    /// Before anybody is connected.
    ///
    /// # Errors
    /// A sentence that says why the relay's process cannot be seen.
    pub(super) fn start(relay: Option<u32>) -> Result<Self, String> {
        let mut meter = Self {
            relay,
            own: std::process::id(),
            before: [Usage::default(); 2],
            after: [Usage::default(); 2],
            memory: Memory::default(),
        };
        if let Some(pid) = relay {
            let usage =
                process::usage(pid).map_err(|error| format!("--relay_pid {pid}: {error}"))?;
            meter.memory.start = usage.rss;
            meter.memory.peak = usage.rss;
        }
        Ok(meter)
    }

    fn look(&self) -> [Usage; 2] {
        // A relay that died meanwhile uses nothing more; that its sessions ended is told elsewhere.
        [self.relay, Some(self.own)].map(|pid| {
            pid.and_then(|pid| process::usage(pid).ok())
                .unwrap_or_default()
        })
    }

    /// A window begins.
    pub(super) fn begin(&mut self) {
        self.before = self.look();
        self.after = self.before;
    }

    /// The window ends.
    pub(super) fn end(&mut self) {
        self.after = self.look();
        let [relay, _] = &self.after;
        self.memory.end = relay.rss;
        self.memory.peak = self.memory.peak.max(relay.rss);
    }

    /// Looks at the relay's memory.
    pub(super) fn tick(&mut self) {
        if let Some(pid) = self.relay {
            self.memory.peak = self.memory.peak.max(process::rss(pid));
        }
    }

    /// What the relay and this process used in the window.
    pub(super) fn costs(&self, seconds: f64, delivered: u64, bytes: u64) -> (Option<Cost>, Cost) {
        let [relay, own] = [0, 1].map(|index| {
            let before = self.before.get(index).copied().unwrap_or_default();
            let after = self.after.get(index).copied().unwrap_or_default();
            Cost::between(&before, &after, seconds, delivered, bytes)
        });
        (self.relay.map(|_| relay), own)
    }

    /// The relay's memory, of which so many subscribers had a share.
    pub(super) fn memory(&self, subscribers: u64) -> Option<Memory> {
        self.relay.map(|_| Memory {
            per_subscriber: self
                .memory
                .end
                .saturating_sub(self.memory.start)
                .checked_div(subscribers),
            ..self.memory
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_is_not_there_is_named_and_one_that_is_has_memory() {
        let error = Meter::start(Some(u32::MAX)).unwrap_err();
        assert!(error.contains("--relay_pid 4294967295"), "{error}");
        let mut meter = Meter::start(Some(std::process::id())).unwrap();
        meter.begin();
        meter.tick();
        meter.end();
        let memory = meter.memory(10).unwrap();
        assert!(memory.start > 0 && memory.peak >= memory.start);
        assert!(memory.per_subscriber.is_some());
        assert!(meter.memory(0).unwrap().per_subscriber.is_none());
        let (relay, own) = meter.costs(1.0, 5, 5);
        // Other tests' threads come and go.
        assert!(relay.unwrap().threads > 0 && own.threads > 0);
    }

    #[test]
    fn without_a_process_there_is_no_cost_of_the_relay() {
        let mut meter = Meter::start(None).unwrap();
        meter.begin();
        meter.end();
        assert!(meter.memory(1).is_none());
        assert!(meter.costs(1.0, 1, 1).0.is_none());
    }
}
