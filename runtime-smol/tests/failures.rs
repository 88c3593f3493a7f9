//! What goes wrong when setting up: every failure is one sentence that names what failed and what to do.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use oxymoq_core::runtime::{Certificate, Pem, Settings, Trust};
use oxymoq_core::transport::{Closed, Input};
use oxymoq_smol::Endpoint;

use crate::support::{
    Event, Hands, Scripted, bind, client_settings, log, never, protocols, run_pair,
    server_settings, within_a_minute,
};

/// Connects to this port; returns why that came to nothing.
fn failure(settings: &Settings, host: &str, port: u16) -> String {
    let client = bind(settings.clone());
    let said = log::<String>();
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| match event {
        Event::Started => {}
        Event::Input(Input::Closed(Closed::Failed(why))) => {
            said.borrow_mut().push(why);
            hands.exit();
        }
        other => panic!("{other:?}"),
    });
    calling.hands.connect(host, port, &["moqt-18"]);
    within_a_minute(client.run(&mut calling, never())).unwrap();
    said.take().concat()
}

/// Connects to a server; returns why that came to nothing, as the client is told, and as the server's application is.
fn failures(server: &Settings, client: &Settings, host: &str) -> (String, String) {
    let server = bind(server.clone());
    let port = server.local_address().port();
    let client = bind(client.clone());
    let (by_client, by_server) = (log::<Closed>(), log::<Closed>());
    let hear = |heard: &crate::support::Log<Closed>| {
        let heard = heard.clone();
        move |hands: &mut Hands, _, event| match event {
            Event::Started => {}
            Event::Input(Input::Closed(why)) => {
                heard.borrow_mut().push(why);
                hands.exit();
            }
            other => panic!("{other:?}"),
        }
    };
    let mut calling = Scripted::new(hear(&by_client));
    let mut serving = Scripted::new(hear(&by_server));
    calling.hands.connect(host, port, &["moqt-18"]);
    let (left, right) = within_a_minute(smol::future::zip(
        client.run(&mut calling, never()),
        server.run(&mut serving, never()),
    ));
    left.and(right).unwrap();
    let [by_client, by_server] =
        [by_client, by_server].map(|heard| match heard.take().as_slice() {
            [Closed::Failed(why)] => why.clone(),
            other => panic!("{other:?}"),
        });
    (by_client, by_server)
}

#[test]
fn refused_client_hears_of_it() {
    let server = bind(server_settings());
    let port = server.local_address().port();
    let mut serving = Scripted::new(|_: &mut Hands, _, event| match event {
        Event::Started => {}
        other => panic!("{other:?}"),
    });
    serving.hands.refuse = true;
    let client = bind(client_settings());
    let said = log::<String>();
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| {
        if let Event::Input(Input::Closed(why)) = event {
            said.borrow_mut().push(why.to_string());
            hands.exit();
        }
    });
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    within_a_minute(smol::future::or(
        server.run(&mut serving, never()),
        client.run(&mut calling, never()),
    ))
    .unwrap();
    let said = said.take().concat();
    assert!(
        said.ends_with("refused the connection; it may be full, try again later"),
        "{said}"
    );
}

#[test]
fn silent_address_fails_within_the_connect_timeout() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut settings = client_settings();
    settings.client.connect_timeout = Duration::from_millis(300);
    let start = Instant::now();
    let said = failure(&settings, "127.0.0.1", port);
    assert!(start.elapsed() < Duration::from_secs(10));
    let expected = format!(
        "no answer from 127.0.0.1, port {port} (127.0.0.1:{port}) within 300ms; check that a server listens there and \
         that UDP gets through"
    );
    assert_eq!(said, expected);
}

#[test]
fn unknown_host_name_says_so() {
    let said = failure(&client_settings(), "nowhere.invalid", 4433);
    assert!(
        said.contains("name nowhere.invalid cannot be resolved"),
        "{said}"
    );
    let said = failure(&client_settings(), "not a name", 4433);
    assert!(said.contains("it is not a host name"), "{said}");
}

#[test]
fn no_common_protocol_names_what_was_offered() {
    let mut server = server_settings();
    server.server.as_mut().unwrap().alpns = protocols(&["moqt-98", "moqt-99"]);
    let (by_client, by_server) = failures(&server, &client_settings(), "127.0.0.1");
    assert!(
        by_client.ends_with(" speaks none of moqt-18"),
        "{by_client}"
    );
    assert_eq!(by_server, "the client offers none of moqt-98, moqt-99");
}

#[test]
fn untrusted_certificate_says_what_to_do() {
    let mut client = client_settings();
    let (other, _) = certificate("localhost");
    client.client.trust = trusting(other);
    let (by_client, by_server) = failures(&server_settings(), &client, "localhost");
    assert!(
        by_client.ends_with(
            "is not trusted: nobody who is trusted here issued its certificate; trust its certificate or the authority \
             that issued it"
        ),
        "{by_client}"
    );
    assert_eq!(by_server, "the client broke off the handshake");
}

#[test]
fn nothing_to_trust_is_said_when_connecting() {
    let mut client = client_settings();
    client.client.trust = Trust::Certificates {
        system: false,
        extra: Vec::new(),
    };
    let said = failure(&client, "127.0.0.1", 4433);
    assert!(
        said.starts_with("no certificate authority is known"),
        "{said}"
    );
}

fn trusting(certificate: Pem) -> Trust {
    Trust::Certificates {
        system: false,
        extra: vec![certificate],
    }
}

/// A certificate as `openssl req -x509` makes it: self-signed, allowed to sign others, for `name`.
fn certificate(name: &str) -> (Pem, Pem) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let chain = params.self_signed(&key).unwrap();
    let pem = |origin: &str, text: String| Pem {
        origin: origin.to_owned(),
        content: text.into_bytes(),
    };
    (
        pem("server.pem", chain.pem()),
        pem("server.key", key.serialize_pem()),
    )
}

#[test]
fn certificate_that_is_named_as_trusted_is_believed_for_its_name() {
    let (chain, key) = certificate("localhost");
    let mut settings = server_settings();
    let certificate = Certificate::Pem {
        chain: chain.clone(),
        key,
    };
    settings.server.as_mut().unwrap().certificate = certificate;
    let mut client = client_settings();
    client.client.trust = trusting(chain);
    let server = bind(settings.clone());
    let calling = bind(client.clone());
    run_pair(
        server,
        |_, _, _| {},
        calling,
        |hands, _, event| match event {
            Event::Started => {}
            Event::Input(Input::Connected { .. }) => hands.exit(),
            other => panic!("{other:?}"),
        },
    );
    let (said, _) = failures(&settings, &client, "127.0.0.1");
    assert!(
        said.contains("its certificate is for another name"),
        "{said}"
    );
}

#[test]
fn taken_port_and_unusable_certificate_are_one_sentence_each() {
    let first = bind(server_settings());
    let address = first.local_address();
    let mut settings = server_settings();
    settings.server.as_mut().unwrap().listen = address;
    let said = Endpoint::bind(settings.clone()).unwrap_err().to_string();
    assert!(
        said.contains("in use") && said.contains(&address.to_string()),
        "{said}"
    );

    let nonsense = Pem {
        origin: "server.pem".to_owned(),
        content: b"nonsense".to_vec(),
    };
    settings.server.as_mut().unwrap().certificate = Certificate::Pem {
        chain: nonsense.clone(),
        key: nonsense,
    };
    let said = Endpoint::bind(settings.clone()).unwrap_err().to_string();
    assert!(
        said.contains("server.pem") && !said.contains('\n'),
        "{said}"
    );
}

#[test]
fn attempt_can_be_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let client = bind(client_settings());
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| {
        if let Event::Input(Input::Closed(why)) = event {
            assert_eq!(why, Closed::ByUs);
            hands.exit();
        }
    });
    let id = calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    calling.hands.close(id, 0);
    within_a_minute(client.run(&mut calling, never())).unwrap();
}
