//! Passes over the intermediate representation, one file each. `optimise` runs those that make code better; those that
//! make it acceptable to the kernel (`slots`, `opaque`, `map_values`) are run by `backend`.

pub mod branches;
mod cells;
pub mod dce;
pub mod fold;
pub mod gvn;
pub mod keys;
pub mod map_values;
pub mod opaque;
pub mod settle;
mod slot_access;
mod slot_bytes;
pub mod slots;
pub mod stores;
#[cfg(test)]
mod tests;

use super::{Function, Module, verify};
use crate::diagnostic::Diagnostic;
use crate::parallel;

use slot_access::MapSizes;

/// A pass over one function; says whether it changed anything.
type Pass = fn(&mut Function) -> bool;

/// A pass that looks at memory, and for that at the maps.
type MemoryPass = fn(&mut Function, &MapSizes) -> bool;

/// In the order in which they feed each other; beside each, those that may find work in what it has changed.
const PASSES: [(&str, Pass, [bool; 4]); 4] = [
    ("fold", fold::fold, [false, true, true, true]),
    ("branches", branches::branches, [true, true, true, true]),
    ("gvn", gvn::gvn, [true, true, false, true]),
    ("dce", dce::dce, [false, true, false, false]),
];

/// Run once values are known to be equal.
const MEMORY: &[(&str, MemoryPass)] = &[("keys", keys::keys), ("stores", stores::stores)];

/// Rounds at most; the second and third find what the first has laid open.
const ROUNDS: usize = 4;

/// Cleans up what the passes for the kernel's sake have left behind.
pub fn tidy(module: &mut Module) -> Result<(), Diagnostic> {
    each(module, |_, func| {
        fold::fold(func);
        gvn::gvn(func);
        dce::dce(func);
        Ok(())
    })?;
    check(module, "placement")
}

/// Works on every function; the module, in which the functions are declarations meanwhile, is there to look at.
fn each(
    module: &mut Module,
    work: impl Fn(&Module, &mut Function) -> Result<(), Diagnostic> + Sync,
) -> Result<(), Diagnostic> {
    let declarations: Vec<Function> = module.functions.iter().map(Function::declaration).collect();
    let mut functions = std::mem::replace(&mut module.functions, declarations.into());
    let results = parallel::map(functions.iter_mut(), |_, func| work(module, func));
    module.functions = functions;
    results.into_iter().collect()
}

/// Optimises every function. In debug builds the IR is verified after every pass.
pub fn optimise(module: &mut Module) -> Result<(), Diagnostic> {
    let maps = MapSizes::new(module);
    each(module, |module, func| {
        settle::settle(func);
        check_function(module, func, "lowering")?;
        scalar(module, func)?;
        // Memory once the values in it are known to be equal; what that lays open is scalar again.
        let mut changed = false;
        for (name, pass) in MEMORY {
            changed |= pass(func, &maps);
            check_function(module, func, name)?;
        }
        if changed {
            scalar(module, func)?;
        }
        cells::cells(func, &maps);
        check_function(module, func, "cells")
    })
}

/// The passes over values and control flow, until each has seen what the others have left and had nothing to change.
fn scalar(module: &Module, func: &mut Function) -> Result<(), Diagnostic> {
    let mut work = [true; PASSES.len()];
    for _ in 0..ROUNDS {
        for (at, (name, pass, feeds)) in PASSES.iter().enumerate() {
            let due = work.get_mut(at).is_some_and(std::mem::take);
            if !due {
                continue;
            }
            let changed = pass(func);
            check_function(module, func, name)?;
            if changed {
                work.iter_mut().zip(feeds).for_each(|(work, fed)| *work |= fed);
            }
        }
    }
    Ok(())
}

fn check(module: &Module, after: &str) -> Result<(), Diagnostic> {
    if cfg!(debug_assertions) {
        verify::verify(module).map_err(|e| broken(&e, after))?;
    }
    Ok(())
}

fn check_function(module: &Module, func: &Function, after: &str) -> Result<(), Diagnostic> {
    if cfg!(debug_assertions) {
        verify::verify_function(module, func).map_err(|e| broken(&e, after))?;
    }
    Ok(())
}

fn broken(error: &verify::VerifyError, after: &str) -> Diagnostic {
    Diagnostic::internal(format!("the IR is broken after `{after}`: {error}"), None)
}
