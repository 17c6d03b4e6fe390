//! The config variables: one table row each. The environment (`BPFTRACE_NAME`) beats the config block; names may have any case and
//! the prefix `BPFTRACE_`.

use std::collections::BTreeMap;

use tapline_grammar::ast::{self, ConfigValue};
use tapline_grammar::span::Span;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::number;
use crate::program::{Config, MissingProbes, StackMode};
use crate::similar;
use crate::typed::Limits;

/// All settings of a script.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the runtime.
    pub config: Config,
    /// For code generation.
    pub limits: Limits,
    /// Attach points at most.
    pub max_probes: u64,
    /// Variables that were set, as text.
    pub given: BTreeMap<&'static str, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { config: Config::default(), limits: Limits::default(), max_probes: 1024, given: BTreeMap::new() }
    }
}

/// What a variable holds, and where it goes. The text says what was wrong.
enum Kind {
    /// Any 64-bit number.
    Number(fn(&mut Settings, u64) -> Result<(), &'static str>),
    /// `true`, `false`, 1, 0.
    Bool(fn(&mut Settings, bool)),
    /// Any text.
    Text(fn(&mut Settings, &str)),
    /// One of a few words.
    Word(&'static [&'static str], fn(&mut Settings, &str)),
    /// Whether the script may use a feature, which is the rest of the name.
    Feature,
    /// Accepted, without effect here.
    Unused(&'static [&'static str]),
    /// Accepted with a warning.
    Deprecated,
    /// The former name of another variable.
    Renamed(&'static str),
    /// Belongs into the environment.
    EnvironmentOnly,
}

const LICENSES: &[&str] =
    &["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];
const BOOLS: &[&str] = &["true", "false", "1", "0"];
const FEATURE: &[&str] = &["enable", "warn", "error", "1", "0", "true", "false"];
const REFUSED: &[&str] = &["error", "0", "false"];
/// Any number.
const ANY: &[&str] = &[];

/// The largest string that a per-CPU scratch slot is sized for.
const LONGEST_STRING: u64 = 1 << 20;

fn u32_between(value: u64, low: u64, high: u64, complaint: &'static str) -> Result<u32, &'static str> {
    if (low..=high).contains(&value) { u32::try_from(value).map_err(|_| complaint) } else { Err(complaint) }
}

const VARIABLES: &[(&str, Kind)] = &[
    ("cache_user_symbols", Kind::Unused(&["PER_PID", "PER_PROGRAM", "NONE", "true", "false", "1", "0"])),
    ("cpp_demangle", Kind::Bool(|s, v| s.config.demangle = v)),
    ("lazy_symbolication", Kind::Unused(BOOLS)),
    ("license", Kind::Word(LICENSES, |s, v| v.clone_into(&mut s.config.license))),
    ("log_size", Kind::Unused(ANY)),
    (
        "max_bpf_progs",
        Kind::Number(|s, v| {
            s.limits.max_programs = v;
            Ok(())
        }),
    ),
    (
        "max_cat_bytes",
        Kind::Number(|s, v| {
            s.config.max_cat_bytes = v;
            Ok(())
        }),
    ),
    (
        "max_map_keys",
        Kind::Number(|s, v| {
            s.limits.max_map_keys = u32_between(v, 1, u64::from(u32::MAX), "it must be from 1 to 4294967295")?;
            Ok(())
        }),
    ),
    (
        "max_probes",
        Kind::Number(|s, v| {
            s.max_probes = v;
            Ok(())
        }),
    ),
    (
        "max_strlen",
        Kind::Number(|s, v| {
            s.limits.max_strlen = u32_between(v, 1, LONGEST_STRING, "it must be from 1 to 1048576 bytes")?;
            Ok(())
        }),
    ),
    (
        "missing_probes",
        Kind::Word(&["error", "warn", "ignore"], |s, v| {
            s.config.missing_probes = match v {
                "warn" => MissingProbes::Warn,
                "ignore" => MissingProbes::Ignore,
                _ => MissingProbes::Error,
            };
        }),
    ),
    ("on_stack_limit", Kind::Unused(ANY)),
    (
        "perf_rb_pages",
        Kind::Number(|s, v| {
            s.config.ring_pages = u32_between(v.max(1), 1, 1 << 20, "it must be from 1 to 1048576 pages of 4 KiB")?;
            Ok(())
        }),
    ),
    ("print_maps_on_exit", Kind::Bool(|s, v| s.config.print_maps_on_exit = v)),
    ("show_debug_info", Kind::Bool(|s, v| s.config.show_debug_info = v)),
    (
        "stack_mode",
        Kind::Word(&["bpftrace", "perf", "raw", "build_id"], |s, v| {
            s.limits.stack_mode = match v {
                "perf" => StackMode::Perf,
                "raw" => StackMode::Raw,
                "build_id" => StackMode::BuildId,
                _ => StackMode::Bpftrace,
            };
        }),
    ),
    ("stats_format", Kind::Word(&["record", "words"], |s, v| s.config.stats_in_words = v == "words")),
    ("str_trunc_trailer", Kind::Text(|s, v| v.clone_into(&mut s.config.str_trunc_trailer))),
    ("unstable_dw_ustack", Kind::Feature),
    ("unstable_tseries", Kind::Feature),
    ("unstable_typeinfo", Kind::Feature),
    ("ustack_walk", Kind::Word(&["frame_pointers", "dwarf"], |s, v| s.limits.ustack_by_tables = v == "dwarf")),
    ("use_blazesym", Kind::Unused(BOOLS)),
    ("max_type_res_iterations", Kind::Deprecated),
    ("symbol_source", Kind::Deprecated),
    ("unstable_addr", Kind::Deprecated),
    ("unstable_import", Kind::Deprecated),
    ("unstable_import_statement", Kind::Deprecated),
    ("unstable_macro", Kind::Deprecated),
    ("unstable_map_decl", Kind::Deprecated),
    ("cat_bytes_max", Kind::Renamed("max_cat_bytes")),
    ("map_keys_max", Kind::Renamed("max_map_keys")),
    ("no_cpp_demangle", Kind::Renamed("cpp_demangle")),
    ("strlen", Kind::Renamed("max_strlen")),
    ("btf", Kind::EnvironmentOnly),
    ("color", Kind::EnvironmentOnly),
    ("debug_output", Kind::EnvironmentOnly),
    ("kernel_build", Kind::EnvironmentOnly),
    ("kernel_source", Kind::EnvironmentOnly),
    ("vmlinux", Kind::EnvironmentOnly),
];

/// A row of the reference of config variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// In a config block; in the environment with `BPFTRACE_` before it, in capitals.
    pub name: &'static str,
    /// What it may be.
    pub values: String,
    /// What it is by itself; empty for variables without effect.
    pub default: &'static str,
    /// What it does.
    pub docs: String,
}

/// Default and meaning of the variables that have an effect.
const MEANINGS: &[(&str, &str, &str)] = &[
    ("cpp_demangle", "true", "print C++ and Rust names of user functions as they were written"),
    ("license", "GPL", "the licence that the programs declare to the kernel"),
    ("max_bpf_progs", "1024", "how many programs a script may load"),
    ("max_cat_bytes", "10240", "how much `cat()` prints of a file"),
    ("max_map_keys", "4096", "how many keys a map can hold"),
    ("max_probes", "1024", "how many attach points a script may have"),
    ("max_strlen", "1024", "how many bytes `str()` and `buf()` read"),
    ("missing_probes", "error", "what a probe that does not exist means: the end, a warning, nothing"),
    ("perf_rb_pages", "64", "size of the ring buffer for events, in pages of 4 KiB"),
    ("print_maps_on_exit", "true", "print all maps at the end"),
    (
        "show_debug_info",
        "false",
        "show source lines and inlined functions in `ustack`, where the program has debug information",
    ),
    ("stack_mode", "bpftrace", "how `kstack` and `ustack` print stacks when they name no mode"),
    (
        "stats_format",
        "record",
        "how maps of `stats()` are printed: as records, or `count 2, average 3, total 6` as formerly",
    ),
    ("str_trunc_trailer", "..", "what follows a string that was cut"),
    ("unstable_dw_ustack", "enable", "allow `dw_ustack()`"),
    ("unstable_tseries", "enable", "allow `tseries()`"),
    ("unstable_typeinfo", "enable", "allow `typeinfo()`"),
    ("ustack_walk", "frame_pointers", "how `ustack` finds the callers when it does not say so"),
];

/// What a variable that has an effect is by itself.
pub(super) fn default_of(name: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(n, _, _)| *n == name).map(|(_, default, _)| *default)
}

/// All variables, for the manual.
pub fn reference() -> Vec<Variable> {
    let row = |&(name, ref kind): &(&'static str, Kind)| {
        let (_, default, docs) = MEANINGS.iter().find(|(n, _, _)| *n == name).copied().unwrap_or((name, "", ""));
        let words = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let (values, docs) = match kind {
            Kind::Number(_) => ("a number".to_owned(), docs.to_owned()),
            Kind::Bool(_) => (words(&["true", "false"]), docs.to_owned()),
            Kind::Text(_) => ("a string".to_owned(), docs.to_owned()),
            Kind::Word(allowed, _) => (words(allowed), docs.to_owned()),
            Kind::Feature => (words(FEATURE), docs.to_owned()),
            Kind::Unused(_) => (String::new(), "accepted, without effect".to_owned()),
            Kind::Deprecated => (String::new(), "former variable: a warning, and no effect".to_owned()),
            Kind::Renamed(new) => (String::new(), format!("former name of `{new}`")),
            Kind::EnvironmentOnly => (String::new(), "in the environment only".to_owned()),
        };
        Variable { name, values, default, docs }
    };
    VARIABLES.iter().map(row).collect()
}

fn row(name: &str) -> Option<(&'static str, &'static Kind)> {
    VARIABLES.iter().find(|(n, _)| *n == name).map(|(n, kind)| (*n, kind))
}

/// Names of the variables that have an effect, for messages.
fn current_names() -> impl Iterator<Item = &'static str> {
    let current = |kind: &Kind| !matches!(kind, Kind::Deprecated | Kind::Renamed(_) | Kind::EnvironmentOnly);
    VARIABLES.iter().filter(move |(_, kind)| current(kind)).map(|(n, _)| *n)
}

/// Lower case, without the prefix.
fn normal(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    lower.strip_prefix("bpftrace_").map_or(lower.clone(), str::to_owned)
}

/// Applies the config blocks of a script, then the environment.
pub(super) fn settings(
    blocks: &[ast::Config],
    environment: &BTreeMap<String, String>,
    diagnostics: &mut Diagnostics,
) -> Settings {
    let mut settings = Settings::default();
    if let [first, second, ..] = blocks {
        let d = Diagnostic::error("config-twice", "a script has one config block", second.span);
        diagnostics.push(d.label("second block").also(first.span, "first block"));
    }
    for entry in blocks.iter().flat_map(|b| &b.entries) {
        let span = entry.name.span.to(entry.value.span);
        let text = match &entry.value.node {
            ConfigValue::Int(n) => n.to_string(),
            ConfigValue::Str(s) => s.clone(),
            ConfigValue::Bool(b) => b.to_string(),
        };
        assign(&mut settings, &entry.name.node, &text, Some((entry.name.span, entry.value.span, span)), diagnostics);
    }
    for (name, value) in environment {
        let Some(short) = name.strip_prefix("BPFTRACE_") else { continue };
        // The environment is shared with other programs and versions: names that are not ours are none of our business.
        match row(&normal(short)) {
            None | Some((_, Kind::EnvironmentOnly | Kind::Deprecated)) => {}
            Some(_) => assign(&mut settings, name, value, None, diagnostics),
        }
    }
    settings
}

/// Spans of name, value and both; `None` for the environment.
type Place = Option<(Span, Span, Span)>;

fn assign(settings: &mut Settings, written: &str, value: &str, place: Place, diagnostics: &mut Diagnostics) {
    let name = normal(written);
    let (name_span, value_span, both) = (place.map(|p| p.0), place.map(|p| p.1), place.map(|p| p.2));
    let Some((name, kind)) = row(&name) else {
        let mut d = Diagnostic::error("unknown-config", format!("there is no config variable `{written}`"), name_span)
            .label("unknown variable");
        d = match similar::closest(&name, current_names()) {
            Some(close) => d.help(format!("did you mean `{close}`?")),
            None => d.note(format!("config variables are: {}", current_names().collect::<Vec<_>>().join(", "))),
        };
        return diagnostics.push(d);
    };
    let bad = |what: String| {
        let message = format!("the config variable `{name}` cannot be `{value}`");
        let mut d = Diagnostic::error("config-value", message, value_span).label(what.clone());
        if value_span.is_none() {
            d = d.note(format!("it was set by `{written}` in the environment")).note(what);
        }
        d
    };
    let words = |words: &[&str]| format!("expected one of: {}", words.join(", "));
    let problem = match kind {
        Kind::Number(set) => match number_value(value) {
            None => Some(bad("expected a number".into())),
            Some(n) => set(settings, n).err().map(|complaint| bad(complaint.into())),
        },
        Kind::Bool(set) => match value {
            word if number::truth(word).is_some() => {
                set(settings, number::truth(word) == Some(true));
                None
            }
            // As a number in a config block anything but 0 is true.
            other if place.is_some() && number::parse(other).is_some() => {
                set(settings, true);
                None
            }
            _ => Some(bad("expected true or false".into())),
        },
        Kind::Text(set) => {
            set(settings, value);
            None
        }
        Kind::Word(allowed, set) => {
            if allowed.contains(&value) {
                set(settings, value);
                None
            } else {
                Some(bad(words(allowed)))
            }
        }
        Kind::Feature if !FEATURE.contains(&value) => Some(bad(words(FEATURE))),
        Kind::Feature => {
            settings.limits.switched_off.remove(name);
            if REFUSED.contains(&value) {
                settings.limits.switched_off.insert(name);
            }
            None
        }
        Kind::Unused([]) => number_value(value).is_none().then(|| bad("expected a number".into())),
        Kind::Unused(allowed) => {
            let fine = allowed.contains(&value) || (allowed.contains(&"1") && number::parse(value).is_some());
            (!fine).then(|| bad(words(allowed)))
        }
        Kind::Deprecated => {
            let message = format!("the config variable `{name}` is deprecated and has no effect");
            Some(Diagnostic::warning("deprecated-config", message, both).help("leave it away"))
        }
        Kind::Renamed(new) => {
            let message = format!("the config variable `{name}` is now called `{new}`");
            diagnostics.push(Diagnostic::warning("deprecated-config", message, name_span).label("former name"));
            // The one whose meaning turned around with its name.
            let value = match (name, value) {
                ("no_cpp_demangle", "0" | "false") => "true",
                ("no_cpp_demangle", "1" | "true") => "false",
                (_, same) => same,
            };
            return assign(settings, new, value, place, diagnostics);
        }
        Kind::EnvironmentOnly => {
            let message = format!("`{name}` is not a config variable");
            let help = format!("set it in the environment: BPFTRACE_{}={value}", name.to_ascii_uppercase());
            Some(Diagnostic::error("unknown-config", message, name_span).help(help))
        }
    };
    if problem.is_none() {
        settings.given.insert(name, value.to_owned());
    }
    diagnostics.extend(problem);
}

/// A number; `true` and `false` count as 1 and 0.
fn number_value(text: &str) -> Option<u64> {
    match text {
        "true" => Some(1),
        "false" => Some(0),
        _ => number::parse(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use tapline_grammar::span::{FileId, Span, Spanned};

    #[test]
    fn every_effect_has_a_meaning() {
        for variable in reference() {
            assert!(!variable.docs.is_empty(), "{}", variable.name);
            assert_eq!(variable.values.is_empty(), variable.default.is_empty(), "{}", variable.name);
        }
        assert!(MEANINGS.iter().all(|(name, _, _)| row(name).is_some()));
    }

    fn block(entries: &[(&str, ConfigValue)]) -> Vec<ast::Config> {
        let at = |n| Span::new(FileId(0), n, n + 1);
        let entries = entries
            .iter()
            .map(|(name, value)| ast::ConfigEntry {
                name: Spanned { node: (*name).to_owned(), span: at(0) },
                value: Spanned { node: value.clone(), span: at(2) },
            })
            .collect();
        vec![ast::Config { entries, span: at(0) }]
    }

    fn run(entries: &[(&str, ConfigValue)], env: &[(&str, &str)]) -> (Settings, Diagnostics) {
        let mut diagnostics = Vec::new();
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        (settings(&block(entries), &env, &mut diagnostics), diagnostics)
    }

    fn word(text: &str) -> ConfigValue {
        ConfigValue::Str(text.into())
    }

    #[test]
    fn every_name_in_every_spelling() {
        for name in ["max_strlen", "MAX_STRLEN", "BPFTRACE_MAX_STRLEN", "bpftrace_Max_Strlen"] {
            let (s, d) = run(&[(name, ConfigValue::Int(99))], &[]);
            assert!(d.is_empty(), "{name}: {d:?}");
            assert_eq!(s.limits.max_strlen, 99);
        }
    }

    #[test]
    fn values_reach_their_settings() {
        let (s, d) = run(
            &[
                ("stack_mode", word("perf")),
                ("missing_probes", word("warn")),
                ("license", word("Dual BSD/GPL")),
                ("cpp_demangle", ConfigValue::Bool(false)),
                ("print_maps_on_exit", ConfigValue::Int(0)),
                ("str_trunc_trailer", word("~")),
                ("max_map_keys", ConfigValue::Int(7)),
                ("max_cat_bytes", ConfigValue::Int(8)),
                ("max_probes", ConfigValue::Int(9)),
                ("perf_rb_pages", ConfigValue::Int(128)),
                ("unstable_tseries", word("warn")),
                ("on_stack_limit", ConfigValue::Int(32)),
                ("cache_user_symbols", word("NONE")),
            ],
            &[],
        );
        assert!(d.is_empty(), "{d:?}");
        assert_eq!(s.limits.stack_mode, StackMode::Perf);
        assert_eq!(s.config.missing_probes, MissingProbes::Warn);
        assert_eq!(s.config.license, "Dual BSD/GPL");
        assert!(!s.config.demangle && !s.config.print_maps_on_exit);
        assert_eq!(s.config.str_trunc_trailer, "~");
        assert_eq!((s.limits.max_map_keys, s.config.max_cat_bytes), (7, 8));
        assert_eq!((s.max_probes, s.config.ring_pages), (9, 128));
    }

    #[test]
    fn the_environment_beats_the_block() {
        let env =
            [("BPFTRACE_MAX_STRLEN", "0x20"), ("BPFTRACE_BOGUS", "1"), ("BPFTRACE_BTF", "/x"), ("MAX_STRLEN", "3")];
        let (s, d) = run(&[("max_strlen", ConfigValue::Int(99))], &env);
        assert!(d.is_empty(), "{d:?}");
        assert_eq!(s.limits.max_strlen, 32);
        let (_, d) = run(&[], &[("BPFTRACE_MAX_STRLEN", "zz")]);
        assert_eq!(d[0].message, "the config variable `max_strlen` cannot be `zz`");
        assert_eq!(d[0].notes, ["it was set by `BPFTRACE_MAX_STRLEN` in the environment", "expected a number"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (name, value, code, message) in [
            ("max_strle", ConfigValue::Int(1), "unknown-config", "there is no config variable `max_strle`"),
            ("max_strlen", word("zz"), "config-value", "the config variable `max_strlen` cannot be `zz`"),
            ("max_strlen", ConfigValue::Int(0), "config-value", "the config variable `max_strlen` cannot be `0`"),
            ("stack_mode", word("PERF"), "config-value", "the config variable `stack_mode` cannot be `PERF`"),
            ("cpp_demangle", word("x"), "config-value", "the config variable `cpp_demangle` cannot be `x`"),
            ("license", word("BSD"), "config-value", "the config variable `license` cannot be `BSD`"),
            ("btf", ConfigValue::Int(1), "unknown-config", "`btf` is not a config variable"),
            ("on_stack_limit", word("foo"), "config-value", "the config variable `on_stack_limit` cannot be `foo`"),
        ] {
            let (_, d) = run(&[(name, value)], &[]);
            assert_eq!((d.len(), d[0].code, d[0].message.as_str()), (1, code, message));
            assert!(d[0].is_error());
        }
        let (_, d) = run(&[("max_strle", ConfigValue::Int(1))], &[]);
        assert_eq!(d[0].help, ["did you mean `max_strlen`?"]);
    }

    #[test]
    fn old_names_warn_and_work() {
        let (s, d) = run(&[("strlen", ConfigValue::Int(5)), ("symbol_source", word("x"))], &[]);
        assert_eq!(s.limits.max_strlen, 5);
        assert_eq!(d.len(), 2);
        assert!(d.iter().all(|d| d.code == "deprecated-config" && !d.is_error()));
        let (s, _) = run(&[("no_cpp_demangle", ConfigValue::Int(1))], &[]);
        assert!(!s.config.demangle);
    }
}
