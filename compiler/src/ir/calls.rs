//! Who calls whom: through [`Op::CallSub`], or as a callback through [`Op::FuncAddr`].

use super::{FuncId, FunctionKind, Module, Op};
use crate::index::IndexVec;

/// Call chains longer than this are refused by the kernel.
pub const MAX_FRAMES: usize = 8;

/// The call graph of a module.
#[derive(Debug)]
pub struct CallGraph {
    callees: IndexVec<FuncId, Vec<FuncId>>,
}

impl CallGraph {
    /// Reads the graph off the code.
    pub fn new(module: &Module) -> Self {
        let callees = module
            .functions
            .iter()
            .map(|f| {
                let mut found: Vec<FuncId> = f
                    .blocks
                    .iter()
                    .flat_map(|b| &b.insts)
                    .filter_map(|i| match i.op {
                        Op::CallSub(f, _) | Op::FuncAddr(f) => Some(f),
                        _ => None,
                    })
                    .filter(|f| module.functions.get(*f).is_some())
                    .collect();
                found.sort_unstable();
                found.dedup();
                found
            })
            .collect::<Vec<_>>();
        Self { callees: callees.into() }
    }

    /// The programs that reach each function, themselves included.
    pub fn programs(&self, module: &Module) -> IndexVec<FuncId, Vec<FuncId>> {
        let mut reached: IndexVec<FuncId, Vec<FuncId>> = vec![Vec::new(); module.functions.len()].into();
        for (id, func) in module.functions.enumerate() {
            if !matches!(func.kind, FunctionKind::Program { .. }) {
                continue;
            }
            let mut work = vec![id];
            while let Some(f) = work.pop() {
                if reached[f].last() != Some(&id) {
                    reached[f].push(id);
                    work.extend(&self.callees[f]);
                }
            }
        }
        reached
    }

    /// The greatest sum of costs along a chain of calls that begins at each function; chains longer than the kernel's
    /// limit (and cycles) count up to the limit.
    pub fn deepest(&self, cost: &IndexVec<FuncId, u32>) -> IndexVec<FuncId, u32> {
        let mut depth = cost.clone();
        for _ in 1..MAX_FRAMES {
            let last = depth.clone();
            for (f, callees) in self.callees.enumerate() {
                let below = callees.iter().map(|&c| last[c]).max().unwrap_or(0);
                depth[f] = cost[f].saturating_add(below);
            }
        }
        depth
    }
}
