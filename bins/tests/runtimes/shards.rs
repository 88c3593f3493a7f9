//! Servers of several shards: every packet comes to the shard whose connection it belongs to.
#![cfg(target_os = "linux")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an actor names what it reacts to"
)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use oxymoq_core::runtime::Settings;
use oxymoq_core::sim::contract::{Actor, Told};
use oxymoq_core::transport::{Answer, Dir, Exit, Input, Output};
use smol::LocalExecutor;

use crate::proxy::{Link, Proxy};
use crate::stack::{Endpoint, Stack, block_on, client_settings, server_settings};

const SHARDS: u8 = 3;

/// Accepts whoever comes, and answers each stream that the client ends with one of its own.
fn echo() -> Actor {
    Actor::new(|script, id, told| match told {
        Told::Shutdown => script.exit(Exit::Success),
        Told::Answer(Output::Read { .. }, Answer::Fin) => {
            let stream = script.open(id, Dir::Uni);
            script.finish(id, stream);
        }
        _ => {}
    })
}

/// Says something so many times, each time when the last was answered; calls `between` before each time but the first.
fn talk(rounds: u32, between: impl Fn() + 'static) -> Actor {
    let mut round = 0;
    let actor = Actor::new(move |script, id, told| match told {
        Told::Input(Input::Connected { .. }) | Told::Answer(Output::Read { .. }, Answer::Fin) => {
            if round == rounds {
                script.exit(Exit::Success);
                return;
            }
            if round > 0 {
                between();
            }
            round += 1;
            let stream = script.open(id, Dir::Uni);
            script.write(id, stream, Bytes::from_static(b"hello"));
            script.finish(id, stream);
        }
        Told::Input(Input::Closed(closed)) => panic!("round {round} of {rounds}: {closed}"),
        _ => {}
    });
    actor.dialling(&["test"])
}

/// How many clients each shard of a server has served once all clients have ended; shards and clients run in this thread.
fn serve(shards: Vec<Endpoint>, clients: Vec<(Endpoint, Actor)>) -> Vec<usize> {
    let mut all = shards
        .iter()
        .chain(clients.iter().map(|(endpoint, _)| endpoint));
    let needs_tokio = all.any(Endpoint::needs_tokio);
    let (over, is_over) = smol::channel::bounded::<()>(1);
    let run = async |endpoint: Endpoint, mut actor: Actor| {
        // Nothing is ever sent: it ends when the other half is dropped.
        let is_over = is_over.clone();
        let exit = endpoint
            .run(&mut actor, async move {
                assert!(is_over.recv().await.is_err());
            })
            .await;
        assert_eq!(exit, Exit::Success);
    };
    let executor = LocalExecutor::new();
    let actors: Vec<Actor> = shards.iter().map(|_| echo()).collect();
    block_on(
        needs_tokio,
        executor.run(async {
            let serving: Vec<_> = shards
                .into_iter()
                .zip(&actors)
                .map(|(endpoint, actor)| executor.spawn(run(endpoint, actor.clone())))
                .collect();
            for (endpoint, actor) in clients {
                run(endpoint, actor).await;
            }
            drop(over);
            for shard in serving {
                shard.await;
            }
        }),
    );
    let served = |actor: &Actor| {
        let script = actor.script();
        let is_connected = |input: &Input| matches!(input, Input::Connected { .. });
        script
            .inputs()
            .iter()
            .filter(|(_, input)| is_connected(input))
            .count()
    };
    actors.iter().map(served).collect()
}

fn settings() -> Settings {
    server_settings(vec!["test".into()])
}

#[test]
fn clients_are_spread_over_shards_and_may_have_to_prove_their_address_first() {
    const CLIENTS: usize = 16;
    for (server, client) in Stack::pairs() {
        let mut settings = settings();
        settings.transport.retry_above = 0;
        let shards = server.bind_shards(settings, SHARDS);
        let address = shards[0].local_address();
        assert!(shards.iter().all(|it| it.local_address() == address));
        let clients = (0..CLIENTS).map(|_| {
            let actor = talk(1, || {});
            actor.meet("127.0.0.1", address.port());
            (client.bind(client_settings()), actor)
        });
        let served = serve(shards, clients.collect());
        assert_eq!(served.len(), usize::from(SHARDS));
        assert_eq!(served.iter().sum::<usize>(), CLIENTS, "{served:?}");
        // By chance once in ten million runs.
        assert!(served.iter().all(|some| *some < CLIENTS), "{served:?}");
    }
}

#[test]
fn a_connection_stays_with_its_shard_when_the_address_of_its_client_changes() {
    /// One stack knows no more addresses of a client.
    const CHANGES: u32 = 4;
    for (server, client) in Stack::pairs() {
        let shards = server.bind_shards(settings(), SHARDS);
        let link = Link::default();
        let proxy = Rc::new(RefCell::new(Proxy::start(
            shards[0].local_address(),
            link,
            link,
            1,
        )));
        let port = proxy.borrow().address().port();
        let changes = Rc::new(Cell::new(0));
        let (moving, counting) = (Rc::clone(&proxy), Rc::clone(&changes));
        let actor = talk(CHANGES + 1, move || {
            moving.borrow().rebind();
            counting.set(counting.get() + 1);
        });
        actor.meet("127.0.0.1", port);
        let mut served = serve(shards, vec![(client.bind(client_settings()), actor)]);
        served.sort_unstable();
        assert_eq!(served, [0, 0, 1], "{server} and {client}");
        assert_eq!(changes.get(), CHANGES);
    }
}
