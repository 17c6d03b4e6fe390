//! The end-to-end ladder of tapline: the case runner's parts and the system calls that the workload needs.
//!
//! A *case* is a script under `tests/cases` with its expectation in a comment header (see `tests/README.md`). The binaries
//! of this crate are `cases` (runs cases with tapline or compares a reference), `workload` (a program with exactly
//! known effects), `conformance` (loads the
//! emitted objects with stock loaders), `fuzz` and `generate` (random scripts, judged by the IR interpreter).

pub mod case;
pub mod check;
pub mod expect;
pub mod features;
pub mod generate;
pub mod hostile;
pub mod manual;
pub mod mutate;
pub mod pattern;
pub mod run;
pub mod sys;
