//! What a run is to do.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};

use crate::profile::{Profile, Shape};
use crate::stamp::STAMP_BYTES;

/// Bytes that an object may have: what is larger is no object for a live track.
pub const MAX_SIZE: usize = 16 << 20;
/// Tracks of one process.
pub const MAX_TRACKS: usize = 10_000;
/// Subscribers of one process: their ports and windows are one process's.
pub const MAX_SUBSCRIBERS: usize = 20_000;
/// Objects that a group may have: a relay keeps a stream's objects until all have them.
pub const MAX_PER_GROUP: u64 = 10_000;

/// What a process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Publish and subscribe
    #[default]
    Both,
    /// Publish only
    Publish,
    /// Subscribe only, to what another process publishes with the same profile and namespace
    Subscribe,
}

impl Role {
    /// Its name, as the flag has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }

    /// Whether it publishes.
    pub const fn publishes(self) -> bool {
        matches!(self, Self::Both | Self::Publish)
    }

    /// Whether it subscribes.
    pub const fn subscribes(self) -> bool {
        matches!(self, Self::Both | Self::Subscribe)
    }
}

/// Subscribers that come and go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// How many come each second.
    pub per_second: f64,
    /// How long each stays after it was let in.
    pub stay: Duration,
}

/// More and more subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// How many come with each step; 0: half as many again as there are.
    pub step: usize,
    /// The most that there will be.
    pub most: usize,
    /// A step is held if nothing is lost and 99 % of the objects took no longer than this.
    pub max_latency: Duration,
}

/// What a run is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The kind of load.
    pub profile: Profile,
    /// What this process does of it.
    pub role: Role,
    /// What each track is made of.
    pub shape: Shape,
    /// Publishers, each with a session and a namespace of its own.
    pub publishers: usize,
    /// Tracks of each publisher.
    pub tracks: usize,
    /// Subscribers, each with a session of its own.
    pub subscribers: usize,
    /// Tracks that each subscriber takes.
    pub tracks_each: usize,
    /// Begins the namespace of every track.
    pub namespace: String,
    /// Offer tracks with PUBLISH instead of announcing namespaces.
    pub offer: bool,
    /// How long objects flow before any counts.
    pub warm_up: Duration,
    /// The objects of how long a time count; for a ramp, in each step. Zero: until interrupted.
    pub duration: Duration,
    /// How long the last objects may take.
    pub drain: Duration,
    /// How long the relay may take to let everybody in.
    pub patience: Duration,
    /// Subscribers that come and go.
    pub churn: Option<Churn>,
    /// Whether there is one more subscriber, who stops reading.
    pub stalled: bool,
    /// More and more subscribers.
    pub ramp: Option<Ramp>,
}

impl Plan {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// A sentence that names the flag and the value.
    pub fn check(&self) -> Result<(), String> {
        let shape = &self.shape;
        let within = |flag: &str, value: u64, least: u64, most: u64| match value {
            value if value < least || value > most => Err(format!(
                "--{flag} {value} is not between {least} and {most}"
            )),
            _ => Ok(()),
        };
        let number = crate::number::length;
        let (least, most) = (number(STAMP_BYTES), number(MAX_SIZE));
        within("size", number(shape.size), least, most)?;
        within("key_size", number(shape.key_size), least, most)?;
        within("group", shape.per_group, 1, MAX_PER_GROUP)?;
        let tracks = self.publishers.saturating_mul(self.tracks);
        within("publishers", number(self.publishers), 1, number(MAX_TRACKS))?;
        within("tracks", number(tracks), 1, number(MAX_TRACKS))?;
        within(
            "tracks_each",
            number(self.tracks_each),
            1,
            number(self.tracks),
        )?;
        within(
            "subscribers",
            number(self.subscribers),
            1,
            number(MAX_SUBSCRIBERS),
        )?;
        if !(0.0..=1e6).contains(&shape.rate) {
            return Err(format!(
                "--rate {} is not between 0 and 1000000",
                shape.rate
            ));
        }
        if let Some(churn) = &self.churn
            && !(churn.per_second > 0.0 && churn.per_second <= 10_000.0)
        {
            let rate = churn.per_second;
            return Err(format!("--churn {rate} is not above 0 and up to 10000"));
        }
        if let Some(ramp) = &self.ramp {
            within("ramp_most", number(ramp.most), 1, number(MAX_SUBSCRIBERS))?;
            if self.duration.is_zero() {
                return Err("--duration 0 would never end the first step of a ramp".to_owned());
            }
        }
        if self.role == Role::Publish && (self.churn.is_some() || self.ramp.is_some()) {
            let profile = self.profile.name();
            return Err(format!(
                "--role publish has no subscribers for --profile {profile}; publish with the profile live, and give the subscribers this one"
            ));
        }
        self.track(0).map(|_| ())
    }

    /// Tracks of all publishers.
    pub const fn all_tracks(&self) -> usize {
        self.publishers * self.tracks
    }

    /// The namespace of a publisher.
    ///
    /// # Errors
    /// If `--namespace` is none.
    pub fn namespace(&self, publisher: usize) -> Result<TrackNamespace, String> {
        let own = format!("p{publisher}");
        let fields = self
            .namespace
            .split('/')
            .chain([own.as_str()])
            .map(|field| Bytes::from(field.to_owned()));
        TrackNamespace::new(fields)
            .map_err(|error| format!("--namespace '{}' is no namespace: {error}", self.namespace))
    }

    /// The name of a track, counted over all publishers.
    ///
    /// # Errors
    /// If `--namespace` is none.
    pub fn track(&self, index: usize) -> Result<FullTrackName, String> {
        let (publisher, own) = (index / self.tracks.max(1), index % self.tracks.max(1));
        let namespace = self.namespace(publisher)?;
        TrackName::new(format!("t{own}"))
            .and_then(|name| FullTrackName::new(namespace, name))
            .map_err(|error| format!("--namespace '{}' is too long: {error}", self.namespace))
    }

    /// The tracks that a subscriber takes, spread evenly over all.
    pub fn tracks_of(&self, subscriber: usize) -> impl Iterator<Item = usize> + use<> {
        let (publishers, tracks) = (self.publishers.max(1), self.tracks.max(1));
        let publisher = subscriber % publishers;
        let first = subscriber / publishers * self.tracks_each;
        (first..first + self.tracks_each).map(move |track| publisher * tracks + track % tracks)
    }

    /// How many subscribers the step after one with so many has; `None` after the last.
    pub fn next_step(&self, subscribers: usize) -> Option<usize> {
        let ramp = self.ramp.as_ref()?;
        let more = match ramp.step {
            0 => (subscribers / 2).max(1),
            step => step,
        };
        (subscribers < ramp.most).then(|| (subscribers + more).min(ramp.most))
    }
}

#[cfg(test)]
pub(crate) fn sample(profile: Profile) -> Plan {
    let (tracks, tracks_each) = profile.tracks();
    Plan {
        profile,
        role: Role::Both,
        shape: profile.shape(),
        publishers: 1,
        tracks,
        subscribers: profile.subscribers(),
        tracks_each,
        namespace: "moqbench".to_owned(),
        offer: false,
        warm_up: Duration::from_secs(1),
        duration: Duration::from_secs(10),
        drain: Duration::from_secs(2),
        patience: Duration::from_secs(30),
        churn: None,
        stalled: false,
        ramp: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_spread_over_publishers_and_subscribers() {
        let plan = Plan {
            publishers: 2,
            tracks: 5,
            tracks_each: 2,
            ..sample(Profile::Tracks)
        };
        let of = |subscriber| plan.tracks_of(subscriber).collect::<Vec<_>>();
        assert_eq!(of(0), [0, 1]);
        assert_eq!(of(1), [5, 6]);
        assert_eq!(of(2), [2, 3]);
        assert_eq!(of(4), [4, 0]);
        let name = plan.track(6).unwrap();
        assert_eq!(name.to_string(), {
            let namespace = plan.namespace(1).unwrap();
            FullTrackName::new(namespace, TrackName::new("t1").unwrap())
                .unwrap()
                .to_string()
        });
    }

    #[test]
    fn steps_grow_by_half_or_by_what_was_asked_for_up_to_the_most() {
        let plan = |step| Plan {
            ramp: Some(Ramp {
                step,
                most: 100,
                max_latency: Duration::from_secs(1),
            }),
            ..sample(Profile::Ramp)
        };
        assert_eq!(plan(0).next_step(10), Some(15));
        assert_eq!(plan(0).next_step(1), Some(2));
        assert_eq!(plan(40).next_step(80), Some(100));
        assert_eq!(plan(40).next_step(100), None);
        assert_eq!(sample(Profile::Live).next_step(10), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_flag() {
        let good = sample(Profile::Live);
        assert_eq!(good.check(), Ok(()));
        let refused = |change: fn(&mut Plan)| {
            let mut plan = sample(Profile::Live);
            change(&mut plan);
            plan.check().unwrap_err()
        };
        assert!(refused(|plan| plan.shape.size = 39).contains("--size 39"));
        assert!(refused(|plan| plan.shape.key_size = MAX_SIZE + 1).contains("--key_size"));
        assert!(refused(|plan| plan.shape.per_group = MAX_PER_GROUP + 1).contains("--group"));
        assert!(refused(|plan| plan.shape.rate = f64::NAN).contains("--rate"));
        assert!(refused(|plan| plan.publishers = 0).contains("--publishers 0"));
        assert!(refused(|plan| plan.tracks = MAX_TRACKS + 1).contains("--tracks"));
        assert!(refused(|plan| plan.tracks_each = 2).contains("--tracks_each 2"));
        assert!(refused(|plan| plan.subscribers = MAX_SUBSCRIBERS + 1).contains("--subscribers"));
        assert!(refused(|plan| plan.namespace = "x".repeat(5000)).contains("--namespace"));
        let refusal = refused(|plan| {
            plan.churn = Some(Churn {
                per_second: 0.0,
                stay: Duration::ZERO,
            });
        });
        assert!(refusal.contains("--churn 0"), "{refusal}");
    }
}
