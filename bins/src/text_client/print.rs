//! What the text client prints, and in which order: fetched objects first, live ones after them, none twice.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use base64::Engine as _;
use bytes::Bytes;
use oxymoq_core::wire::id::Location;
use oxymoq_core::wire::object::ObjectStatus;
use oxymoq_core::wire::property::{IMMUTABLE_PROPERTIES, Properties, Value};

/// Bytes of live objects that may wait while older ones are fetched, each counted with [`OVERHEAD`].
pub(super) const MAX_HELD_BYTES: usize = 16 << 20;
/// What an object costs besides its payload and properties.
const OVERHEAD: usize = 256;

/// An object to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Printable {
    pub(super) status: ObjectStatus,
    pub(super) properties: Properties,
    pub(super) payload: Bytes,
}

/// Why something was not printed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The output does not take it.
    Output(io::Error),
    /// Too many live objects arrived before older ones were fetched.
    TooMuch,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Prints objects. While older ones are being fetched, live ones wait.
#[derive(Debug)]
pub(super) struct Printer<W> {
    out: W,
    /// Set while a FETCH goes on.
    holding: bool,
    /// The FETCH brings everything up to this object: what arrives live as well is dropped.
    covered: Option<Location>,
    held: BTreeMap<Location, Printable>,
    held_bytes: usize,
    /// To be printed behind the live objects that wait.
    last_lines: Vec<&'static str>,
}

impl<W: Write> Printer<W> {
    pub(super) const fn new(out: W) -> Self {
        Self {
            out,
            holding: false,
            covered: None,
            held: BTreeMap::new(),
            held_bytes: 0,
            last_lines: Vec::new(),
        }
    }

    /// Live objects wait from now on.
    pub(super) const fn hold(&mut self) {
        self.holding = true;
    }

    /// Everything up to this object comes from a FETCH.
    pub(super) const fn cover(&mut self, up_to: Option<Location>) {
        self.covered = up_to;
    }

    /// The FETCH is over: what waits is printed, oldest first, and live objects from now on as they arrive.
    pub(super) fn release(&mut self) -> Result<(), Trouble> {
        self.holding = false;
        self.held_bytes = 0;
        for object in std::mem::take(&mut self.held).into_values() {
            write_object(&mut self.out, &object)?;
        }
        for line in std::mem::take(&mut self.last_lines) {
            self.line(format_args!("{line}"))?;
        }
        Ok(())
    }

    /// A live object.
    pub(super) fn live(&mut self, location: Location, object: Printable) -> Result<(), Trouble> {
        if self.covered.is_some_and(|covered| location <= covered) {
            return Ok(());
        }
        if !self.holding {
            return Ok(write_object(&mut self.out, &object)?);
        }
        let bytes = object.payload.len() + object.properties.bytes().len() + OVERHEAD;
        if self.held_bytes + bytes > MAX_HELD_BYTES {
            return Err(Trouble::TooMuch);
        }
        if self.held.insert(location, object).is_none() {
            self.held_bytes += bytes;
        }
        Ok(())
    }

    /// An object of a FETCH.
    pub(super) fn fetched(&mut self, object: &Printable) -> Result<(), Trouble> {
        Ok(write_object(&mut self.out, object)?)
    }

    /// A line that has its place behind the live objects that wait.
    pub(super) fn last_line(&mut self, line: &'static str) -> Result<(), Trouble> {
        if self.holding {
            self.last_lines.push(line);
            return Ok(());
        }
        self.line(format_args!("{line}"))
    }

    /// A line.
    pub(super) fn line(&mut self, line: fmt::Arguments<'_>) -> Result<(), Trouble> {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    #[cfg(test)]
    pub(super) const fn out(&self) -> &W {
        &self.out
    }
}

/// Writes an object as moxygen's text client does: properties first, a line each, then the payload or the status.
fn write_object(out: &mut impl Write, object: &Printable) -> io::Result<()> {
    for pair in object.properties.iter() {
        let Ok((kind, value)) = pair else { break };
        if kind == IMMUTABLE_PROPERTIES {
            continue;
        }
        match value {
            Value::Integer(number) => writeln!(out, "int extension={number}")?,
            Value::Bytes(bytes) => {
                let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                writeln!(out, "data extension={text}")?;
            }
        }
    }
    match object.status {
        ObjectStatus::Normal => {
            out.write_all(&object.payload)?;
            out.write_all(b"\n")?;
        }
        ObjectStatus::EndOfGroup => writeln!(out, "ObjectStatus=3")?,
        ObjectStatus::EndOfTrack => writeln!(out, "ObjectStatus=4")?,
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use oxymoq_core::draft::IntegerKind;

    use super::*;

    fn text(text: &str) -> Printable {
        Printable {
            status: ObjectStatus::Normal,
            properties: Properties::default(),
            payload: Bytes::from(text.to_owned()),
        }
    }

    fn printed(printer: &Printer<Vec<u8>>) -> String {
        String::from_utf8(printer.out.clone()).unwrap()
    }

    #[test]
    fn live_objects_wait_for_fetched_ones_and_leave_in_order() {
        let mut printer = Printer::new(Vec::new());
        printer.hold();
        printer.cover(Some(Location::new(1, 1)));
        printer.live(Location::new(2, 0), text("4")).unwrap();
        printer.live(Location::new(1, 2), text("3")).unwrap();
        printer
            .live(Location::new(1, 1), text("fetched anyway"))
            .unwrap();
        printer.live(Location::new(1, 2), text("again")).unwrap();
        printer.last_line("onPublishDone").unwrap();
        printer.fetched(&text("1")).unwrap();
        printer.fetched(&text("2")).unwrap();
        assert_eq!(printed(&printer), "1\n2\n");
        printer.release().unwrap();
        printer.live(Location::new(2, 1), text("5")).unwrap();
        assert_eq!(printed(&printer), "1\n2\nagain\n4\nonPublishDone\n5\n");
    }

    #[test]
    fn more_live_objects_than_fit_are_trouble() {
        let mut printer = Printer::new(Vec::new());
        printer.hold();
        let large = text(&"x".repeat(1 << 20));
        let mut taken = 0;
        while printer.live(Location::new(0, taken), large.clone()).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 15, "16 MiB and what each object costs besides");
    }

    #[test]
    fn properties_come_before_the_payload_and_a_status_stands_in_for_it() {
        let mut printer = Printer::new(Vec::new());
        let list = [
            (
                IMMUTABLE_PROPERTIES,
                Value::Bytes(Bytes::from_static(&[2, 5])),
            ),
            (
                0xdead_beef,
                Value::Bytes(Bytes::from_static(&[1, 2, 3, 4, 5])),
            ),
            (0xa_cede_cade, Value::Integer(1977)),
        ];
        let object = Printable {
            properties: Properties::from_list(IntegerKind::Vi64, list).unwrap(),
            ..text("head")
        };
        printer.fetched(&object).unwrap();
        for status in [ObjectStatus::EndOfGroup, ObjectStatus::EndOfTrack] {
            let marker = Printable { status, ..text("") };
            printer.live(Location::new(0, 9), marker).unwrap();
        }
        assert_eq!(
            printed(&printer),
            "data extension=AQIDBAU=\nint extension=1977\nhead\nObjectStatus=3\nObjectStatus=4\n"
        );
    }
}
