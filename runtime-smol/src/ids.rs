//! Connection ids that lead packets to the shard that issued them.

use std::time::Duration;

use oxymoq_tls::Shard;
use s2n_quic::provider::connection_id::{
    ConnectionInfo, Generator, LocalId, Validator, default::Format,
};

/// Ids as s2n-quic makes them, but only those that lead to one shard.
#[derive(Debug)]
pub(crate) struct SteeringIds {
    shard: Shard,
    all: Format,
}

impl SteeringIds {
    pub(crate) fn new(shard: Shard) -> Self {
        Self {
            shard,
            all: Format::default(),
        }
    }
}

impl Generator for SteeringIds {
    fn generate(&mut self, info: &ConnectionInfo<'_>) -> LocalId {
        // One of as many as there are shards will do.
        loop {
            let id = self.all.generate(info);
            if self.shard.has(id.as_bytes()) {
                return id;
            }
        }
    }

    fn lifetime(&self) -> Option<Duration> {
        self.all.lifetime()
    }

    fn rotate_handshake_connection_id(&self) -> bool {
        self.all.rotate_handshake_connection_id()
    }
}

impl Validator for SteeringIds {
    fn validate(&self, info: &ConnectionInfo<'_>, buffer: &[u8]) -> Option<usize> {
        self.all.validate(info, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use s2n_quic_core::inet::SocketAddress;

    use super::*;

    #[test]
    fn ids_lead_to_their_shard_and_differ_in_the_rest() {
        let remote = SocketAddress::default();
        let info = ConnectionInfo::new(&remote);
        for shard in Shard::all(3) {
            let mut ids = SteeringIds::new(shard);
            let made: Vec<LocalId> = (0..64).map(|_| ids.generate(&info)).collect();
            let length = made[0].as_bytes().len();
            for id in &made {
                assert!(shard.has(id.as_bytes()));
                // More may follow in a packet with a short header.
                let packet = [id.as_bytes(), &[1, 2, 3]].concat();
                assert_eq!(ids.validate(&info, &packet), Some(length));
            }
            for at in 0..length {
                let distinct: BTreeSet<u8> = made.iter().map(|id| id.as_bytes()[at]).collect();
                assert!(distinct.len() > 8, "byte {at}");
            }
        }
    }
}
