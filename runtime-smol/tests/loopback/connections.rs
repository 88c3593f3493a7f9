//! Connections over loopback: handshakes, datagrams, ends, and what goes wrong.
use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{
    Event, Hands, Scripted, bind, client_settings, log, never, pattern, protocols, run, run_pair,
    server_settings, within_a_minute,
};
use bytes::Bytes;
use oxymoq_core::runtime::{Certificate, Pem, ServerSettings, Settings, Trust};
use oxymoq_core::transport::{Answer, Closed, Exit, Input, Output};
use oxymoq_smol::Endpoint;

#[test]
fn servers_order_decides_on_the_protocol() {
    let server = bind(server_settings());
    let port = server.local_address().port();
    let client = bind(client_settings());
    let agreed = |hands: &mut Hands, _, event| {
        if let Event::Input(Input::Connected { alpn, max_datagram }) = event {
            assert_eq!(alpn, "moqt-18");
            assert!((1100..1500).contains(&max_datagram), "{max_datagram}");
            hands.exit();
        }
    };
    let mut serving = Scripted::new(agreed);
    let mut calling = Scripted::new(agreed);
    let offer = ["h3", "moqt-16", "moqt-18"];
    calling.hands.connect("127.0.0.1", port, &offer);
    let (left, right) = within_a_minute(smol::future::zip(
        server.run(&mut serving, never()),
        client.run(&mut calling, never()),
    ));
    left.and(right).unwrap();
}

#[test]
fn datagrams_cross_both_ways() {
    run(
        |hands, id, event| {
            if let Event::Input(Input::Datagram(bytes)) = event {
                hands.push(id, Output::Datagram(bytes));
            }
        },
        {
            let mut largest = 0;
            move |hands, id, event| match event {
                Event::Input(Input::Connected { max_datagram, .. }) => {
                    largest = max_datagram;
                    hands.push(id, Output::Datagram(pattern(max_datagram)));
                }
                Event::Input(Input::Datagram(bytes)) => {
                    assert_eq!(bytes, pattern(largest));
                    hands.exit();
                }
                _ => {}
            }
        },
    );
}

#[test]
fn too_large_datagram_is_answered() {
    run(
        |_, _, _| {},
        |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                hands.push(id, Output::Datagram(pattern(1500)));
            }
            Event::Answer(_, answer) => {
                assert_eq!(answer, Answer::TooLarge);
                hands.exit();
            }
            _ => {}
        },
    );
}

#[test]
fn full_datagram_queue_blocks_until_there_is_room() {
    let mut blocked = false;
    let mut sent = 0;
    run(
        |_, _, _| {},
        move |hands, id, event| match event {
            Event::Input(Input::Connected { .. }) => {
                hands.push(id, Output::Datagram(pattern(1000)));
            }
            Event::Answer(Output::Datagram(_), Answer::Done) if blocked => hands.exit(),
            Event::Answer(Output::Datagram(_), Answer::Done) => {
                sent += 1;
                assert!(sent < 100, "64 KiB hold no more");
                hands.push(id, Output::Datagram(pattern(1000)));
            }
            Event::Answer(Output::Datagram(_), answer) => {
                assert_eq!(answer, Answer::Blocked);
                assert!(sent > 50, "{sent}");
                blocked = true;
            }
            Event::Input(Input::DatagramRoom) => {
                assert!(blocked);
                hands.push(id, Output::Datagram(pattern(1000)));
            }
            _ => {}
        },
    );
}

#[test]
fn close_code_reaches_the_peer_and_each_side_hears_once() {
    let server = bind(server_settings());
    let port = server.local_address().port();
    let client = bind(client_settings());
    let mut serving = Scripted::new(|hands: &mut Hands, _, event| {
        if let Event::Input(Input::Closed(why)) = event {
            let reason = Bytes::new();
            assert_eq!(
                why,
                Closed::ByPeer {
                    code: 0x1234,
                    reason
                }
            );
            hands.exit();
        }
    });
    let mut calling = Scripted::new(|hands: &mut Hands, id, event| match event {
        Event::Input(Input::Connected { .. }) => hands.close(id, 0x1234),
        Event::Input(Input::Closed(why)) => {
            assert_eq!(why, Closed::ByUs);
            hands.exit();
        }
        _ => {}
    });
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    let (left, right) = within_a_minute(smol::future::zip(
        client.run(&mut calling, never()),
        server.run(&mut serving, never()),
    ));
    left.and(right).unwrap();
    assert_eq!((serving.hands.closed, calling.hands.closed), (1, 1));
}

#[test]
fn refused_client_hears_of_it() {
    let server = bind(server_settings());
    let port = server.local_address().port();
    let client = bind(client_settings());
    let mut serving = Scripted::new(|_: &mut Hands, _, event| panic!("{event:?}"));
    serving.hands.refuse = true;
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| {
        if matches!(event, Event::Input(Input::Closed(_))) {
            hands.exit();
        }
    });
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    within_a_minute(smol::future::or(
        async {
            server.run(&mut serving, never()).await.unwrap();
        },
        async {
            client.run(&mut calling, never()).await.unwrap();
        },
    ));
    assert_eq!(calling.hands.closed, 1);
}

/// What an attempt to connect ends with.
fn failure(settings: &Settings, host: &str, port: u16) -> String {
    let client = bind(settings.clone());
    let said = log::<String>();
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| match event {
        Event::Input(Input::Closed(why)) => {
            assert!(matches!(why, Closed::Failed(_)), "{why:?}");
            said.borrow_mut().push(why.to_string());
            hands.exit();
        }
        other => panic!("{other:?}"),
    });
    calling.hands.connect(host, port, &["moqt-18"]);
    within_a_minute(client.run(&mut calling, never())).unwrap();
    said.take().concat()
}

/// [`failure`] with a server that does its part.
fn failure_with_server(server: &Settings, client: &Settings, host: &str) -> String {
    let server = bind(server.clone());
    let port = server.local_address().port();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut serving = Scripted::new(|_: &mut Hands, _, _| {});
        let until = async {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                smol::Timer::after(Duration::from_millis(5)).await;
            }
        };
        within_a_minute(smol::future::or(
            async {
                server.run(&mut serving, never()).await.unwrap();
            },
            until,
        ));
    });
    let said = failure(client, host, port);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    thread.join().unwrap();
    said
}

#[test]
fn silent_address_fails_within_the_connect_timeout() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut settings = client_settings();
    settings.client.connect_timeout = Duration::from_millis(300);
    let start = Instant::now();
    let said = failure(&settings, "localhost", port);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(
        said.contains("no answer") && said.contains(&port.to_string()),
        "{said}"
    );
}

#[test]
fn unknown_host_name_says_so() {
    let said = failure(&client_settings(), "nowhere.invalid", 4433);
    assert!(
        said.contains("name nowhere.invalid cannot be resolved"),
        "{said}"
    );
    let said = failure(&client_settings(), "not a name", 4433);
    assert!(
        said.contains("neither a host name nor an address"),
        "{said}"
    );
}

#[test]
fn no_common_protocol_names_what_was_offered() {
    let mut server = server_settings();
    server.server.as_mut().unwrap().alpns = protocols(&["moqt-99"]);
    let said = failure_with_server(&server, &client_settings(), "127.0.0.1");
    assert!(said.contains("speaks none of moqt-18"), "{said}");
}

#[test]
fn untrusted_certificate_says_what_to_do() {
    let mut client = client_settings();
    client.client.trust = Trust::default();
    let said = failure_with_server(&server_settings(), &client, "localhost");
    assert!(said.contains("trusted"), "{said}");
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
    let mut trusting = client_settings();
    trusting.client.trust = Trust::Certificates {
        system: false,
        extra: vec![chain],
    };
    let server = bind(settings.clone());
    let client = bind(trusting.clone());
    run_pair(
        server,
        |_, _, _| {},
        client,
        |hands, _, event| match event {
            Event::Input(Input::Connected { .. }) => hands.exit(),
            other => panic!("{other:?}"),
        },
    );
    let said = failure_with_server(&settings, &trusting, "127.0.0.1");
    assert!(said.contains("certificate"), "{said}");
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
fn both_address_families_are_served_on_one_port() {
    let mut settings = server_settings();
    settings.server = Some(ServerSettings::new(0, protocols(&["moqt-18"])));
    let server = bind(settings);
    let port = server.local_address().port();
    let client = bind(client_settings());
    let mut connected = 0;
    let mut calling = Scripted::new(|hands: &mut Hands, _, event| match event {
        Event::Input(Input::Connected { .. }) => {
            connected += 1;
            if connected == 2 {
                hands.exit();
            }
        }
        Event::Input(Input::Closed(why)) => panic!("{why}"),
        _ => {}
    });
    calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    calling.hands.connect("::1", port, &["moqt-18"]);
    let mut serving = Scripted::new(|_: &mut Hands, _, _| {});
    within_a_minute(smol::future::or(
        async {
            server.run(&mut serving, never()).await.unwrap();
        },
        async {
            client.run(&mut calling, never()).await.unwrap();
        },
    ));
}

#[test]
fn fifty_connections_live_in_one_task() {
    let mut settings = server_settings();
    // So that address validation is part of it.
    settings.transport.retry_above = 10;
    let server = bind(settings);
    let port = server.local_address().port();
    let client = bind(client_settings());
    let mut serving = Scripted::new(|hands: &mut Hands, id, event| {
        if let Event::Input(Input::Datagram(bytes)) = event {
            hands.push(id, Output::Datagram(bytes));
        }
    });
    let mut calling = Scripted::new(|hands: &mut Hands, id, event| match event {
        Event::Input(Input::Connected { .. }) => {
            hands.push(id, Output::Datagram(Bytes::from(id.0.to_string())));
        }
        Event::Input(Input::Datagram(bytes)) => {
            assert_eq!(bytes, id.0.to_string());
            hands.close(id, 0);
        }
        Event::Input(Input::Closed(why)) => {
            assert_eq!(why, Closed::ByUs);
            if hands.closed == 50 {
                hands.exit();
            }
        }
        _ => {}
    });
    for _ in 0..50 {
        calling.hands.connect("127.0.0.1", port, &["moqt-18"]);
    }
    within_a_minute(smol::future::or(
        async {
            server.run(&mut serving, never()).await.unwrap();
        },
        async {
            client.run(&mut calling, never()).await.unwrap();
        },
    ));
}

#[test]
fn shutdown_reaches_the_application_which_then_ends_the_run() {
    let server = bind(server_settings());
    let mut serving = Scripted::new(|hands: &mut Hands, _, event| {
        assert!(matches!(event, Event::Shutdown));
        hands.exit();
    });
    let exit = within_a_minute(server.run(&mut serving, async {})).unwrap();
    assert_eq!(exit, Exit::Success);
}

#[test]
fn attempt_can_be_given_up() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
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

#[test]
fn no_thread_belongs_to_tokio() {
    run(
        |_, _, _| {},
        |hands, _, event| {
            if matches!(event, Event::Input(Input::Connected { .. })) {
                let names: Vec<_> = fs::read_dir("/proc/self/task")
                    .unwrap()
                    .map(|task| {
                        fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
                    })
                    .collect();
                assert!(!names.is_empty());
                assert!(
                    names.iter().all(|name| !name.contains("tokio")),
                    "{names:?}"
                );
                hands.exit();
            }
        },
    );
}
