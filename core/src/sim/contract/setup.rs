//! Connections that come about, and those that do not: every failure is one sentence that names what failed.

use std::cell::Cell;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::runtime::{Certificate, Pem, Trust};
use crate::sim::Script;
use crate::transport::{Closed, ConnectionId, Exit, Input, Output};

use super::{
    Actor, Bench, C0, OFFERED, Seat, Sockets, Told, caller, client, closing, failed, greeter, run,
    run_plain, server,
};

/// Connects and closes at once.
fn visitor() -> Actor {
    caller(leave)
}

fn leave(script: &mut Script, id: ConnectionId, told: Told<'_>) {
    if let Told::Input(Input::Connected { .. }) = told {
        script.close(id, 0, "seen enough");
    }
}

/// A server that nobody hears: its endpoint is bound and never works.
fn silent() -> Seat {
    let actor = Actor::new(|script, _, told| {
        if let Told::Shutdown = told {
            script.exit(Exit::Success);
        }
    });
    server(&actor.held_by(Rc::new(Cell::new(true))))
}

/// Of what both speak, the server's favourite.
pub fn servers_order_decides_on_the_protocol(bench: &mut dyn Bench) {
    let calling = caller(|script, id, told| {
        if let Told::Input(Input::Datagram(_)) = told {
            script.close(id, 0, "seen enough");
        }
    });
    let serving = greeter();
    run_plain(bench, &serving, &calling);
    for actor in [serving, calling] {
        let script = actor.script();
        let connected = script.inputs().iter().find_map(|(_, input)| match input {
            Input::Connected { alpn, .. } => Some(alpn.clone()),
            _ => None,
        });
        assert_eq!(connected, Some(Bytes::from_static(b"test-2")));
    }
}

/// A server that is full says so.
pub fn refused_client_hears_of_it(bench: &mut dyn Bench) {
    let (serving, calling) = (Actor::silent().with(Script::refuse), visitor());
    run_plain(bench, &serving, &calling);
    let closed = closing(&calling);
    assert!(failed(&closed).contains("refused"), "{closed}");
    assert!(serving.script().inputs().is_empty());
}

/// One task serves them all.
pub fn fifty_connections_live_side_by_side(bench: &mut dyn Bench) {
    const CLIENTS: usize = 50;
    let serving = Actor::new(|script, id, told| {
        if let Told::Input(Input::Datagram(bytes)) = told {
            script.push(id, Output::Datagram(bytes.clone()));
        }
    });
    let mut calling = Actor::new(|script, id, told| match told {
        Told::Input(Input::Connected { .. }) => {
            script.push(id, Output::Datagram(Bytes::from(id.0.to_string())));
        }
        Told::Input(Input::Datagram(bytes)) => {
            assert_eq!(*bytes, id.0.to_string());
            script.close(id, 0, "done");
        }
        Told::Input(Input::Closed(closed)) => {
            assert_eq!(*closed, Closed::ByUs);
            if script.closings().count() == CLIENTS {
                script.exit(Exit::Success);
            }
        }
        _ => {}
    });
    for _ in 0..CLIENTS {
        calling = calling.dialling(&OFFERED);
    }
    run_plain(bench, &serving, &calling);
}

/// A server on `[::]` is there for both; on machines without IPv6 for one.
pub fn both_address_families_are_served_on_one_port(bench: &mut dyn Sockets) {
    let mut seat = server(&Actor::silent());
    if let Some(server) = &mut seat.settings.server {
        server.listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    }
    for host in ["127.0.0.1", "::1"] {
        let calling = at(host);
        bench.run(&seat, &client(&calling));
        assert_eq!(closing(&calling), Closed::ByUs, "{host}");
    }
}

/// A server on one address family is found under a name that has both.
pub fn name_with_two_addresses_leads_to_the_one_that_answers(bench: &mut dyn Sockets) {
    let calling = at("localhost");
    bench.run(&server(&Actor::silent()), &client(&calling));
    assert_eq!(closing(&calling), Closed::ByUs);
}

/// A [`visitor`] of this host.
fn at(host: &'static str) -> Actor {
    let calling = Actor::new(|script, id, told| {
        leave(script, id, told);
        if let Told::Input(Input::Closed(_)) = told {
            script.exit(Exit::Success);
        }
    });
    calling.dialling_at(Some(host), &OFFERED)
}

/// Nobody answers, and the patience of the settings is over.
pub fn silent_server_fails_within_the_connect_timeout(bench: &mut dyn Sockets) {
    let calling = visitor();
    let mut seat = client(&calling);
    seat.settings.client.connect_timeout = Duration::from_millis(300);
    bench.run(&silent(), &seat);
    let closed = closing(&calling);
    let why = failed(&closed);
    assert!(why.starts_with("no answer from 127.0.0.1, port "), "{why}");
    let advice = " within 300ms; check that a server listens there and that UDP gets through";
    assert!(why.ends_with(advice), "{why}");
}

/// The application does not want to wait any more.
pub fn attempt_can_be_given_up(bench: &mut dyn Sockets) {
    let calling = caller(|script, _, told| {
        if let Told::Started = told {
            script.close(C0, 0, "changed my mind");
        }
    });
    bench.run(&silent(), &client(&calling));
    assert_eq!(closing(&calling), Closed::ByUs);
}

/// A name that leads nowhere, and what is no name at all.
pub fn unknown_host_is_named(bench: &mut dyn Sockets) {
    for host in ["nowhere.invalid", "not a name"] {
        let calling = at(host);
        bench.run(&server(&Actor::silent()), &client(&calling));
        let closed = closing(&calling);
        let expected = format!("the name {host} cannot be resolved (");
        assert!(failed(&closed).starts_with(&expected), "{closed}");
    }
}

/// Both sides say which protocols they had.
pub fn no_common_protocol_names_what_was_offered(bench: &mut dyn Sockets) {
    let (serving, calling) = (Actor::silent(), visitor());
    let mut seat = server(&serving);
    if let Some(server) = &mut seat.settings.server {
        server.alpns = super::protocols(&["other-1", "other-2"]);
    }
    run(bench, &seat, &client(&calling));
    let closed = closing(&calling);
    let why = failed(&closed);
    assert!(why.starts_with("the server at 127.0.0.1, port "), "{why}");
    assert!(why.ends_with(" speaks none of test-1, test-2"), "{why}");
    let closed = closing(&serving);
    assert_eq!(
        failed(&closed),
        "the client offers none of other-1, other-2"
    );
}

fn trusting(extra: Vec<Pem>) -> Trust {
    Trust::Certificates {
        system: false,
        extra,
    }
}

/// A client that trusts somebody else.
pub fn untrusted_server_says_what_to_do(bench: &mut dyn Sockets) {
    let (other, _) = bench.certificate("127.0.0.1");
    let (serving, calling) = (Actor::silent(), visitor());
    let mut seat = client(&calling);
    seat.settings.client.trust = trusting(vec![other]);
    bench.run(&server(&serving), &seat);
    let closed = closing(&calling);
    let why = failed(&closed);
    let advice = "; trust its certificate or the authority that issued it";
    assert!(
        why.contains("is not trusted: ") && why.ends_with(advice),
        "{why}"
    );
    let closed = closing(&serving);
    let why = failed(&closed);
    assert!(
        why.starts_with("the client broke off the handshake"),
        "{why}"
    );
}

/// A certificate that is trusted itself is enough, for the names in it.
pub fn trusted_certificate_counts_for_its_own_name(bench: &mut dyn Sockets) {
    for (name, is_believed) in [("127.0.0.1", true), ("example.org", false)] {
        let (chain, key) = bench.certificate(name);
        let calling = visitor();
        let mut serving = server(&Actor::silent());
        if let Some(server) = &mut serving.settings.server {
            let chain = chain.clone();
            server.certificate = Certificate::Pem { chain, key };
        }
        let mut seat = client(&calling);
        seat.settings.client.trust = trusting(vec![chain]);
        bench.run(&serving, &seat);
        let closed = closing(&calling);
        if is_believed {
            assert_eq!(closed, Closed::ByUs);
        } else {
            let why = failed(&closed);
            let reason = "is not trusted: its certificate is for another name";
            assert!(why.contains(reason), "{why}");
        }
    }
}

/// A client that trusts nobody could only fail later.
pub fn nothing_to_trust_is_said_when_connecting(bench: &mut dyn Sockets) {
    let calling = visitor();
    let mut seat = client(&calling);
    seat.settings.client.trust = trusting(Vec::new());
    bench.run(&server(&Actor::silent()), &seat);
    let closed = closing(&calling);
    let why = failed(&closed);
    assert!(
        why.starts_with("no certificate authority is known"),
        "{why}"
    );
}

/// What keeps an endpoint from being set up.
pub fn taken_port_foreign_address_and_bad_certificate_are_one_sentence_each(
    bench: &mut dyn Sockets,
) {
    let settings = server(&Actor::silent()).settings;
    let first = bench.bind(settings.clone());
    let (address, _bound) = first.unwrap_or_else(|why| panic!("{why}"));
    let mut refusal = |listen, certificate: Option<Certificate>| {
        let mut settings = settings.clone();
        if let Some(server) = &mut settings.server {
            server.listen = listen;
            server.certificate = certificate.unwrap_or(Certificate::SelfSigned);
        }
        let refused = bench.bind(settings).err();
        refused.unwrap_or_else(|| panic!("it could be bound to {listen}"))
    };
    let port = address.port();
    let why = format!(
        "cannot listen on UDP {address}: port {port} is in use; stop the program that has it or choose another port"
    );
    assert_eq!(refusal(address, None), why);
    // A documentation address (RFC 5737), which no machine has.
    let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
    let why = "cannot listen on UDP 192.0.2.1:0: 192.0.2.1 is not an address of this machine; use [::] for all";
    assert_eq!(refusal(foreign, None), why);
    let nonsense = Pem {
        origin: "nonsense.pem".to_owned(),
        content: b"hello".to_vec(),
    };
    let (chain, key) = (nonsense.clone(), nonsense.clone());
    let anywhere = SocketAddr::new(address.ip(), 0);
    let said = refusal(anywhere, Some(Certificate::Pem { chain, key }));
    assert!(
        said.starts_with("cannot use the certificate nonsense.pem: ") && !said.contains('\n'),
        "{said}"
    );
    let mut settings = client(&Actor::silent()).settings;
    settings.client.trust = trusting(vec![nonsense]);
    let said = bench.bind(settings).err().unwrap_or_default();
    assert!(
        said.starts_with("cannot trust nonsense.pem: ") && !said.contains('\n'),
        "{said}"
    );
}

/// Handshakes cost work, so only so many are under way at once.
pub fn handshakes_beyond_the_limit_are_refused(bench: &mut dyn Sockets) {
    const CLIENTS: usize = 20;
    let mut calling = Actor::new(|script, id, told| {
        leave(script, id, told);
        if let Told::Input(Input::Closed(_)) = told
            && script.closings().count() == CLIENTS
        {
            script.exit(Exit::Success);
        }
    });
    for _ in 0..CLIENTS {
        calling = calling.dialling(&OFFERED);
    }
    let mut seat = server(&Actor::silent());
    seat.settings.transport.max_handshakes = 2;
    bench.run(&seat, &client(&calling));
    let script = calling.script();
    let served = script.closings().filter(|closed| **closed == Closed::ByUs);
    let served = served.count();
    assert!((1..CLIENTS).contains(&served), "{served}");
    for closed in script.closings() {
        let refused = matches!(closed, Closed::Failed(why) if why.contains("refused"));
        assert!(refused || *closed == Closed::ByUs, "{closed}");
    }
}
