//! Passes over the intermediate representation, one file each. `optimise` runs those that make code better; those that
//! make it acceptable to the kernel (`slots`, `map_values`) are run by `backend`.

pub mod branches;
pub mod dce;
pub mod fold;
pub mod gvn;
pub mod keys;
pub mod map_values;
mod slot_access;
pub mod slots;
pub mod stores;
#[cfg(test)]
mod tests;

use super::{Function, Module, verify};
use crate::diagnostic::Diagnostic;
use crate::parallel;

/// A pass over one function; says whether it changed anything.
type Pass = fn(&mut Function) -> bool;

/// A pass that looks at memory, and for that at the maps of the module.
type ModulePass = fn(&mut Module) -> bool;

/// In the order in which they feed each other.
const PASSES: &[(&str, Pass)] =
    &[("fold", fold::fold), ("branches", branches::branches), ("gvn", gvn::gvn), ("dce", dce::dce)];

/// Run once values are known to be equal.
const MEMORY: &[(&str, ModulePass)] = &[("keys", keys::keys), ("stores", stores::stores)];

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

/// Works on every function; the module is there to look at.
fn each(
    module: &mut Module,
    work: impl Fn(&Module, &mut Function) -> Result<(), Diagnostic> + Sync,
) -> Result<(), Diagnostic> {
    let functions: Result<Vec<Function>, Diagnostic> = parallel::map(module.functions.as_slice(), |_, func| {
        let mut func = func.clone();
        work(module, &mut func).map(|()| func)
    })
    .into_iter()
    .collect();
    module.functions = functions?.into();
    Ok(())
}

/// Optimises every function. In debug builds the IR is verified after every pass.
pub fn optimise(module: &mut Module) -> Result<(), Diagnostic> {
    check(module, "lowering")?;
    each(module, scalar)?;
    // Memory once the values in it are known to be equal; what that lays open is scalar again.
    let mut changed = false;
    for (name, pass) in MEMORY {
        changed |= pass(module);
        check(module, name)?;
    }
    if changed { each(module, scalar) } else { Ok(()) }
}

/// The passes over values and control flow, until each has seen what all others have left and had nothing to change.
fn scalar(module: &Module, func: &mut Function) -> Result<(), Diagnostic> {
    let mut quiet = 0;
    for (name, pass) in PASSES.iter().cycle().take(ROUNDS * PASSES.len()) {
        let changed = pass(func);
        if cfg!(debug_assertions) {
            verify::verify_function(module, func).map_err(|e| broken(&e, name))?;
        }
        quiet = if changed { 0 } else { quiet + 1 };
        if quiet == PASSES.len() {
            break;
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

fn broken(error: &verify::VerifyError, after: &str) -> Diagnostic {
    Diagnostic::internal(format!("the IR is broken after `{after}`: {error}"), None)
}
