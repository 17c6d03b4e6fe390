//! Runs functions of the IR over simulated memory: the oracle for passes and code generation. Helpers come from a [`Host`];
//! `bpf_loop` and `bpf_for_each_map_elem` are built in, since they call back.
//!
//! An address is a region's number in the upper 32 bits and an offset in the lower, so that a stray access is an error and
//! never another region's bytes.

use std::collections::BTreeMap;
use std::fmt;

use super::{Block, FuncId, Function, Helper, Module, Op, Target, Terminator, Value, Width, eval, helpers};
use crate::index::{Id, IndexVec};
use crate::program::MapId;

/// Nested calls allowed, as in the kernel.
const MAX_DEPTH: u32 = 8;
/// Upper half of a map's handle.
const MAP_HANDLE: u64 = 0xffff_0000_0000_0000;
/// Upper half of a function's address.
const FUNC_HANDLE: u64 = 0xfffe_0000_0000_0000;

/// Why a run ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterpError {
    /// An access outside every region.
    Access {
        /// Address.
        addr: u64,
        /// Bytes.
        len: u32,
    },
    /// A write to read-only memory.
    ReadOnly(u64),
    /// The step limit was reached.
    Steps,
    /// Calls were nested too deeply.
    Depth,
    /// A helper that the host does not know.
    Helper(Helper),
    /// An operation that cannot be simulated, or IR that `verify` would refuse.
    Unsupported(String),
}

impl fmt::Display for InterpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access { addr, len } => write!(f, "access of {len} bytes at {addr:#x}"),
            Self::ReadOnly(addr) => write!(f, "write to read-only memory at {addr:#x}"),
            Self::Steps => f.write_str("too many steps"),
            Self::Depth => f.write_str("calls nested too deeply"),
            Self::Helper(h) => write!(f, "unknown helper {}", h.0),
            Self::Unsupported(what) => write!(f, "cannot simulate {what}"),
        }
    }
}

impl std::error::Error for InterpError {}

struct Region {
    bytes: Vec<u8>,
    writable: bool,
}

/// Simulated memory.
#[derive(Default)]
pub struct Memory {
    regions: Vec<Region>,
    /// By map number: the only value of an array map, made on first use.
    map_values: BTreeMap<u32, u64>,
}

impl Memory {
    /// Adds a region; returns its address.
    pub fn add(&mut self, bytes: Vec<u8>, writable: bool) -> u64 {
        self.regions.push(Region { bytes, writable });
        (self.regions.len() as u64) << 32
    }
    /// Address of an array map's only value of `size` bytes.
    pub fn map_value(&mut self, map: MapId, size: u32) -> u64 {
        if let Some(&addr) = self.map_values.get(&map.0) {
            return addr;
        }
        let addr = self.add(vec![0; size as usize], true);
        self.map_values.insert(map.0, addr);
        addr
    }
    /// The bytes at an address.
    pub fn read(&self, addr: u64, len: u32) -> Result<&[u8], InterpError> {
        let start = addr as u32 as usize;
        self.region(addr)
            .and_then(|i| self.regions.get(i)?.bytes.get(start..start + len as usize))
            .ok_or(InterpError::Access { addr, len })
    }
    /// The bytes at an address, to be changed.
    pub fn write(&mut self, addr: u64, len: u32) -> Result<&mut [u8], InterpError> {
        let start = addr as u32 as usize;
        let region = self.region(addr).and_then(|i| self.regions.get_mut(i));
        match region {
            Some(r) if !r.writable => Err(InterpError::ReadOnly(addr)),
            Some(r) => r.bytes.get_mut(start..start + len as usize).ok_or(InterpError::Access { addr, len }),
            None => Err(InterpError::Access { addr, len }),
        }
    }
    fn region(&self, addr: u64) -> Option<usize> {
        usize::try_from(addr >> 32).ok()?.checked_sub(1).filter(|&i| i < self.regions.len())
    }
    fn load(&self, width: Width, addr: u64) -> Result<u64, InterpError> {
        let mut word = [0; 8];
        let bytes = self.read(addr, width.bytes())?;
        word.iter_mut().zip(bytes).for_each(|(w, b)| *w = *b);
        Ok(u64::from_le_bytes(word))
    }
    fn store(&mut self, width: Width, addr: u64, value: u64) -> Result<(), InterpError> {
        let bytes = self.write(addr, width.bytes())?;
        bytes.iter_mut().zip(value.to_le_bytes()).for_each(|(b, v)| *b = v);
        Ok(())
    }
}

/// Answers helper calls.
pub trait Host {
    /// Performs a call. A map's handle is [`Interp::map_handle`].
    fn call(&mut self, helper: Helper, args: &[u64], memory: &mut Memory) -> Result<u64, InterpError>;

    /// Addresses of the keys and values of a hash map, for `bpf_for_each_map_elem`.
    fn elements(&mut self, _map: MapId, _memory: &mut Memory) -> Result<Vec<(u64, u64)>, InterpError> {
        Err(InterpError::Helper(helpers::FOR_EACH_MAP_ELEM))
    }
}

/// Knows no helper.
impl Host for () {
    fn call(&mut self, helper: Helper, _: &[u64], _: &mut Memory) -> Result<u64, InterpError> {
        Err(InterpError::Helper(helper))
    }
}

/// A module being run.
pub struct Interp<'a, H> {
    module: &'a Module,
    /// Memory; contexts and buffers are added by the caller.
    pub memory: Memory,
    /// The helpers.
    pub host: H,
    rodata: u64,
    steps: u64,
}

impl<'a, H: Host> Interp<'a, H> {
    /// A machine that executes at most `steps` operations.
    pub fn new(module: &'a Module, host: H, steps: u64) -> Self {
        let mut memory = Memory::default();
        let rodata = memory.add(module.rodata.clone(), false);
        Self { module, memory, host, rodata, steps }
    }

    /// What [`Op::Map`] yields.
    pub fn map_handle(map: MapId) -> u64 {
        MAP_HANDLE | u64::from(map.0)
    }

    /// Address of an array map's only value, made on first use.
    pub fn map_value(&mut self, map: MapId) -> Result<u64, InterpError> {
        let size = self.module.maps.get(map).ok_or_else(|| InterpError::Unsupported(map.to_string()))?.value_size;
        Ok(self.memory.map_value(map, size))
    }

    /// Runs a function to its return value.
    pub fn run(&mut self, func: FuncId, args: &[u64]) -> Result<u64, InterpError> {
        self.call(func, args, 0)
    }

    fn call(&mut self, id: FuncId, args: &[u64], depth: u32) -> Result<u64, InterpError> {
        if depth >= MAX_DEPTH {
            return Err(InterpError::Depth);
        }
        let module = self.module;
        let func = module.functions.get(id).ok_or_else(|| InterpError::Unsupported(id.to_string()))?;
        let mut frame = Frame { func, values: vec![0; func.values.len()].into(), slots: Vec::new() };
        for slot in &func.slots {
            frame.slots.push(self.memory.add(vec![0; slot.size as usize], true));
        }
        let mut block = Block::new(0);
        frame.enter(block, args)?;
        loop {
            let data = func.blocks.get(block).ok_or_else(|| InterpError::Unsupported(block.to_string()))?;
            for inst in &data.insts {
                self.step()?;
                let value = self.op(&inst.op, &frame, depth)?;
                if let Some(v) = inst.result {
                    frame.set(v, value)?;
                }
            }
            self.step()?;
            let target = match &data.term {
                Some(Terminator::Return(v)) => return frame.get(*v),
                Some(Terminator::Jump(t)) => t,
                Some(Terminator::Branch { cond, lhs, rhs, then, otherwise }) => {
                    if eval::cond(*cond, frame.get(*lhs)?, frame.get(*rhs)?) { then } else { otherwise }
                }
                None => return Err(InterpError::Unsupported("a block without an end".into())),
            };
            block = frame.jump(target)?;
        }
    }

    fn step(&mut self) -> Result<(), InterpError> {
        self.steps = self.steps.checked_sub(1).ok_or(InterpError::Steps)?;
        Ok(())
    }

    fn op(&mut self, op: &Op, frame: &Frame<'_>, depth: u32) -> Result<u64, InterpError> {
        let at = |addr: Value, offset: i32| Ok(frame.get(addr)?.wrapping_add_signed(i64::from(offset)));
        let args = |values: &[Value]| values.iter().map(|&v| frame.get(v)).collect::<Result<Vec<u64>, _>>();
        Ok(match op {
            Op::Const(c) => *c as u64,
            Op::Bin(op, a, b) => eval::bin(*op, frame.get(*a)?, frame.get(*b)?),
            Op::Ext(ext, v) => eval::ext(*ext, frame.get(*v)?),
            Op::ByteSwap(bits, v) => eval::byte_swap(*bits, frame.get(*v)?),
            Op::Cmp(cond, a, b) => u64::from(eval::cond(*cond, frame.get(*a)?, frame.get(*b)?)),
            Op::Load { width, addr, offset } => self.memory.load(*width, at(*addr, *offset)?)?,
            Op::Store { width, addr, offset, value } => {
                self.memory.store(*width, at(*addr, *offset)?, frame.get(*value)?)?;
                0
            }
            Op::AtomicAdd { width, addr, offset, value } => {
                let addr = at(*addr, *offset)?;
                let sum = self.memory.load(*width, addr)?.wrapping_add(frame.get(*value)?);
                self.memory.store(*width, addr, sum)?;
                0
            }
            Op::AtomicXchg { width, addr, offset, value } => {
                let addr = at(*addr, *offset)?;
                let old = self.memory.load(*width, addr)?;
                self.memory.store(*width, addr, frame.get(*value)?)?;
                old
            }
            Op::Zero { addr, offset, len, .. } => {
                self.memory.write(at(*addr, *offset)?, *len)?.fill(0);
                0
            }
            Op::Copy { dst, dst_offset, src, src_offset, len, .. } => {
                let bytes = self.memory.read(at(*src, *src_offset)?, *len)?.to_vec();
                self.memory.write(at(*dst, *dst_offset)?, *len)?.copy_from_slice(&bytes);
                0
            }
            Op::SlotAddr(s) => *frame.slots.get(s.index()).ok_or_else(|| InterpError::Unsupported(s.to_string()))?,
            Op::Map(m) => Self::map_handle(*m),
            Op::MapValue(m, offset) => self.map_value(*m)? + u64::from(*offset),
            Op::Rodata(offset) => self.rodata + u64::from(*offset),
            Op::FuncAddr(f) => FUNC_HANDLE | u64::from(f.0),
            Op::Call(helpers::LOOP, values) => self.bpf_loop(&args(values)?, depth)?,
            Op::Call(helpers::FOR_EACH_MAP_ELEM, values) => self.for_each(&args(values)?, depth)?,
            Op::Call(helper, values) => self.host.call(*helper, &args(values)?, &mut self.memory)?,
            Op::CallSub(f, values) => self.call(*f, &args(values)?, depth + 1)?,
            Op::CallKfunc(id, _) => return Err(InterpError::Unsupported(format!("kernel function {id}"))),
        })
    }

    /// `bpf_loop(count, callback, context, flags)`: iterations done, a callback that returns 1 ends it.
    fn bpf_loop(&mut self, args: &[u64], depth: u32) -> Result<u64, InterpError> {
        let &[count, callback, context, _] = args else {
            return Err(InterpError::Unsupported("arguments of bpf_loop".into()));
        };
        let func = FuncId((callback & u64::from(u32::MAX)) as u32);
        for i in 0..count {
            if self.call(func, &[i, context], depth + 1)? != 0 {
                return Ok(i + 1);
            }
        }
        Ok(count)
    }

    /// `bpf_for_each_map_elem(map, callback, context, flags)`: elements visited, a callback that returns 1 ends it.
    fn for_each(&mut self, args: &[u64], depth: u32) -> Result<u64, InterpError> {
        let &[map, callback, context, _] = args else {
            return Err(InterpError::Unsupported("arguments of bpf_for_each_map_elem".into()));
        };
        let func = FuncId((callback & u64::from(u32::MAX)) as u32);
        let elements = self.host.elements(MapId(map as u32), &mut self.memory)?;
        for (turn, (key, value)) in elements.iter().enumerate() {
            if self.call(func, &[map, *key, *value, context], depth + 1)? != 0 {
                return Ok(turn as u64 + 1);
            }
        }
        Ok(elements.len() as u64)
    }
}

struct Frame<'a> {
    func: &'a Function,
    values: IndexVec<Value, u64>,
    slots: Vec<u64>,
}

impl Frame<'_> {
    fn get(&self, v: Value) -> Result<u64, InterpError> {
        self.values.get(v).copied().ok_or_else(|| InterpError::Unsupported(v.to_string()))
    }
    fn set(&mut self, v: Value, value: u64) -> Result<(), InterpError> {
        *self.values.get_mut(v).ok_or_else(|| InterpError::Unsupported(v.to_string()))? = value;
        Ok(())
    }
    fn enter(&mut self, block: Block, args: &[u64]) -> Result<(), InterpError> {
        let func = self.func;
        let params = &func.blocks.get(block).ok_or_else(|| InterpError::Unsupported(block.to_string()))?.params;
        if params.len() != args.len() {
            return Err(InterpError::Unsupported(format!("{} arguments for {block}", args.len())));
        }
        params.iter().zip(args).try_for_each(|(&p, &a)| self.set(p, a))
    }
    fn jump(&mut self, target: &Target) -> Result<Block, InterpError> {
        let args = target.args.iter().map(|&v| self.get(v)).collect::<Result<Vec<u64>, _>>()?;
        self.enter(target.block, &args)?;
        Ok(target.block)
    }
}
