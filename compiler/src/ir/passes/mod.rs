//! Passes over the intermediate representation, one file each. `optimise` runs those that make code better; those that
//! make it acceptable to the kernel (`slots`, `map_values`) are run by `backend`.

pub mod branches;
pub mod dce;
pub mod fold;
pub mod gvn;
pub mod map_values;
pub mod slots;

use super::{Function, Module, verify};
use crate::diagnostic::Diagnostic;

/// A pass over one function; says whether it changed anything.
type Pass = fn(&mut Function) -> bool;

/// In the order in which they feed each other.
const PASSES: &[(&str, Pass)] =
    &[("fold", fold::fold), ("branches", branches::branches), ("gvn", gvn::gvn), ("dce", dce::dce)];

/// Rounds at most; the second and third find what the first has laid open.
const ROUNDS: usize = 4;

/// Optimises every function. In debug builds the IR is verified after every pass.
pub fn optimise(module: &mut Module) -> Result<(), Diagnostic> {
    check(module, "lowering")?;
    for id in module.functions.ids() {
        for _ in 0..ROUNDS {
            let mut changed = false;
            for (name, pass) in PASSES {
                changed |= pass(&mut module.functions[id]);
                check(module, name)?;
            }
            if !changed {
                break;
            }
        }
    }
    Ok(())
}

fn check(module: &Module, after: &str) -> Result<(), Diagnostic> {
    if cfg!(debug_assertions) {
        verify::verify(module)
            .map_err(|e| Diagnostic::internal(format!("the IR is broken after `{after}`: {e}"), None))?;
    }
    Ok(())
}
