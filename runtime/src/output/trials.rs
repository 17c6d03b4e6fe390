//! How the results of tests and measurements are told, in both forms; equal to the reference's but for the units of time.

use std::time::Duration;

use super::json::write_string;
use crate::events::text::put;

/// What a session of tests or measurements has to tell.
#[derive(Clone, Copy, Debug)]
pub enum Trial<'a> {
    /// So many tests follow.
    Tests(usize),
    /// A test begins.
    Test(&'a str),
    /// A test has ended.
    Tested {
        /// Its name.
        name: &'a str,
        /// It has passed.
        passed: bool,
        /// How long it took.
        time: Duration,
        /// What it has printed.
        output: &'a [u8],
    },
    /// All tests have ended.
    Summary {
        /// How many have passed.
        passed: usize,
        /// Names of the others.
        failed: &'a [&'a str],
    },
    /// Measurements follow.
    Measurements {
        /// Characters of the longest name.
        width: usize,
    },
    /// A measurement has ended.
    Measured {
        /// Its name.
        name: &'a str,
        /// Characters of the longest name.
        width: usize,
        /// Nanoseconds.
        average: u128,
        /// How often it ran.
        runs: u64,
    },
}

/// Width of the columns of measurements.
const NAME: usize = 40;
const TIME: usize = 14;
const RUNS: usize = 10;

/// A label in green, or in red.
fn label(text: &str, good: bool, out: &mut Vec<u8>) {
    put!(out, "\x1b[{}m[{text}]\x1b[0m ", if good { 32 } else { 31 });
}

fn tests(count: usize) -> String {
    format!("{count} test{}", if count == 1 { "" } else { "s" })
}

fn duration(time: Duration) -> String {
    match time.as_nanos() {
        ns @ ..1_000 => format!("{ns} ns"),
        ns @ ..1_000_000 => format!("{} μs", ns / 1_000),
        ns => format!("{} ms", ns / 1_000_000),
    }
}

/// As text.
pub(super) fn write_text(trial: &Trial<'_>, out: &mut Vec<u8>) {
    match *trial {
        Trial::Tests(count) => {
            label("==========", true, out);
            put!(out, "Running {count} tests.\n");
        }
        Trial::Test(name) => {
            label(" RUN      ", true, out);
            put!(out, "{name}\n");
        }
        Trial::Tested { name, passed, time, output } => {
            let shown = output.trim_ascii_end();
            if !passed && !shown.is_empty() {
                out.extend_from_slice(shown);
                out.push(b'\n');
            }
            label(if passed { "       OK " } else { "  FAILED  " }, passed, out);
            put!(out, "{name} ({})\n", duration(time));
        }
        Trial::Summary { passed, failed } => {
            label("==========", true, out);
            put!(out, "{} ran.\n", tests(passed + failed.len()));
            label("  PASSED  ", true, out);
            put!(out, "{}.\n", tests(passed));
            if !failed.is_empty() {
                label("  FAILED  ", false, out);
                put!(out, "{}, listed below:\n", tests(failed.len()));
            }
            for name in failed {
                label("  FAILED  ", false, out);
                put!(out, "{name}\n");
            }
        }
        Trial::Measurements { width } => {
            let width = width.max(NAME);
            put!(out, "{:width$} {:TIME$} {:RUNS$}\n", "Benchmark", "Time(ns)", "Iterations");
            put!(out, "{:-<1$}\n", "", width + TIME + RUNS + 2);
        }
        Trial::Measured { name, width, average, runs } => {
            put!(out, "{name:0$} {average:<TIME$} {runs}\n", width.max(NAME));
        }
    }
}

/// As an object of JSON: its type, and its data.
pub(super) fn json(trial: &Trial<'_>) -> Option<(&'static str, Vec<u8>)> {
    let mut data = b"{".to_vec();
    let kind = match *trial {
        Trial::Tested { name, passed, time, output } => {
            write_string(name.as_bytes(), &mut data);
            put!(&mut data, ": {{\"duration\": {}, \"passed\": {passed}, \"output\": ", time.as_nanos());
            write_string(output, &mut data);
            "test_result"
        }
        Trial::Measured { name, average, runs, .. } => {
            write_string(name.as_bytes(), &mut data);
            put!(&mut data, ": {{\"average\": {average}, \"iters\": {runs}");
            "benchmark_result"
        }
        _ => return None,
    };
    data.extend_from_slice(b"}}");
    Some((kind, data))
}
