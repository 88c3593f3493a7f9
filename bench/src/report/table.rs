//! A report for people.

use std::fmt::Write as _;

use crate::latency::Quantiles;
use crate::number::{bytes, float, scaled, span};
use crate::process::Cost;

use super::{Report, Run};

/// The whole report as text, its lines ended.
pub fn show(report: &Report) -> String {
    let mut text = String::new();
    let written = write_report(&mut text, report);
    debug_assert!(written.is_ok(), "a string takes everything");
    text
}

fn write_report(text: &mut String, report: &Report) -> std::fmt::Result {
    head(text, report)?;
    if let [run] = report.runs.as_slice() {
        one(text, run)?;
    } else {
        steps(text, &report.runs)?;
    }
    if report.load.profile == "ramp" && !report.runs.is_empty() {
        match report.held {
            Some(held) => line(text, "held", &format!("{held} subscribers"))?,
            None => line(text, "held", "not even the first step")?,
        }
    }
    joins(text, report)?;
    if let Some(churn) = &report.churn {
        let told = format!(
            "{} came, {} were let in, {} went, {} of them without an object; {} objects delivered, {} lost in between",
            churn.came, churn.let_in, churn.went, churn.empty_handed, churn.delivered, churn.lost
        );
        line(text, "coming and going", &told)?;
    }
    if let Some(stalled) = &report.stalled {
        let told = match (&stalled.ended, stalled.after_seconds) {
            (Some(ended), Some(after)) => format!("{ended}, after {after:.1} s"),
            (Some(ended), None) => ended.clone(),
            (None, _) => "still subscribed at the end".to_owned(),
        };
        line(text, "who stopped reading", &told)?;
    }
    if let Some(memory) = &report.memory {
        let each = memory.per_subscriber.map_or_else(String::new, |each| {
            format!("; {} a subscriber", bytes(each))
        });
        let told = format!(
            "{} at the start, {} at most, {} at the end{each}",
            bytes(memory.start),
            bytes(memory.peak),
            bytes(memory.end)
        );
        line(text, "relay's memory", &told)?;
    }
    for trouble in &report.troubles {
        line(
            text,
            "trouble",
            &format!("{} times: {}", trouble.count, trouble.what),
        )?;
    }
    verdict(text, report)
}

fn line(text: &mut String, name: &str, told: &str) -> std::fmt::Result {
    writeln!(text, "  {name:<20} {told}")
}

fn head(text: &mut String, report: &Report) -> std::fmt::Result {
    let (load, target) = (&report.load, &report.target);
    let draft = target
        .draft
        .map_or_else(String::new, |draft| format!(", draft {draft}"));
    writeln!(
        text,
        "{}: {} over {}{draft} ({}); generator on {}",
        match report.label.is_empty() {
            true => &load.profile,
            false => &report.label,
        },
        target.url,
        target.transport,
        target.implementation,
        load.runtime
    )?;
    let rate = match load.rate {
        rate if rate > 0.0 => format!("{rate} objects a second"),
        _ => "as many objects as it takes".to_owned(),
    };
    let sizes = match load.key_size == load.size {
        true => format!("{} bytes", load.size),
        false => format!(
            "{} bytes, the first of a group {}",
            load.size, load.key_size
        ),
    };
    let told = format!(
        "{} publishers with {} tracks each, {rate} of {sizes}, {} a group{}",
        load.publishers,
        load.tracks,
        load.per_group,
        if load.datagrams { ", in datagrams" } else { "" }
    );
    line(text, "load", &told)
}

/// The only window.
fn one(text: &mut String, run: &Run) -> std::fmt::Result {
    let subscribers = match run.wanted == run.subscribers {
        true => run.subscribers.to_string(),
        false => format!("{} of {}", run.subscribers, run.wanted),
    };
    line(
        text,
        "window",
        &format!("{:.1} s, {subscribers} subscribers", run.seconds),
    )?;
    if run.published > 0 {
        line(text, "published", &format!("{} objects", run.published))?;
        line(text, "left late by", &quantiles(&run.lateness))?;
    }
    if run.expected > 0 {
        let told = format!(
            "{} of {} objects, {} lost ({:.3} %)",
            run.delivered,
            run.expected,
            run.lost,
            float(run.lost) * 100.0 / float(run.expected)
        );
        line(text, "delivered", &told)?;
        let told = format!(
            "{} duplicated, {} after later ones, {} damaged",
            run.duplicated, run.reordered, run.damaged
        );
        line(text, "", &told)?;
        let told = format!(
            "{}deliveries/s, {}bit/s",
            scaled(run.deliveries_per_second),
            scaled(run.bits_per_second)
        );
        line(text, "throughput", &told)?;
        line(text, "latency", &quantiles(&run.latency))?;
    }
    if let Some(relay) = &run.relay {
        line(text, "relay's CPU", &cost(relay))?;
    }
    line(text, "generator's CPU", &cost(&run.generator))
}

/// The steps of a ramp, a line each.
fn steps(text: &mut String, runs: &[Run]) -> std::fmt::Result {
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "  {:>11} {:>10} {:>8} {:>12} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9} {:>5}",
        "subscribers",
        "delivered",
        "lost",
        "deliveries/s",
        "p50",
        "p99",
        "p99.9",
        "max",
        "relay CPU",
        "own CPU",
        "held"
    )?;
    for run in runs {
        let share = |share: f64| format!("{:.0} %", share * 100.0);
        let relay = run
            .relay
            .as_ref()
            .map_or_else(|| "-".to_owned(), |relay| share(relay.cpu_share));
        let held = match (run.held, run.bottleneck.is_empty()) {
            (Some(true), true) => "yes",
            (Some(true), false) => "yes*",
            (Some(false), true) => "no",
            (Some(false), false) => "no*",
            (None, _) => "",
        };
        writeln!(
            text,
            "  {:>11} {:>10} {:>8} {:>12.0} {:>10} {:>10} {:>10} {:>10} {relay:>9} {:>9} {held:>5}",
            run.subscribers,
            run.delivered,
            run.lost,
            run.deliveries_per_second,
            span(run.latency.p50),
            span(run.latency.p99),
            span(run.latency.p999),
            span(run.latency.max),
            share(run.generator.cpu_share),
        )?;
    }
    Ok(())
}

fn joins(text: &mut String, report: &Report) -> std::fmt::Result {
    let joins = &report.joins;
    let kinds = [
        ("connecting took", &joins.connect),
        ("first object after", &joins.first_object),
        ("first group after", &joins.first_group),
    ];
    for (name, told) in kinds {
        if told.count > 0 {
            line(text, name, &quantiles(told))?;
        }
    }
    Ok(())
}

fn quantiles(told: &Quantiles) -> String {
    format!(
        "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        span(told.p50),
        span(told.p90),
        span(told.p99),
        span(told.p999),
        span(told.max)
    )
}

fn cost(cost: &Cost) -> String {
    let mut told = format!(
        "{:.2} s, {:.1} % of one CPU in {} threads",
        cost.cpu_seconds,
        cost.cpu_share * 100.0,
        cost.threads
    );
    let mut add = |part: String| {
        told += ", ";
        told += &part;
    };
    if let Some(each) = cost.cpu_micros_per_delivery {
        add(format!("{each:.2} us a delivery"));
    }
    if let Some(each) = cost.cpu_seconds_per_gbit {
        add(format!("{each:.3} s a Gbit"));
    }
    if cost.waited_share >= 0.01 {
        add(format!(
            "waited for a CPU {:.1} % of the time",
            cost.waited_share * 100.0
        ));
    }
    if cost.udp_drops > 0 {
        add(format!("{} packets dropped at its sockets", cost.udp_drops));
    }
    told
}

fn verdict(text: &mut String, report: &Report) -> std::fmt::Result {
    let mut any = false;
    for run in &report.runs {
        for reason in &run.bottleneck {
            any = true;
            let step = match report.runs.len() {
                1 => String::new(),
                _ => format!(" with {} subscribers", run.subscribers),
            };
            line(text, "DO NOT TRUST", &format!("this{step}: {reason}"))?;
        }
    }
    if !any && !report.runs.is_empty() {
        line(
            text,
            "verdict",
            "the generator kept up: the figures are the relay's",
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, run};

    #[test]
    fn one_window_is_told_with_everything_that_was_measured() {
        let text = show(&report("a", vec![run(10, 900)]));
        for part in [
            "draft 18",
            "3000 of 3000 objects, 0 lost (0.000 %)",
            "p50 450 us",
            "p99.9 1.80 ms",
            "12.50 us a delivery",
            "0.750 s a Gbit",
            "5.0 MB at the start",
            "30.0 kB a subscriber",
            "3 times: refused",
            "TOO_FAR_BEHIND, after 1.5 s",
            "the generator kept up",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("DO NOT TRUST"));
    }

    #[test]
    fn a_generator_that_did_not_keep_up_is_no_secret() {
        let slow = Run {
            bottleneck: vec!["it was asleep".to_owned()],
            subscribers: 9,
            ..run(10, 900)
        };
        let text = show(&report("a", vec![slow]));
        assert!(
            text.contains("DO NOT TRUST") && text.contains("it was asleep"),
            "{text}"
        );
        assert!(text.contains("9 of 10 subscribers"), "{text}");
        assert!(!text.contains("kept up"), "{text}");
    }

    #[test]
    fn a_ramp_is_a_table_with_a_line_for_each_step() {
        let mut ramp = report("r", vec![run(10, 900), run(15, 90_000)]);
        ramp.load.profile = "ramp".to_owned();
        ramp.held = Some(10);
        let text = show(&ramp);
        assert!(text.contains("90.00 ms"), "{text}");
        assert!(text.contains("10 subscribers"), "{text}");
        let empty = show(&report("", vec![]));
        assert!(!empty.contains("verdict"), "{empty}");
    }
}
