//! Control messages kept for whoever wants to see what the two sides say.

use std::collections::VecDeque;

use crate::wire::message::Message;

/// How many messages are kept; older ones are dropped. One input or output rarely makes more than one.
pub const MAX_TRACED: usize = 1024;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the peer.
    Sent,
    /// From the peer.
    Received,
}

#[derive(Debug, Default)]
pub(super) struct Trace(VecDeque<(Direction, Message)>);

impl Trace {
    pub(super) fn note(&mut self, direction: Direction, message: &Message) {
        if self.0.len() == MAX_TRACED {
            self.0.pop_front();
        }
        self.0.push_back((direction, message.clone()));
    }

    pub(super) fn next(&mut self) -> Option<(Direction, Message)> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_messages_are_dropped_beyond_the_limit() {
        let mut trace = Trace::default();
        for number in 0..=MAX_TRACED {
            let number = u64::try_from(number).unwrap();
            trace.note(Direction::Sent, &Message::MaxRequestId(number));
        }
        assert_eq!(
            trace.next(),
            Some((Direction::Sent, Message::MaxRequestId(1)))
        );
        assert_eq!(std::iter::from_fn(|| trace.next()).count(), MAX_TRACED - 1);
    }
}
