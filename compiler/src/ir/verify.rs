//! Checks the invariants of the IR: each value defined once, definitions dominating uses, blocks ended, arguments matching
//! parameters, ids in range, a result where one is needed and none where not.

use std::fmt;

use super::dom::{DominanceTest, Dominators};
use super::{Block, Function, FunctionKind, Module, Op, Terminator, Value, Width};
use crate::index::{Id, IndexVec};

/// What is wrong with a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// Symbol of the function.
    pub function: String,
    /// The block concerned.
    pub block: Option<Block>,
    /// What is wrong.
    pub kind: VerifyErrorKind,
}

/// The rules that can be broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyErrorKind {
    /// A function has no block.
    NoEntry,
    /// The entry is the target of a jump.
    JumpToEntry,
    /// The entry has the wrong number of parameters for its kind of function.
    Parameters(usize),
    /// A block has no end.
    NoTerminator,
    /// A jump leads to a block that does not exist.
    NoSuchBlock(Block),
    /// Arguments and parameters differ in number.
    Arguments(Block),
    /// A value is out of range.
    NoSuchValue(Value),
    /// A value is defined twice.
    DefinedTwice(Value),
    /// A value is used where its definition may not have happened.
    NotDominated(Value),
    /// An operation lacks its result, or has one that it must not have.
    Result(String),
    /// An operation names a slot, map, function or byte that does not exist.
    NoSuchEntity(String),
    /// An operation has operands that it must not have.
    Malformed(String),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.function)?;
        if let Some(b) = self.block {
            write!(f, ", {b}")?;
        }
        match &self.kind {
            VerifyErrorKind::NoEntry => f.write_str(": no block"),
            VerifyErrorKind::JumpToEntry => f.write_str(": jumps to the entry"),
            VerifyErrorKind::Parameters(n) => write!(f, ": {n} parameters do not fit the kind of function"),
            VerifyErrorKind::NoTerminator => f.write_str(": no end"),
            VerifyErrorKind::NoSuchBlock(b) => write!(f, ": {b} does not exist"),
            VerifyErrorKind::Arguments(b) => write!(f, ": arguments do not match the parameters of {b}"),
            VerifyErrorKind::NoSuchValue(v) => write!(f, ": {v} does not exist"),
            VerifyErrorKind::DefinedTwice(v) => write!(f, ": {v} is defined twice"),
            VerifyErrorKind::NotDominated(v) => write!(f, ": {v} is used where it may not be defined"),
            VerifyErrorKind::Result(op) => write!(f, ": wrong result of `{op}`"),
            VerifyErrorKind::NoSuchEntity(op) => write!(f, ": `{op}` names what does not exist"),
            VerifyErrorKind::Malformed(op) => write!(f, ": `{op}` is malformed"),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks all functions.
pub fn verify(module: &Module) -> Result<(), VerifyError> {
    module.functions.iter().try_for_each(|f| verify_function(module, f))
}

/// Checks one function.
pub fn verify_function(module: &Module, func: &Function) -> Result<(), VerifyError> {
    let mut checker = Checker { module, func, block: None };
    checker.run().map_err(|kind| VerifyError { function: func.symbol.clone(), block: checker.block, kind })
}

struct Checker<'a> {
    module: &'a Module,
    func: &'a Function,
    block: Option<Block>,
}

/// Where a value is defined: the position counts the block's instructions from 1; parameters have 0.
type Place = (Block, usize);

impl Checker<'_> {
    fn run(&mut self) -> Result<(), VerifyErrorKind> {
        let func = self.func;
        let Some(entry) = func.blocks.get(Block::new(0)) else { return Err(VerifyErrorKind::NoEntry) };
        let params = entry.params.len();
        let fits = match func.kind {
            FunctionKind::Program { .. } => params == 1,
            FunctionKind::Sub => params <= 5,
            FunctionKind::Callback(super::CallbackKind::Loop) => params == 2,
            FunctionKind::Callback(super::CallbackKind::ForEachMapElem) => params == 4,
        };
        if !fits {
            return Err(VerifyErrorKind::Parameters(params));
        }
        let mut defs: IndexVec<Value, Option<Place>> = vec![None; func.values.len()].into();
        for (id, block) in func.blocks.enumerate() {
            self.block = Some(id);
            let results = block.insts.iter().enumerate().filter_map(|(i, inst)| Some((i + 1, inst.result?)));
            for (at, v) in block.params.iter().map(|&p| (0, p)).chain(results) {
                let def = defs.get_mut(v).ok_or(VerifyErrorKind::NoSuchValue(v))?;
                if def.replace((id, at)).is_some() {
                    return Err(VerifyErrorKind::DefinedTwice(v));
                }
            }
            let term = block.term.as_ref().ok_or(VerifyErrorKind::NoTerminator)?;
            self.targets(term)?;
        }
        let dominators = Dominators::new(func);
        let test = DominanceTest::new(&dominators);
        for &id in &dominators.order {
            self.block = Some(id);
            let block = &func.blocks[id];
            let check = |v: Value, at: usize| match defs.get(v) {
                None | Some(None) => Err(VerifyErrorKind::NoSuchValue(v)),
                Some(Some((def, pos))) if *def == id => {
                    if *pos < at {
                        Ok(())
                    } else {
                        Err(VerifyErrorKind::NotDominated(v))
                    }
                }
                Some(Some((def, _))) if dominators.is_reachable(*def) && test.dominates(*def, id) => Ok(()),
                _ => Err(VerifyErrorKind::NotDominated(v)),
            };
            for (i, inst) in block.insts.iter().enumerate() {
                let mut result = Ok(());
                inst.op.for_each_use(|v| {
                    if result.is_ok() {
                        result = check(v, i + 1);
                    }
                });
                result?;
                self.op(&inst.op, inst.result.is_some())?;
            }
            let mut result = Ok(());
            if let Some(term) = &block.term {
                term.for_each_use(|v| {
                    if result.is_ok() {
                        result = check(v, usize::MAX);
                    }
                });
            }
            result?;
        }
        Ok(())
    }

    fn targets(&self, term: &Terminator) -> Result<(), VerifyErrorKind> {
        let mut result = Ok(());
        term.for_each_target(|t| {
            let error = match self.func.blocks.get(t.block) {
                None => Some(VerifyErrorKind::NoSuchBlock(t.block)),
                Some(_) if t.block.index() == 0 => Some(VerifyErrorKind::JumpToEntry),
                Some(b) if b.params.len() != t.args.len() => Some(VerifyErrorKind::Arguments(t.block)),
                Some(_) => None,
            };
            if let (Some(e), true) = (error, result.is_ok()) {
                result = Err(e);
            }
        });
        result
    }

    fn op(&self, op: &Op, has_result: bool) -> Result<(), VerifyErrorKind> {
        let wants_result = match op {
            Op::Store { .. } | Op::AtomicAdd { .. } | Op::Zero { .. } | Op::Copy { .. } => Some(false),
            // A call's result may be dropped.
            Op::Call(..) | Op::CallSub(..) | Op::CallKfunc(..) => None,
            _ => Some(true),
        };
        if wants_result.is_some_and(|w| w != has_result) {
            return Err(VerifyErrorKind::Result(op.to_string()));
        }
        let exists = match op {
            Op::SlotAddr(s) => self.func.slots.get(*s).is_some(),
            Op::Map(m) => self.module.maps.get(*m).is_some(),
            Op::MapValue(m, off) => self.module.maps.get(*m).is_some_and(|m| *off < m.value_size.max(1)),
            Op::Rodata(off) => (*off as usize) < self.module.rodata.len(),
            Op::CallSub(f, args) => self.module.functions.get(*f).is_some_and(|f| {
                f.kind == FunctionKind::Sub && f.blocks.iter().next().is_some_and(|b| b.params.len() == args.len())
            }),
            Op::FuncAddr(f) => {
                self.module.functions.get(*f).is_some_and(|f| matches!(f.kind, FunctionKind::Callback(_)))
            }
            _ => true,
        };
        if !exists {
            return Err(VerifyErrorKind::NoSuchEntity(op.to_string()));
        }
        let well_formed = match op {
            Op::AtomicAdd { width, .. } | Op::AtomicXchg { width, .. } => matches!(width, Width::W4 | Width::W8),
            Op::ByteSwap(bits, _) => matches!(bits, 16 | 32 | 64),
            Op::Call(_, args) | Op::CallKfunc(_, args) => args.len() <= 5,
            _ => true,
        };
        if well_formed { Ok(()) } else { Err(VerifyErrorKind::Malformed(op.to_string())) }
    }
}
