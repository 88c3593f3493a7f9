//! The result of a run: what was asked for, what arrived, what it cost, and whether to believe it.
//!
//! The JSON form is this structure, field by field. Times are microseconds unless the name says otherwise.

pub mod compare;
pub mod plot;
pub mod table;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::latency::Quantiles;
use crate::process::Cost;

/// The version of the JSON form; a field that changes its meaning raises it.
pub const FORMAT: u32 = 1;

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The program that wrote it, and its version.
    pub program: String,
    /// What the user calls it (`--label`); empty: the profile and the target.
    pub label: String,
    /// When it began, in seconds since 1970.
    pub began_at: u64,
    /// What was measured.
    pub target: Target,
    /// What was asked for.
    pub load: Load,
    /// What was measured: one entry, or one for each step of a ramp.
    pub runs: Vec<Run>,
    /// How long it took to come in, for all subscribers of the whole run.
    pub joins: Joins,
    /// Those that came and went, in the profile churn.
    pub churn: Option<Churned>,
    /// What became of the one that stopped reading, in the profile stalled.
    pub stalled: Option<Stalled>,
    /// In a ramp: the most subscribers that were held, see [`Run::held`]; `None`: not even the first step.
    pub held: Option<u64>,
    /// The relay's memory, if its process is known.
    pub memory: Option<Memory>,
    /// What went wrong, and how often.
    pub troubles: Vec<Trouble>,
    /// Why the measurement failed; `None`: it did not.
    pub failure: Option<String>,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Where it is.
    pub url: String,
    /// `quic` or `webtransport`.
    pub transport: String,
    /// The number of the draft that it speaks; `None`: nobody got so far.
    pub draft: Option<u64>,
    /// What it calls itself.
    pub implementation: String,
    /// Its process, if that is known.
    pub pid: Option<u32>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The profile's name.
    pub profile: String,
    /// `both`, `publish` or `subscribe`.
    pub role: String,
    /// The generator's runtime: `tokio` or `smol`.
    pub runtime: String,
    /// Publishers.
    pub publishers: u64,
    /// Subscribers; in a ramp those of the first step.
    pub subscribers: u64,
    /// Tracks of each publisher.
    pub tracks: u64,
    /// Tracks that each subscriber takes.
    pub tracks_each: u64,
    /// Bytes of the first object of a group.
    pub key_size: u64,
    /// Bytes of every other object.
    pub size: u64,
    /// Objects in a group.
    pub per_group: u64,
    /// Objects a second in each track; 0: as many as there is room for.
    pub rate: f64,
    /// Whether objects travel in datagrams.
    pub datagrams: bool,
    /// Seconds of objects that do not count.
    pub warm_up_seconds: f64,
    /// Seconds of objects that count; 0: until interrupted.
    pub duration_seconds: f64,
    /// Seconds that the last objects may take before they count as lost.
    pub drain_seconds: f64,
}

/// What was measured in one window: the objects that should have left within it, whenever they arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Subscribers that were let in.
    pub subscribers: u64,
    /// Subscribers that should have been.
    pub wanted: u64,
    /// Objects that this process published.
    pub published: u64,
    /// Objects that the subscribers should have got together.
    pub expected: u64,
    /// Objects that they got, each counted once for each subscriber.
    pub delivered: u64,
    /// Objects that they did not get.
    pub lost: u64,
    /// Objects that came once more.
    pub duplicated: u64,
    /// Objects that came after one that left later: groups may overtake one another.
    pub reordered: u64,
    /// Objects that are not what was published in their place.
    pub damaged: u64,
    /// Payload bytes delivered.
    pub bytes: u64,
    /// Objects delivered per second, to all subscribers together.
    pub deliveries_per_second: f64,
    /// Payload bits delivered per second, to all subscribers together.
    pub bits_per_second: f64,
    /// From when objects should have left to when all of each was here.
    pub latency: Quantiles,
    /// The same as a histogram: values and how often each was counted.
    pub latency_histogram: Vec<(u64, u64)>,
    /// How much later than scheduled objects really left: the generator's own part of the latency.
    pub lateness: Quantiles,
    /// What the relay used.
    pub relay: Option<Cost>,
    /// What this process used.
    pub generator: Cost,
    /// In a ramp: whether nothing was lost and the latency was within what was asked for.
    pub held: Option<bool>,
    /// Why this process, and not the relay, may be what was measured; empty: it was not.
    pub bottleneck: Vec<String>,
}

/// How long it took to come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joins {
    /// From the first packet to the end of the set-up of the session; for those that come and go, from when they should
    /// have come.
    pub connect: Quantiles,
    /// From SUBSCRIBE to the first object.
    pub first_object: Quantiles,
    /// From SUBSCRIBE to the last object of the first group that came whole.
    pub first_group: Quantiles,
}

/// Those that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Churned {
    /// How many came.
    pub came: u64,
    /// How many of them were let in.
    pub let_in: u64,
    /// How many went again.
    pub went: u64,
    /// How many of those had got no object.
    pub empty_handed: u64,
    /// Objects of the window that those who went had got.
    pub delivered: u64,
    /// Objects of the window that are missing between the first and the last that each of them had got.
    pub lost: u64,
}

/// What became of the one that stopped reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalled {
    /// How the relay ended it; `None`: it did not.
    pub ended: Option<String>,
    /// After how many seconds.
    pub after_seconds: Option<f64>,
}

/// The relay's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Before anybody was connected.
    pub start: u64,
    /// The most that was seen; looked at every 50 ms.
    pub peak: u64,
    /// At the end of the last window.
    pub end: u64,
    /// What it grew by to the end of the last window, for each subscriber: only of use for a relay that was started for
    /// this run, since allocators keep what they once had.
    pub per_subscriber: Option<u64>,
}

/// Something that went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What.
    pub what: String,
    /// How often.
    pub count: u64,
}

impl Report {
    /// What to call it: the label, or the profile and the target.
    pub fn name(&self) -> String {
        if self.label.is_empty() {
            format!("{} {}", self.load.profile, self.target.url)
        } else {
            self.label.clone()
        }
    }

    /// The last window, or in a ramp that of the largest step that was held.
    pub fn best(&self) -> Option<&Run> {
        let held = self.runs.iter().rev().find(|run| run.held == Some(true));
        held.or_else(|| self.runs.last())
    }

    /// As JSON.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|error| format!("the report cannot be written as JSON: {error}"))
    }

    /// From JSON; `origin` is what errors call it.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, String> {
        let report: Self = serde_json::from_str(text).map_err(|error| {
            format!("{origin} is no report of moqbench: {error}; write one with --json")
        })?;
        if report.format != FORMAT {
            return Err(format!(
                "{origin} has format {}, this program reads {FORMAT}; measure again",
                report.format
            ));
        }
        Ok(report)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A sentence that names the file and says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let origin = path.display().to_string();
        let text =
            fs::read_to_string(path).map_err(|error| format!("cannot read {origin}: {error}"))?;
        Self::from_json(&text, &origin)
    }
}

/// Writes a file.
///
/// # Errors
/// A sentence that names it.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run with so many subscribers, and half-way real figures.
    pub(crate) fn run(subscribers: u64, p99: u64) -> Run {
        Run {
            seconds: 10.0,
            subscribers,
            wanted: subscribers,
            published: 300,
            expected: 300 * subscribers,
            delivered: 300 * subscribers,
            bytes: 600_000 * subscribers,
            deliveries_per_second: 30.0 * crate::number::float(subscribers),
            bits_per_second: 480_000.0 * crate::number::float(subscribers),
            latency: Quantiles {
                count: 300 * subscribers,
                min: 100,
                mean: 500,
                p50: 450,
                p90: 800,
                p99,
                p999: p99 * 2,
                max: p99 * 3,
            },
            latency_histogram: vec![(450, 300), (p99, 3)],
            relay: Some(Cost {
                cpu_seconds: 1.5,
                cpu_share: 0.15,
                cpu_micros_per_delivery: Some(12.5),
                cpu_seconds_per_gbit: Some(0.75),
                threads: 2,
                ..Cost::default()
            }),
            ..Run::default()
        }
    }

    pub(crate) fn report(label: &str, runs: Vec<Run>) -> Report {
        Report {
            format: FORMAT,
            program: "moqbench 0".to_owned(),
            label: label.to_owned(),
            load: Load {
                profile: "live".to_owned(),
                rate: 30.0,
                ..Load::default()
            },
            target: Target {
                url: "moqt://localhost:1".to_owned(),
                draft: Some(18),
                ..Target::default()
            },
            runs,
            memory: Some(Memory {
                start: 5_000_000,
                peak: 9_000_000,
                end: 8_000_000,
                per_subscriber: Some(30_000),
            }),
            troubles: vec![Trouble {
                what: "refused".to_owned(),
                count: 3,
            }],
            churn: Some(Churned::default()),
            stalled: Some(Stalled {
                ended: Some("TOO_FAR_BEHIND".to_owned()),
                after_seconds: Some(1.5),
            }),
            ..Report::default()
        }
    }

    #[test]
    fn json_is_read_as_it_was_written() {
        let report = report("a", vec![run(10, 900), run(20, 1800)]);
        let text = report.to_json().unwrap();
        assert_eq!(Report::from_json(&text, "x").unwrap(), report);
        for field in [
            "\"p999\"",
            "\"latency_histogram\"",
            "\"cpu_seconds_per_gbit\"",
        ] {
            assert!(text.contains(field), "{field}");
        }
    }

    #[test]
    fn what_is_no_report_is_refused_with_its_name() {
        let error = Report::from_json("{}", "some.json").unwrap_err();
        assert!(error.contains("some.json"), "{error}");
        let other = Report {
            format: FORMAT + 1,
            ..report("a", Vec::new())
        };
        let error = Report::from_json(&other.to_json().unwrap(), "new.json").unwrap_err();
        assert!(error.contains("new.json has format 2"), "{error}");
        assert!(Report::read(Path::new("no/such.json")).is_err());
    }

    #[test]
    fn the_best_of_a_ramp_is_the_largest_step_that_was_held() {
        let held = |subscribers, held| Run {
            held: Some(held),
            ..run(subscribers, 5)
        };
        let ramp = report("r", vec![held(10, true), held(15, true), held(22, false)]);
        assert_eq!(ramp.best().unwrap().subscribers, 15);
        assert_eq!(report("s", vec![run(7, 5)]).best().unwrap().subscribers, 7);
        assert_eq!(report("", vec![]).name(), "live moqt://localhost:1");
    }
}
