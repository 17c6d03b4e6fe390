//! Symbols of the running system for the script's output. Tables are read when the first address of their kind is printed.

use std::rc::Rc;

use crate::events::context::{Symbol, Symbolizer};
use crate::system::System;

/// Names addresses of the kernel and of processes that are (or were recently) alive.
pub struct LiveSymbols {
    system: Rc<System>,
}

impl LiveSymbols {
    /// On this system; `demangle` turns C++ and Rust names into their written form.
    pub fn new(system: Rc<System>) -> Self {
        Self { system }
    }
}

impl Symbolizer for LiveSymbols {
    fn kernel(&self, address: u64) -> Option<Symbol> {
        let symbol = self.system.symbols().function_at(address)?;
        Some(Symbol {
            name: symbol.name.to_owned(),
            offset: address.wrapping_sub(symbol.address),
            module: symbol.module.unwrap_or_default().to_owned(),
        })
    }

    fn user(&self, _: u32, _: u64) -> Option<Symbol> {
        None
    }

    fn build_id(&self, _: u32, _: u64) -> Option<(String, u64)> {
        None
    }
}
