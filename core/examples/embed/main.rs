//! Embeds the core without a runtime: threads of the standard library, and pipes in memory instead of a network.
//!
//! A publisher has a track of three groups, a subscriber hears it through a relay, then all of them end:
//! `cargo run --package oxymoq-core --example embed`.
//!
//! From top to bottom: the program, the two clients, and the run loop that every embedder writes. The pipe, in the other
//! file, is where your QUIC stack goes. [`oxymoq_core::transport`] is the contract between these two and the core.
#![expect(
    clippy::disallowed_methods,
    reason = "the core has no clock and no threads: whoever embeds it has"
)]

mod pipe;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use oxymoq_core::client::{Client, Failure};
use oxymoq_core::code::DoneCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout::{self, Fanout, SourceId, TrackId};
use oxymoq_core::ledger::Ledger;
use oxymoq_core::peer::Peer;
use oxymoq_core::peers::Peers;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::relay::{self, Relay};
use oxymoq_core::session::{Event, Request, Response, Role, Settings, StreamEnd};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Application, ConnectionId, Exit, StreamId, Target};
use oxymoq_core::wire::id::{GroupId, Millis, ObjectId, RequestId, SubgroupId};
use oxymoq_core::wire::message::{PublishNamespace, Subscribe};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::object::{ObjectHeader, SubgroupHeader};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::Properties;

use pipe::{ALPN, Mail, Pipes};

#[expect(clippy::print_stdout, reason = "what arrived is what it is for")]
fn main() -> Result<(), Failure> {
    for line in broadcast()? {
        println!("{line}");
    }
    Ok(())
}

/// Runs all three, each in a thread of its own. Returns a line for each object that the subscriber received.
pub(crate) fn broadcast() -> Result<Vec<String>, Failure> {
    let (to_relay, mail) = mpsc::channel();
    let pipes = Pipes::new(to_relay.clone(), to_relay.clone());
    let relay = thread::spawn(move || {
        let mut relay = Relay::new(relay::Settings::default());
        run(&mut relay, pipes, &mail)
    });

    let mut tracks = Fanout::new(fanout::Limits::default(), Ledger::new(1 << 20));
    let track = tracks.open_track(Draft::D18, Properties::default(), None);
    let track = track.ok_or("no room for a track")?;
    let publisher = start(tracks, to_relay.clone(), move |publisher, relay, event| {
        publish(publisher, track, relay, event)
    });

    let (heard, lines) = mpsc::channel();
    let mut arriving = BTreeMap::new();
    let no_tracks = Fanout::new(fanout::Limits::default(), Ledger::new(0));
    let subscriber = start(no_tracks, to_relay.clone(), move |client, relay, event| {
        subscribe(client, &mut arriving, &heard, relay, event)
    });

    // The subscriber leaves when the track has ended. Then the relay is told to end, which asks the publisher to leave.
    let subscribed = subscriber.join();
    to_relay.send(Mail::Shutdown)?;
    for end in [subscribed, publisher.join(), relay.join()] {
        match end {
            Ok(Exit::Success) => {}
            Ok(Exit::Failure(why)) => return Err(why.into()),
            Err(_) => return Err("a thread panicked".into()),
        }
    }
    Ok(lines.iter().collect())
}

/// Starts a client that connects to the relay and handles events so.
fn start<F>(tracks: Fanout, to_relay: Sender<Mail>, handle_event: F) -> JoinHandle<Exit>
where
    F: FnMut(&mut Publisher, ConnectionId, Event) -> Result<(), Failure> + Send + 'static,
{
    let target = Target {
        host: "relay".to_owned(), // it is the only one here
        port: 4433,
        alpns: vec![ALPN],
    };
    let mut peers = Peers::default();
    let peer = Peer::client(Settings::new(Role::Client), &[Draft::D18]);
    peers.connect(peer, target);
    let mut client = Client::new(Publisher::new(peers, tracks), handle_event);
    let (own, mail) = mpsc::channel();
    thread::spawn(move || run(&mut client, Pipes::new(own, to_relay), &mail))
}

fn name() -> Result<FullTrackName, Failure> {
    let namespace = TrackNamespace::new([Bytes::from_static(b"example")])?;
    let name = TrackName::new(Bytes::from_static(b"numbers"))?;
    Ok(FullTrackName::new(namespace, name)?)
}

/// The publisher: announces its namespace, and publishes once somebody subscribes.
fn publish(
    publisher: &mut Publisher,
    track: TrackId,
    relay: ConnectionId,
    event: Event,
) -> Result<(), Failure> {
    let now = publisher.now;
    if let Event::Established { .. } = event {
        let announcement = PublishNamespace {
            request_id: RequestId(0), // the session fills it in
            namespace: name()?.namespace,
            parameters: Parameters::default(),
        };
        let session = publisher.peers.session(relay).ok_or("no session")?;
        session.request(now, Request::PublishNamespace(announcement))?;
    } else if let Event::Request { id, request } = &event
        && let Request::Subscribe(subscribe) = request
    {
        // From here on the subscription is the publisher's business, whatever becomes of it.
        publisher.serve(now, relay, *id, track, &subscribe.parameters);
        let tracks = &mut publisher.fanout;
        for group in 0..3 {
            let header = SubgroupHeader {
                group: GroupId(group),
                subgroup: SubgroupId(0),
                priority: None,
                end_of_group: true,
                first_object: true,
            };
            let subgroup = tracks.open_subgroup(now, track, SourceId(0), header)?;
            for object in 0..2 {
                let (id, none) = (ObjectId(object), Properties::default());
                let payload = format!("{group}.{object} ").repeat(500);
                tracks.write_object(now, subgroup, id, none, payload.as_bytes())?;
            }
            tracks.end_subgroup(now, subgroup, StreamEnd::Fin)?;
        }
        tracks.close_track(now, track, DoneCode::TrackEnded, "that was all");
    } else if let Event::GoAway { .. } = event {
        Client::leave(publisher);
    } else {
        Client::refuse(publisher, relay, &event);
    }
    Ok(())
}

/// What arrives on a stream: a group, its object begun last, and that object's payload so far.
struct Arriving(SubgroupHeader, Option<ObjectHeader>, Vec<u8>);

/// The subscriber: subscribes, tells of each object, and leaves when the track has ended and everything is here.
fn subscribe(
    client: &mut Publisher,
    arriving: &mut BTreeMap<StreamId, Arriving>,
    heard: &Sender<String>,
    relay: ConnectionId,
    event: Event,
) -> Result<(), Failure> {
    if let Event::Established { .. } = event {
        let subscribe = Subscribe {
            request_id: RequestId(0),
            track: name()?,
            parameters: Parameters {
                rendezvous_timeout: Some(Millis(10_000)), // the publisher may come later
                ..Parameters::default()
            },
        };
        let session = client.peers.session(relay).ok_or("no session")?;
        session.request(client.now, Request::Subscribe(subscribe))?;
    } else if let Event::Response { response, .. } = &event
        && let Response::Error(refusal) = response
    {
        return Err(format!("refused: {refusal:?}").into());
    } else if let Event::SubgroupOpened { stream, header, .. } = event {
        arriving.insert(stream, Arriving(header, None, Vec::new()));
    } else if let Event::Object { stream, object } = event {
        arriving.get_mut(&stream).ok_or("no such stream")?.1 = Some(object);
    } else if let Event::Payload { stream, bytes } = event {
        let it = arriving.get_mut(&stream).ok_or("no such stream")?;
        let Arriving(header, Some(object), payload) = it else {
            return Err("payload of no object".into());
        };
        payload.extend_from_slice(&bytes);
        if u64::try_from(payload.len())? == object.payload_length {
            let payload = std::mem::take(payload);
            let (group, object, length) = (header.group.0, object.id.0, payload.len());
            let begin = String::from_utf8_lossy(payload.get(..3).unwrap_or_default());
            heard.send(format!(
                "group {group}, object {object}: {length} bytes of '{begin}'"
            ))?;
        }
    } else if let Event::SubgroupEnded { stream, .. } = event {
        arriving.remove(&stream);
    } else if let Event::Settled { .. } = event {
        Client::leave(client);
    } else {
        Client::refuse(client, relay, &event);
    }
    Ok(())
}

/// The run loop, the same for relay and clients.
fn run(app: &mut impl Application, mut pipes: Pipes, inbox: &Receiver<Mail>) -> Exit {
    let start = Instant::now();
    loop {
        // Out: one thing at a time, each answered before the next.
        let now = Time::ZERO + start.elapsed();
        while let Some((connection, _target)) = app.poll_connect() {
            pipes.connect(connection);
        }
        while let Some(connection) = app.poll_dirty() {
            while let Some(output) = app.poll_output(now, connection) {
                if let Some(answer) = pipes.carry_out(connection, output) {
                    app.handle_answer(now, connection, answer);
                }
            }
        }
        if let Some(exit) = app.poll_exit() {
            return exit;
        }
        // Wait until something happens, or the time has come for what the application has planned.
        let mut mail = match app.poll_timeout() {
            Some((deadline, _what_for)) => inbox.recv_timeout(deadline.since(now)).ok(),
            None => inbox.recv().ok(),
        };
        // In: everything that happened. The application only takes note of it.
        let now = Time::ZERO + start.elapsed();
        while let Some(next) = mail {
            pipes.receive(app, now, next);
            mail = inbox.try_recv().ok();
        }
        if app
            .poll_timeout()
            .is_some_and(|(deadline, _)| deadline <= now)
        {
            app.handle_timeout(now);
        }
    }
}
