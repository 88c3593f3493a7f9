//! Catalogs of tracks (draft-ietf-moq-msf): which tracks a namespace has, and how to decode them, in JSON.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The name of the track that catalogs are published on.
pub const TRACK_NAME: &str = "catalog";
/// The longest catalog that is read, in bytes: thousands of tracks.
pub const MAX_LENGTH: usize = 1 << 20;
/// The most tracks that are read from one catalog.
pub const MAX_TRACKS: usize = 4096;

/// What is written.
const VERSION: &str = "draft-01";
/// What can be read. Documents of the first draft differ in nothing that is read here.
const VERSIONS: [&str; 2] = ["draft-00", VERSION];

/// `packaging` of objects that have the properties of LOC.
pub const PACKAGING_LOC: &str = "loc";
/// `packaging` of objects that have those of MoqMi alone, for which the draft has no word.
pub const PACKAGING_MOQMI: &str = "moqmi";

/// A whole catalog: not a change to another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// When it was made, in milliseconds since the Unix epoch.
    pub generated_at: Option<u64>,
    /// Whether everything has ended for good.
    pub is_complete: bool,
    /// The tracks.
    pub tracks: Vec<Track>,
}

/// One track of a [`Catalog`]. What is `None` or empty was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// The namespace, if it is another one than the catalog's.
    pub namespace: Option<String>,
    /// The track's name.
    pub name: String,
    /// What its objects are, such as [`PACKAGING_LOC`].
    pub packaging: String,
    /// Whether there will be further objects.
    pub is_live: bool,
    /// `video`, `audio`, or another word.
    pub role: Option<String>,
    /// Tracks of one such group are meant to be shown together.
    pub render_group: Option<u64>,
    /// The codec, as browsers know it.
    pub codec: Option<String>,
    /// Ticks per second.
    pub timescale: Option<u64>,
    /// Most bits per second.
    pub bitrate: Option<u64>,
    /// In thousandths of frames per second.
    pub framerate_milli: Option<u64>,
    /// In pixels.
    pub width: Option<u64>,
    /// In pixels.
    pub height: Option<u64>,
    /// Samples per second.
    pub samplerate: Option<u64>,
    /// Channels, usually their number.
    pub channels: Option<String>,
    /// What a decoder must know first; empty if that comes with the objects alone.
    pub init: Bytes,
}

/// Why a document cannot be used as a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Longer than [`MAX_LENGTH`], or with more than [`MAX_TRACKS`].
    TooLarge,
    /// Not JSON.
    Syntax,
    /// Of a version that this program does not know.
    Version,
    /// A change to another catalog rather than one of its own.
    Delta,
    /// A mandatory field is missing, or of the wrong type: its name.
    Field(&'static str),
}

impl Catalog {
    /// The JSON document. Equal catalogs give equal documents.
    pub fn to_json(&self) -> Bytes {
        let tracks: Vec<Value> = self.tracks.iter().map(Track::to_value).collect();
        // Members of the root in the order that the draft asks for: what initializes decoders comes last.
        let mut members = vec![format!("\"version\":{}", json!(VERSION))];
        members.extend(self.generated_at.map(|at| format!("\"generatedAt\":{at}")));
        if self.is_complete {
            members.push("\"isComplete\":true".to_owned());
        }
        members.push(format!("\"tracks\":{}", Value::Array(tracks)));
        let inits: Vec<Value> = self
            .tracks
            .iter()
            .filter(|track| !track.init.is_empty())
            .map(|track| {
                let data = BASE64_STANDARD.encode(&track.init);
                json!({ "id": track.name, "type": "inline", "data": data })
            })
            .collect();
        if !inits.is_empty() {
            members.push(format!("\"initDataList\":{}", Value::Array(inits)));
        }
        Bytes::from(format!("{{{}}}", members.join(",")))
    }

    /// Reads a document, as other programs write it too: what is not known is ignored.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn parse(document: &[u8]) -> Result<Self, Unreadable> {
        if document.len() > MAX_LENGTH {
            return Err(Unreadable::TooLarge);
        }
        let root: Map<String, Value> =
            serde_json::from_slice(document).map_err(|_| Unreadable::Syntax)?;
        if root.contains_key("deltaUpdate") {
            return Err(Unreadable::Delta);
        }
        let version = root.get("version").and_then(Value::as_str);
        if !version.is_some_and(|version| VERSIONS.contains(&version)) {
            return Err(Unreadable::Version);
        }
        let tracks = root
            .get("tracks")
            .and_then(Value::as_array)
            .ok_or(Unreadable::Field("tracks"))?;
        if tracks.len() > MAX_TRACKS {
            return Err(Unreadable::TooLarge);
        }
        let inits = root.get("initDataList").and_then(Value::as_array);
        let tracks = tracks
            .iter()
            .map(|track| Track::from_value(track, inits.map_or(&[][..], Vec::as_slice)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            generated_at: root.get("generatedAt").and_then(Value::as_u64),
            is_complete: root.get("isComplete").and_then(Value::as_bool) == Some(true),
            tracks,
        })
    }
}

impl Track {
    fn to_value(&self) -> Value {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let number = |number: Option<u64>| number.map(Value::from);
        let framerate = self.framerate_milli.map(|milli| match milli % 1000 {
            0 => Value::from(milli / 1000),
            _ => thousandths(milli),
        });
        let init = (!self.init.is_empty()).then(|| Value::from(self.name.clone()));
        let members = [
            ("namespace", text(&self.namespace)),
            ("name", Some(Value::from(self.name.clone()))),
            ("packaging", Some(Value::from(self.packaging.clone()))),
            ("isLive", Some(Value::from(self.is_live))),
            ("role", text(&self.role)),
            ("renderGroup", number(self.render_group)),
            ("initRef", init),
            ("codec", text(&self.codec)),
            ("timescale", number(self.timescale)),
            ("bitrate", number(self.bitrate)),
            ("framerate", framerate),
            ("width", number(self.width)),
            ("height", number(self.height)),
            ("samplerate", number(self.samplerate)),
            ("channelConfig", text(&self.channels)),
        ];
        let members = members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(members.collect())
    }

    fn from_value(value: &Value, inits: &[Value]) -> Result<Self, Unreadable> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let framerate = value.get("framerate").and_then(Value::as_number);
        Ok(Self {
            namespace: text("namespace"),
            name: text("name").ok_or(Unreadable::Field("name"))?,
            packaging: text("packaging").ok_or(Unreadable::Field("packaging"))?,
            // Mandatory, but a track of which it is not said can be tried.
            is_live: value.get("isLive").and_then(Value::as_bool) != Some(false),
            role: text("role"),
            render_group: number("renderGroup"),
            codec: text("codec"),
            timescale: number("timescale"),
            bitrate: number("bitrate"),
            framerate_milli: framerate.and_then(|number| in_thousandths(&number.to_string())),
            width: number("width"),
            height: number("height"),
            samplerate: number("samplerate"),
            channels: text("channelConfig"),
            init: text("initRef")
                .and_then(|wanted| inline(inits, &wanted))
                .unwrap_or_default(),
        })
    }
}

/// The data of the entry with this id, if it is in the document itself.
fn inline(inits: &[Value], wanted: &str) -> Option<Bytes> {
    let member = |entry: &Value, name: &str| entry.get(name)?.as_str().map(str::to_owned);
    let entry = inits
        .iter()
        .find(|entry| member(entry, "id").as_deref() == Some(wanted))?;
    if member(entry, "type")? != "inline" {
        return None;
    }
    let data = BASE64_STANDARD.decode(member(entry, "data")?).ok()?;
    Some(Bytes::from(data))
}

/// A decimal fraction as a JSON number.
fn thousandths(milli: u64) -> Value {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    serde_json::from_str(&text).unwrap_or_default()
}

/// The number in a JSON number's digits, times a thousand; `None` if it is negative or has an exponent.
fn in_thousandths(digits: &str) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(padded.parse().ok()?)
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("it is too large"),
            Self::Syntax => f.write_str("it is no JSON object"),
            Self::Version => f.write_str("it is of a version that is not known"),
            Self::Delta => f.write_str("it is a change to another catalog"),
            Self::Field(name) => write!(f, "its field '{name}' is missing or wrong"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> Track {
        Track {
            name: "video0".to_owned(),
            packaging: PACKAGING_LOC.to_owned(),
            is_live: true,
            role: Some("video".to_owned()),
            render_group: Some(1),
            codec: Some("avc1.42C00D".to_owned()),
            timescale: Some(1000),
            bitrate: Some(180_000),
            framerate_milli: Some(29_970),
            width: Some(320),
            height: Some(180),
            init: Bytes::from_static(&[1, 0x42, 0xC0, 0x0D, 0xFF]),
            ..Track::default()
        }
    }

    fn audio() -> Track {
        Track {
            namespace: Some("elsewhere".to_owned()),
            name: "audio \"0\"".to_owned(),
            packaging: PACKAGING_MOQMI.to_owned(),
            samplerate: Some(44_100),
            channels: Some("2".to_owned()),
            framerate_milli: Some(25_000),
            ..Track::default()
        }
    }

    #[test]
    fn a_catalog_is_read_as_it_was_written() {
        let catalog = Catalog {
            generated_at: Some(1_746_104_606_044),
            is_complete: true,
            tracks: vec![video(), audio()],
        };
        let document = catalog.to_json();
        assert_eq!(Catalog::parse(&document), Ok(catalog));
        let empty = Catalog::default();
        assert_eq!(Catalog::parse(&empty.to_json()), Ok(empty));
    }

    #[test]
    fn the_document_has_the_drafts_fields_with_initialization_last() {
        let catalog = Catalog {
            generated_at: Some(7),
            is_complete: false,
            tracks: vec![video()],
        };
        let document = String::from_utf8(catalog.to_json().to_vec()).unwrap();
        let expected = "{\"version\":\"draft-01\",\"generatedAt\":7,\"tracks\":[{\"bitrate\":180000,\
                        \"codec\":\"avc1.42C00D\",\"framerate\":29.97,\"height\":180,\"initRef\":\"video0\",\
                        \"isLive\":true,\"name\":\"video0\",\"packaging\":\"loc\",\"renderGroup\":1,\
                        \"role\":\"video\",\"timescale\":1000,\"width\":320}],\
                        \"initDataList\":[{\"data\":\"AULADf8=\",\"id\":\"video0\",\"type\":\"inline\"}]}";
        assert_eq!(document, expected);
    }

    #[test]
    fn catalogs_of_others_are_read_as_far_as_they_are_understood() {
        let document = br#"{"version":"draft-01","generatedAt":1746104606044,"x":[1],
            "tracks":[{"name":"1080p-video","namespace":"conf/alice","packaging":"loc","isLive":true,
            "targetLatency":2000,"role":"video","codec":"av01.0.08M.10.0.110.09","width":1920,"height":1080.5,
            "framerate":59.9401,"initRef":"gone"},{"name":"a","packaging":"loc","samplerate":"48000"}]}"#;
        let catalog = Catalog::parse(document).unwrap();
        let [video, audio] = catalog.tracks.as_slice() else {
            panic!("{catalog:?}");
        };
        assert_eq!(video.namespace.as_deref(), Some("conf/alice"));
        assert_eq!(video.framerate_milli, Some(59_940));
        assert_eq!((video.width, video.height), (Some(1920), None));
        assert!(video.init.is_empty());
        assert!(audio.is_live && audio.samplerate.is_none());
    }

    #[test]
    fn what_is_no_catalog_is_told_why() {
        let parse = |document: &str| Catalog::parse(document.as_bytes()).unwrap_err();
        assert_eq!(parse(""), Unreadable::Syntax);
        assert_eq!(parse("[]"), Unreadable::Syntax);
        assert_eq!(parse("{}"), Unreadable::Version);
        assert_eq!(parse(r#"{"version":"draft-77"}"#), Unreadable::Version);
        assert_eq!(parse(r#"{"deltaUpdate":[]}"#), Unreadable::Delta);
        let version = r#""version":"draft-01""#;
        let cases = [
            ("", Unreadable::Field("tracks")),
            (r#","tracks":{}"#, Unreadable::Field("tracks")),
            (r#","tracks":[{}]"#, Unreadable::Field("name")),
            (
                r#","tracks":[{"name":"a"}]"#,
                Unreadable::Field("packaging"),
            ),
        ];
        for (rest, why) in cases {
            assert_eq!(parse(&format!("{{{version}{rest}}}")), why, "{rest}");
        }
        let many = vec![r#"{"name":"a","packaging":"loc"}"#; MAX_TRACKS + 1].join(",");
        let document = format!("{{{version},\"tracks\":[{many}]}}");
        assert!(document.len() < MAX_LENGTH);
        assert_eq!(parse(&document), Unreadable::TooLarge);
        assert_eq!(parse(&" ".repeat(MAX_LENGTH + 1)), Unreadable::TooLarge);
        let nested = format!("{{{version},\"x\":{}", "[".repeat(100_000));
        assert_eq!(parse(&nested), Unreadable::Syntax, "and no overflow");
    }
}
