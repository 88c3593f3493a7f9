//! The little of AMF0 (*Action Message Format – AMF 0*) that script tags need.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Limits;

/// Markers of types (§ 2.1).
mod marker {
    pub(super) const NUMBER: u8 = 0;
    pub(super) const BOOLEAN: u8 = 1;
    pub(super) const STRING: u8 = 2;
    pub(super) const OBJECT: u8 = 3;
    pub(super) const NULL: u8 = 5;
    pub(super) const UNDEFINED: u8 = 6;
    pub(super) const REFERENCE: u8 = 7;
    pub(super) const ECMA_ARRAY: u8 = 8;
    pub(super) const OBJECT_END: u8 = 9;
    pub(super) const STRICT_ARRAY: u8 = 10;
    pub(super) const DATE: u8 = 11;
    pub(super) const LONG_STRING: u8 = 12;
    pub(super) const UNSUPPORTED: u8 = 13;
    pub(super) const XML: u8 = 15;
    pub(super) const TYPED_OBJECT: u8 = 16;
}

/// A value; of those that nest, only that there was one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Boolean(bool),
    String(Bytes),
    Other,
}

/// Why reading stopped.
pub(super) const BAD_SCRIPT: &str = "a script tag that cannot be read";

/// Reads values one after another, never more or deeper than allowed.
#[derive(Debug)]
pub(super) struct Reader {
    rest: Bytes,
    depth: u8,
    values: u32,
}

impl Reader {
    pub(super) const fn new(bytes: Bytes, limits: &Limits) -> Self {
        Self {
            rest: bytes,
            depth: limits.max_script_depth,
            values: limits.max_script_values,
        }
    }

    /// The next value.
    pub(super) fn value(&mut self) -> Option<Value> {
        self.values = self.values.checked_sub(1)?;
        Some(match self.rest.try_get_u8().ok()? {
            marker::NUMBER => Value::Number(self.rest.try_get_f64().ok()?),
            marker::BOOLEAN => Value::Boolean(self.rest.try_get_u8().ok()? != 0),
            marker::STRING => Value::String(self.short_string()?),
            marker::LONG_STRING | marker::XML => {
                let length = self.rest.try_get_u32().ok()?;
                Value::String(self.bytes(length)?)
            }
            marker::OBJECT => self.nested(|reader| reader.members(|_, _| {}))?,
            marker::ECMA_ARRAY => self.nested(|reader| {
                reader.rest.try_get_u32().ok()?; // a hint, wrong in live streams
                reader.members(|_, _| {})
            })?,
            marker::TYPED_OBJECT => self.nested(|reader| {
                reader.short_string()?;
                reader.members(|_, _| {})
            })?,
            marker::STRICT_ARRAY => self.nested(|reader| {
                for _ in 0..reader.rest.try_get_u32().ok()? {
                    reader.value()?;
                }
                Some(())
            })?,
            marker::DATE => {
                self.bytes(10)?;
                Value::Other
            }
            marker::REFERENCE => {
                self.bytes(2)?;
                Value::Other
            }
            marker::NULL | marker::UNDEFINED | marker::UNSUPPORTED => Value::Other,
            _ => return None,
        })
    }

    /// Reads an object or an array with names, and gives each member to `member`. `None` if it stopped early.
    pub(super) fn object(&mut self, member: impl FnMut(&[u8], Value)) -> Option<()> {
        match self.rest.try_get_u8().ok()? {
            marker::OBJECT => {}
            marker::ECMA_ARRAY => {
                self.rest.try_get_u32().ok()?;
            }
            _ => return None,
        }
        self.members(member)
    }

    /// Members up to the end of the object; the end of all bytes will do.
    fn members(&mut self, mut member: impl FnMut(&[u8], Value)) -> Option<()> {
        while !self.rest.is_empty() {
            let name = self.short_string()?;
            if name.is_empty() && self.rest.first() == Some(&marker::OBJECT_END) {
                self.rest.advance(1);
                return Some(());
            }
            let value = self.value()?;
            member(&name, value);
        }
        Some(())
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<Value> {
        self.depth = self.depth.checked_sub(1)?;
        read(self)?;
        self.depth += 1;
        Some(Value::Other)
    }

    fn short_string(&mut self) -> Option<Bytes> {
        let length = self.rest.try_get_u16().ok()?;
        self.bytes(length.into())
    }

    fn bytes(&mut self, length: u32) -> Option<Bytes> {
        let length = usize::try_from(length).ok()?;
        (self.rest.len() >= length).then(|| self.rest.split_to(length))
    }
}

/// Writes `text` as a value; what is beyond 65 535 bytes is cut off.
pub(super) fn put_string(to: &mut BytesMut, text: &str) {
    to.put_u8(marker::STRING);
    put_name(to, text);
}

/// Writes a text without a marker.
fn put_name(to: &mut BytesMut, text: &str) {
    let end = text.floor_char_boundary(u16::MAX.into());
    let text = text.get(..end).unwrap_or_default();
    to.put_u16(u16::try_from(text.len()).unwrap_or(0));
    to.put_slice(text.as_bytes());
}

/// Writes an array with names.
pub(super) fn put_array(to: &mut BytesMut, members: &[(&str, Value)]) {
    to.put_u8(marker::ECMA_ARRAY);
    to.put_u32(u32::try_from(members.len()).unwrap_or(0));
    for (name, value) in members {
        put_name(to, name);
        match value {
            Value::Number(number) => {
                to.put_u8(marker::NUMBER);
                to.put_f64(*number);
            }
            Value::Boolean(flag) => {
                to.put_u8(marker::BOOLEAN);
                to.put_u8(u8::from(*flag));
            }
            Value::String(text) => put_string(to, &String::from_utf8_lossy(text)),
            Value::Other => to.put_u8(marker::NULL),
        }
    }
    to.put_slice(&[0, 0, marker::OBJECT_END]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        let limits = Limits {
            max_script_depth: 3,
            max_script_values: 20,
            ..Limits::default()
        };
        Reader::new(Bytes::copy_from_slice(bytes), &limits)
    }

    #[test]
    fn every_type_is_read() {
        let mut bytes = vec![0, 0x40, 0x45, 0, 0, 0, 0, 0, 0]; // 42
        bytes.extend([
            1, 1, 2, 0, 2, b'h', b'i', 12, 0, 0, 0, 1, b'!', 5, 6, 7, 0, 1,
        ]);
        bytes.extend([11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([3, 0, 1, b'a', 5, 0, 0, 9]);
        bytes.extend([8, 0, 0, 0, 0, 0, 1, b'a', 1, 0, 0, 0, 9]);
        bytes.extend([10, 0, 0, 0, 2, 5, 6]);
        bytes.extend([16, 0, 1, b'C', 0, 0, 9]);
        let mut reader = reader(&bytes);
        let read: Vec<_> = std::iter::from_fn(|| reader.value()).collect();
        let mut expected = vec![
            Value::Number(42.0),
            Value::Boolean(true),
            Value::String(Bytes::from_static(b"hi")),
            Value::String(Bytes::from_static(b"!")),
        ];
        expected.extend([const { Value::Other }; 8]);
        assert_eq!(read, expected);
        assert!(reader.rest.is_empty());
    }

    #[test]
    fn nesting_and_counting_have_an_end() {
        let nested = |depth: usize| {
            let mut bytes: Vec<u8> = [3, 0, 1, b'a'].repeat(depth);
            bytes.push(5);
            bytes
        };
        assert_eq!(reader(&nested(3)).value(), Some(Value::Other));
        assert_eq!(reader(&nested(4)).value(), None);
        assert_eq!(reader(&nested(1_000_000)).value(), None);
        let array = |count: u8| {
            let mut bytes = vec![10, 0, 0, 0, count];
            bytes.resize(bytes.len() + usize::from(count), 5);
            bytes
        };
        assert_eq!(reader(&array(19)).value(), Some(Value::Other));
        assert_eq!(reader(&array(20)).value(), None);
        assert_eq!(reader(&[10, 0xff, 0xff, 0xff, 0xff]).value(), None);
    }

    #[test]
    fn an_array_ends_with_its_bytes_too() {
        let mut names = Vec::new();
        let whole =
            reader(&[8, 0, 0, 0, 9, 0, 1, b'a', 5]).object(|name, _| names.push(name.to_vec()));
        assert_eq!((whole, names), (Some(()), vec![b"a".to_vec()]));
        assert_eq!(reader(&[2, 0, 0]).object(|_, _| {}), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop_oneof![0_u8..17, any::<u8>()], 0..200)) {
            while reader(&bytes).object(|_, _| {}).is_some() && reader(&bytes).value().is_none() {}
        }
    }
}
