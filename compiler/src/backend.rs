//! The compiler's second half: a module of the intermediate representation to an ELF object, and with the manifest to a
//! [`Program`].

use crate::bpf::frame::STACK_SIZE;
use crate::bpf::{self, Code};
use crate::diagnostic::Diagnostic;
use crate::index::IndexVec;
use crate::ir::passes::{self, map_values, opaque, slots};
use crate::ir::{FuncId, Module, Op};
use crate::lower::Lowered;
use crate::object::{self, Line, LineTable};
use crate::parallel;
use crate::program::{Manifest, MapDesc, MapRole, Program};
use crate::source::SourceMap;

/// Stack that is left to spilled registers at first.
const SPILL_RESERVE: u32 = 64;

/// Code and the module that it was made from, with the internal maps that the backend added.
#[derive(Debug)]
pub struct Compiled {
    /// After the optimiser, before the needs of the kernel are met.
    pub optimised: Module,
    /// Machine code.
    pub code: Code,
    /// What was selected from: local memory placed, addresses of maps resolved. Script maps keep their ids; symbols may
    /// have changed.
    pub module: Module,
}

/// Optimises, and generates machine code. Local memory moves off the stack until everything fits.
pub fn compile(mut optimised: Module) -> Result<Compiled, Diagnostic> {
    passes::optimise(&mut optimised)?;
    let mut stack = STACK_SIZE - SPILL_RESERVE;
    loop {
        let mut module = copy(&optimised);
        slots::place_slots(&mut module, stack)?;
        if module.frame_blind {
            opaque::opaque(&mut module);
        }
        map_values::map_values(&mut module)?;
        passes::tidy(&mut module)?;
        let code = bpf::compile(&module)?;
        let worst = deepest(&module, &code);
        if worst <= STACK_SIZE {
            return Ok(Compiled { optimised, code, module });
        }
        if stack == 0 {
            // What is left on the stack are values that are needed at the same time, in loops within loops.
            return Err(Diagnostic::error(bpf::TOO_LARGE, "this script keeps too many values at a time", None)
                .note(format!("a program needs {worst} bytes of stack for them, and the kernel has {STACK_SIZE}"))
                .help("keep some of them in maps, or split the work over several probes"));
        }
        stack = stack.saturating_sub((worst - STACK_SIZE).max(32));
    }
}

/// Of the functions' many small pieces, copying and freeing take long enough to be shared.
fn copy(module: &Module) -> Module {
    let Module { functions, maps, rodata, license, counters, frame_blind } = module;
    Module {
        functions: parallel::map(functions.iter(), |_, f| f.clone()).into(),
        maps: maps.clone(),
        rodata: rodata.clone(),
        license: license.clone(),
        counters: *counters,
        frame_blind: *frame_blind,
    }
}

impl Compiled {
    /// Frees it.
    pub fn discard(self) {
        for module in [self.optimised, self.module] {
            parallel::map(module.functions.into_vec().into_iter(), |_, function| drop(function));
        }
    }
}

/// Bytes of stack of the deepest chain of calls: the kernel gives [`STACK_SIZE`] to all of them together, and rounds each up; also one
/// that needs nothing counts.
fn deepest(module: &Module, code: &Code) -> u32 {
    const ROUNDING: u32 = 32;
    let mut depth: IndexVec<FuncId, u32> = vec![0; module.functions.len()].into();
    // Callees are made before their callers' code, but not in an order of their own: as many rounds as there are functions at most.
    for _ in 0..module.functions.len() {
        let mut changed = false;
        for (id, func) in module.functions.enumerate() {
            let own = code.functions.get(crate::index::Id::index(id)).map_or(0, |f| f.stack);
            let callees = func.blocks.iter().flat_map(|b| &b.insts).filter_map(|inst| match inst.op {
                Op::CallSub(f, _) | Op::FuncAddr(f) => depth.get(f).copied(),
                _ => None,
            });
            let total = own.max(1).next_multiple_of(ROUNDING) + callees.max().unwrap_or(0);
            if let Some(slot) = depth.get_mut(id).filter(|d| **d < total) {
                *slot = total;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    depth.iter().copied().max().unwrap_or(0)
}

/// Makes the program of compiled code: the object, and the manifest with the maps as the object has them.
pub fn assemble(compiled: &Compiled, mut manifest: Manifest, lines: &dyn LineTable) -> Result<Program, Diagnostic> {
    let object = object::emit(&compiled.code, &compiled.module, lines)?;
    for (id, def) in compiled.module.maps.enumerate() {
        match manifest.maps.get_mut(crate::index::Id::index(id)) {
            Some(desc) => desc.symbol.clone_from(&def.symbol),
            None => manifest.maps.push(MapDesc {
                symbol: def.symbol.clone(),
                name: def.symbol.clone(),
                role: MapRole::Scratch,
                key: None,
                value: None,
                per_cpu: true,
                max_entries: def.max_entries,
            }),
        }
    }
    Ok(Program { object, manifest })
}

/// A lowered script to its program, in one step.
pub fn backend(lowered: Lowered, sources: &SourceMap) -> Result<Program, Diagnostic> {
    assemble(&compile(lowered.module)?, lowered.manifest, sources)
}

impl LineTable for SourceMap {
    fn line(&self, span: tapline_grammar::span::Span) -> Option<Line<'_>> {
        let file = self.file(span.file)?;
        let (index, column) = file.place(span.start as usize)?;
        Some(Line { file: file.name(), line: index as u32 + 1, column, text: file.line(index)? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ir::parse;

    fn deepest_of(text: &str) -> u32 {
        let module = parse::parse(&format!("license \"GPL\"\n{text}")).unwrap();
        let code = bpf::compile(&module).unwrap();
        deepest(&module, &code)
    }

    #[test]
    fn every_frame_of_a_chain_takes_room() {
        let program = |body: &str| format!("\nfn0 = function p0 program tracepoint {{\n{body}\n}}\n");
        let sub = |id: u32, body: &str| format!("\nfn{id} = function f{id} sub {{\n{body}\n}}\n");
        let nothing = "b0(v0):\n    return v0";
        let calls = |id: u32| format!("b0(v0):\n    v1 = call_sub fn{id}(v0)\n    return v1");
        assert_eq!(deepest_of(&program(nothing)), 32);
        assert_eq!(deepest_of(&(program(&calls(1)) + &sub(1, nothing))), 64);
        assert_eq!(deepest_of(&(program(&calls(1)) + &sub(1, &calls(2)) + &sub(2, nothing))), 96);
    }
}
