//! Random relay networks in virtual time, as many as wanted: `--seeds N` plays N of them (0: for ever), from `--first K` on,
//! and makes the plan of the first that fails smaller; `--seed K` plays one of them and shows its plan and the end of its
//! trace; `--survey N` tells of each of N seeds what is wrong with it.
//!
//! ```text
//! cargo run --release -p oxymoq-core --features sim --example networks -- --seeds 1000 --first 1
//! ```
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a program for people, around the test's own modules"
)]

#[path = "../tests/networks/strategy.rs"]
mod strategy;
#[path = "../tests/networks/trial.rs"]
mod trial;

use std::process::ExitCode;
use std::time::Instant;

use oxymoq_core::sim::networks::run_traced;

/// A line is printed after so many seeds.
const PROGRESS: u64 = 100;

fn main() -> ExitCode {
    match arguments() {
        Ok(Task::One(seed)) => one(seed),
        Ok(Task::Many(first, seeds)) => many(first, seeds),
        Ok(Task::Survey(first, seeds)) => survey(first, seeds),
        Err(why) => {
            println!("{why}\nusage: networks [--seeds N] [--first K] | --seed K");
            ExitCode::FAILURE
        }
    }
}

enum Task {
    One(u64),
    /// The first, and how many.
    Many(u64, u64),
    Survey(u64, u64),
}

fn arguments() -> Result<Task, String> {
    let (mut one, mut first, mut seeds, mut survey) = (None, 0, 100, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{flag} needs a number"))?;
        let value = value
            .parse()
            .map_err(|_| format!("{flag}: {value} is no number"))?;
        match flag.as_str() {
            "--seed" => one = Some(value),
            "--first" => first = value,
            "--seeds" => seeds = value,
            "--survey" => survey = Some(value),
            other => return Err(format!("unknown flag {other}")),
        }
    }
    let many = survey.map_or(Task::Many(first, seeds), |seeds| Task::Survey(first, seeds));
    Ok(one.map_or(many, Task::One))
}

/// Tells of each seed what is wrong with it, and makes none of their plans smaller.
fn survey(first: u64, seeds: u64) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let failures = (first..first + seeds).filter(|seed| {
        let verdict = trial::play(&strategy::tree(*seed).current());
        if let Err((why, _)) = &verdict {
            println!("seed {seed}: {why}");
        }
        verdict.is_err()
    });
    match failures.count() {
        0 => ExitCode::SUCCESS,
        failures => {
            println!("{failures} of {seeds} seeds failed");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64) -> ExitCode {
    let plan = strategy::tree(seed).current();
    println!("{plan}");
    match trial::judged(|| run_traced(&plan)) {
        Ok(report) => {
            println!("{}", report.trace);
            println!(
                "all is well: {} objects delivered and {} fetched in {} steps, trace {:016x}",
                report.delivered, report.fetched, report.steps, report.hash
            );
            ExitCode::SUCCESS
        }
        Err((why, trace)) => {
            println!("{trace}\n{why}");
            ExitCode::FAILURE
        }
    }
}

fn many(first: u64, seeds: u64) -> ExitCode {
    // What a broken contract has to say is told with the plan.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let (mut delivered, mut fetched, mut steps) = (0, 0, 0);
    for done in 0.. {
        if seeds > 0 && done == seeds {
            break;
        }
        let seed = first + done;
        match trial::attempt(seed) {
            Ok(report) => {
                delivered += report.delivered;
                fetched += report.fetched;
                steps += report.steps;
            }
            Err(failed) => {
                println!("{}\n{}{}", failed.trace, failed.plan, failed.why);
                println!("seed {seed}, as it was drawn: {}", failed.first);
                println!("replay: {}", trial::command(seed));
                return ExitCode::FAILURE;
            }
        }
        if (done + 1) % PROGRESS == 0 {
            let took = start.elapsed();
            println!(
                "{} seeds in {took:.1?}: {delivered} objects delivered and {fetched} fetched, {steps} steps",
                done + 1
            );
        }
    }
    println!(
        "{seeds} seeds from {first} on: all is well, after {:.1?}",
        start.elapsed()
    );
    ExitCode::SUCCESS
}
