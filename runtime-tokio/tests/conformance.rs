//! The core's conformance list over real sockets.

use oxymoq_core::sim::conformance::{self, Case, Exits};
use oxymoq_tokio::Endpoint;

use crate::support::{client_settings, run_bound, server_settings};

fn run(case: &Case) -> Exits {
    let mut server = server_settings();
    server.transport = case.transport();
    if let Some(server) = &mut server.server {
        server.alpns = case.server_alpns();
    }
    let mut client = client_settings();
    client.transport = case.transport();
    let endpoint = Endpoint::bind(server).unwrap();
    let mut connecting = case.client("127.0.0.1", endpoint.local_address().port());
    let (server, client) = run_bound((endpoint, &mut case.server()), (client, &mut connecting));
    Exits { server, client }
}

#[test]
fn every_case_of_the_conformance_list_passes() {
    conformance::check_all(run);
}
