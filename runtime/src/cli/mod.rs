//! The command: its options, what it does before and after a session, and its exit statuses.
//!
//! 0 is success, 1 any failure; a script's `exit(n)` gives `n`.

pub mod args;
pub mod info;
pub mod privilege;
pub mod script;
pub mod standalone;
pub mod tools;
mod words;

use std::ffi::OsString;
use std::io::Write as _;

use args::{Cli, Mode, Parsed};

/// Exit status of a failure.
pub const FAILURE: i32 = 1;

/// Runs the command; the result is the exit status.
pub fn main(argv: Vec<OsString>) -> i32 {
    let carried = match standalone::carried() {
        Ok(carried) => carried,
        Err(e) => {
            eprintln!("ERROR: the script that this program carries is damaged: {e}");
            return FAILURE;
        }
    };
    let cli = match args::parse(argv, carried) {
        Parsed::Run(cli) => cli,
        Parsed::Say(text) => {
            // A reader that closes early has what it wanted.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return 0;
        }
        Parsed::Wrong(text) => {
            eprint!("{text}");
            return FAILURE;
        }
    };
    match &cli.mode {
        Mode::Tools => say(&tools::listing()),
        Mode::Info => say(&info::text(&cli)),
        Mode::List => script::list(&cli),
        Mode::Format => script::format(&cli),
        Mode::Standalone => script::standalone(&cli),
        Mode::Run => script::run(&cli),
    }
}

fn say(text: &str) -> i32 {
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

/// The name that messages use for us.
pub fn program_name(cli: &Cli) -> &'static str {
    if cli.as_bpftrace { "bpftrace" } else { "tapline" }
}
