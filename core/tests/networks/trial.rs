//! One seed: its plan is played, and made smaller if something is wrong with it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use oxymoq_core::sim::networks::{Plan, Report, run};

use super::strategy::tree;

/// How many smaller plans are tried.
const MAX_TRIES: usize = 600;

/// What became of a seed.
pub(crate) struct Failed {
    /// What is wrong with its plan.
    pub(crate) first: String,
    /// The smallest plan that was found with something wrong.
    pub(crate) plan: Plan,
    /// What is wrong with that.
    pub(crate) why: String,
    /// The last that happened in it.
    pub(crate) trace: String,
}

/// Plays a plan; what a broken contract has to say is a verdict too.
pub(crate) fn play(plan: &Plan) -> Result<Report, (String, String)> {
    judged(|| run(plan))
}

/// What came of a run.
pub(crate) fn judged(run: impl FnOnce() -> Report) -> Result<Report, (String, String)> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(report) => match &report.verdict {
            Ok(()) => Ok(report),
            Err(why) => Err((why.clone(), report.trace)),
        },
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err((text.unwrap_or_else(|| "a panic".to_owned()), String::new()))
        }
    }
}

/// Plays the plan of a seed, and looks for a smaller one if it fails.
pub(crate) fn attempt(seed: u64) -> Result<Report, Box<Failed>> {
    let mut tree = tree(seed);
    let plan = tree.current();
    let (first, trace) = match play(&plan) {
        Ok(report) => return Ok(report),
        Err(failure) => failure,
    };
    let mut failed = Failed {
        why: first.clone(),
        first,
        plan,
        trace,
    };
    let mut more = tree.simplify();
    for _ in 0..MAX_TRIES {
        if !more {
            break;
        }
        let plan = tree.current();
        more = match play(&plan) {
            Ok(_) => tree.complicate(),
            Err((why, trace)) => {
                (failed.plan, failed.why, failed.trace) = (plan, why, trace);
                tree.simplify()
            }
        };
    }
    Err(Box::new(failed))
}

/// The command that plays a seed again.
pub(crate) fn command(seed: u64) -> String {
    format!("cargo run --release -p oxymoq-core --features sim --example networks -- --seed {seed}")
}
