//! The typed tree: what `check` yields and `lower` consumes. Every expression has a type and a span; coercions are explicit
//! [`ExprKind::Cast`] nodes; macros, parameters, wildcards and names are gone.

use std::collections::BTreeSet;
use std::rc::Rc;

use tapline_grammar::span::Span;

use crate::define_id;
use crate::index::IndexVec;
use crate::ir::{MapKind, helpers};
use crate::program::{
    ActionId, ActionKind, Cgroup, Clock, Config, MapId, Percentile, ProbeDesc, ProbeId, ProgramKind, StackMode,
};
use crate::texts::Numbered;
use crate::types::{Aggregates, Type};

pub mod walk;

define_id!(
    /// A scratch variable of one program.
    VarId,
    "var"
);
define_id!(
    /// A user function of the script.
    FnId,
    "f"
);

/// A checked script.
#[derive(Debug, Default)]
pub struct TypedScript {
    /// One per BPF program.
    pub programs: Vec<TypedProgram>,
    /// The script's functions.
    pub functions: IndexVec<FnId, TypedFunction>,
    /// Attach points in textual order; the ids are those of the manifest.
    pub probes: IndexVec<ProbeId, ProbeDesc>,
    /// The script's maps in the order of their names, in which they are printed at exit; the ids are those of the manifest.
    pub maps: IndexVec<MapId, TypedMap>,
    /// One per call of an asynchronous function; the ids are those of the manifest.
    pub actions: IndexVec<ActionId, TypedAction>,
    /// Structs and enums that types refer to.
    pub aggregates: Aggregates,
    /// Settings for the runtime.
    pub config: Config,
    /// Settings for `lower`.
    pub limits: Limits,
}

/// Settings that shape the code.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Characters that `str()` reads at most.
    pub max_strlen: u32,
    /// Default capacity of keyed maps.
    pub max_map_keys: u32,
    /// The config variables by which a feature is refused.
    pub switched_off: BTreeSet<&'static str>,
    /// Presentation of stacks where the script does not say.
    pub stack_mode: StackMode,
    /// `ustack` walks by unwind tables.
    pub ustack_by_tables: bool,
    /// Programs of a script, at most.
    pub max_programs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_strlen: 1024,
            max_map_keys: 4096,
            switched_off: BTreeSet::new(),
            stack_mode: StackMode::Bpftrace,
            ustack_by_tables: false,
            max_programs: 1024,
        }
    }
}

/// A map with its inferred types.
#[derive(Clone, Debug)]
pub struct TypedMap {
    /// Name without `@`.
    pub name: String,
    /// `None` for a scalar map.
    pub key: Option<Type>,
    /// Value, perhaps an aggregation.
    pub value: Type,
    /// Kind asked for by a map declaration.
    pub declared: Option<MapKind>,
    /// Capacity.
    pub max_entries: u32,
    /// Where it first appears.
    pub span: Span,
}

/// An asynchronous function call's static part.
#[derive(Clone, Debug)]
pub struct TypedAction {
    /// What user space does.
    pub kind: ActionKind,
    /// Types of the arguments that the record carries.
    pub args: Vec<Type>,
    /// Arguments that are keys of histograms whose percentile is printed.
    pub percentiles: Vec<Percentile>,
    /// The call.
    pub span: Span,
}

/// Which tasks the command line wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TaskFilter {
    /// Those of this process, in the initial namespace's terms (`-p`).
    pub pid: Option<u32>,
    /// Those in this cgroup.
    pub cgroup: Option<Cgroup>,
}

/// One BPF program: one action with all attach points that can share its code.
#[derive(Clone, Debug)]
pub struct TypedProgram {
    /// How it is loaded.
    pub kind: ProgramKind,
    /// Its part in a session.
    pub session: Option<Session>,
    /// Where it is attached.
    pub probes: Vec<ProbeId>,
    /// What the current task must be, before the predicate.
    pub filter: TaskFilter,
    /// The predicate; any scalar.
    pub predicate: Option<Expr>,
    /// The action.
    pub body: Block,
    /// Scratch variables, also those of loops.
    pub vars: IndexVec<VarId, TypedVar>,
    /// From attach point to closing brace.
    pub span: Span,
}

/// Entries and returns of the same functions in one program of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// The entries.
    Entry {
        /// The program of the returns, by its position.
        returns: usize,
        /// Id of the kernel's function that is true at returns.
        is_return: u32,
    },
    /// The returns. A function has one cookie, that of its entry.
    Return {
        /// From the index of a function's entry to that of its return.
        step: i64,
    },
}

/// A user function. It calls only functions from which no way leads back to it.
#[derive(Clone, Debug)]
pub struct TypedFunction {
    /// As the script calls it.
    pub name: String,
    /// Its parameters, in order.
    pub params: Vec<VarId>,
    /// What it returns; void for nothing.
    pub ret: Type,
    /// Its statements; every way through them returns a value unless `ret` is void.
    pub body: Block,
    /// Scratch variables, parameters and those of loops among them.
    pub vars: IndexVec<VarId, TypedVar>,
    /// The definition.
    pub span: Span,
}

/// A scratch variable.
#[derive(Clone, Debug)]
pub struct TypedVar {
    /// Name without `$`.
    pub name: String,
    /// Its type over the whole program.
    pub ty: Type,
    /// Where it first appears.
    pub span: Span,
    /// Its address is taken: it must lie in memory.
    pub addressed: bool,
}

/// Statements, and perhaps a value.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// In order.
    pub stmts: Vec<Stmt>,
    /// The value of a block expression.
    pub value: Option<Box<Expr>>,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of statements.
#[derive(Clone, Debug)]
pub enum StmtKind {
    /// For its effect.
    Expr(Expr),
    /// `place = value`; the value has the place's type. A variable's first assignment is no different.
    Assign {
        /// Where to.
        place: Place,
        /// What.
        value: Expr,
    },
    /// `place op= value`; both scalar, of the place's type (shift counts may differ).
    Update {
        /// Read and written once.
        place: Place,
        /// Operator.
        op: BinOp,
        /// Right operand.
        value: Expr,
    },
    /// `@m[key] = count()` and its kind: the map's value type says which aggregation. `value` is `None` for `count()`.
    /// An integer of 64 bits otherwise.
    Aggregate {
        /// The map.
        map: MapId,
        /// The key, of the map's key type.
        key: Option<Expr>,
        /// What is aggregated.
        value: Option<Expr>,
    },
    /// Sends a record with these arguments, of the action's types.
    Send {
        /// The action.
        action: ActionId,
        /// The arguments.
        args: Vec<Expr>,
    },
    /// `if`.
    If {
        /// Any scalar.
        cond: Expr,
        /// When not zero.
        then: Block,
        /// When zero.
        otherwise: Block,
    },
    /// `while`.
    While {
        /// Any scalar.
        cond: Expr,
        /// The body.
        body: Block,
    },
    /// `unroll`.
    Unroll {
        /// Copies.
        count: u32,
        /// The body.
        body: Block,
    },
    /// `for ($v : start..end)`; start, end and the variable are int64.
    ForRange {
        /// The loop variable.
        var: VarId,
        /// First value.
        start: Expr,
        /// One past the last.
        end: Expr,
        /// The body.
        body: Block,
    },
    /// `for ($kv : @map)`; the variable is a tuple of key and value.
    ForMap {
        /// The loop variable.
        var: VarId,
        /// The map.
        map: MapId,
        /// The body.
        body: Block,
    },
    /// Leaves the innermost loop.
    Break,
    /// Next turn of the innermost loop.
    Continue,
    /// Ends the run of the function, or of the program. The value has the function's type; in a program it is int64.
    Return(Option<Expr>),
    /// A scope of its own.
    Block(Block),
}

/// What can be assigned to.
#[derive(Clone, Debug)]
pub enum Place {
    /// A scratch variable.
    Var(VarId),
    /// A map's value; the key has the map's key type.
    Map {
        /// The map.
        map: MapId,
        /// `None` for a scalar map.
        key: Option<Box<Expr>>,
    },
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its type.
    pub ty: Type,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A constant of a scalar type (two's complement bits).
    Int(i64),
    /// A string constant without terminator, cut to the type's capacity; or the bytes of a constant array.
    Str(Rc<[u8]>),
    /// A variable.
    Var(VarId),
    /// A map's value; zero (all bytes) when the key is absent. Of an aggregating map: the reduced value over all CPUs
    /// (count, sum, min, max, avg as an integer; stats as its average, or with a record type as
    /// count, average and total).
    MapGet {
        /// The map.
        map: MapId,
        /// `None` for a scalar map.
        key: Option<Box<Expr>>,
    },
    /// `has_key`, `delete`, `len`.
    MapCall {
        /// Which.
        op: MapOp,
        /// The map.
        map: MapId,
        /// The key, of the map's key type.
        key: Option<Box<Expr>>,
    },
    /// The program's context as a pointer into [`crate::types::AddrSpace::Ctx`]. `arg0`, `retval` and a tracepoint's `args.x` are
    /// `Field { base: Deref(Context), offset }` with the offset that the provider's table gives.
    Context,
    /// A synchronous builtin or function.
    Call(Op, Vec<Expr>),
    /// A call of a user function; the arguments have the types of its parameters.
    CallFn(FnId, Vec<Expr>),
    /// Prefix operator; operand and result have the same type (`Not`: any scalar to bool).
    Unary(UnOp, Box<Expr>),
    /// Arithmetic; operands have the type of the expression (shift counts may differ). Signedness comes from the type.
    Binary(BinOp, Box<Expr>, Box<Expr>),
    /// Comparison to bool; both operands have one type: scalar, string, buffer, tuple or array (those: `Eq`, `Ne` only). Strings may
    /// differ in capacity.
    Compare(CmpOp, Box<Expr>, Box<Expr>),
    /// Short circuit `&&`, `||` to bool; any scalars.
    Logical {
        /// `&&`, else `||`.
        and: bool,
        /// Evaluated first.
        lhs: Box<Expr>,
        /// Evaluated only if needed.
        rhs: Box<Expr>,
    },
    /// Both branches have the type of the expression, or both are void.
    Ternary {
        /// Any scalar.
        cond: Box<Expr>,
        /// When not zero.
        then: Box<Expr>,
        /// When zero.
        otherwise: Box<Expr>,
    },
    /// To the type of the expression: integer, bool, enum and pointer among each other (by truncation or extension
    /// as the source's signedness says); string to a capacity; tuple to a tuple of wider members; integer <-> array of the same size.
    Cast(Box<Expr>),
    /// Something that is no scalar, by numbers that do not lie side by side: each with the byte at which it goes; what none of them fills is zero.
    Parts(Vec<(u32, Expr)>),
    /// The object behind a pointer.
    Deref(Box<Expr>),
    /// A member of a struct or union, whose own place the base gives.
    Field {
        /// The struct: `Deref`, `Field`, `Index`, a variable or a map value.
        base: Box<Expr>,
        /// Byte offset; for a bitfield that of the integer that holds it.
        offset: u32,
        /// Bit offset from the least significant bit, and width, in an integer of the given bytes.
        bits: Option<Bits>,
    },
    /// An element of an array.
    Index {
        /// The array.
        base: Box<Expr>,
        /// Any integer; out of range gives zero.
        index: Box<Expr>,
    },
    /// Members of a tuple or record in order.
    Tuple(Vec<Expr>),
    /// A member of a tuple or record.
    Element {
        /// The tuple.
        base: Box<Expr>,
        /// Position.
        index: u32,
    },
    /// `&place`.
    AddrOf(Box<Expr>),
    /// `++`, `--` on an integer or pointer.
    IncDec {
        /// What is changed.
        place: Place,
        /// What is added (already scaled for pointers).
        delta: i64,
        /// The value is the new one.
        prefix: bool,
    },
    /// Statements, then a value.
    Block(Block),
}

/// A bitfield inside an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Bytes of the integer that is loaded: 1, 2, 4 or 8.
    pub load: u8,
    /// From the least significant bit.
    pub shift: u8,
    /// In bits.
    pub width: u8,
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum UnOp {
    Not,
    BitNot,
    Neg,
}

/// Arithmetic operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum BinOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    BitAnd,
    BitOr,
    BitXor,
    Shl,
    Shr,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum CmpOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Operations on maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapOp {
    /// Bool: the key is there.
    HasKey,
    /// Bool: the key was there, and is gone. Of a scalar map: the value becomes zero.
    Delete,
    /// Int64: number of entries.
    Len,
}

/// Synchronous builtins and functions, as `lower` knows them. Arguments and results:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `() -> uint32`: tgid.
    Pid,
    /// `() -> uint32`: thread id.
    Tid,
    /// `() -> uint32`.
    Uid,
    /// `() -> uint32`.
    Gid,
    /// `() -> username`.
    Username,
    /// `() -> string[16]`.
    Comm,
    /// `(int32 pid, void) -> string[16]`: the second runs when there is no such process.
    CommOf {
        /// The kernel's function that finds a task, by its id in BTF.
        acquire: u32,
        /// The one that takes it back.
        release: u32,
        /// Of the name in the task.
        offset: u32,
    },
    /// `() -> uint64`.
    Nsecs(Clock),
    /// `() -> uint64`: since the target's start time.
    Elapsed,
    /// `() -> uint32`.
    Cpu,
    /// `() -> uint32`.
    NumaNode,
    /// `() -> pointer to task_struct` (kernel).
    CurrentTask,
    /// `() -> uint32`.
    Random,
    /// `() -> uint64`.
    Cgroup,
    /// `() -> uint64`.
    Jiffies,
    /// `() -> kernel symbol`: address of the probed function.
    Func,
    /// `(int64) -> string`.
    TextOf(Numbered),
    /// `() -> probe name`: index of the attach point, from the cookie.
    ProbeName,
    /// `() -> stack`.
    KernelStack,
    /// `() -> stack`.
    UserStack,
    /// The user stack, unwound by tables.
    UnwoundStack,
    /// `(stack) -> int64`: number of frames.
    StackDepth,
    /// `(pointer [, integer]) -> string`: at most the integer's or the type's capacity of bytes with terminator, from the pointer's address space.
    Str,
    /// `(pointer, integer) -> buffer`.
    Buf,
    /// `(pointer to a NULL-terminated array of strings) -> `[`Type::Strings`]: only as argument of `join`.
    Argv,
    /// `(integer) -> kernel symbol`.
    KernelSymbol,
    /// `(integer) -> user symbol` of the current process.
    UserSymbol,
    /// `(uint64) -> timestamp` or cgroup path: shown by this entry of its table.
    Shown(u64),
    /// `(integer family, integer address | pointer or array of 4 or 16 bytes) -> inet`.
    Inet,
    /// `(array or pointer to 6 bytes) -> mac`.
    Mac,
    /// `(string, string, integer constant) -> int64`: 0 when the first bytes are equal.
    Strncmp,
    /// `(string or pointer) -> int64`: length.
    Strlen,
    /// `(string, string) -> int64`: where the second begins in the first, -1 if nowhere.
    Strstr,
    /// `(string, string) -> string`: one after the other.
    Concat,
    /// `(any, any, integer) -> int64`: the difference of the first bytes that are not equal, else 0; pointers stand for what they point to.
    Memcmp {
        /// Bytes at most.
        most: u32,
    },
    /// `(integer) -> integer` of the same size, bytes reversed.
    ByteSwap,
    /// `(uint32 field) -> pointer`: a tracepoint's `__data_loc` as the address of its data.
    DataLoc,
    /// `(integer)`: signal number to the current process.
    Signal,
    /// `(integer)`: signal number to the current thread.
    SignalThread,
    /// `(user pointer, any, integer)`: bytes of the second into the process's memory.
    WriteUser {
        /// Bytes at most.
        most: u32,
    },
    /// `(integer)`: what the probed function returns instead of running.
    Override,
    /// `() -> uint32`: tgid in the initial namespace.
    InitialPid,
    /// `() -> uint32`: thread id in the initial namespace.
    InitialTid,
    /// `() -> uint64`: code segment of the task when it entered the kernel (`x86_64`).
    TaskCodeSegment,
    /// `(key, or 0) -> number`, in a list of things to print only: user space reads the histogram.
    Percentile {
        /// The map.
        map: MapId,
        /// In thousandths of a percent.
        thousandths: u32,
    },
    /// `() -> uint64`: address of the traced function of a process.
    FunctionAddress,
    /// `(pointer to sock) -> uint64`.
    SocketCookie,
    /// `(pointer to sk_buff, uint64 length) -> int64`: sends the packet.
    SkbOutput(ActionId),
    /// `(struct path, or pointer to one) -> string`.
    Path,
    /// `(string constant, up to three scalars or strings)`: to the kernel's trace pipe.
    Debug,
    /// `(string constant, up to twelve scalars or strings)`: to whoever reads the file of an iterator.
    SeqPrint,
}

impl Op {
    /// The helper behind a builtin that is one call without arguments.
    pub fn nullary_helper(self) -> Option<crate::ir::Helper> {
        Some(match self {
            Self::Cpu => helpers::GET_SMP_PROCESSOR_ID,
            Self::NumaNode => helpers::GET_NUMA_NODE_ID,
            Self::CurrentTask => helpers::GET_CURRENT_TASK,
            Self::Random => helpers::GET_PRANDOM_U32,
            Self::Cgroup => helpers::GET_CURRENT_CGROUP_ID,
            Self::Jiffies => helpers::JIFFIES64,
            Self::Nsecs(Clock::Boot | Clock::Wall) => helpers::KTIME_GET_BOOT_NS,
            Self::Nsecs(Clock::Monotonic) => helpers::KTIME_GET_NS,
            Self::Nsecs(Clock::Tai) => helpers::KTIME_GET_TAI_NS,
            _ => return None,
        })
    }
}
