//! Names of tracks (§ Track Naming): sequences of bytes, not text.
//!
//! For logs and file names they have a text form (§ Representing Namespace and Track Names): fields joined by `-`, then `--`
//! and the track's name; bytes other than letters, digits and `_` as `.` and two lower-case hexadecimal digits. Each name has
//! exactly one such form, and other spellings do not parse.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use bytes::Bytes;

use super::cursor::{Reader, Writer};
use super::{Error, NotExpressible};

/// The most fields a namespace has.
pub const MAX_FIELDS: usize = 32;

/// What holding a name costs besides its bytes: it stands in several tables.
const NAME_OVERHEAD: usize = 256;

/// What each of its fields costs besides its bytes.
const FIELD_OVERHEAD: usize = 128;

/// The most bytes a namespace has, and a namespace and a name together, without what tells their lengths.
pub const MAX_BYTES: usize = 4096;

/// A track namespace, or a prefix or suffix of one: up to 32 fields, none empty, 4096 bytes in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackNamespace(Vec<Bytes>);

/// The name of a track within its namespace; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackName(Bytes);

/// A track's namespace and name together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullTrackName {
    /// Where the track is published.
    pub namespace: TrackNamespace,
    /// Which of the namespace's tracks it is.
    pub name: TrackName,
}

/// Why something is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidName {
    /// More than 32 fields.
    TooManyFields,
    /// A field without a byte.
    EmptyField,
    /// More than 4096 bytes.
    TooLong,
    /// Text that is not the text form of a name.
    BadText,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyFields => "a namespace has at most 32 fields",
            Self::EmptyField => "a field of a namespace must not be empty",
            Self::TooLong => "a track's namespace and name have at most 4096 bytes in all",
            Self::BadText => "not the text form of a name",
        })
    }
}

impl std::error::Error for InvalidName {}

impl From<InvalidName> for Error {
    fn from(invalid: InvalidName) -> Self {
        Self::violation(match invalid {
            InvalidName::TooManyFields => "V22: more than 32 namespace fields",
            InvalidName::EmptyField => "V23: empty namespace field",
            InvalidName::TooLong | InvalidName::BadText => "V24: name longer than 4096 bytes",
        })
    }
}

impl TrackNamespace {
    /// A namespace of these fields, outermost first.
    ///
    /// # Errors
    /// If there are more than 32, one is empty, or they have more than 4096 bytes.
    pub fn new<T: Into<Bytes>>(fields: impl IntoIterator<Item = T>) -> Result<Self, InvalidName> {
        let mut namespace = Self::default();
        let mut length = 0;
        for field in fields {
            let field = field.into();
            length += field.len();
            if namespace.0.len() == MAX_FIELDS {
                return Err(InvalidName::TooManyFields);
            }
            if field.is_empty() {
                return Err(InvalidName::EmptyField);
            }
            if length > MAX_BYTES {
                return Err(InvalidName::TooLong);
            }
            namespace.0.push(field);
        }
        Ok(namespace)
    }

    /// The fields, outermost first.
    pub fn fields(&self) -> &[Bytes] {
        &self.0
    }

    /// Whether there is no field: as a prefix, the one of all namespaces.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all fields.
    pub fn byte_len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// What holding it takes, in bytes: its own, 256 for its places in tables, and 128 for each field.
    pub(crate) fn cost(&self) -> usize {
        self.byte_len() + self.0.len() * FIELD_OVERHEAD + NAME_OVERHEAD
    }

    /// Whether `other` begins with these fields, or has no others.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Every prefix of this, from the empty one to this itself.
    pub fn prefixes(&self) -> impl DoubleEndedIterator<Item = Self> + '_ {
        (0..=self.0.len()).map(|count| Self(self.0.iter().take(count).cloned().collect()))
    }

    /// Whether one of the two is a prefix of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_prefix_of(other) || other.is_prefix_of(self)
    }

    /// What follows the prefix, if this begins with it.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        let suffix = self.0.strip_prefix(prefix.0.as_slice())?;
        Some(Self(suffix.to_vec()))
    }

    /// This followed by the fields of `suffix`.
    ///
    /// # Errors
    /// If that is too long for a namespace.
    pub fn join(&self, suffix: &Self) -> Result<Self, InvalidName> {
        Self::new(self.0.iter().chain(&suffix.0).cloned())
    }

    /// Whether the first field is exactly "." (§ Reserved Namespaces): never to be published or asked for.
    pub fn is_dot(&self) -> bool {
        self.0.first().is_some_and(|field| &field[..] == b".")
    }

    /// Whether the first field is ".session" (§ Session-Level Tracks): such tracks are between two peers alone.
    pub fn is_session(&self) -> bool {
        self.0
            .first()
            .is_some_and(|field| &field[..] == b".session")
    }

    pub(crate) fn write(&self, to: &mut Writer) -> Result<(), NotExpressible> {
        let count = u64::try_from(self.0.len())
            .map_err(|_| NotExpressible("that many namespace fields"))?;
        to.integer(count)?;
        self.0
            .iter()
            .try_for_each(|field| to.length_prefixed(field))
    }

    /// Reads a namespace of at least `min_fields` fields.
    pub(crate) fn read(from: &mut Reader<'_>, min_fields: usize) -> Result<Self, Error> {
        let count = from.integer()?;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= MAX_FIELDS)
            .ok_or(InvalidName::TooManyFields)?;
        if count < min_fields {
            return Err(Error::violation("V21: namespace without fields"));
        }
        let mut fields = Vec::with_capacity(count.min(from.remaining()));
        let mut length = 0;
        for _ in 0..count {
            let field = from.length_prefixed()?;
            if field.is_empty() {
                return Err(InvalidName::EmptyField.into());
            }
            length += field.len();
            if length > MAX_BYTES {
                return Err(InvalidName::TooLong.into());
            }
            fields.push(Bytes::copy_from_slice(field));
        }
        Ok(Self(fields))
    }
}

impl TrackName {
    /// A name of these bytes.
    ///
    /// # Errors
    /// If there are more than 4096.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidName> {
        let bytes = bytes.into();
        if bytes.len() > MAX_BYTES {
            return Err(InvalidName::TooLong);
        }
        Ok(Self(bytes))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FullTrackName {
    /// A track's namespace and name.
    ///
    /// # Errors
    /// If they have more than 4096 bytes in all.
    pub fn new(namespace: TrackNamespace, name: TrackName) -> Result<Self, InvalidName> {
        let full = Self { namespace, name };
        if full.byte_len() > MAX_BYTES {
            return Err(InvalidName::TooLong);
        }
        Ok(full)
    }

    /// Bytes of the namespace and the name.
    pub fn byte_len(&self) -> usize {
        self.namespace.byte_len() + self.name.0.len()
    }

    /// What holding it takes, in bytes: that of its namespace, and those of the track's own name.
    pub(crate) fn cost(&self) -> usize {
        self.namespace.cost() + self.name.0.len()
    }

    pub(crate) fn write(&self, min_fields: usize, to: &mut Writer) -> Result<(), NotExpressible> {
        if self.namespace.0.len() < min_fields {
            return Err(NotExpressible("a track without a namespace"));
        }
        if self.byte_len() > MAX_BYTES {
            return Err(NotExpressible("a track's name of more than 4096 bytes"));
        }
        self.namespace.write(to)?;
        to.length_prefixed(&self.name.0)
    }

    pub(crate) fn read(from: &mut Reader<'_>, min_fields: usize) -> Result<Self, Error> {
        let namespace = TrackNamespace::read(from, min_fields)?;
        let name = from.length_prefixed()?;
        if namespace.byte_len() + name.len() > MAX_BYTES {
            return Err(InvalidName::TooLong.into());
        }
        Ok(Self {
            namespace,
            name: TrackName(Bytes::copy_from_slice(name)),
        })
    }
}

impl fmt::Display for TrackNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, field) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_char('-')?;
            }
            write_text(field, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for TrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

impl fmt::Display for FullTrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}--{}", self.namespace, self.name)
    }
}

impl FromStr for TrackNamespace {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let fields = text.split('-').map(parse_text);
        Self::new(fields.collect::<Result<Vec<_>, _>>()?)
    }
}

impl FromStr for TrackName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(parse_text(text)?)
    }
}

impl FromStr for FullTrackName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (namespace, name) = text.split_once("--").ok_or(InvalidName::BadText)?;
        Self::new(namespace.parse()?, name.parse()?)
    }
}

const fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn write_text(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        if is_literal(*byte) {
            f.write_char(char::from(*byte))?;
        } else {
            write!(f, ".{byte:02x}")?;
        }
    }
    Ok(())
}

fn parse_text(text: &str) -> Result<Vec<u8>, InvalidName> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if is_literal(*first) {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (hex, after) = after.split_first_chunk().ok_or(InvalidName::BadText)?;
        let [high, low] = hex.map(digit);
        let (Some(high), Some(low), b'.') = (high, low, first) else {
            return Err(InvalidName::BadText);
        };
        let byte = high << 4 | low;
        if is_literal(byte) {
            return Err(InvalidName::BadText);
        }
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn namespace(fields: &[&'static str]) -> TrackNamespace {
        TrackNamespace::new(
            fields
                .iter()
                .map(|field| Bytes::from_static(field.as_bytes())),
        )
        .unwrap()
    }

    // Rules: B007
    #[test]
    fn the_drafts_own_example_of_the_text_form() {
        let full = FullTrackName::new(
            namespace(&["example.net", "team2", "project_x"]),
            TrackName::new("report").unwrap(),
        )
        .unwrap();
        let text = "example.2enet-team2-project_x--report";
        assert_eq!(full.to_string(), text);
        assert_eq!(text.parse(), Ok(full));
    }

    // Rules: B008, B009, B010, B011
    #[test]
    fn text_that_is_not_the_one_form_of_a_name_does_not_parse() {
        for text in [
            ".2E", ".61", ".5f", ".2", ".", "a.", "a.g0", "a b", "a/b", "ä", ".+1",
        ] {
            assert_eq!(
                text.parse::<TrackName>(),
                Err(InvalidName::BadText),
                "{text}"
            );
        }
        for text in ["a", "a-b", "a---b", "a--b-c", "a--b--c"] {
            assert_eq!(
                text.parse::<FullTrackName>(),
                Err(InvalidName::BadText),
                "{text}"
            );
        }
        for text in ["-a--b", "a-"] {
            assert!(text.parse::<FullTrackName>().is_err(), "{text}");
        }
        assert_eq!("a-".parse::<TrackNamespace>(), Err(InvalidName::EmptyField));
        assert_eq!("--".parse(), Ok(FullTrackName::default()));
        assert_eq!("".parse(), Ok(TrackNamespace::default()));
    }

    // Rules: B014
    #[test]
    fn names_have_limits() {
        let fields = |count| TrackNamespace::new(std::iter::repeat_n("a", count));
        assert!(fields(32).is_ok());
        assert_eq!(fields(33), Err(InvalidName::TooManyFields));
        assert_eq!(TrackNamespace::new([""]), Err(InvalidName::EmptyField));
        let name = |length| TrackName::new(vec![0; length]);
        assert!(name(4096).is_ok());
        assert_eq!(name(4097), Err(InvalidName::TooLong));
        assert_eq!(
            TrackNamespace::new([vec![0; 4096], vec![0]]),
            Err(InvalidName::TooLong)
        );
        let full = FullTrackName::new(namespace(&["a"]), name(4096).unwrap());
        assert_eq!(full, Err(InvalidName::TooLong));
        assert!(FullTrackName::new(namespace(&["a"]), name(4095).unwrap()).is_ok());
    }

    #[test]
    fn prefixes_are_of_whole_fields() {
        let all = TrackNamespace::default();
        let live = namespace(&["live"]);
        let camera = namespace(&["live", "camera"]);
        let cam = namespace(&["live", "cam"]);
        assert!(all.is_prefix_of(&live) && live.is_prefix_of(&camera) && live.is_prefix_of(&live));
        assert!(!cam.is_prefix_of(&camera) && !camera.is_prefix_of(&live));
        assert!(camera.overlaps(&live) && !camera.overlaps(&cam));
        assert_eq!(camera.strip_prefix(&live), Some(namespace(&["camera"])));
        assert_eq!(camera.strip_prefix(&camera), Some(all));
        assert_eq!(camera.strip_prefix(&cam), None);
        assert_eq!(live.join(&namespace(&["camera"])), Ok(camera));
        let many = TrackNamespace::new(std::iter::repeat_n("a", 32)).unwrap();
        assert_eq!(many.join(&live), Err(InvalidName::TooManyFields));
    }

    #[test]
    fn reserved_namespaces_begin_with_a_dot() {
        assert!(namespace(&[".", "a"]).is_dot());
        assert!(!namespace(&[".session"]).is_dot() && namespace(&[".session", "x"]).is_session());
        assert!(!namespace(&["a", "."]).is_dot() && !TrackNamespace::default().is_dot());
    }

    proptest! {
        // Rules: B007
        #[test]
        fn every_name_survives_its_text(
            fields in vec(vec(any::<u8>(), 1..9), 0..5),
            name in vec(any::<u8>(), 0..9),
        ) {
            let namespace = TrackNamespace::new(fields).unwrap();
            let full = FullTrackName::new(namespace, TrackName::new(name).unwrap()).unwrap();
            let text = full.to_string();
            let safe = |byte: u8| is_literal(byte) || byte == b'.' || byte == b'-';
            prop_assert!(text.bytes().all(safe));
            prop_assert_eq!(text.parse(), Ok(full.clone()));
            prop_assert_eq!(full.namespace.to_string().parse(), Ok(full.namespace));
        }

        // Rules: B011
        #[test]
        fn every_text_that_parses_is_the_one_form(text in "[a-c.0-2-]{0,12}") {
            if let Ok(full) = text.parse::<FullTrackName>() {
                prop_assert_eq!(full.to_string(), text);
            }
        }
    }
}
