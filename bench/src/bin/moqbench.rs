//! Loads a relay on schedule and measures what arrives.
#![expect(clippy::print_stdout, reason = "the report is what the program is for")]

use std::process::ExitCode;

use oxymoq::{cli, logging};
use oxymoq_bench::flags::Flags;
use oxymoq_bench::load::{self, Job};
use oxymoq_bench::report::{self, Report, compare, plot, table};
use oxymoq_core::transport::Exit;

fn main() -> ExitCode {
    let flags: Flags = cli::parse();
    cli::finish("moqbench", run(&flags))
}

fn run(flags: &Flags) -> Result<Exit, String> {
    let is_plain = flags.common.logging.is_empty() && flags.common.v == 0;
    // Hundreds of sessions say too much for the line of progress.
    let specification = match is_plain && std::env::var_os("RUST_LOG").is_none() {
        true => "WARN",
        false => &flags.common.logging,
    };
    logging::start(specification, flags.common.v)?;
    if flags.compare || !flags.reports.is_empty() {
        return look_back(flags);
    }
    let server = flags.server()?;
    let settings = flags.settings(&server)?;
    let job = Job {
        plan: flags.plan()?,
        server,
        drafts: flags.drafts()?,
        relay_pid: flags.relay_pid,
        label: flags.label.clone(),
    };
    let report = load::measure(&job, flags.common.runtime, settings)?;
    print!("{}", table::show(&report));
    if let Some(path) = &flags.json {
        report::write(path, &report.to_json()?)?;
    }
    if let Some(path) = &flags.plot {
        report::write(path, &plot::svg(std::slice::from_ref(&report))?)?;
    }
    Ok(report.failure.map_or(Exit::Success, Exit::Failure))
}

/// Compares or draws what was measured before.
fn look_back(flags: &Flags) -> Result<Exit, String> {
    let reports: Vec<Report> = flags
        .reports
        .iter()
        .map(|path| Report::read(path))
        .collect::<Result<_, _>>()?;
    if !flags.url.is_empty() {
        return Err(
            "--url measures, and reports are of measurements made before; leave one out".to_owned(),
        );
    }
    if flags.compare {
        if reports.len() < 2 {
            return Err(format!(
                "--compare takes two reports or more, not {}: moqbench --compare A.json B.json",
                reports.len()
            ));
        }
        print!("{}", compare::show(&reports));
    }
    match (&flags.plot, flags.compare) {
        (Some(path), _) => report::write(path, &plot::svg(&reports)?)?,
        (None, true) => {}
        (None, false) => {
            return Err("reports are for --compare or --plot FILE.svg; say which".to_owned());
        }
    }
    Ok(Exit::Success)
}
