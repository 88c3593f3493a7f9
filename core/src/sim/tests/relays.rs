//! A relay between publishers and subscribers of both drafts, over QUIC itself and over WebTransport.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::Draft;
use crate::relay::{Relay, Settings};
use crate::reservations::Reservations;
use crate::runtime::TransportSettings;
use crate::session::StreamEnd;
use crate::sim::node::{Publisher, Show, Subscriber};
use crate::sim::{Access, Link, Network, NodeId, Program};
use crate::wire::id::{GroupId, Location, ObjectId};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::param::Parameters;

const PATIENCE: Duration = Duration::from_secs(100);

fn track() -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        name: TrackName::new("track").unwrap(),
    }
}

/// Eight groups of five objects, one every 100 ms.
fn show() -> Show {
    Show {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        tracks: vec![track()],
        interval: Duration::from_millis(100),
        objects_per_group: 5,
        groups: 8,
        object_length: 300,
        datagrams: false,
    }
}

fn at(group: u64, object: u64) -> Location {
    Location {
        group: GroupId(group),
        object: ObjectId(object),
    }
}

/// Everything of the show from this location on.
fn from(show: &Show, first: Location) -> BTreeSet<Location> {
    let groups = first.group.0..show.groups;
    let all = groups.flat_map(|group| (0..show.objects_per_group).map(move |n| at(group, n)));
    all.filter(|location| *location >= first).collect()
}

/// A rough path that tears less, so that many nodes stay quick.
fn rough() -> Link {
    Link {
        max_piece: 600,
        ..Link::rough()
    }
}

fn network(seed: u64, link: Link) -> Network {
    Network::new(seed, link, Relay::new(Settings::default()))
}

/// A network with a publisher whose announcement has reached the relay.
fn announced(seed: u64, link: Link, access: Access, show: Show) -> (Network, NodeId) {
    let mut network = network(seed, link);
    let publisher = network.client("publisher", access, Publisher::new(show));
    network.world.run_for(Duration::from_millis(300));
    (network, publisher)
}

fn raw(draft: Draft) -> Access {
    Access {
        draft,
        web_transport: false,
    }
}

fn granted(network: &Network, clients: &[NodeId]) -> bool {
    clients
        .iter()
        .all(|client| network.subscriber(*client).granted().is_some())
}

fn done(network: &Network, clients: &[NodeId]) -> bool {
    clients
        .iter()
        .all(|client| network.subscriber(*client).done().is_some())
}

/// Checks that a subscriber got everything from its first object on, and knows that it was the end.
fn complete(network: &Network, client: NodeId, show: &Show) -> Location {
    let subscriber = network.subscriber(client);
    let first = *subscriber.received().first().expect("nothing arrived");
    assert_eq!(*subscriber.received(), from(show, first));
    assert_eq!(subscriber.done().unwrap().code, DoneCode::TrackEnded);
    assert!(subscriber.ends().iter().all(|end| *end == StreamEnd::Fin));
    first
}

#[test]
fn every_kind_of_subscriber_gets_all_from_every_kind_of_publisher() {
    let usual = TransportSettings::default();
    let narrow = TransportSettings {
        publisher_window: 1_000,
        stream_window: 200,
        max_unacked: 400,
        max_uni_streams: 6,
        ..usual
    };
    let paths = [
        (Link::default(), usual.clone()),
        (rough(), usual),
        (rough(), narrow),
    ];
    for (seed, access) in (0..).zip(Access::all()) {
        for (link, transport) in paths.clone() {
            let (mut network, publisher) = announced(seed, link, access, show());
            let mut clients = Vec::new();
            for (n, access) in Access::all().into_iter().enumerate() {
                let (name, part) = (format!("subscriber {n}"), Subscriber::new(track()));
                clients.push(network.client_with(&name, access, part, transport.clone()));
            }
            let everybody = clients.clone();
            network
                .until(PATIENCE, |network| done(network, &everybody))
                .unwrap();
            network.world.run_for(Duration::from_secs(1));
            network.check(&clients);
            network.check(&[publisher]);
            for client in clients {
                let first = complete(&network, client, &show());
                assert!(first < at(3, 0), "{first:?}");
            }
            // All of them share one subscription upstream.
            assert_eq!(network.publisher(publisher).subscriptions(), 1);
        }
    }
}

#[test]
fn late_subscriber_joins_the_group_at_its_next_object() {
    for draft in Draft::ALL {
        let (mut network, publisher) = announced(1, Link::default(), raw(draft), show());
        let early = network.client("early", raw(draft), Subscriber::new(track()));
        network
            .until(PATIENCE, |network| {
                network.publisher(publisher).next() == at(3, 2)
            })
            .unwrap();
        let late = network.client("late", raw(draft), Subscriber::new(track()));
        network
            .until(PATIENCE, |network| granted(network, &[late]))
            .unwrap();
        let largest = network
            .subscriber(late)
            .granted()
            .unwrap()
            .parameters
            .largest_object;
        assert_eq!(largest, Some(at(3, 1)));
        let clients = [early, late];
        network
            .until(PATIENCE, |network| done(network, &clients))
            .unwrap();
        network.world.run_for(Duration::from_secs(1));
        network.check(&clients);
        complete(&network, early, &show());
        assert_eq!(complete(&network, late, &show()), at(3, 2));
    }
}

#[test]
fn unknown_track_is_refused_and_the_session_lives() {
    let unknown = FullTrackName {
        name: TrackName::new("other").unwrap(),
        ..track()
    };
    let nowhere = FullTrackName {
        namespace: TrackNamespace::new(["nowhere"]).unwrap(),
        ..track()
    };
    for access in Access::all() {
        let (mut network, _) = announced(1, Link::default(), access, show());
        for track in [unknown.clone(), nowhere.clone()] {
            let client = network.client("subscriber", access, Subscriber::new(track));
            network
                .until(PATIENCE, |network| {
                    network.subscriber(client).refusal().is_some()
                })
                .unwrap();
            let subscriber = network.subscriber(client);
            assert_eq!(
                subscriber.refusal().unwrap().code,
                RequestCode::DoesNotExist
            );
            assert!(!subscriber.is_closed());
        }
    }
}

#[test]
fn publisher_that_leaves_ends_the_subscriptions_to_its_tracks() {
    for draft in Draft::ALL {
        for crashes in [false, true] {
            let (mut network, publisher) = announced(1, Link::default(), raw(draft), show());
            let client = network.client("subscriber", raw(draft), Subscriber::new(track()));
            network
                .until(PATIENCE, |network| {
                    network.subscriber(client).received().len() > 7
                })
                .unwrap();
            if crashes {
                network.world.crash(publisher);
            } else {
                network.world.shut_down(publisher);
            }
            network
                .until(PATIENCE, |network| done(network, &[client]))
                .unwrap();
            network.check(&[client]);
            let subscriber = network.subscriber(client);
            assert_ne!(subscriber.done().unwrap().code, DoneCode::TrackEnded);
            let first = *subscriber.received().first().unwrap();
            let last = *subscriber.received().last().unwrap();
            let expected: BTreeSet<Location> = from(&show(), first)
                .into_iter()
                .filter(|location| *location <= last)
                .collect();
            assert_eq!(*subscriber.received(), expected);

            // Whoever comes next takes over.
            let again = Publisher::from(show(), GroupId(4));
            network.client("second publisher", raw(draft), again);
            network.world.run_for(Duration::from_millis(300));
            let next = network.client("next", raw(draft), Subscriber::new(track()));
            network
                .until(PATIENCE, |network| done(network, &[next]))
                .unwrap();
            network.world.run_for(Duration::from_secs(1));
            assert!(complete(&network, next, &show()) >= at(4, 0));
        }
    }
}

#[test]
fn subscribers_that_leave_do_not_disturb_the_others_and_the_last_ends_the_subscription_upstream() {
    for draft in Draft::ALL {
        let show = Show {
            groups: 1000,
            ..show()
        };
        let (mut network, publisher) = announced(1, Link::default(), raw(draft), show);
        let access = Access::all();
        let [crashing, leaving, staying] = [access[0], access[1], access[3]]
            .map(|access| network.client("subscriber", access, Subscriber::new(track())));
        let count = |network: &Network, client| network.subscriber(client).received().len();
        network
            .until(PATIENCE, |network| {
                [crashing, leaving, staying]
                    .into_iter()
                    .all(|client| count(network, client) > 3)
            })
            .unwrap();
        network.world.crash(crashing);
        network.world.shut_down(leaving);
        network
            .until(PATIENCE, |network| count(network, staying) > 60)
            .unwrap();
        network.check(&[staying]);
        let received = network.subscriber(staying).received().clone();
        let first = *received.first().unwrap();
        let last = *received.last().unwrap();
        let mut expected = from(
            &Show {
                groups: 1000,
                ..self::show()
            },
            first,
        );
        expected.retain(|location| *location <= last);
        assert_eq!(received, expected);

        assert_eq!(network.publisher(publisher).subscribers(), 1);
        network.world.shut_down(staying);
        // The crashed one is known to be gone after its idle timeout only.
        network
            .until(PATIENCE, |network| {
                network.publisher(publisher).subscribers() == 0
            })
            .unwrap();
        network.check(&[publisher]);
    }
}

#[test]
fn objects_flow_only_while_somebody_wants_them() {
    for draft in Draft::ALL {
        let show = Show {
            groups: 1000,
            ..show()
        };
        let (mut network, publisher) = announced(1, Link::default(), raw(draft), show);
        let idle = Parameters {
            forward: Some(false),
            ..Parameters::default()
        };
        let idle = Subscriber::with_parameters(track(), idle);
        let client = network.client("subscriber", raw(draft), idle);
        network
            .until(PATIENCE, |network| granted(network, &[client]))
            .unwrap();
        // The relay does not pause it at once.
        network.world.run_for(Duration::from_secs(12));
        assert_eq!(network.publisher(publisher).subscribers(), 1);
        assert_eq!(network.publisher(publisher).forwarding(), 0);
        assert_eq!(network.subscriber(client).received().len(), 0);

        set_forward(&mut network, client, true);
        network
            .until(PATIENCE, |network| {
                network.subscriber(client).received().len() > 12
            })
            .unwrap();
        assert_eq!(network.publisher(publisher).forwarding(), 1);

        set_forward(&mut network, client, false);
        network
            .until(PATIENCE, |network| {
                network.publisher(publisher).forwarding() == 0
            })
            .unwrap();
        network.world.run_for(Duration::from_millis(500));
        let received = network.subscriber(client).received().len();
        let sent = network.publisher(publisher).objects_sent();
        network.world.run_for(Duration::from_secs(2));
        assert_eq!(network.subscriber(client).received().len(), received);
        assert_eq!(network.publisher(publisher).objects_sent(), sent);
        network.check(&[publisher, client]);
    }
}

fn set_forward(network: &mut Network, client: NodeId, forward: bool) {
    network
        .world
        .with(client, |program: &mut Program<Subscriber>, now| {
            program.act(now, |subscriber, stage| {
                let request = subscriber.request().unwrap();
                let session = stage.session(subscriber.connection().unwrap()).unwrap();
                let changed = Parameters {
                    forward: Some(forward),
                    ..Parameters::default()
                };
                session.update(now, request, changed).unwrap();
            });
        });
}

#[test]
fn slow_subscriber_is_nobody_elses_trouble() {
    for draft in Draft::ALL {
        let show = Show {
            groups: 30,
            interval: Duration::from_millis(20),
            object_length: 20_000,
            ..show()
        };
        let arrival = |slow: bool| {
            let (mut network, publisher) = announced(1, Link::default(), raw(draft), show.clone());
            let fast = network.client("fast", raw(draft), Subscriber::new(track()));
            let slow = slow.then(|| {
                let windows = TransportSettings {
                    publisher_window: 30_000,
                    ..TransportSettings::default()
                };
                let subscriber = Subscriber::new(track()).paused();
                network.client_with("slow", raw(draft), subscriber, windows)
            });
            network
                .until(PATIENCE, |network| done(network, &[fast]))
                .unwrap();
            network.world.run_for(Duration::from_secs(1));
            network.check(&[fast, publisher]);
            complete(&network, fast, &show);
            if let Some(slow) = slow {
                let slow = network.subscriber(slow);
                assert!(slow.granted().is_some() && !slow.is_closed());
                assert!(slow.received().len() < 5);
            }
            network.world.now()
        };
        assert_eq!(arrival(true), arrival(false));
    }
}

#[test]
fn datagrams_are_relayed_between_drafts() {
    for (seed, access) in (0..).zip(Access::all()) {
        let show = Show {
            datagrams: true,
            ..show()
        };
        let (mut network, publisher) = announced(seed, Link::default(), access, show.clone());
        let mut clients = Vec::new();
        for access in Access::all() {
            clients.push(network.client("subscriber", access, Subscriber::new(track())));
        }
        let everybody = clients.clone();
        network
            .until(PATIENCE, |network| done(network, &everybody))
            .unwrap();
        network.world.run_for(Duration::from_secs(1));
        network.check(&clients);
        network.check(&[publisher]);
        for client in clients {
            complete(&network, client, &show);
        }
    }
}

#[test]
fn streams_that_the_publisher_resets_are_reset_downstream() {
    for draft in Draft::ALL {
        let show = Show {
            groups: 1000,
            ..show()
        };
        let (mut network, publisher) = announced(1, Link::default(), raw(draft), show);
        let client = network.client("subscriber", raw(draft), Subscriber::new(track()));
        network
            .until(PATIENCE, |network| {
                let object = network.publisher(publisher).next().object;
                network.subscriber(client).received().len() > 7 && object == ObjectId(3)
            })
            .unwrap();
        network
            .world
            .with(publisher, |program: &mut Program<Publisher>, now| {
                program.act(now, |publisher, stage| {
                    publisher
                        .reset_all(stage, ResetCode::DeliveryTimeout)
                        .unwrap();
                });
            });
        network
            .until(PATIENCE, |network| {
                let ends = network.subscriber(client).ends();
                ends.contains(&StreamEnd::Reset(ResetCode::DeliveryTimeout))
            })
            .unwrap();
        network.check(&[publisher, client]);
    }
}

#[test]
fn hundred_subscribers_get_everything_and_runs_are_equal() {
    let run = |seed| {
        let show = Show {
            groups: 3,
            ..show()
        };
        let access = Access::all();
        let (mut network, publisher) = announced(seed, rough(), access[0], show.clone());
        let clients: Vec<NodeId> = (0..100)
            .map(|n| {
                let access = access[n % access.len()];
                network.client(&format!("subscriber {n}"), access, Subscriber::new(track()))
            })
            .collect();
        network
            .until(PATIENCE, |network| done(network, &clients))
            .unwrap();
        network.world.run_for(Duration::from_secs(1));
        network.check(&clients);
        for client in &clients {
            complete(&network, *client, &show);
        }
        assert_eq!(network.publisher(publisher).subscriptions(), 1);
        network.world.trace().hash()
    };
    assert_eq!(run(1), run(1));
}

#[test]
fn a_client_for_which_there_is_no_memory_proves_its_address_and_finds_room_if_another_left() {
    for leaves in [false, true] {
        let mut settings = Settings::default();
        let one = Reservations::new(0, &settings.transport, 0).cost();
        settings.limits.max_transport_bytes = 2 * one;
        let mut network = Network::new(1, Link::default(), Relay::new(settings));
        let access = raw(Draft::D18);
        let clients = [(); 2].map(|()| network.client("early", access, Subscriber::new(track())));
        network.world.run_for(Duration::from_millis(100));
        let late = network.client("late", access, Subscriber::new(track()));
        network.world.run_for(Duration::from_millis(15));
        if leaves {
            network.world.shut_down(clients[0]);
        }
        network.world.run_for(Duration::from_millis(500));
        assert_eq!(network.subscriber(late).is_closed(), !leaves);
        assert_eq!(network.subscriber(late).connection().is_some(), leaves);
    }
}
