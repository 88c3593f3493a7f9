//! The core's conformance list with a server and a client on different runtimes.

use oxymoq_core::sim::conformance::{self, Case, Exits};

use crate::stack::{Stack, client_settings, run_both, server_settings};

fn run(server: Stack, client: Stack, case: &Case) -> Exits {
    let mut settings = server_settings(case.server_alpns());
    settings.transport = case.transport();
    let endpoint = server.bind(settings);
    let mut connecting = case.client("127.0.0.1", endpoint.local_address().port());
    let mut settings = client_settings();
    settings.transport = case.transport();
    let (server, client) = run_both(
        (endpoint, &mut case.server()),
        (client.bind(settings), &mut connecting),
    );
    Exits { server, client }
}

/// Each with itself is tested beside the runtimes.
#[test]
fn every_case_passes_from_one_runtime_to_the_other() {
    for (server, client) in Stack::pairs().filter(|(server, client)| server != client) {
        conformance::check_all(|case| run(server, client, case));
    }
}
