//! Tokens that are too many or too large, and aliases of tokens and tracks that are used up or used twice.

use bytes::Bytes;
use oxymoq_core::code::{RequestCode, SessionCode};
use oxymoq_core::draft::Draft;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::{Message, Subscribe};
use oxymoq_core::wire::param::{Parameters, Token};
use oxymoq_core::wire::property::Properties;

use crate::case::Case;
use crate::cases;
use crate::dialect::{self, POISON, Talk, long_track};
use crate::wire::{Attack, News, Over, Wire};

cases! {
    tokens_by_the_megabyte
    aliases_of_tracks
}

/// What one peer does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Registers ever more tokens.
    Overflow,
    /// Registers an alias twice.
    Duplicate,
    /// Uses an alias that it did not register.
    Unknown,
    /// Sends ever new tokens of 60 kB with requests that cannot be granted.
    Oversized,
    /// Publishes ever more tracks.
    Tracks,
    /// Publishes two tracks under one alias.
    SameAlias,
}

/// Peers that each do one thing.
struct Deeds {
    deeds: &'static [Deed],
    requests: u64,
    talks: Vec<(Deed, Talk)>,
}

impl Attack for Deeds {
    fn begin(&mut self, wire: &mut Wire) {
        for deed in self.deeds {
            for draft in Draft::ALL {
                let connection = wire.connect(draft.profile().alpn);
                let talk = Talk::begin(wire, connection, draft);
                self.talks.push((*deed, talk));
            }
        }
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        let requests = self.requests;
        let Some((deed, talk)) = self
            .talks
            .iter_mut()
            .find(|(_, talk)| talk.connection == connection)
        else {
            return;
        };
        talk.hear(news);
        while talk.may_ask() && talk.asked() < requests && wire.waiting(connection) < 8 {
            let turn = talk.asked();
            talk.ask(wire, |id| deed.request(id, turn));
        }
    }

    fn state(&self) -> String {
        format!("{:?}", self.talks)
    }

    fn is_over(&self, wire: &Wire) -> bool {
        self.talks.iter().all(|(_, talk)| {
            !wire.is_open(talk.connection) || talk.answers.total() >= self.requests
        })
    }
}

impl Deed {
    fn request(self, id: RequestId, turn: u64) -> Message {
        let token = |alias| Token::Register {
            alias,
            kind: 0,
            value: Bytes::from(POISON.repeat(40)),
        };
        let token = match self {
            Self::Overflow => token(turn),
            Self::Duplicate => token(1),
            Self::Unknown => Token::UseAlias { alias: 77 },
            Self::Oversized => Token::UseValue {
                kind: turn,
                value: Bytes::from_static(&[b'x'; 60_000]),
            },
            Self::Tracks => {
                let name = long_track(b"track", turn);
                return dialect::publish(id, name, turn, Properties::default());
            }
            Self::SameAlias => {
                let name = long_track(b"alias", turn);
                return dialect::publish(id, name, 9, Properties::default());
            }
        };
        Message::Subscribe(Subscribe {
            request_id: id,
            track: long_track(b"nobody", turn),
            parameters: Parameters {
                authorization_tokens: vec![token],
                ..Parameters::default()
            },
        })
    }
}

fn tokens_by_the_megabyte(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "tokens",
        runtime,
        over,
        flags: "--request_drain_timeout 500ms",
        tables: 0,
    };
    let requests = 24 * scale;
    let deeds = Deeds {
        deeds: &[
            Deed::Overflow,
            Deed::Duplicate,
            Deed::Unknown,
            Deed::Oversized,
        ],
        requests,
        talks: Vec::new(),
    };
    let (deeds, seen) = case.withstand(deeds);
    for code in [
        SessionCode::AuthTokenCacheOverflow,
        SessionCode::DuplicateAuthTokenAlias,
        SessionCode::UnknownAuthTokenAlias,
    ] {
        let number = code.to_wire(Draft::D18);
        assert_eq!(seen.closed.get(&number), Some(&2), "{code}: {seen:?}");
    }
    for (deed, talk) in &deeds.talks {
        if matches!(deed, Deed::Oversized) {
            let unknown = talk.answers.refused_with(RequestCode::DoesNotExist);
            assert_eq!(unknown, requests, "{talk:?}");
        }
    }
}

fn aliases_of_tracks(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "track aliases",
        runtime,
        over,
        flags: "--max_tracks 100 --request_drain_timeout 500ms",
        tables: 0,
    };
    let requests = 150 * scale;
    let deeds = Deeds {
        deeds: &[Deed::Tracks, Deed::SameAlias],
        requests,
        talks: Vec::new(),
    };
    let (deeds, seen) = case.withstand(deeds);
    let number = SessionCode::DuplicateTrackAlias.to_wire(Draft::D18);
    assert_eq!(seen.closed.get(&number), Some(&2), "{seen:?}");
    for (deed, talk) in &deeds.talks {
        if matches!(deed, Deed::Tracks) {
            let answers = &talk.answers;
            let overloaded = answers.overloaded(talk.draft);
            assert!(overloaded > 0, "{talk:?}");
            assert_eq!(answers.granted + overloaded, requests, "{talk:?}");
        }
    }
}
