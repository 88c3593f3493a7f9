//! Compares the relay's books with what it really holds.

use super::Relay;
use crate::recount::Recount;

impl Relay {
    /// Counts what tracks and caches of all shards of a relay hold, who reads it and how far they are, and compares all of
    /// it with the figures that are kept along the way, the [ledger](Relay::ledger)'s included, which the shards have in
    /// common. `is_calm`: nothing that left is in a transport or in a link any more, so that nobody else can hold any of it.
    ///
    /// # Errors
    /// What differs.
    pub fn recount(shards: &[Self], is_calm: bool) -> Result<(), String> {
        let mut held = Recount::new(shards.len());
        for relay in shards {
            relay.publisher.fanout.recount(&mut held)?;
            relay.fetching.recount(&mut held)?;
        }
        let used = shards.first().map_or(0, |relay| relay.ledger().used());
        let (least, most) = (held.least(), held.most());
        if used < least {
            return Err(format!("{used} bytes by the ledger, of at least {least}"));
        }
        let is_settled =
            |relay: &Self| relay.publisher.fanout.is_settled() && !relay.fetching.is_busy();
        if is_calm && shards.iter().all(is_settled) && used > most {
            return Err(format!("{used} bytes by the ledger, of at most {most}"));
        }
        Ok(())
    }
}
