//! The BPF programs that are loaded, ours or not, for those who trace them.

use tapline_compiler::target::BpfFunction;
use tapline_compiler::types::btf::{Btf, KindSet, TypeId};

use crate::sys::loaded;

/// The types of a program.
pub fn types(program: u32) -> Option<Btf> {
    let types = loaded::program_types(program).ok()?;
    Btf::new(Box::new(loaded::btf_data(types.btf).ok()?)).ok()
}

/// The functions of all programs that say what they are, sorted. A program that ends meanwhile is left out.
pub fn functions() -> Vec<BpfFunction> {
    let mut found: Vec<BpfFunction> =
        loaded::program_ids().unwrap_or_default().into_iter().filter_map(functions_of).flatten().collect();
    found.sort_unstable();
    found
}

fn functions_of(program: u32) -> Option<Vec<BpfFunction>> {
    let types = loaded::program_types(program).ok().filter(|types| !types.functions.is_empty())?;
    let btf = Btf::new(Box::new(loaded::btf_data(types.btf).ok()?)).ok()?;
    let known = types.functions.into_iter().filter(|&id| KindSet::FUNC.contains(btf.kind(TypeId(id))));
    let function = |btf_id| BpfFunction { program, name: btf.name(TypeId(btf_id)).to_owned(), btf_id };
    Some(known.map(function).collect())
}
