//! Connection ids that lead packets to the shard that issued them.

use std::time::Duration;

use oxymoq_tls::Shard;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator, InvalidCid};

/// Ids as quinn-proto makes them, so that strangers' ids are known at once, but only those that lead to one shard.
pub(crate) struct SteeringIds {
    shard: Shard,
    all: HashedConnectionIdGenerator,
}

impl SteeringIds {
    /// Ids for this shard. All shards of a server have the same `key`: each knows the ids of the others for genuine.
    pub(crate) fn new(shard: Shard, key: u64) -> Self {
        Self {
            shard,
            all: HashedConnectionIdGenerator::from_key(key),
        }
    }
}

impl ConnectionIdGenerator for SteeringIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // One of as many as there are shards will do.
        loop {
            let id = self.all.generate_cid();
            if self.shard.has(&id) {
                return id;
            }
        }
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        self.all.validate(cid)
    }

    fn cid_len(&self) -> usize {
        self.all.cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        self.all.cid_lifetime()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_lead_to_their_shard_and_differ_in_the_rest() {
        for shard in Shard::all(3) {
            let mut ids = SteeringIds::new(shard, 7);
            let made: Vec<ConnectionId> = (0..64).map(|_| ids.generate_cid()).collect();
            assert!(made.iter().all(|id| shard.has(id)));
            let distinct = |at: usize| made.iter().map(|id| id[at]).collect::<BTreeSet<u8>>();
            for at in 0..ids.cid_len() {
                assert!(distinct(at).len() > 8, "byte {at}");
            }
        }
    }

    #[test]
    fn every_shard_knows_the_ids_of_the_others() {
        let [mut one, other] = [0, 1].map(|index| {
            let shard = Shard::all(2).nth(index).unwrap();
            SteeringIds::new(shard, 7)
        });
        let id = one.generate_cid();
        assert!(other.validate(&id).is_ok());
        assert!(SteeringIds::new(Shard::ALONE, 8).validate(&id).is_err());
    }
}
