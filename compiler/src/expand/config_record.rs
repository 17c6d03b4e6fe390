//! The settings as a script sees them: the builtin `config`.

use super::config::Settings;
use crate::number;

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A text or a word.
    Text(String),
}

use Setting::{Bool, Number};

/// The variables in the reference's order, with what they are by themselves.
fn defaults() -> Vec<(&'static str, Setting)> {
    let text = |text: &str| Setting::Text(text.to_owned());
    vec![
        ("cpp_demangle", Bool(true)),
        ("lazy_symbolication", Bool(true)),
        ("print_maps_on_exit", Bool(true)),
        ("use_blazesym", Bool(false)),
        ("show_debug_info", Bool(false)),
        ("log_size", Number(1_000_000)),
        ("max_bpf_progs", Number(1024)),
        ("max_cat_bytes", Number(10240)),
        ("max_map_keys", Number(4096)),
        ("max_probes", Number(1024)),
        ("max_strlen", Number(1024)),
        ("on_stack_limit", Number(32)),
        ("perf_rb_pages", Number(64)),
        ("stats_format", text("record")),
        ("str_trunc_trailer", text("..")),
        ("unstable_tseries", text("enable")),
        ("unstable_typeinfo", text("enable")),
        ("unstable_dw_ustack", text("enable")),
        ("missing_probes", text("error")),
        ("stack_mode", text("bpftrace")),
        ("license", text("GPL")),
    ]
}

/// All variables with their values.
pub(super) fn record(settings: &Settings) -> Vec<(&'static str, Setting)> {
    let mut all = defaults();
    for (name, value) in &mut all {
        if let Some(given) = settings.given.get(name) {
            *value = match value {
                Bool(_) => Bool(!matches!(given.as_str(), "false" | "0")),
                Number(default) => Number(number::parse(given).unwrap_or(*default)),
                Setting::Text(_) => Setting::Text(given.clone()),
            };
        }
    }
    all
}
