//! What the programs share: flags, logging, URLs, and the choice of a runtime.

pub mod cli;
pub mod logging;
pub mod url;
