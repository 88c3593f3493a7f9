//! The bounds of what FETCHes being served may hold.

/// The bounds of [`Fetches`](super::Fetches).
///
/// Units, defaults and the reason for each: [`limits`](crate::limits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// FETCHes served at once; a further one is refused with EXCESSIVE_LOAD, to be tried again.
    pub max_fetches: usize,
    /// FETCHes served at once on one connection; a further one is refused with EXCESSIVE_LOAD, to be tried again.
    pub max_fetches_per_connection: usize,
    /// Objects and markers of one FETCH that wait for the transport; with this many it takes no more.
    pub max_ahead_entries: usize,
    /// Bytes of one FETCH that wait for the transport, headers included; with this many it takes no more. The entry that
    /// reaches it is taken whole: its payload is shared with whoever has it.
    pub max_ahead_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_fetches: 16_384,
            max_fetches_per_connection: 128,
            max_ahead_entries: 64,
            max_ahead_bytes: 256 << 10,
        }
    }
}
