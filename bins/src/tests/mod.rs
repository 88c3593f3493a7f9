//! The programs with each other in virtual time, without sockets and without waiting.

mod bell;
mod fetching;
mod flv_sample;
mod publishing;
mod refusals;
mod relayed;
mod streaming;

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::draft::Draft;
use oxymoq_core::relay::{self, Relay};
use oxymoq_core::runtime::TransportSettings;
use oxymoq_core::sim::{NodeId, World};
use oxymoq_core::transport::Exit;
use oxymoq_core::wire::id::{GroupId, Location};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters};

use crate::client::Server;
use crate::date;
use crate::date_server::{self, DateServer, Mode, Offer};
use crate::flags;
use crate::mlog::Mlog;
use crate::text_client::{Job, TextClient, Wish};
use crate::url::ServerUrl;

const SECOND: Duration = Duration::from_secs(1);

/// The minute in which every scene begins, 2026-01-01 00:00:00 UTC.
const MINUTE: u64 = 29_453_760;

type Client = TextClient<Vec<u8>>;

/// Programs in one world. What clients connect to is called "server".
struct Scene {
    world: World,
    draft: Draft,
    /// The date server.
    date: NodeId,
    /// Of the clients to come.
    transport: TransportSettings,
}

fn offer(mode: Mode) -> Offer {
    Offer {
        namespace: "moq-date".to_owned(),
        mode,
        delivery_timeout: Duration::ZERO,
    }
}

fn server() -> Server {
    Server::new(
        ServerUrl::parse("moqt://server:4433/moq-date").unwrap(),
        false,
    )
}

fn namespace() -> TrackNamespace {
    TrackNamespace::new(["moq-date"]).unwrap()
}

impl Scene {
    /// A date server that clients connect to, and ten and a half seconds of the first minute.
    fn direct(draft: Draft, mode: Mode) -> Self {
        let mut world = World::new(1);
        let path = Bytes::from_static(b"/moq-date");
        let server = DateServer::serving(offer(mode), vec![draft], path).unwrap();
        let date = world.add("date", server, TransportSettings::default());
        world.listen(date, "server", 4433, flags::alpns(&[draft]));
        world.run_for(10 * SECOND + SECOND / 2);
        Self {
            world,
            draft,
            date,
            transport: TransportSettings::default(),
        }
    }

    /// A relay that clients connect to, with a date server behind it.
    fn relayed(draft: Draft, mode: Mode, behind: Draft, is_offered: bool) -> Self {
        let mut world = World::new(1);
        let relay = Relay::new(relay::Settings {
            paths: vec![Bytes::from_static(b"/moq-date")],
            ..relay::Settings::default()
        });
        let relay = world.add("relay", relay, TransportSettings::default());
        world.listen(relay, "server", 4433, flags::alpns(&Draft::ALL));
        let relay = date_server::Relay::new(server(), namespace(), 10 * SECOND, is_offered);
        let server = DateServer::publishing(offer(mode), &[behind], relay).unwrap();
        let date = world.add("date", server, TransportSettings::default());
        world.run_for(10 * SECOND + SECOND / 2);
        Self {
            world,
            draft,
            date,
            transport: TransportSettings::default(),
        }
    }

    /// A client with this job.
    fn client(&mut self, job: Job, filter: Filter) -> NodeId {
        self.client_for("date", job, filter, |_| {})
    }

    fn client_for(
        &mut self,
        track: &str,
        job: Job,
        filter: Filter,
        change: impl FnOnce(&mut Wish),
    ) -> NodeId {
        let name = TrackName::new(track.to_owned()).unwrap();
        let mut wish = Wish {
            track: FullTrackName::new(namespace(), name).unwrap(),
            parameters: Parameters {
                filter: Some(filter),
                forward: Some(true),
                subscriber_priority: Some(0),
                group_order: Some(GroupOrder::Ascending),
                ..Parameters::default()
            },
            job,
            unsubscribe_after: None,
            transaction_timeout: 20 * SECOND,
        };
        change(&mut wish);
        let client = TextClient::new(server(), &[self.draft], wish, Vec::new(), Mlog::default());
        self.world.add("client", client, self.transport.clone())
    }

    /// What a client printed so far.
    fn lines(&self, client: NodeId) -> Vec<String> {
        let out = self.world.node::<Client>(client).out();
        let text = String::from_utf8(out.clone()).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Lets a client go on until its program ends; what it printed.
    #[track_caller]
    fn succeed(&mut self, client: NodeId) -> Vec<String> {
        match self.end(client) {
            Exit::Success => self.lines(client),
            Exit::Failure(sentence) => panic!("{sentence}"),
        }
    }

    /// Lets a client go on until its program fails; the sentence that it says.
    #[track_caller]
    fn fail(&mut self, client: NodeId) -> String {
        match self.end(client) {
            Exit::Success => panic!("it succeeded and printed {:?}", self.lines(client)),
            Exit::Failure(sentence) => sentence,
        }
    }

    #[track_caller]
    fn end(&mut self, client: NodeId) -> Exit {
        let over = self
            .world
            .run_until(|world| world.exit(client).is_some(), 200 * SECOND);
        if let Err(stuck) = over {
            panic!("{stuck}");
        }
        self.world.exit(client).unwrap().clone()
    }
}

/// What is printed for the objects from one to another, both included; the ends of minutes too if they are live.
fn printed(first: Location, last: Location, live_ends: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for group in first.group.0..=last.group.0 {
        for object in 0..=61 {
            let at = Location::new(group, object);
            if at < first || last < at {
                continue;
            }
            if object == 0 {
                lines.push("data extension=AQIDBAU=".to_owned());
                lines.push("int extension=1977".to_owned());
            }
            match date::payload(at) {
                Some(payload) => lines.push(String::from_utf8(payload.to_vec()).unwrap()),
                None if live_ends => lines.push("ObjectStatus=3".to_owned()),
                None => {}
            }
        }
    }
    lines
}

const fn at(minutes: u64, object: u64) -> Location {
    Location::new(MINUTE + minutes, object)
}

/// The minute so many before the first one of a scene.
const fn before(minutes: u64) -> GroupId {
    GroupId(MINUTE - minutes)
}
