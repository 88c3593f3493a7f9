//! Random networks: relays, publishers and subscribers whose every step follows from a [`Plan`], and what must hold of them.
//!
//! [`run`] plays a plan and compares everything that anybody gets with what was published:
//!
//! * Nothing is delivered that was not published; payload, properties, priority and subgroup are the same.
//! * Nothing comes twice, and on a stream each object follows the one that it was published after. A stream ends with a FIN
//!   only after the last object of its subgroup.
//! * Whatever is missing in the end has a reason of its own: a subgroup that was given up, a loss on the way to this
//!   subscriber at that time, a pause that was asked for, a delivery timeout on a slow path, a lossy path for datagrams.
//! * Every request is answered or its session is over, refused only for a reason; every subscription ends when its track does.
//! * A FETCH is answered with all that was published in its range before it was asked for.
//! * What a relay holds is never more than its limit, and when everybody has gone nothing is left. What its books say of
//!   memory, cursors and subscriptions is what counting them again gives.
//!
//! Plans are plain values that proptest makes and shrinks; see the example `networks`.

mod book;
mod judge;
mod plan;
mod run;
mod scene;
mod studio;
mod troubles;
mod verdict;
mod viewer;

pub use plan::{
    LANES, LimitsPlan, Operation, Path, Plan, RelayPlan, ShowPlan, StudioPlan, TransportPlan,
    ViewerPlan, Which, Who, Wish,
};
pub use run::{Report, run, run_traced};
