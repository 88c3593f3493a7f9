//! Both runtimes side by side: what a user sees of them must differ in speed alone.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod proxy;
