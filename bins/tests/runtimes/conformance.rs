//! The core's conformance list with a server and clients on different runtimes.

use std::future::pending;

use oxymoq_core::sim::conformance::{self, Case, Ended, Harness, Party};
use smol::LocalExecutor;

use crate::stack::{Endpoint, Stack, block_on, client_settings, server_settings};

/// A server on one stack and its clients on another, all in one thread.
struct Mixed {
    server: Stack,
    clients: Stack,
}

async fn play(endpoint: Endpoint, mut party: Party) -> Ended {
    let exit = endpoint.run(&mut party, pending()).await;
    party.ended(exit)
}

impl Harness for Mixed {
    fn run(&self, case: &Case) -> Vec<Ended> {
        let mut server = server_settings(case.server_alpns());
        server.transport = case.transport();
        let mut client = client_settings();
        client.transport = case.transport();
        let endpoint = self.server.bind(server);
        let port = endpoint.local_address().port();
        let mut needs_tokio = endpoint.needs_tokio();
        let parties = LocalExecutor::new();
        let mut playing = vec![parties.spawn(play(endpoint, case.server()))];
        for party in case.clients("127.0.0.1", port) {
            let endpoint = self.clients.bind(client.clone());
            needs_tokio |= endpoint.needs_tokio();
            playing.push(parties.spawn(play(endpoint, party)));
        }
        block_on(
            needs_tokio,
            parties.run(async {
                let mut ended = Vec::new();
                for party in playing {
                    ended.push(party.await);
                }
                ended
            }),
        )
    }
}

// Rules: B060, B077
/// Each with itself is tested beside the runtimes.
#[test]
fn every_case_passes_from_one_runtime_to_the_other() {
    for (server, clients) in Stack::pairs().filter(|(server, clients)| server != clients) {
        conformance::check_all(&Mixed { server, clients });
    }
}
