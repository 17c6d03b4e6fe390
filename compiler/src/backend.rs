//! The compiler's second half in one call: a module of the intermediate representation to an ELF object.

use crate::bpf;
use crate::diagnostic::Diagnostic;
use crate::ir::Module;
use crate::object::{self, LineTable};

/// Generates the object of a module. `lines` finds the script's line behind a span.
pub fn backend(module: &mut Module, lines: &dyn LineTable) -> Result<Vec<u8>, Diagnostic> {
    let code = bpf::compile(module)?;
    object::emit(&code, module, lines)
}
