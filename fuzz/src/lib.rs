//! Bodies of the fuzz targets, one function each, so that they also run as ordinary tests on a stable compiler: over the seeds
//! in `corpus/`, and over any input that a fuzzer found.

mod app;
mod choices;
mod content;
mod control;
mod fields;
mod flv;
mod h3;
mod loc;
mod moqmi;
mod objects;
mod pair;
mod relay;
mod script;
mod session;
mod track;
mod wire;

pub use control::control;
pub use flv::flv;
pub use h3::h3;
pub use loc::loc;
pub use moqmi::moqmi;
pub use objects::objects;
pub use pair::pair;
pub use relay::relay;
pub use session::session;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The seeds of a target.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "no seeds in {}", folder.display());
        let seeds = files.into_iter().map(|file| std::fs::read(file).unwrap());
        seeds.collect()
    }

    /// Runs a target over its corpus, and over everything that one change of a byte or a cut makes of it.
    fn replay(target: &str, body: fn(&[u8])) {
        for input in seeds(target) {
            body(&input);
            for at in 0..input.len() {
                body(&input[..at]);
                let mut changed = input.clone();
                for to in [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xff] {
                    changed[at] = to;
                    body(&changed);
                }
            }
        }
    }

    /// The most changed inputs that a replay of a slow target takes.
    const CHANGED: usize = 2000;

    /// Runs a target whose inputs are choices over its corpus, and over a number of them with one choice changed.
    fn replay_choices(target: &str, body: fn(&[u8])) {
        let seeds = seeds(target);
        let bytes: usize = seeds.iter().map(Vec::len).sum();
        let step = bytes.div_ceil(CHANGED).max(1);
        for input in seeds {
            body(&input);
            for at in (0..input.len()).step_by(step) {
                let mut changed = input.clone();
                changed[at] = changed[at].wrapping_add(u8::try_from(at % 7).unwrap() + 1);
                body(&changed);
            }
        }
    }

    #[test]
    fn control() {
        replay("control", super::control);
    }

    #[test]
    fn flv() {
        replay("flv", super::flv);
    }

    #[test]
    fn loc() {
        replay("loc", super::loc);
    }

    #[test]
    fn moqmi() {
        replay("moqmi", super::moqmi);
    }

    #[test]
    fn objects() {
        replay("objects", super::objects);
    }

    #[test]
    fn session() {
        replay_choices("session", super::session);
    }

    #[test]
    fn pair() {
        replay_choices("pair", super::pair);
    }

    #[test]
    fn relay() {
        replay_choices("relay", super::relay);
    }

    #[test]
    fn h3() {
        replay_choices("h3", super::h3);
    }
}
