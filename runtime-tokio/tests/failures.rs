//! What goes wrong when setting up: every failure is one sentence that names what failed and what to do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use oxymoq_core::runtime::{Certificate, Pem, ServerSettings, Settings, Trust};
use oxymoq_core::transport::{Closed, Exit, Target};
use oxymoq_tokio::Endpoint;

use crate::support::{
    Happening, Script, certificate, client_settings, pem, run_bound, run_client, server_settings,
    target,
};

/// Connects, and returns what became of it; an established connection is closed.
fn connect(settings: Settings, target: &Target) -> Closed {
    let mut seen = None;
    let mut client = Script::new(|wishes, id, happening| match happening {
        Happening::Started => {
            wishes.connect(target.clone());
        }
        Happening::Connected(..) => wishes.close(id, 0, "fine"),
        Happening::Closed(closed) => {
            seen = Some(closed);
            wishes.succeed();
        }
        _ => {}
    });
    assert_eq!(run_client(settings, &mut client), Exit::Success);
    drop(client);
    seen.unwrap()
}

/// The same with a server that is there for one connection; returns what became of it on either side.
fn connect_to(server: Settings, client: Settings, host: &str) -> (Closed, Closed) {
    let endpoint = Endpoint::bind(server).unwrap();
    let mut target = target(endpoint.local_address());
    target.host = host.to_owned();
    let (mut at_server, mut at_client) = (None, None);
    let mut server = Script::new(|wishes, _, happening| {
        if let Happening::Closed(closed) = happening {
            at_server = Some(closed);
            wishes.succeed();
        }
    });
    let mut client_app = Script::new(|wishes, id, happening| match happening {
        Happening::Started => {
            wishes.connect(target.clone());
        }
        Happening::Connected(..) => wishes.close(id, 0, "fine"),
        Happening::Closed(closed) => {
            at_client = Some(closed);
            wishes.succeed();
        }
        _ => {}
    });
    run_bound((endpoint, &mut server), (client, &mut client_app));
    drop((server, client_app));
    (at_server.unwrap(), at_client.unwrap())
}

fn failed(closed: &Closed) -> &str {
    match closed {
        Closed::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

fn with_certificate(chain: Pem, key: Pem) -> Settings {
    let mut settings = server_settings();
    settings.server.as_mut().unwrap().certificate = Certificate::Pem { chain, key };
    settings
}

fn trusting(extra: Vec<Pem>) -> Settings {
    let mut settings = client_settings();
    settings.client.trust = Trust::Certificates {
        system: false,
        extra,
    };
    settings
}

#[test]
fn silent_port_fails_within_the_connect_timeout() {
    // Held, so that nobody else gets it, and silent.
    let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut settings = client_settings();
    settings.client.connect_timeout = Duration::from_millis(300);
    let started = Instant::now();
    let target = target(silent.local_addr().unwrap());
    let closed = connect(settings, &target);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        failed(&closed),
        format!(
            "no answer from 127.0.0.1, port {0} (127.0.0.1:{0}) within 300ms; check that a server listens there and \
             that UDP gets through",
            target.port
        )
    );
}

#[test]
fn name_that_does_not_exist_is_named() {
    let target = Target {
        host: "no such host.invalid".to_owned(),
        port: 4433,
        alpns: vec!["test-1".into()],
    };
    let closed = connect(client_settings(), &target);
    let why = failed(&closed);
    assert!(
        why.starts_with("the name no such host.invalid cannot be resolved ("),
        "{why}"
    );
}

#[test]
fn no_common_protocol_names_what_was_offered() {
    let mut server = server_settings();
    server.server.as_mut().unwrap().alpns = vec!["other-1".into(), "other-2".into()];
    let (at_server, at_client) = connect_to(server, client_settings(), "127.0.0.1");
    assert_eq!(
        failed(&at_server),
        "the client offers none of other-1, other-2"
    );
    let why = failed(&at_client);
    assert!(why.starts_with("the server at 127.0.0.1, port "), "{why}");
    assert!(why.ends_with(" speaks none of test-1, test-2"), "{why}");
}

#[test]
fn server_that_is_full_is_told_apart() {
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let target = target(endpoint.local_address());
    let mut seen = None;
    let mut server = Script::new(|wishes, _, happening| match happening {
        Happening::Started => {
            wishes.refuse = true;
            wishes.timeout = Some(Duration::from_millis(300));
        }
        Happening::Timeout => wishes.succeed(),
        _ => {}
    });
    let mut client = Script::new(|wishes, _, happening| match happening {
        Happening::Started => {
            wishes.connect(target.clone());
        }
        Happening::Closed(closed) => {
            seen = Some(closed);
            wishes.succeed();
        }
        _ => {}
    });
    run_bound((endpoint, &mut server), (client_settings(), &mut client));
    drop(client);
    let why = failed(seen.as_ref().unwrap()).to_owned();
    assert!(
        why.ends_with("refused the connection; it may be full, try again later"),
        "{why}"
    );
}

#[test]
fn port_in_use_is_named() {
    let first = Endpoint::bind(server_settings()).unwrap();
    let mut settings = server_settings();
    settings.server.as_mut().unwrap().listen = first.local_address();
    let error = Endpoint::bind(settings).unwrap_err();
    let address = first.local_address();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on UDP {address}: port {} is in use; stop the program that has it or choose another port",
            address.port()
        )
    );
}

#[test]
fn foreign_address_is_named() {
    let mut settings = server_settings();
    // A documentation address (RFC 5737), which no machine has.
    settings.server.as_mut().unwrap().listen = SocketAddr::from(([192, 0, 2, 1], 0));
    assert_eq!(
        Endpoint::bind(settings).unwrap_err().to_string(),
        "cannot listen on UDP 192.0.2.1:0: 192.0.2.1 is not an address of this machine; use [::] for all"
    );
}

#[test]
fn unusable_certificate_is_named() {
    let nonsense = pem("nonsense.pem", "hello");
    let error = Endpoint::bind(with_certificate(nonsense.clone(), nonsense.clone())).unwrap_err();
    let said = error.to_string();
    assert!(
        said.starts_with("cannot use the certificate nonsense.pem: "),
        "{said}"
    );
    let error = Endpoint::bind(trusting(vec![nonsense])).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("cannot trust nonsense.pem: "), "{said}");
}

#[test]
fn exact_certificate_is_trusted() {
    let (chain, key) = certificate(&["localhost", "127.0.0.1"], false);
    let settings = with_certificate(chain.clone(), key);
    let (_, at_client) = connect_to(settings, trusting(vec![chain]), "127.0.0.1");
    assert_eq!(at_client, Closed::ByUs);
}

#[test]
fn exact_certificate_counts_for_its_own_names_only() {
    let (chain, key) = certificate(&["example.org"], false);
    let settings = with_certificate(chain.clone(), key);
    let (_, at_client) = connect_to(settings, trusting(vec![chain]), "127.0.0.1");
    let why = failed(&at_client);
    assert!(
        why.contains("is not trusted: its certificate is for another name"),
        "{why}"
    );
}

#[test]
fn unknown_certificate_is_not_trusted() {
    let (other, _) = certificate(&["127.0.0.1"], false);
    let (at_server, at_client) = connect_to(server_settings(), trusting(vec![other]), "127.0.0.1");
    let why = failed(&at_client);
    assert!(
        why.ends_with(
            "is not trusted: nobody who is trusted here issued its certificate; trust its certificate or the authority \
             that issued it"
        ),
        "{why}"
    );
    assert!(failed(&at_server).starts_with("the client broke off the handshake"));
}

#[test]
fn nothing_to_trust_is_said_when_connecting() {
    let endpoint = Endpoint::bind(server_settings()).unwrap();
    let closed = connect(trusting(Vec::new()), &target(endpoint.local_address()));
    assert!(
        failed(&closed).starts_with("no certificate authority is known"),
        "{closed:?}"
    );
}

#[test]
fn server_on_one_address_family_is_found_under_a_name_with_both() {
    let (_, at_client) = connect_to(server_settings(), client_settings(), "localhost");
    assert_eq!(at_client, Closed::ByUs);
}

#[test]
fn server_on_every_address_is_reached_over_ipv4() {
    let mut settings = server_settings();
    let alpns = settings.server.take().unwrap().alpns;
    settings.server = Some(ServerSettings::new(0, alpns));
    let (_, at_client) = connect_to(settings, client_settings(), "127.0.0.1");
    assert_eq!(at_client, Closed::ByUs);
}

#[test]
fn application_may_give_up_while_connecting() {
    let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = target(silent.local_addr().unwrap());
    let mut client = Script::new(|wishes, _, happening| match happening {
        Happening::Started => {
            let id = wishes.connect(target.clone());
            wishes.close(id, 0, "changed my mind");
        }
        Happening::Closed(closed) => {
            assert_eq!(closed, Closed::ByUs);
            wishes.succeed();
        }
        _ => {}
    });
    assert_eq!(run_client(client_settings(), &mut client), Exit::Success);
}

#[test]
fn server_has_a_fingerprint_and_a_client_has_none() {
    let server = Endpoint::bind(server_settings()).unwrap();
    assert!(server.fingerprint().is_some_and(|print| print != [0; 32]));
    let client = Endpoint::bind(client_settings()).unwrap();
    assert_eq!(client.fingerprint(), None);
}
