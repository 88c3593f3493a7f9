//! A line that tells how far a run is, on a terminal only.

use std::io::{self, IsTerminal as _, Write as _};

/// The line, overwritten again and again.
#[derive(Debug)]
pub(super) struct Progress {
    is_wanted: bool,
    is_shown: bool,
}

impl Progress {
    /// On stderr, if that is a terminal.
    pub(super) fn new() -> Self {
        Self {
            is_wanted: io::stderr().is_terminal(),
            is_shown: false,
        }
    }

    /// Shows this line instead of the one before.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        if self.is_wanted {
            self.is_shown = true;
            // A terminal that went away needs no progress.
            let _gone = write!(io::stderr(), "\r\x1b[K{}", line());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _gone = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
