//! Reports side by side: figures of each relay, over all rounds of it, and the others' as ratios to the first's.

use std::fmt::Write as _;

use crate::number::{float, ratio, scaled};

use super::{Report, Run};

/// What was measured of one relay: a report for each round.
#[derive(Debug)]
pub struct Side<'a> {
    /// What it is called.
    pub name: String,
    /// In the order in which they were named.
    pub rounds: Vec<&'a Report>,
}

/// A figure of the rounds of one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Of an even number of rounds the lower of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// A figure of all sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// Of each round of each side; `None`: the report has none.
    pub rounds: Vec<Vec<Option<f64>>>,
}

impl Figure {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len().checked_sub(1)? / 2)?,
            least: *values.first()?,
            most: *values.last()?,
        })
    }

    fn show(&self, told: impl Fn(f64) -> String) -> String {
        let middle = told(self.median);
        let (least, most) = (told(self.least), told(self.most));
        if least == most {
            return middle;
        }
        format!("{middle} ({least}..{most})")
    }
}

impl Row {
    /// The figure of a side; `None`: none of its reports has it.
    pub fn figure(&self, side: usize) -> Option<Figure> {
        Figure::of(self.rounds.get(side)?.iter().flatten().copied())
    }

    /// The figure of a side as a multiple of the first side's, round by round: what troubled the machine troubled both.
    pub fn ratio(&self, side: usize) -> Option<Figure> {
        let pairs = self.rounds.get(side)?.iter().zip(self.rounds.first()?);
        Figure::of(pairs.filter_map(|(it, first)| ratio((*it)?, (*first)?)))
    }
}

/// The sides of a comparison. Of two reports each is one; of more those with the same name are rounds of the same.
pub fn sides(reports: &[Report]) -> Vec<Side<'_>> {
    let mut sides: Vec<Side<'_>> = Vec::new();
    for report in reports {
        let name = report.name();
        let is_same = |side: &&mut Side<'_>| reports.len() > 2 && side.name == name;
        match sides.iter_mut().find(is_same) {
            Some(side) => side.rounds.push(report),
            None => sides.push(Side {
                name,
                rounds: vec![report],
            }),
        }
    }
    sides
}

/// The figures of all sides. Of a ramp those of the largest step that was held.
pub fn rows(sides: &[Side<'_>]) -> Vec<Row> {
    let row = |name, of: fn(&Report) -> Option<f64>| Row {
        name,
        rounds: sides
            .iter()
            .map(|side| side.rounds.iter().map(|report| of(report)).collect())
            .collect(),
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

/// The comparison as text, its lines ended: a column of figures for each side, and after it, but for the first, its ratios.
/// With several rounds the median, and in parentheses the least and the most.
pub fn show(reports: &[Report]) -> String {
    let sides = sides(reports);
    let letters: Vec<char> = ('A'..='Z').take(sides.len()).collect();
    let mut lines: Vec<String> = Vec::new();
    for (letter, side) in letters.iter().zip(&sides) {
        lines.push(match side.rounds.len() {
            1 => format!("{letter}: {}", side.name),
            rounds => format!("{letter}: {}, {rounds} rounds", side.name),
        });
    }
    lines.extend(columns(&table(&sides, &letters)));
    let mut loads = reports.iter().map(|report| &report.load);
    let first = loads.next();
    if loads.any(|load| Some(load) != first) {
        lines.push("  The loads differ: ratios say little.".to_owned());
    }
    for (letter, side) in letters.iter().zip(&sides) {
        for report in &side.rounds {
            if report.runs.iter().any(|run| !run.bottleneck.is_empty()) {
                lines.push(format!(
                    "  {letter}: the generator did not keep up; do not trust its figures."
                ));
            }
            if let Some(failure) = &report.failure {
                lines.push(format!("  {letter}: the measurement failed: {failure}"));
            }
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// A line for each figure that any side has, below one that names the columns.
fn table(sides: &[Side<'_>], letters: &[char]) -> Vec<Vec<String>> {
    let mut heading = vec![String::new()];
    for letter in letters {
        heading.push(letter.to_string());
        if *letter != 'A' {
            heading.push(format!("{letter}/A"));
        }
    }
    let mut table = vec![heading];
    for row in rows(sides) {
        let figures = (0..sides.len()).map(|side| row.figure(side));
        if figures.clone().all(|figure| figure.is_none()) {
            continue;
        }
        let mut line = vec![row.name.to_owned()];
        for (side, figure) in figures.enumerate() {
            let told = |figure: Figure| figure.show(|number| scaled(number).trim_end().to_owned());
            line.push(figure.map_or_else(|| "-".to_owned(), told));
            if side > 0 {
                let told = |ratio: Figure| ratio.show(|times| format!("{times:.3}"));
                line.push(row.ratio(side).map_or_else(String::new, told));
            }
        }
        table.push(line);
    }
    table
}

/// Lines whose cells stand below one another: names to the left, figures to the right.
fn columns(table: &[Vec<String>]) -> Vec<String> {
    let wide = |column: usize| {
        let cells = table.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let line = |cells: &Vec<String>| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = wide(column);
            let written = match column {
                0 => write!(line, "  {cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        line.trim_end().to_owned()
    };
    table.iter().map(line).collect()
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
        let reports = [
            report("a", vec![run(10, 1000)]),
            report("b", vec![run(30, 500)]),
        ];
        let rows = rows(&sides(&reports));
        let ratio = |name| find(&rows, name).ratio(1).map(|ratio| ratio.median);
        assert_eq!(ratio("subscribers"), Some(3.0));
        assert_eq!(ratio("latency p99, us"), Some(0.5));
        assert_eq!(ratio("objects lost"), None, "nothing lost at all");
        assert_eq!(find(&rows, "subscribers held in a ramp").figure(0), None);
        let text = show(&reports);
        assert!(text.starts_with("A: a\nB: b\n"), "{text}");
        assert!(text.contains("3.000") && text.contains("0.500"), "{text}");
        assert!(
            !text.contains("held in a ramp") && !text.contains("differ"),
            "{text}"
        );
    }

    #[test]
    fn rounds_of_a_relay_are_one_side_and_compared_round_by_round() {
        let round = |name: &str, latency| report(name, vec![run(10, latency)]);
        let reports = [
            round("a", 1000),
            round("b", 4000),
            round("a", 3000),
            round("b", 3000),
            round("a", 2000),
            round("b", 6000),
        ];
        let sides = sides(&reports);
        assert_eq!(sides.len(), 2);
        let latency = find(&rows(&sides), "latency p99, us");
        let told = latency.figure(0).unwrap();
        assert_eq!(
            (told.least, told.median, told.most),
            (1000.0, 2000.0, 3000.0)
        );
        let ratio = latency.ratio(1).unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (1.0, 3.0, 4.0));
        let text = show(&reports);
        assert!(text.starts_with("A: a, 3 rounds\nB: b, 3 rounds\n"));
        assert!(text.contains("2000 (1000..3000)"), "{text}");
        assert!(text.contains("3.000 (1.000..4.000)"), "{text}");
    }

    #[test]
    fn two_reports_of_one_name_are_before_and_after() {
        let reports = [
            report("a", vec![run(10, 1000)]),
            report("a", vec![run(10, 500)]),
        ];
        assert!(show(&reports).contains("0.500"));
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let a = report("a", vec![run(10, 1000)]);
        let mut b = report("b", vec![]);
        b.load.size = 7;
        b.failure = Some("could not connect".to_owned());
        let text = show(&[a.clone(), b]);
        assert!(text.contains("loads differ"), "{text}");
        assert!(
            text.contains("B: the measurement failed: could not connect"),
            "{text}"
        );
        let mut slow = a.clone();
        slow.runs[0].bottleneck = vec!["busy".to_owned()];
        assert!(show(&[slow, a]).contains("A: the generator did not keep up"));
    }
}
