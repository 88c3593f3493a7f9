//! The core's conformance list over real sockets.

use oxymoq_core::sim::conformance::{self, Case, Exits};

use crate::support::{bind, client_settings, never, server_settings, within_a_minute};

fn run(case: &Case) -> Exits {
    let mut server = server_settings();
    server.transport = case.transport();
    if let Some(server) = &mut server.server {
        server.alpns = case.server_alpns();
    }
    let mut client = client_settings();
    client.transport = case.transport();
    let endpoint = bind(server);
    let mut serving = case.server();
    let mut connecting = case.client("127.0.0.1", endpoint.local_address().port());
    let (server, client) = within_a_minute(smol::future::zip(
        endpoint.run(&mut serving, never()),
        bind(client).run(&mut connecting, never()),
    ));
    Exits {
        server: server.unwrap(),
        client: client.unwrap(),
    }
}

#[test]
fn every_case_of_the_conformance_list_passes() {
    conformance::check_all(run);
}
