//! What an endpoint tells of itself.

use oxymoq_tokio::Endpoint;

use crate::support::{client_settings, server_settings};

#[test]
fn server_has_a_fingerprint_and_a_client_has_none() {
    let server = Endpoint::bind(server_settings()).unwrap();
    assert!(server.fingerprint().is_some_and(|print| print != [0; 32]));
    let client = Endpoint::bind(client_settings()).unwrap();
    assert_eq!(client.fingerprint(), None);
}
