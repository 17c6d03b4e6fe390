//! The intermediate representation: a control-flow graph of basic blocks over 64-bit virtual registers in SSA form, with
//! block parameters in place of phi nodes. It knows memory, maps and helpers, but neither BPF registers nor the language.
//!
//! Invariants (checked by `verify` after every pass in debug builds): every value is defined once, and its definition
//! dominates its uses; every block ends in a terminator; the arguments of a jump match the parameters of its target.
//! Values are 64-bit; narrower arithmetic is written with [`Op::Ext`] after the operation.

// Indexing here is of `IndexVec`s by ids of the function at hand; slices are opened with `get`.
#![allow(clippy::indexing_slicing)]

use std::borrow::Cow;

use tapline_grammar::span::Span;

pub mod builder;
pub mod calls;
pub mod cfg;
pub mod dom;
mod edit;
pub mod eval;
pub mod generate;
pub mod interp;
pub mod parse;
pub mod passes;
mod print;
pub mod rewrite;
pub mod sim_maps;
pub mod slot_life;
pub mod verify;

use crate::define_id;
use crate::index::IndexVec;
use crate::program::MapId;

define_id!(
    /// A virtual register.
    Value,
    "v"
);
define_id!(
    /// A basic block.
    Block,
    "b"
);
define_id!(
    /// A piece of memory local to one run of a function.
    Slot,
    "s"
);
define_id!(
    /// A function of the module.
    FuncId,
    "fn"
);

/// Everything that goes into one object.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Programs, subprograms and callbacks.
    pub functions: IndexVec<FuncId, Function>,
    /// Map definitions; the ids are those of the manifest.
    pub maps: IndexVec<MapId, MapDef>,
    /// Read-only data behind [`Op::Rodata`].
    pub rodata: Vec<u8>,
    /// Licence string of the object.
    pub license: String,
    /// The map of event counters, an array of one whose value is `u64` counters.
    pub counters: Option<MapId>,
    /// It is for a kernel whose verifier confuses the registers of functions that call each other; see [`passes::opaque`].
    pub frame_blind: bool,
}

/// A map of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDef {
    /// Symbol: `[A-Za-z0-9_.]`, the kernel keeps 15 bytes of it.
    pub symbol: String,
    /// Kind.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes of a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// Kernel map types; the value is `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)] // Names of the kernel.
pub enum MapKind {
    Hash = 1,
    Array = 2,
    PerfEventArray = 4,
    PercpuHash = 5,
    PercpuArray = 6,
    StackTrace = 7,
    LruHash = 9,
    LruPercpuHash = 10,
    RingBuf = 27,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Symbol: `[A-Za-z0-9_.]`.
    pub symbol: String,
    /// What it is.
    pub kind: FunctionKind,
    /// Blocks; the first is the entry. Its parameters are the function's: the context for a program.
    pub blocks: IndexVec<Block, BlockData>,
    /// Number of values made so far.
    pub values: IndexVec<Value, ValueData>,
    /// Local memory.
    pub slots: IndexVec<Slot, SlotData>,
    /// Where in the script it was written.
    pub span: Span,
    /// Position in the map of counters of the one for runs that found no free scratch slot; set for reentrant programs.
    pub missed_counter: Option<u32>,
}

/// What a function is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// Loaded and attached; the ELF section name, for instance `kprobe`, `tracepoint`, `raw_tp`, `perf_event`, `fentry/vfs_read`.
    Program {
        /// Section.
        section: Cow<'static, str>,
        /// The kernel may run the program again on the same CPU before it ends: scratch slots must be claimed.
        reentrant: bool,
    },
    /// Called with [`Op::CallSub`]; one return value.
    Sub,
    /// Address taken with [`Op::FuncAddr`] for `bpf_loop` (index, context) or `bpf_for_each_map_elem`
    /// (map, key, value, context).
    Callback(CallbackKind),
}

/// Signature of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackKind {
    /// `long (u64 index, void *ctx)`.
    Loop,
    /// `long (struct bpf_map *, void *key, void *value, void *ctx)`.
    ForEachMapElem,
}

/// A value's bookkeeping.
#[derive(Clone, Debug, Default)]
pub struct ValueData {
    /// For readers of the dump: the variable or builtin it stands for.
    pub name: Option<&'static str>,
}

/// Local memory. The placement pass decides whether it lies on the BPF stack or in the program's scratch slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotData {
    /// Bytes, a multiple of `align`.
    pub size: u32,
    /// 1, 2, 4 or 8.
    pub align: u32,
    /// Accessed at an offset that is not constant: never placed on the stack.
    pub indexed: bool,
    /// Its address goes to a helper that takes stack addresses only: always placed on the stack.
    pub pinned: bool,
}

/// A basic block.
#[derive(Clone, Debug, Default)]
pub struct BlockData {
    /// Values received from the jumps that lead here.
    pub params: Vec<Value>,
    /// Straight-line code.
    pub insts: Vec<Inst>,
    /// The end; `None` only while the block is being built.
    pub term: Option<Terminator>,
    /// Span of the terminator.
    pub term_span: Span,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inst {
    /// The value that it defines.
    pub result: Option<Value>,
    /// What it does.
    pub op: Op,
    /// Where it comes from.
    pub span: Span,
}

/// What an instruction does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A constant.
    Const(i64),
    /// 64-bit arithmetic.
    Bin(BinOp, Value, Value),
    /// Sign or zero extension of the low bits.
    Ext(Ext, Value),
    /// Byte order of the low 16, 32 or 64 bits reversed (big endian <-> native), upper bits zero.
    ByteSwap(u8, Value),
    /// 1 when the condition holds, else 0.
    Cmp(Cond, Value, Value),
    /// Loads zero-extended from `addr + offset`.
    Load {
        /// Width.
        width: Width,
        /// Base address.
        addr: Value,
        /// Bytes added.
        offset: i32,
    },
    /// Stores the low bits.
    Store {
        /// Width.
        width: Width,
        /// Base address.
        addr: Value,
        /// Bytes added.
        offset: i32,
        /// What is stored.
        value: Value,
    },
    /// Adds atomically (32 or 64 bit); no result.
    AtomicAdd {
        /// `W4` or `W8`.
        width: Width,
        /// Base address.
        addr: Value,
        /// Bytes added to the address.
        offset: i32,
        /// What is added.
        value: Value,
    },
    /// Exchanges atomically; the result is what was there.
    AtomicXchg {
        /// `W4` or `W8`.
        width: Width,
        /// Base address.
        addr: Value,
        /// Bytes added to the address.
        offset: i32,
        /// What is stored.
        value: Value,
    },
    /// Zeroes `len` bytes.
    Zero {
        /// Base address.
        addr: Value,
        /// Bytes added to the address.
        offset: i32,
        /// Bytes.
        len: u32,
        /// Known alignment of `addr + offset`.
        align: u32,
    },
    /// Copies `len` bytes between BPF memories (stack, scratch, map values, ring buffer) that do not overlap.
    Copy {
        /// Destination.
        dst: Value,
        /// Bytes added to it.
        dst_offset: i32,
        /// Source.
        src: Value,
        /// Bytes added to it.
        src_offset: i32,
        /// Bytes.
        len: u32,
        /// Known common alignment.
        align: u32,
    },
    /// Address of local memory.
    SlotAddr(Slot),
    /// Handle of a map, for helpers.
    Map(MapId),
    /// Address of byte `offset` in the only value of an array map with one entry.
    MapValue(MapId, u32),
    /// Address of byte `offset` of the read-only data.
    Rodata(u32),
    /// Calls a kernel helper.
    Call(Helper, Vec<Value>),
    /// Calls a function of the module.
    CallSub(FuncId, Vec<Value>),
    /// Calls a kernel function by BTF id of vmlinux.
    CallKfunc(u32, Vec<Value>),
    /// Address of a callback.
    FuncAddr(FuncId),
}

/// 64-bit arithmetic. Division by zero gives 0 (`UDiv`, `SDiv`) or the dividend (modulo), as in BPF; shifts use the low 6 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum BinOp {
    Add,
    Sub,
    Mul,
    UDiv,
    SDiv,
    UMod,
    SMod,
    And,
    Or,
    Xor,
    Shl,
    LShr,
    AShr,
}

/// Extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Ext {
    Zext8,
    Zext16,
    Zext32,
    Sext8,
    Sext16,
    Sext32,
}

/// Conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // `S` and `U` are signed and unsigned.
pub enum Cond {
    Eq,
    Ne,
    ULt,
    ULe,
    UGt,
    UGe,
    SLt,
    SLe,
    SGt,
    SGe,
    /// `lhs & rhs != 0`.
    Test,
}

impl Cond {
    /// The condition that holds when this one does not; `Test` has none.
    pub const fn inverted(self) -> Option<Self> {
        Some(match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::ULt => Self::UGe,
            Self::ULe => Self::UGt,
            Self::UGt => Self::ULe,
            Self::UGe => Self::ULt,
            Self::SLt => Self::SGe,
            Self::SLe => Self::SGt,
            Self::SGt => Self::SLe,
            Self::SGe => Self::SLt,
            Self::Test => return None,
        })
    }
}

/// Width of a memory access in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Width {
    W1,
    W2,
    W4,
    W8,
}

impl Width {
    /// In bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::W1 => 1,
            Self::W2 => 2,
            Self::W4 => 4,
            Self::W8 => 8,
        }
    }
    /// From bytes: 1, 2, 4 or 8.
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            1 => Some(Self::W1),
            2 => Some(Self::W2),
            4 => Some(Self::W4),
            8 => Some(Self::W8),
            _ => None,
        }
    }
}

/// How a block ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terminator {
    /// Goes on elsewhere.
    Jump(Target),
    /// Compares and goes on in one of two places.
    Branch {
        /// The comparison.
        cond: Cond,
        /// Left operand.
        lhs: Value,
        /// Right operand.
        rhs: Value,
        /// When it holds.
        then: Target,
        /// When not.
        otherwise: Target,
    },
    /// Ends the function with this result.
    Return(Value),
}

impl Terminator {
    /// Visits the targets, `then` first.
    pub fn for_each_target<'a>(&'a self, mut f: impl FnMut(&'a Target)) {
        match self {
            Self::Jump(t) => f(t),
            Self::Branch { then, otherwise, .. } => {
                f(then);
                f(otherwise);
            }
            Self::Return(_) => {}
        }
    }
    /// Visits the targets, `then` first.
    pub fn for_each_target_mut(&mut self, mut f: impl FnMut(&mut Target)) {
        match self {
            Self::Jump(t) => f(t),
            Self::Branch { then, otherwise, .. } => {
                f(then);
                f(otherwise);
            }
            Self::Return(_) => {}
        }
    }
    /// Visits every value that it reads, arguments included.
    pub fn for_each_use(&self, mut f: impl FnMut(Value)) {
        match self {
            Self::Branch { lhs, rhs, .. } => {
                f(*lhs);
                f(*rhs);
            }
            Self::Return(v) => f(*v),
            Self::Jump(_) => {}
        }
        self.for_each_target(|t| t.args.iter().copied().for_each(&mut f));
    }
}

impl Op {
    /// Depends on its operands alone, and does nothing but compute its result.
    pub const fn is_pure(&self) -> bool {
        match self {
            Self::Const(_)
            | Self::Bin(..)
            | Self::Ext(..)
            | Self::ByteSwap(..)
            | Self::Cmp(..)
            | Self::SlotAddr(_)
            | Self::Map(_)
            | Self::MapValue(..)
            | Self::Rodata(_)
            | Self::FuncAddr(_) => true,
            Self::Load { .. }
            | Self::Store { .. }
            | Self::AtomicAdd { .. }
            | Self::AtomicXchg { .. }
            | Self::Zero { .. }
            | Self::Copy { .. }
            | Self::Call(..)
            | Self::CallSub(..)
            | Self::CallKfunc(..) => false,
        }
    }
    /// Visits every value that it reads.
    pub fn for_each_use(&self, mut f: impl FnMut(Value)) {
        match self {
            Self::Const(_)
            | Self::SlotAddr(_)
            | Self::Map(_)
            | Self::MapValue(..)
            | Self::Rodata(_)
            | Self::FuncAddr(_) => {}
            Self::Bin(_, a, b) | Self::Cmp(_, a, b) => {
                f(*a);
                f(*b);
            }
            Self::Ext(_, v) | Self::ByteSwap(_, v) => f(*v),
            Self::Load { addr, .. } | Self::Zero { addr, .. } => f(*addr),
            Self::Store { addr, value, .. }
            | Self::AtomicAdd { addr, value, .. }
            | Self::AtomicXchg { addr, value, .. } => {
                f(*addr);
                f(*value);
            }
            Self::Copy { dst, src, .. } => {
                f(*dst);
                f(*src);
            }
            Self::Call(_, args) | Self::CallSub(_, args) | Self::CallKfunc(_, args) => {
                args.iter().copied().for_each(f);
            }
        }
    }
}

/// A block and the arguments for its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to.
    pub block: Block,
    /// One per parameter.
    pub args: Vec<Value>,
}

/// A kernel helper by its number in `enum bpf_func_id`; names, effects and first kernel are in `ir::helpers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Helper(pub u32);

pub mod helpers {
    //! The helpers that generated code calls: number (linux/bpf.h), name, what the optimiser may assume.

    use super::Helper;

    /// What helpers of maps return where there is no such entry.
    pub const ENOENT: i64 = -2;
    /// Where the map is full.
    pub const E2BIG: i64 = -7;
    /// Where an entry was to be made that is there already.
    pub const EEXIST: i64 = -17;

    /// What the optimiser may assume of a call.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Effect {
        /// Same result for the whole run of a program, touches no memory: may be shared and dropped.
        Constant,
        /// No effect, but another result each time (clocks, random numbers): may be dropped, not shared.
        Volatile,
        /// Reads or writes memory, or has a visible effect.
        Memory,
    }

    macro_rules! helpers {
        ($($konst:ident = $number:literal $name:literal $effect:ident;)*) => {
            $(#[doc = concat!("`bpf_", $name, "`.")] pub const $konst: Helper = Helper($number);)*
            /// Number, name without `bpf_`, effect.
            pub const TABLE: &[(Helper, &str, Effect)] = &[$((Helper($number), $name, Effect::$effect)),*];
        };
    }
    helpers! {
        MAP_LOOKUP_ELEM = 1 "map_lookup_elem" Memory;
        MAP_UPDATE_ELEM = 2 "map_update_elem" Memory;
        MAP_DELETE_ELEM = 3 "map_delete_elem" Memory;
        KTIME_GET_NS = 5 "ktime_get_ns" Volatile;
        TRACE_PRINTK = 6 "trace_printk" Memory;
        GET_PRANDOM_U32 = 7 "get_prandom_u32" Volatile;
        GET_SMP_PROCESSOR_ID = 8 "get_smp_processor_id" Constant;
        GET_CURRENT_PID_TGID = 14 "get_current_pid_tgid" Constant;
        GET_CURRENT_UID_GID = 15 "get_current_uid_gid" Constant;
        GET_CURRENT_COMM = 16 "get_current_comm" Memory;
        GET_STACKID = 27 "get_stackid" Memory;
        GET_CURRENT_TASK = 35 "get_current_task" Constant;
        PROBE_WRITE_USER = 36 "probe_write_user" Memory;
        GET_NUMA_NODE_ID = 42 "get_numa_node_id" Constant;
        PROBE_READ_STR = 45 "probe_read_str" Memory;
        GET_SOCKET_COOKIE = 46 "get_socket_cookie" Memory;
        OVERRIDE_RETURN = 58 "override_return" Memory;
        GET_STACK = 67 "get_stack" Memory;
        GET_CURRENT_CGROUP_ID = 80 "get_current_cgroup_id" Constant;
        SEND_SIGNAL = 109 "send_signal" Memory;
        SKB_OUTPUT = 111 "skb_output" Memory;
        PROBE_READ_USER = 112 "probe_read_user" Memory;
        PROBE_READ_KERNEL = 113 "probe_read_kernel" Memory;
        PROBE_READ_USER_STR = 114 "probe_read_user_str" Memory;
        PROBE_READ_KERNEL_STR = 115 "probe_read_kernel_str" Memory;
        SEND_SIGNAL_THREAD = 117 "send_signal_thread" Memory;
        JIFFIES64 = 118 "jiffies64" Volatile;
        GET_NS_CURRENT_PID_TGID = 120 "get_ns_current_pid_tgid" Memory;
        GET_CURRENT_ANCESTOR_CGROUP_ID = 123 "get_current_ancestor_cgroup_id" Constant;
        KTIME_GET_BOOT_NS = 125 "ktime_get_boot_ns" Volatile;
        SEQ_PRINTF = 126 "seq_printf" Memory;
        RINGBUF_OUTPUT = 130 "ringbuf_output" Memory;
        RINGBUF_RESERVE = 131 "ringbuf_reserve" Memory;
        RINGBUF_SUBMIT = 132 "ringbuf_submit" Memory;
        RINGBUF_DISCARD = 133 "ringbuf_discard" Memory;
        RINGBUF_QUERY = 134 "ringbuf_query" Memory;
        D_PATH = 147 "d_path" Memory;
        GET_CURRENT_TASK_BTF = 158 "get_current_task_btf" Constant;
        FOR_EACH_MAP_ELEM = 164 "for_each_map_elem" Memory;
        GET_FUNC_IP = 173 "get_func_ip" Constant;
        GET_ATTACH_COOKIE = 174 "get_attach_cookie" Constant;
        TASK_PT_REGS = 175 "task_pt_regs" Constant;
        LOOP = 181 "loop" Memory;
        STRNCMP = 182 "strncmp" Memory;
        MAP_LOOKUP_PERCPU_ELEM = 195 "map_lookup_percpu_elem" Memory;
        KTIME_GET_TAI_NS = 208 "ktime_get_tai_ns" Volatile;
    }

    impl Helper {
        fn row(self) -> Option<&'static (Helper, &'static str, Effect)> {
            TABLE.iter().find(|row| row.0 == self)
        }
        /// Name without `bpf_`.
        pub fn name(self) -> &'static str {
            self.row().map_or("unknown", |row| row.1)
        }
        /// What the optimiser may assume.
        pub fn effect(self) -> Effect {
            self.row().map_or(Effect::Memory, |row| row.2)
        }
    }
}

impl Op {
    /// Applies `f` to every value that the operation uses.
    pub fn map_uses(&mut self, mut f: impl FnMut(Value) -> Value) {
        match self {
            Self::Const(_)
            | Self::SlotAddr(_)
            | Self::Map(_)
            | Self::MapValue(..)
            | Self::Rodata(_)
            | Self::FuncAddr(_) => {}
            Self::Bin(_, a, b) | Self::Cmp(_, a, b) => {
                *a = f(*a);
                *b = f(*b);
            }
            Self::Ext(_, a) | Self::ByteSwap(_, a) | Self::Load { addr: a, .. } | Self::Zero { addr: a, .. } => {
                *a = f(*a);
            }
            Self::Store { addr, value, .. }
            | Self::AtomicAdd { addr, value, .. }
            | Self::AtomicXchg { addr, value, .. } => {
                *addr = f(*addr);
                *value = f(*value);
            }
            Self::Copy { dst, src, .. } => {
                *dst = f(*dst);
                *src = f(*src);
            }
            Self::Call(_, args) | Self::CallSub(_, args) | Self::CallKfunc(_, args) => {
                for a in args {
                    *a = f(*a);
                }
            }
        }
    }
}

impl Terminator {
    /// Applies `f` to every value that the terminator uses.
    pub fn map_uses(&mut self, mut f: impl FnMut(Value) -> Value) {
        let target = |t: &mut Target, f: &mut dyn FnMut(Value) -> Value| {
            for a in &mut t.args {
                *a = f(*a);
            }
        };
        match self {
            Self::Jump(t) => target(t, &mut f),
            Self::Branch { lhs, rhs, then, otherwise, .. } => {
                *lhs = f(*lhs);
                *rhs = f(*rhs);
                target(then, &mut f);
                target(otherwise, &mut f);
            }
            Self::Return(v) => *v = f(*v),
        }
    }
}

impl Function {
    /// Applies `f` to every use of a value (not to definitions).
    pub fn map_uses(&mut self, mut f: impl FnMut(Value) -> Value) {
        for data in &mut self.blocks {
            for inst in &mut data.insts {
                inst.op.map_uses(&mut f);
            }
            if let Some(term) = &mut data.term {
                term.map_uses(&mut f);
            }
        }
    }
}
