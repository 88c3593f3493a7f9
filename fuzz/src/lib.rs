//! Bodies of the fuzz targets, one function each, so that they also run as ordinary tests on a stable compiler: over the seeds
//! in `corpus/`, and over any input that a fuzzer found.

mod control;
mod flv;
mod loc;
mod moqmi;
mod objects;
mod track;

pub use control::control;
pub use flv::flv;
pub use loc::loc;
pub use moqmi::moqmi;
pub use objects::objects;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs a target over its corpus, and over everything that one change of a byte or a cut makes of it.
    fn replay(target: &str, body: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "no seeds in {}", folder.display());
        for file in files {
            let input = std::fs::read(&file).unwrap();
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
}
