//! Command lines as moxygen's users type them, made into what clap understands.
//!
//! Accepted alike: one or two dashes, `--flag=value` and `--flag value`, `_` or `-` inside names, `--noflag` and
//! `--flag=false` for switches.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgAction, Command, CommandFactory, FromArgMatches};
use oxymoq_core::transport::Exit;

/// Reads the command line of the process into `T`; prints help or the error and ends the process where clap says so.
pub fn parse<T: CommandFactory + FromArgMatches>() -> T {
    match try_parse(std::env::args_os()) {
        Ok(flags) => flags,
        Err(error) => error.exit(),
    }
}

/// Reads a command line, the program's name first.
///
/// # Errors
///
/// What clap says of an unknown flag, a missing or a bad value, and of `--help`.
pub fn try_parse<T: CommandFactory + FromArgMatches>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<T, clap::Error> {
    let command = T::command();
    let arguments = normalise(&command, arguments);
    let matches = command.try_get_matches_from(arguments)?;
    T::from_arg_matches(&matches)
}

/// The status that a program ends with, after telling people what failed.
#[expect(clippy::print_stderr, reason = "what failed is for people to read")]
pub fn finish(program: &str, result: Result<Exit, String>) -> ExitCode {
    match result {
        Ok(Exit::Success) => ExitCode::SUCCESS,
        Ok(Exit::Failure(sentence)) | Err(sentence) => {
            eprintln!("{program}: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Refuses flags that are understood but do nothing yet; each comes with whether it was given.
///
/// # Errors
///
/// A sentence that names the first one given.
pub fn refuse_unbuilt<const N: usize>(flags: [(&str, bool); N]) -> Result<(), String> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(format!("--{flag} is not built yet; leave it out")),
        None => Ok(()),
    }
}

/// Rewrites every flag of `command` to clap's own spelling. What is no flag of it is left for clap to complain about.
fn normalise(command: &Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut normal: Vec<OsString> = arguments.next().into_iter().collect();
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.to_str().and_then(|text| Flag::read(command, text)) else {
            normal.push(argument);
            continue;
        };
        normal.push(flag.spelling.into());
        if flag.wants_value {
            // The value is passed on untouched, even if it begins with a dash.
            normal.extend(arguments.next());
        }
    }
    normal
}

/// One flag in clap's spelling.
struct Flag {
    spelling: String,
    /// Whether the next argument is its value.
    wants_value: bool,
}

impl Flag {
    fn read(command: &Command, text: &str) -> Option<Self> {
        let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let name = name.replace('-', "_");
        if let Some(switch) = is_switch(command, &name) {
            let value = match (switch, value) {
                (true, None) => "true",
                (true, Some(value)) => value,
                (false, _) => return Some(Self::with_value(&name, value)),
            };
            return Some(Self {
                spelling: format!("--{name}={value}"),
                wants_value: false,
            });
        }
        let negated = name.strip_prefix("no")?;
        (is_switch(command, negated) == Some(true) && value.is_none()).then(|| Self {
            spelling: format!("--{negated}=false"),
            wants_value: false,
        })
    }

    fn with_value(name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => Self {
                spelling: format!("--{name}={value}"),
                wants_value: false,
            },
            None => Self {
                spelling: format!("--{name}"),
                wants_value: true,
            },
        }
    }
}

/// Whether the flag of this name is a switch, if there is such a flag.
///
/// Switches are declared with `num_args(0..=1)`, so that they may be given a value.
fn is_switch(command: &Command, name: &str) -> Option<bool> {
    let argument = command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(name))?;
    let optional_value = argument
        .get_num_args()
        .is_some_and(|count| count.min_values() == 0);
    Some(optional_value && matches!(argument.get_action(), ArgAction::Set))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Flags {
        #[arg(long = "connect_url", default_value = "")]
        connect_url: String,
        #[arg(long, default_value_t = 9668)]
        port: u16,
        #[arg(long, default_value_t = true, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
        quic: bool,
        #[arg(long, default_value_t = false, num_args(0..=1), require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
        insecure: bool,
        #[arg(long, default_value = "", allow_hyphen_values = true)]
        endpoint: String,
    }

    fn read(line: &str) -> Result<Flags, clap::Error> {
        try_parse(
            std::iter::once("program")
                .chain(line.split_whitespace())
                .map(OsString::from),
        )
    }

    #[test]
    fn one_dash_and_two_are_the_same() {
        assert_eq!(read("-port 4433").unwrap().port, 4433);
        assert_eq!(read("--port 4433").unwrap().port, 4433);
        assert_eq!(read("-port=4433").unwrap().port, 4433);
        assert_eq!(read("--port=4433").unwrap().port, 4433);
    }

    #[test]
    fn underscores_and_dashes_are_the_same() {
        let url = "https://localhost:4433/moq-date";
        for name in [
            "--connect_url",
            "--connect-url",
            "-connect_url",
            "-connect-url",
        ] {
            assert_eq!(read(&format!("{name} {url}")).unwrap().connect_url, url);
            assert_eq!(read(&format!("{name}={url}")).unwrap().connect_url, url);
        }
    }

    #[test]
    fn switches_can_be_set_cleared_and_assigned() {
        assert!(read("").unwrap().quic && !read("").unwrap().insecure);
        assert!(!read("--noquic").unwrap().quic);
        assert!(!read("--quic=false").unwrap().quic);
        assert!(read("--insecure").unwrap().insecure);
        assert!(read("-insecure").unwrap().insecure);
        assert!(!read("--insecure=false").unwrap().insecure);
        let both = read("--insecure --port 5").unwrap();
        assert!(both.insecure && both.port == 5);
    }

    #[test]
    fn a_value_may_look_like_a_flag() {
        assert_eq!(read("-endpoint /moq -port 1").unwrap().endpoint, "/moq");
        assert_eq!(read("--endpoint --port").unwrap().endpoint, "--port");
    }

    #[test]
    fn an_unknown_flag_is_an_error_that_names_it() {
        let error = read("--prot 4433").unwrap_err();
        assert_ne!(error.exit_code(), 0);
        assert!(error.to_string().contains("--prot"), "{error}");
        assert!(read("--noport").is_err(), "only switches can be negated");
        assert!(read("stray").is_err());
    }
}
