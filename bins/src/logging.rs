//! Log lines on stderr, chosen by `--logging` and `--v` as moxygen's users know them.

use log::LevelFilter;

/// Starts logging for this process.
///
/// `specification` is what `--logging` was given: a level (`DBG1`, `INFO`, `WARN` …), or `category=level` pairs separated
/// by commas, where the category is a Rust module path or `.` for everything of ours. `verbosity` is what `--v` was
/// given: it can only make the log more detailed. Without either, the environment's `RUST_LOG` decides, and without that
/// messages of level `info` are shown.
///
/// # Errors
///
/// A sentence that names the part of the specification that is not understood.
pub fn start(specification: &str, verbosity: u8) -> Result<(), String> {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Warn);
    for module in OURS {
        builder.filter_module(module, LevelFilter::Info.max(level_of(verbosity)));
    }
    if let (true, 0, Ok(environment)) = (
        specification.is_empty(),
        verbosity,
        std::env::var("RUST_LOG"),
    ) {
        builder.parse_filters(&environment);
    }
    for (category, level) in parse(specification)? {
        let level = level.max(if verbosity == 0 {
            LevelFilter::Off
        } else {
            level_of(verbosity)
        });
        match category {
            Some(module) => {
                builder.filter_module(&module, level);
            }
            None => {
                for module in OURS {
                    builder.filter_module(module, level);
                }
            }
        }
    }
    builder
        .format_timestamp_millis()
        .target(env_logger::Target::Stderr);
    builder
        .try_init()
        .map_err(|error| format!("cannot start logging: {error}"))
}

/// The crates whose messages are meant when no category is named.
const OURS: [&str; 9] = [
    "oxymoq",
    "oxymoq_core",
    "oxymoq_tokio",
    "oxymoq_smol",
    "oxymoq_tls",
    "moqrelayserver",
    "moqdateserver",
    "moqtextclient",
    "moqflvstreamerclient",
];

const fn level_of(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Info,
        1 | 2 => LevelFilter::Debug,
        3.. => LevelFilter::Trace,
    }
}

/// The parts of a specification: category (`None`: all of ours) and level.
fn parse(specification: &str) -> Result<Vec<(Option<String>, LevelFilter)>, String> {
    // What follows a semicolon configures log handlers, which there is one of.
    let levels = specification.split(';').next().unwrap_or_default();
    levels
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (category, level) = match part.split_once(['=', ':']) {
                Some((category, level)) => (category, level),
                None => ("", part),
            };
            let level = level_named(level).ok_or_else(|| {
                format!(
                    "--logging: '{part}' has no known level; use ERR, WARN, INFO, DBG (DBG0 to DBG9) or a pair like \
                     oxymoq_core=DBG"
                )
            })?;
            let category = (!matches!(category, "" | "." | "moxygen"))
                .then(|| category.replace('-', "_").replace('.', "::"));
            Ok((category, level))
        })
        .collect()
}

fn level_named(name: &str) -> Option<LevelFilter> {
    let name = name.trim().to_ascii_uppercase();
    Some(match name.as_str() {
        "OFF" | "NONE" => LevelFilter::Off,
        "FATAL" | "CRITICAL" | "ERR" | "ERROR" => LevelFilter::Error,
        "WARN" | "WARNING" => LevelFilter::Warn,
        "INFO" => LevelFilter::Info,
        "DEBUG" | "DBG" => LevelFilter::Debug,
        "TRACE" => LevelFilter::Trace,
        _ => match name
            .strip_prefix("DBG")
            .or_else(|| name.strip_prefix("INFO"))?
        {
            digits @ ("0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9") => {
                if name.starts_with("INFO") {
                    LevelFilter::Info
                } else if digits <= "2" {
                    LevelFilter::Debug
                } else {
                    LevelFilter::Trace
                }
            }
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_moxygens_names() {
        assert_eq!(parse("DBG1"), Ok(vec![(None, LevelFilter::Debug)]));
        assert_eq!(parse("DBG"), Ok(vec![(None, LevelFilter::Debug)]));
        assert_eq!(parse("dbg4"), Ok(vec![(None, LevelFilter::Trace)]));
        assert_eq!(parse("WARN"), Ok(vec![(None, LevelFilter::Warn)]));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn categories_become_modules() {
        assert_eq!(
            parse(".=INFO,oxymoq-core.session=DBG3; default:async=true"),
            Ok(vec![
                (None, LevelFilter::Info),
                (Some("oxymoq_core::session".to_owned()), LevelFilter::Trace)
            ])
        );
    }

    #[test]
    fn an_unknown_level_is_named() {
        let error = parse("INFO,x=LOUD").unwrap_err();
        assert!(error.contains("'x=LOUD'"), "{error}");
        assert!(parse("DBG77").is_err());
    }
}
