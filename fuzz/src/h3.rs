//! WebTransport over HTTP/3: its handshake, and sessions on top.

use bytes::{BufMut as _, Bytes};
use oxymoq_core::draft::{Draft, IntegerKind};
use oxymoq_core::session::{Role, Settings, Underlay};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Answer, Dir, Input};
use oxymoq_core::wire::varint;

use crate::app::App;
use crate::choices::{Budget, Choices};
use crate::fields::{Field, section};
use crate::pair::Pair;
use crate::script::{Script, some_knobs};
use crate::session::{Stage, peer, settings, some_span};
use crate::wire::{Datagrams, EASY, End, Knobs};

/// The first byte chooses by bits 0 and 1 what is tested: 0 a server against a scripted client, 1 a client against a scripted
/// server, 2 a server that is asked for a session with a header section of the input's, which must arrive as it was
/// written, 3 a client and a server against each other, with sessions and applications on top. Bit 2: small limits of the
/// sessions; bit 3: the scripted peer does not begin as it should. What follows are choices: frames, settings, requests,
/// capsules, streams, raw bytes, and what the application and the transport do.
///
/// # Panics
/// As `session` and `pair` do; and if a header section is read as another one.
pub fn h3(input: &[u8]) {
    let mut choices = Choices::new(input);
    let first = choices.byte();
    let is_small = first & 4 != 0;
    let app = |role, is_checking| App::new(peer(over_http(role, is_small)), is_checking);
    let (role, peer_role) = match first & 3 {
        3 => {
            let apps = [app(Role::Client, true), app(Role::Server, true)];
            return Pair::new(apps, input).run(&connected(), &mut choices);
        }
        1 => (Role::Client, Role::Server),
        _ => (Role::Server, Role::Client),
    };
    let mut stage = Stage {
        app: app(role, false),
        end: End::new(),
        now: Time::from_micros(1),
        budget: Budget::new(8000, 600, input),
        hears: true,
    };
    stage.tell(vec![connected()]);
    if first & 3 == 2 {
        ask(&mut stage, &mut choices);
        return stage.end_of_it(true);
    }
    let mut script = Http {
        inner: Script::new(Draft::D18, peer_role),
        role: peer_role,
        session: 0,
    };
    if first & 8 == 0 {
        let inputs = script.begin(&mut stage.end);
        stage.tell(inputs);
    }
    while !choices.is_over() && !stage.end.is_over() {
        match choices.below(8) {
            0..5 => {
                let inputs = script.act(&mut stage.end, &mut choices);
                stage.tell(inputs);
            }
            5 | 6 => {
                stage.app.act(stage.now, &mut choices);
                stage.tell(Vec::new());
            }
            _ => stage.pass(some_span(&mut choices)),
        }
    }
    stage.end_of_it(first & 32 == 0);
}

fn over_http(role: Role, is_small: bool) -> Settings {
    Settings {
        underlay: match role {
            Role::Client => Underlay::WebTransport,
            Role::Server => Underlay::RawQuic,
        },
        path: Bytes::from_static(b"/"),
        authority: Bytes::from_static(b"localhost"),
        accepted_paths: vec![Bytes::from_static(b"/")],
        ..settings(role, is_small)
    }
}

const fn connected() -> Input {
    Input::Connected {
        alpn: Bytes::from_static(b"h3"),
        max_datagram: 1200,
    }
}

/// Asks for a session with texts of the input's, written in any way that there is.
fn ask(stage: &mut Stage, choices: &mut Choices<'_>) {
    let inputs = stage.end.set(Knobs {
        piece: usize::from(choices.byte()) + 1,
        datagrams: Datagrams::Taken,
        ..EASY
    });
    stage.tell(inputs);
    let visible = |bytes: &Bytes| -> String {
        let text = bytes.iter().map(|byte| char::from(0x21 + byte % 94));
        text.filter(|character| *character != '@').collect()
    };
    let authority = format!("a{}", visible(&choices.bytes()));
    let path = format!("/?{}", visible(&choices.bytes()));
    let origin = format!("o{}", visible(&choices.bytes()));
    let mut fields = vec![
        Field::new(":method", "CONNECT"),
        Field::new(":scheme", "https"),
        Field::new(":authority", &authority),
        Field::new(":path", &path),
        Field::new(":protocol", "webtransport"),
        Field::new("origin", &origin),
    ];
    for _ in 0..choices.below(4) {
        let name = choices.bytes();
        let name = name.iter().map(|byte| char::from(b'a' + byte % 26));
        let name: String = name.collect();
        let value = choices.bytes();
        let value = value.iter().filter(|byte| !b"\0\r\n".contains(byte));
        let value: Vec<u8> = value.copied().collect();
        fields.push(Field {
            name: format!("x{name}").into_bytes(),
            value: value.trim_ascii().to_vec(),
        });
    }
    let control = [&[0][..], &frame(4, &browser_settings())].concat();
    let section = section(&fields, choices);
    for (dir, bytes) in [(Dir::Uni, control), (Dir::Bi, frame(1, &section))] {
        let (stream, opened) = stage.end.peer_opens(dir);
        let readable = stage.end.arrive(stream, &bytes, None);
        stage.tell([Some(opened), readable].into_iter().flatten().collect());
    }
    let asked = stage.app.peer.web_transport();
    let asked = asked.map(|request| {
        let origin = request.origin.clone().unwrap_or_default();
        (request.authority.clone(), request.path.clone(), origin)
    });
    assert_eq!(asked, Some((authority, path, origin)));
}

/// A peer that speaks HTTP/3, more or less.
struct Http {
    /// What is said on streams of the session.
    inner: Script,
    role: Role,
    /// The id of the session's stream.
    session: u64,
}

impl Http {
    /// Says what must be said first; what the machine must be told.
    fn begin(&self, end: &mut End) -> Vec<Input> {
        let control = [&[0][..], &frame(4, &browser_settings())].concat();
        let mut told = open(end, Dir::Uni, &control);
        match self.role {
            Role::Client => told.extend(open(end, Dir::Bi, &request("moqt-18"))),
            Role::Server => {
                let accepted = response("200");
                // The client's CONNECT stream is the only one that it opened in both directions.
                let streams = end.streams();
                let stream = streams.into_iter().find(|stream| end.is_both_ways(*stream));
                told.extend(stream.and_then(|stream| end.arrive(stream, &accepted, None)));
            }
        }
        let setup = self.inner.setup();
        told.extend(open(end, Dir::Uni, &prefixed(0x54, self.session, &setup)));
        told
    }

    fn act(&mut self, end: &mut End, choices: &mut Choices<'_>) -> Vec<Input> {
        match choices.below(18) {
            0..3 => {
                let bytes = self.inner.some_bytes(choices);
                open(end, Dir::Bi, &prefixed(0x41, self.id(choices), &bytes))
            }
            3 | 4 => {
                let bytes = self.inner.some_bytes(choices);
                open(end, Dir::Uni, &prefixed(0x54, self.id(choices), &bytes))
            }
            5..9 => {
                let bytes = match choices.below(4) {
                    0 => self.inner.some_bytes(choices),
                    1 => self.some_frame(choices),
                    2 => capsule(choices),
                    _ => choices.bytes(),
                };
                let streams = end.streams();
                let stream = streams.get(choices.below(streams.len()));
                stream
                    .and_then(|stream| end.arrive(*stream, &bytes, None))
                    .into_iter()
                    .collect()
            }
            9 => {
                let bytes = self.some_frame(choices);
                open(end, Dir::Bi, &bytes)
            }
            10 => {
                let kind = choices.one(&[0, 1, 2, 3, 0x54, 0x21]).unwrap_or(0);
                let rest = choices.bytes();
                open(end, Dir::Uni, &[&[kind][..], &rest].concat())
            }
            11 => {
                let dir = choices.one(&[Dir::Uni, Dir::Bi]).unwrap_or(Dir::Uni);
                let bytes = choices.bytes();
                open(end, dir, &bytes)
            }
            12 => {
                let how = if choices.chance(2) {
                    Answer::Fin
                } else {
                    Answer::Reset(code(choices))
                };
                let streams = end.streams();
                let stream = streams.get(choices.below(streams.len()));
                stream
                    .and_then(|stream| end.arrive(*stream, &[], Some(how)))
                    .into_iter()
                    .collect()
            }
            13 => {
                let code = code(choices);
                let streams = end.streams();
                let stream = streams.get(choices.below(streams.len()));
                stream
                    .and_then(|stream| end.stop(*stream, code))
                    .into_iter()
                    .collect()
            }
            14 => {
                let mut bytes = Vec::new();
                put(&mut bytes, self.id(choices) / 4);
                bytes.put_slice(&self.inner.datagram(choices));
                vec![Input::Datagram(bytes.into())]
            }
            15 => end.set(some_knobs(choices)),
            _ => end.wake(),
        }
    }

    fn id(&self, choices: &mut Choices<'_>) -> u64 {
        if choices.chance(16) {
            choices.number()
        } else {
            self.session
        }
    }

    fn some_frame(&self, choices: &mut Choices<'_>) -> Bytes {
        let bytes = match choices.below(6) {
            0 => request(choices.one(&["moqt-18", "moqt-16", "moq-00"]).unwrap_or("")),
            1 => response(choices.one(&["200", "100", "404", "2"]).unwrap_or("")),
            2 => {
                let fields: Vec<Field> = (0..choices.below(6))
                    .map(|_| Field {
                        name: choices.bytes().to_vec(),
                        value: choices.bytes().to_vec(),
                    })
                    .collect();
                frame(1, &section(&fields, choices))
            }
            3 => {
                let mut payload = Vec::new();
                for _ in 0..choices.below(5) {
                    put(&mut payload, some_setting(choices));
                    put(&mut payload, choices.number() & 0x3fff_ffff);
                }
                frame(4, &payload)
            }
            4 => frame(1, &choices.bytes()),
            _ => frame(choices.number() & 0xff, &choices.bytes()),
        };
        bytes.into()
    }
}

fn open(end: &mut End, dir: Dir, bytes: &[u8]) -> Vec<Input> {
    let (stream, opened) = end.peer_opens(dir);
    let readable = end.arrive(stream, bytes, None);
    [Some(opened), readable].into_iter().flatten().collect()
}

/// Codes of MoQT, of HTTP/3, and of WebTransport's range in HTTP/3.
fn code(choices: &mut Choices<'_>) -> u64 {
    match choices.below(3) {
        0 => choices.number(),
        1 => 0x100 + u64::from(choices.byte() & 31),
        _ => 0x52e4_a40f_a8db + u64::from(choices.byte()),
    }
}

fn put(to: &mut Vec<u8>, value: u64) {
    let value = value & ((1 << 62) - 1);
    let _all_fit = varint::encode(IntegerKind::Quic, value, to);
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, kind);
    put(&mut bytes, u64::try_from(payload.len()).unwrap_or(0));
    bytes.put_slice(payload);
    bytes
}

fn prefixed(kind: u64, session: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, kind);
    put(&mut bytes, session);
    bytes.put_slice(rest);
    bytes
}

/// A capsule in a DATA frame.
fn capsule(choices: &mut Choices<'_>) -> Bytes {
    let mut bytes = Vec::new();
    let kind = choices.one(&[0x2843, 0x78ae, 0x190b_4d3f, 0]);
    put(&mut bytes, kind.unwrap_or(0));
    let mut payload = choices.bytes();
    if choices.chance(2) {
        payload = [&[0, 0, 0][..], &payload].concat().into();
    }
    put(&mut bytes, u64::try_from(payload.len()).unwrap_or(0));
    bytes.put_slice(&payload);
    frame(0, &bytes).into()
}

const SETTINGS: [u64; 11] = [
    0x1,
    0x6,
    0x7,
    0x8,
    0x33,
    0xff_d277,
    0x2b60_3742,
    0x2b60_3743,
    0xc671_706a,
    0x14e9_cd29,
    0x2c7c_f000,
];

fn some_setting(choices: &mut Choices<'_>) -> u64 {
    if choices.chance(4) {
        return choices.number();
    }
    choices.one(&SETTINGS).unwrap_or(0)
}

/// What browsers and servers announce.
fn browser_settings() -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in [(0x6, 16384), (0x8, 1), (0x33, 1), (0x2b60_3742, 1)] {
        put(&mut payload, id);
        put(&mut payload, value);
    }
    payload
}

fn request(protocol: &str) -> Vec<u8> {
    let fields = [
        Field::new(":method", "CONNECT"),
        Field::new(":scheme", "https"),
        Field::new(":authority", "localhost"),
        Field::new(":path", "/"),
        Field::new(":protocol", "webtransport"),
        Field::new("sec-webtransport-http3-draft02", "1"),
        Field::new("wt-available-protocols", &format!("\"{protocol}\"")),
    ];
    frame(1, &section(&fields, &mut Choices::new(&[])))
}

fn response(status: &str) -> Vec<u8> {
    let fields = [
        Field::new(":status", status),
        Field::new("wt-protocol", "\"moqt-18\""),
    ];
    frame(1, &section(&fields, &mut Choices::new(&[])))
}
