//! The settings as a script sees them: the builtin `config`.

use super::config::{self, Settings};
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

/// The variables in the reference's order. Those without effect here have no default elsewhere; it stands beside them.
const ORDER: [(&str, &str); 21] = [
    ("cpp_demangle", ""),
    ("lazy_symbolication", "true"),
    ("print_maps_on_exit", ""),
    ("use_blazesym", "false"),
    ("show_debug_info", ""),
    ("log_size", "1000000"),
    ("max_bpf_progs", ""),
    ("max_cat_bytes", ""),
    ("max_map_keys", ""),
    ("max_probes", ""),
    ("max_strlen", ""),
    ("on_stack_limit", "32"),
    ("perf_rb_pages", ""),
    ("stats_format", ""),
    ("str_trunc_trailer", ""),
    ("unstable_tseries", ""),
    ("unstable_typeinfo", ""),
    ("unstable_dw_ustack", ""),
    ("missing_probes", ""),
    ("stack_mode", ""),
    ("license", ""),
];

/// All variables with their values.
pub(super) fn record(settings: &Settings) -> Vec<(&'static str, Setting)> {
    let value = |&(name, own): &(&'static str, &'static str)| {
        let default = config::default_of(name).unwrap_or(own);
        let value = settings.given.get(name).map_or(default, String::as_str);
        // The default tells the type.
        let setting = match (default, number::parse(default)) {
            ("true" | "false", _) => Setting::Bool(!matches!(value, "false" | "0")),
            (_, Some(default)) => Setting::Number(number::parse(value).unwrap_or(default)),
            (_, None) => Setting::Text(value.to_owned()),
        };
        (name, setting)
    };
    ORDER.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::{ORDER, config};

    #[test]
    fn every_variable_has_one_default() {
        for (name, own) in ORDER {
            assert_eq!(config::default_of(name).is_some(), own.is_empty(), "{name}");
        }
    }
}
