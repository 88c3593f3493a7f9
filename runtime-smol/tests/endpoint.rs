//! What an endpoint tells of itself, and what it does not start.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;

use oxymoq_core::sim::contract::{Actor, Told};
use oxymoq_core::transport::{Exit, Input};

use crate::support::{bind, client_settings, never, server_settings, within_a_minute};

#[test]
fn server_has_a_fingerprint_and_a_client_has_none() {
    let server = bind(server_settings());
    assert!(server.fingerprint().is_some_and(|print| print != [0; 32]));
    assert_eq!(bind(client_settings()).fingerprint(), None);
}

#[test]
fn no_thread_belongs_to_tokio() {
    let names = Rc::new(RefCell::new(Vec::new()));
    let found = Rc::clone(&names);
    let mut calling = Actor::new(move |script, _, told| {
        if let Told::Input(Input::Connected { .. }) = told {
            let threads = fs::read_dir("/proc/self/task").unwrap();
            let name = |path| fs::read_to_string(path).unwrap_or_default();
            found.replace(
                threads
                    .map(|it| name(it.unwrap().path().join("comm")))
                    .collect(),
            );
            script.exit(Exit::Success);
        }
    });
    calling = calling.dialling(&["test"]);
    let server = bind(server_settings());
    calling.meet("127.0.0.1", server.local_address().port());
    let mut serving = Actor::silent();
    within_a_minute(smol::future::or(
        server.run(&mut serving, never()),
        bind(client_settings()).run(&mut calling, never()),
    ))
    .unwrap();
    let names = names.take();
    assert!(!names.is_empty());
    assert!(
        names.iter().all(|name| !name.contains("tokio")),
        "{names:?}"
    );
}
