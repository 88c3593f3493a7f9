//! Two reports side by side, as ratios.

use std::fmt::Write as _;

use crate::number::{float, ratio, scaled};

use super::{Report, Run};

/// A figure of both, and the second as a multiple of the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// Of the first report; `None`: it has none.
    pub before: Option<f64>,
    /// Of the second.
    pub after: Option<f64>,
}

impl Row {
    /// The second as a multiple of the first.
    pub fn ratio(&self) -> Option<f64> {
        ratio(self.after?, self.before?)
    }
}

/// The figures of two reports. Of a ramp those of the largest step that was held.
pub fn rows(before: &Report, after: &Report) -> Vec<Row> {
    let row = |name, of: fn(&Report) -> Option<f64>| Row {
        name,
        before: of(before),
        after: of(after),
    };
    vec![
        row("subscribers", |it| run(it, |run| float(run.subscribers))),
        row("subscribers held in a ramp", |it| it.held.map(float)),
        row("objects delivered", |it| {
            run(it, |run| float(run.delivered))
        }),
        row("objects lost", |it| run(it, |run| float(run.lost))),
        row("deliveries/s", |it| {
            run(it, |run| run.deliveries_per_second)
        }),
        row("bit/s", |it| run(it, |run| run.bits_per_second)),
        row("latency p50, us", |it| {
            run(it, |run| float(run.latency.p50))
        }),
        row("latency p90, us", |it| {
            run(it, |run| float(run.latency.p90))
        }),
        row("latency p99, us", |it| {
            run(it, |run| float(run.latency.p99))
        }),
        row("latency p99.9, us", |it| {
            run(it, |run| float(run.latency.p999))
        }),
        row("latency max, us", |it| {
            run(it, |run| float(run.latency.max))
        }),
        row("first object p50, us", |it| {
            Some(float(it.joins.first_object.p50))
        }),
        row("first group p50, us", |it| {
            Some(float(it.joins.first_group.p50))
        }),
        row("relay's CPU, s", |it| {
            it.best()?.relay.as_ref().map(|cost| cost.cpu_seconds)
        }),
        row("relay's CPU a delivery, us", |it| {
            it.best()?.relay.as_ref()?.cpu_micros_per_delivery
        }),
        row("relay's CPU a Gbit, s", |it| {
            it.best()?.relay.as_ref()?.cpu_seconds_per_gbit
        }),
        row("relay's memory at most, bytes", |it| {
            it.memory.map(|memory| float(memory.peak))
        }),
        row("relay's memory a subscriber, bytes", |it| {
            it.memory?.per_subscriber.map(float)
        }),
        row("generator's CPU, s", |it| {
            run(it, |run| run.generator.cpu_seconds)
        }),
    ]
}

fn run(report: &Report, of: impl Fn(&Run) -> f64) -> Option<f64> {
    report.best().map(of)
}

/// The comparison as text, its lines ended.
pub fn show(before: &Report, after: &Report) -> String {
    let mut text = String::new();
    let mut add = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    add(format!("A: {}", before.name()));
    add(format!("B: {}", after.name()));
    add(format!("  {:<36} {:>14} {:>14} {:>9}", "", "A", "B", "B/A"));
    for row in rows(before, after) {
        if row.before.is_none() && row.after.is_none() {
            continue;
        }
        let told = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), scaled);
        let times = row
            .ratio()
            .map_or_else(String::new, |times| format!("{times:.3}"));
        add(format!(
            "  {:<36} {:>14} {:>14} {times:>9}",
            row.name,
            told(row.before).trim_end(),
            told(row.after).trim_end(),
        ));
    }
    if before.load != after.load {
        add("  The two loads differ: ratios say little.".to_owned());
    }
    for (name, report) in [("A", before), ("B", after)] {
        if report.runs.iter().any(|run| !run.bottleneck.is_empty()) {
            add(format!(
                "  {name}: the generator did not keep up; do not trust its figures."
            ));
        }
        if let Some(failure) = &report.failure {
            let mut line = String::new();
            let written = write!(line, "  {name}: the measurement failed: {failure}");
            debug_assert!(written.is_ok(), "a string takes everything");
            add(line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, run};

    fn find(rows: &[Row], name: &str) -> Row {
        rows.iter().find(|row| row.name == name).cloned().unwrap()
    }

    #[test]
    fn the_second_is_a_multiple_of_the_first() {
        let (a, b) = (
            report("a", vec![run(10, 1000)]),
            report("b", vec![run(30, 500)]),
        );
        let rows = rows(&a, &b);
        assert_eq!(find(&rows, "subscribers").ratio(), Some(3.0));
        assert_eq!(find(&rows, "latency p99, us").ratio(), Some(0.5));
        assert_eq!(
            find(&rows, "objects lost").ratio(),
            None,
            "nothing lost at all"
        );
        assert_eq!(find(&rows, "subscribers held in a ramp").before, None);
        let text = show(&a, &b);
        assert!(text.starts_with("A: a\nB: b\n"), "{text}");
        assert!(text.contains("3.000") && text.contains("0.500"), "{text}");
        assert!(
            !text.contains("held in a ramp") && !text.contains("differ"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let a = report("a", vec![run(10, 1000)]);
        let mut b = report("b", vec![]);
        b.load.size = 7;
        b.failure = Some("could not connect".to_owned());
        let text = show(&a, &b);
        assert!(text.contains("loads differ"), "{text}");
        assert!(
            text.contains("B: the measurement failed: could not connect"),
            "{text}"
        );
        let mut slow = a.clone();
        slow.runs[0].bottleneck = vec!["busy".to_owned()];
        assert!(show(&slow, &a).contains("A: the generator did not keep up"));
    }
}
