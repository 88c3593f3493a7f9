//! A log of what the two sides of each session say, for `--mlog_path`: JSON objects, one a line, written as they happen.
//!
//! Names of events and their fields follow the qlog events for MoQT as far as they go; a message's own fields are told in
//! one string.

use std::fs::File;
use std::io::Write as _;

use oxymoq_core::peers::Peers;
use oxymoq_core::session::{Direction, Event};
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use serde_json::json;

/// The file, or none.
#[derive(Debug, Default)]
pub struct Mlog(Option<File>);

impl Mlog {
    /// Writes to a new file at `path`; to none if it is empty.
    ///
    /// # Errors
    ///
    /// A sentence that names the file that cannot be made.
    pub fn create(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        match File::create(path) {
            Ok(file) => Ok(Self(Some(file))),
            Err(error) => Err(format!("--mlog_path: cannot write '{path}': {error}")),
        }
    }

    /// Has `peers` keep what this log needs.
    pub fn watch(&self, peers: &mut Peers) {
        if self.0.is_some() {
            peers.trace_messages();
        }
    }

    /// Writes the control messages that peers have said or been told.
    pub fn write_messages(&mut self, now: Time, peers: &mut Peers) {
        while let Some((connection, direction, message)) = peers.poll_message() {
            let name = match direction {
                Direction::Sent => "moqt:control_message_created",
                Direction::Received => "moqt:control_message_parsed",
            };
            let text = format!("{message:?}");
            let kind = text.split(['(', ' ']).next().unwrap_or_default();
            let data = json!({ "type": kind, "message": text });
            self.write(now, connection, name, &data);
        }
    }

    /// Writes an event if it is about objects; what else there is comes from control messages.
    pub fn write_event(&mut self, now: Time, connection: ConnectionId, event: &Event) {
        if self.0.is_none() {
            return;
        }
        let (name, stream) = if let Event::SubgroupOpened { stream, .. } = event {
            ("moqt:subgroup_header_parsed", Some(stream))
        } else if let Event::Object { stream, .. } = event {
            ("moqt:subgroup_object_parsed", Some(stream))
        } else if let Event::Datagram { .. } = event {
            ("moqt:object_datagram_parsed", None)
        } else if let Event::SubgroupEnded { stream, .. } = event {
            ("moqt:subgroup_ended", Some(stream))
        } else if let Event::Closed(_) = event {
            ("moqt:session_closed", None)
        } else {
            return;
        };
        let stream = stream.map(ToString::to_string);
        let data = json!({ "stream": stream, "event": format!("{event:?}") });
        self.write(now, connection, name, &data);
    }

    fn write(&mut self, now: Time, connection: ConnectionId, name: &str, data: &serde_json::Value) {
        let Some(file) = &mut self.0 else {
            return;
        };
        let line = json!({
            "time": now.as_micros(),
            "name": name,
            "connection": connection.0,
            "data": data,
        });
        if let Err(error) = writeln!(file, "{line}") {
            log::warn!("--mlog_path: the log ends here: {error}");
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_no_log_and_a_bad_one_is_named() {
        let mut none = Mlog::create("").unwrap();
        none.write_messages(Time::ZERO, &mut Peers::default());
        let error = Mlog::create("no/such/folder/log.json").unwrap_err();
        assert!(error.contains("no/such/folder/log.json"), "{error}");
    }
}
