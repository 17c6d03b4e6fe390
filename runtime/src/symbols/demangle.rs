//! Names as programmers wrote them: Rust and C++ symbols demangled, all others as they are. Symbols come from files of other
//! people, and a short one can expand without end: the text is bounded.

use std::fmt::{self, Write};

use cpp_demangle::DemangleOptions;

/// Bytes of a demangled name; a longer one is shown mangled.
const LONGEST: usize = 4096;

/// Text that refuses to grow beyond the bound.
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The demangled name, or the symbol itself.
pub fn demangle(symbol: &str) -> String {
    rust(symbol).or_else(|| cpp(symbol)).unwrap_or_else(|| symbol.to_owned())
}

/// The name of a symbol of Rust, without its hash; `None` for all others.
pub fn rust(symbol: &str) -> Option<String> {
    // The alternate form leaves out the hash that makes symbols of several crate versions differ.
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let mut text = Bounded::default();
    write!(text, "{name:#}").ok()?;
    Some(text.0)
}

/// The name of a symbol of C++; `None` for all others.
pub fn cpp(symbol: &str) -> Option<String> {
    if !symbol.starts_with("_Z") {
        return None;
    }
    let parsed = cpp_demangle::Symbol::new(symbol).ok()?;
    let mut text = Bounded::default();
    parsed.structured_demangle(&mut text, &DemangleOptions::default()).ok()?;
    Some(text.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_and_cpp_symbols_are_demangled() {
        assert_eq!(demangle("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
        assert_eq!(demangle("_RNvC6_123foo3bar"), "123foo::bar");
        assert_eq!(demangle("_ZN3foo3barEiPKc"), "foo::bar(int, char const*)");
    }

    #[test]
    fn other_symbols_stay() {
        for symbol in ["vfs_read", "main", "_Z", "_ZNnonsense", "", "_start"] {
            assert_eq!(demangle(symbol), symbol);
        }
    }

    #[test]
    fn a_symbol_that_expands_without_end_stays_mangled() {
        // Each pair doubles the one before it through substitutions.
        let mut symbol = String::from("_Z1fSt4pairIiiE");
        for n in 0..30 {
            let s = if n == 0 { "S_".to_owned() } else { format!("S{}_", n - 1) };
            symbol.extend(["St4pairI", &s, &s, "E"]);
        }
        assert!(demangle(&symbol).len() <= LONGEST.max(symbol.len()));
    }
}
