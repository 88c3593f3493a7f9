//! The core's conformance list over real sockets.

use std::sync::Mutex;
use std::thread;

use oxymoq_core::sim::conformance::{self, Case, Ended, Harness, Party};
use oxymoq_smol::Endpoint;
use smol::LocalExecutor;

use crate::support::{bind, client_settings, never, server_settings, within_a_minute};

/// How many cases run at once: some only wait for a while.
const AT_ONCE: usize = 4;

/// All parties of a case in one thread.
struct Loopback;

async fn play(endpoint: Endpoint, mut party: Party) -> Ended {
    let exit = endpoint.run(&mut party, never()).await.unwrap();
    party.ended(exit)
}

impl Harness for Loopback {
    fn run(&self, case: &Case) -> Vec<Ended> {
        let mut server = server_settings();
        server.transport = case.transport();
        if let Some(server) = &mut server.server {
            server.alpns = case.server_alpns();
        }
        let mut client = client_settings();
        client.transport = case.transport();
        let endpoint = bind(server);
        let port = endpoint.local_address().port();
        let parties = LocalExecutor::new();
        let mut playing = vec![parties.spawn(play(endpoint, case.server()))];
        for party in case.clients("127.0.0.1", port) {
            let endpoint = bind(client.clone());
            playing.push(parties.spawn(play(endpoint, party)));
        }
        within_a_minute(parties.run(async {
            let mut ended = Vec::new();
            for party in playing {
                ended.push(party.await);
            }
            ended
        }))
    }

    fn run_all(&self, cases: &[Case]) -> Vec<Vec<Ended>> {
        let (next, reports) = (Mutex::new(cases.iter().enumerate()), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let case = next.lock().unwrap().next();
                        let Some((number, case)) = case else { break };
                        let report = self.run(case);
                        reports.lock().unwrap().push((number, report));
                    }
                });
            }
        });
        let mut reports = reports.into_inner().unwrap();
        reports.sort_by_key(|(number, _)| *number);
        reports.into_iter().map(|(_, report)| report).collect()
    }
}

#[test]
fn every_case_of_the_conformance_list_passes() {
    conformance::check_all(&Loopback);
}
