//! Builtins and synchronous functions, one arm each.

use super::scalar::int_of;
use super::stack::Walk;
use super::strings::{Length, capacity_of, literal};
use super::{FnLower, Loc, Mem};
use crate::diagnostic::Diagnostic;
use crate::ir::{BinOp as Ir, Cond, Value, Width, helpers};
use crate::program::{Attach, ProgramKind};
use crate::target::Arch;
use crate::typed::{Expr, ExprKind, Op, Session};
use crate::types::{AddrSpace, Type};

/// Strings that `join` reads at most, and bytes of each with terminator.
const ARGV_STRINGS: u32 = 64;
const ARGV_STRING: u32 = 1024;
/// Bytes of all of them at most.
pub(super) const ARGV_BYTES: u32 = 16 * ARGV_STRING;
/// Where `struct pt_regs` has the code segment (`x86_64`).
const CODE_SEGMENT: i32 = 136;
/// `AF_INET6`.
const AF_INET6: i64 = 10;

impl FnLower<'_, '_> {
    /// A builtin with a scalar result, or none.
    pub(super) fn builtin_scalar(&mut self, op: Op, args: &[Expr], e: &Expr) -> Value {
        if let Some(helper) = op.nullary_helper() {
            return self.b.call(helper, &[]);
        }
        match (op, args) {
            (Op::Pid, _) => {
                let ids = self.ids();
                self.b.bin_imm(Ir::LShr, ids, 32)
            }
            (Op::Tid, _) => {
                let ids = self.ids();
                self.b.ext(crate::ir::Ext::Zext32, ids)
            }
            (Op::InitialPid, _) => {
                let ids = self.b.call(helpers::GET_CURRENT_PID_TGID, &[]);
                self.b.bin_imm(Ir::LShr, ids, 32)
            }
            (Op::InitialTid, _) => {
                let ids = self.b.call(helpers::GET_CURRENT_PID_TGID, &[]);
                self.b.ext(crate::ir::Ext::Zext32, ids)
            }
            (Op::Uid | Op::Username, _) => {
                let ids = self.b.call(helpers::GET_CURRENT_UID_GID, &[]);
                self.b.ext(crate::ir::Ext::Zext32, ids)
            }
            (Op::Gid, _) => {
                let ids = self.b.call(helpers::GET_CURRENT_UID_GID, &[]);
                self.b.bin_imm(Ir::LShr, ids, 32)
            }
            (Op::Elapsed, _) => {
                let now = self.b.call(helpers::KTIME_GET_BOOT_NS, &[]);
                let start = self.b.iconst(self.m.facts.start_time_ns as i64);
                self.b.bin(Ir::Sub, now, start)
            }
            (Op::Func, _) => self.func(),
            (Op::FunctionAddress, _) => {
                let ctx = self.ctx;
                self.b.call(helpers::GET_FUNC_IP, &[ctx])
            }
            (Op::ProbeName, _) if self.serves_syscalls() => {
                let point = self.syscall_point();
                self.b.bin_imm(Ir::Sub, point, 1)
            }
            (Op::ProbeName, _) => {
                let ctx = self.ctx;
                let cookie = self.b.call(helpers::GET_ATTACH_COOKIE, &[ctx]);
                match self.program.session {
                    Some(Session::Return { step }) => self.b.bin_imm(Ir::Add, cookie, step),
                    _ => cookie,
                }
            }
            (Op::KernelSymbol, [address]) => self.scalar(address),
            (Op::ByteSwap, [value]) => {
                let v = self.scalar(value);
                match int_of(&value.ty).size {
                    1 => v,
                    size => {
                        let swapped = self.b.byte_swap(size * 8, v);
                        self.normalise(swapped, &e.ty)
                    }
                }
            }
            (Op::DataLoc, [field]) => {
                let pointer = self.record_data(field);
                self.as_number(pointer)
            }
            (Op::Strncmp, [a, b, n]) => self.strncmp(a, b, n),
            (Op::Strlen, [s]) => {
                let (capacity, temp) = (capacity_of(&s.ty).max(1), self.string_temp(&s.ty));
                let length = self.string_into(s, temp, capacity);
                match length {
                    Length::Register(n) => n,
                    Length::AtMost(_) => self.scan_length(temp, capacity),
                }
            }
            (Op::StackDepth, [stack]) => {
                let stack = self.local(stack);
                self.stack_depth(stack)
            }
            (Op::Strstr, [haystack, needle]) => self.position_of(haystack, needle),
            (Op::Memcmp { most }, [a, b, n]) => self.memcmp(a, b, n, most),
            (Op::Signal, [number]) => {
                let number = self.scalar(number);
                self.b.call(helpers::SEND_SIGNAL, &[number])
            }
            (Op::SignalThread, [number]) => {
                let number = self.scalar(number);
                self.b.call(helpers::SEND_SIGNAL_THREAD, &[number])
            }
            (Op::Override, [value]) => {
                let (ctx, value) = (self.ctx, self.scalar(value));
                self.b.call(helpers::OVERRIDE_RETURN, &[ctx, value])
            }
            (Op::TaskCodeSegment, _) => {
                let task = self.b.call(helpers::GET_CURRENT_TASK_BTF, &[]);
                let regs = self.b.call(helpers::TASK_PT_REGS, &[task]);
                self.b.load(Width::W8, regs, CODE_SEGMENT)
            }
            (Op::SocketCookie, [socket]) => {
                let exit = self.exit;
                match self.object(socket, exit) {
                    Some(object) => self.b.call(helpers::GET_SOCKET_COOKIE, &[object]),
                    None => self.no_object("socket_cookie()", socket),
                }
            }
            (Op::SkbOutput(action), [packet, length]) => self.packet(action, packet, length),
            (Op::WriteUser { most }, [to, from, n]) => {
                let (to, n) = (self.scalar(to), self.scalar(n));
                let n = self.clamp(n, most);
                let bytes = self.leading_bytes(from, n, most);
                let from = self.addr(bytes);
                self.b.call(helpers::PROBE_WRITE_USER, &[to, from, n])
            }
            (Op::Percentile { .. }, _) => {
                let message = "percentile() is known only where it is printed";
                let d = Diagnostic::error("percentile", message, e.span).label("the kernel cannot compute it");
                self.m.diagnostics.push(d.help("make it an argument of print() or printf()"));
                self.b.iconst(0)
            }
            (Op::Debug, [format, values @ ..]) => self.debug(format, values),
            (Op::SeqPrint, [format, values @ ..]) => self.seq_print(format, values),
            _ => {
                self.internal("this builtin as a scalar", e.span);
                self.b.iconst(0)
            }
        }
    }

    /// A builtin whose result lies in memory.
    pub(super) fn builtin_into(&mut self, op: Op, args: &[Expr], e: &Expr, dst: Mem) {
        match (op, args) {
            (Op::KernelStack | Op::UserStack | Op::UnwoundStack, _) => {
                let limit = if let Type::Stack { limit, .. } = e.ty { limit } else { super::stack::MAX_FRAMES };
                let walk = match op {
                    Op::KernelStack => Walk::Kernel,
                    Op::UserStack => Walk::User,
                    _ => Walk::UserByTables,
                };
                self.stack_into(walk, limit, dst);
            }
            (Op::UserSymbol, [address]) => {
                let address = self.scalar(address);
                self.b.store(Width::W8, dst.base, dst.offset, address);
                let ids = self.ids();
                let tgid = self.b.bin_imm(Ir::LShr, ids, 32);
                let place = dst.at(8);
                self.b.store(Width::W8, place.base, place.offset, tgid);
            }
            (Op::Shown(by), [number]) => {
                let number = self.scalar(number);
                self.b.store(Width::W8, dst.base, dst.offset, number);
                let by = self.b.iconst(by as i64);
                let place = dst.at(8);
                self.b.store(Width::W8, place.base, place.offset, by);
            }
            (Op::Inet, [family, address]) => self.inet_into(family, address, dst),
            (Op::Mac, [address]) => {
                let loc = self.bytes_of(address);
                self.copy_bytes(loc, dst, 6);
            }
            (Op::Buf, args) => {
                let capacity = capacity_of(&e.ty);
                let length = self.buffer_data(args, dst.at(4), capacity);
                self.b.store(Width::W4, dst.base, dst.offset, length);
            }
            _ => self.internal("this builtin as an aggregate", e.span),
        }
    }

    /// Where the data of a dynamic field lie. For the verifier this is a pointer into the context, with which hardly any
    /// arithmetic is allowed.
    pub(super) fn record_data(&mut self, field: &Expr) -> Value {
        let loc = self.scalar(field);
        let offset = self.b.bin_imm(Ir::And, loc, 0xffff);
        let ctx = self.ctx;
        self.b.bin(Ir::Add, ctx, offset)
    }

    /// A pointer as the number it is: what a helper copies the verifier knows nothing of.
    pub(super) fn as_number(&mut self, pointer: Value) -> Value {
        let (from, to) = (self.temp_bytes(8), self.temp_bytes(8));
        self.b.store(Width::W8, from.base, from.offset, pointer);
        let size = self.b.iconst(8);
        self.b.call(helpers::PROBE_READ_KERNEL, &[to.base, size, from.base]);
        self.b.load(Width::W8, to.base, to.offset)
    }

    /// `tgid << 32 | tid` of the current task, as seen from tapline's own pid namespace; 0 for a task outside of it.
    pub(super) fn ids(&mut self) -> Value {
        let Some(namespace) = self.m.facts.pid_namespace else {
            return self.b.call(helpers::GET_CURRENT_PID_TGID, &[]);
        };
        // `struct bpf_pidns_info` has the task's id first: read as one word it is what the plain helper returns.
        let info = self.temp_bytes(8);
        self.zero(info, 8);
        let device = self.b.iconst(namespace.dev as i64);
        let inode = self.b.iconst(namespace.ino as i64);
        let size = self.b.iconst(8);
        self.b.call(helpers::GET_NS_CURRENT_PID_TGID, &[device, inode, info.base, size]);
        self.b.load(Width::W8, info.base, info.offset)
    }

    /// Address of the probed function.
    fn func(&mut self) -> Value {
        let ctx = self.ctx;
        match self.program.kind {
            // The kernel knows the function only where it is entered.
            ProgramKind::Kprobe if self.is_within_function() => self.instruction_pointer(),
            ProgramKind::Kprobe
            | ProgramKind::Kretprobe
            | ProgramKind::KprobeMulti
            | ProgramKind::KretprobeMulti
            | ProgramKind::KprobeSession
            | ProgramKind::Fentry
            | ProgramKind::Fexit => self.b.call(helpers::GET_FUNC_IP, &[ctx]),
            _ => self.instruction_pointer(),
        }
    }

    /// That in `struct pt_regs`.
    fn instruction_pointer(&mut self) -> Value {
        let offset = match self.m.facts.arch {
            Arch::X86_64 => 128,
            Arch::Aarch64 => 256,
        };
        let ctx = self.ctx;
        self.b.load(Width::W8, ctx, offset)
    }

    /// One of the program's places may lie behind the start of its function.
    fn is_within_function(&self) -> bool {
        let probes = &self.m.script.probes;
        self.program.probes.iter().filter_map(|id| probes.get(*id)).any(|probe| match probe.attach {
            Attach::Kprobe { offset, .. } => offset != 0,
            Attach::KprobeAddress(_) => true,
            _ => false,
        })
    }

    /// Where the bytes of an array, or those that a pointer points to, lie.
    fn bytes_of(&mut self, e: &Expr) -> Loc {
        if let Type::Ptr(_, space) = &e.ty {
            let base = self.scalar(e);
            return Loc { space: *space, mem: Mem { base, offset: 0 } };
        }
        self.place(e)
    }

    fn copy_bytes(&mut self, src: Loc, dst: Mem, bytes: u32) {
        match src.space {
            AddrSpace::Bpf => self.copy(dst, src.mem, bytes),
            _ => self.read_remote(dst, src, bytes),
        }
    }

    /// `u64` family, 16 bytes of address.
    fn inet_into(&mut self, family: &Expr, address: &Expr, dst: Mem) {
        let af = self.scalar(family);
        self.b.store(Width::W8, dst.base, dst.offset, af);
        let place = dst.at(8);
        self.zero(place, 16);
        match &address.ty {
            ty if ty.is_scalar() && !matches!(ty, Type::Ptr(..)) => {
                let value = self.scalar(address);
                self.b.store(Width::W4, place.base, place.offset, value);
            }
            Type::Array(_, _) | Type::Str(_) | Type::Struct(_) => {
                let bytes = self.m.size(&address.ty).min(16);
                let loc = self.place(address);
                self.copy_bytes(loc, place, bytes);
            }
            _ => {
                let loc = self.bytes_of(address);
                let (six, four, end) = (self.b.block(), self.b.block(), self.b.block());
                self.b.branch_imm(Cond::Eq, af, AF_INET6, six, four);
                for (block, bytes) in [(six, 16), (four, 4)] {
                    self.b.enter(block);
                    self.copy_bytes(loc, place, bytes);
                    self.b.jump(end);
                }
                self.b.enter(end);
            }
        }
    }

    /// Copies a buffer's data; returns its length.
    pub(super) fn buffer_data(&mut self, args: &[Expr], dst: Mem, capacity: u32) -> Value {
        let Some(source) = args.first() else {
            return self.b.iconst(0);
        };
        let loc = self.bytes_of(source);
        let length = match args.get(1) {
            Some(length) => {
                let n = self.scalar(length);
                self.clamp(n, capacity)
            }
            None => self.b.iconst(i64::from(capacity)),
        };
        let helper = match loc.space {
            AddrSpace::User => helpers::PROBE_READ_USER,
            _ => helpers::PROBE_READ_KERNEL,
        };
        let (to, from) = (self.addr(dst), self.addr(loc.mem));
        let result = self.b.call(helper, &[to, length, from]);
        self.report_helper(helper, result);
        length
    }

    /// The strings of a NULL-terminated array of pointers, each with its terminator, one after the other.
    pub(super) fn argv_tail(&mut self, arg: &Expr, dst: Mem) -> Length {
        let Some(pointer) = (match &arg.kind {
            ExprKind::Call(Op::Argv, args) => args.first(),
            _ => None,
        }) else {
            self.internal("join() of something else than an array", arg.span);
            return Length::AtMost(0);
        };
        let space = if let Type::Ptr(_, space) = &pointer.ty { *space } else { AddrSpace::User };
        let helper =
            if space == AddrSpace::User { helpers::PROBE_READ_USER_STR } else { helpers::PROBE_READ_KERNEL_STR };
        let array = self.scalar(pointer);
        let (used, index) = (self.b.variable(), self.b.variable());
        let zero = self.b.iconst(0);
        self.b.set(used, zero);
        self.b.set(index, zero);
        let (head, read, there, good, end) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let i = self.b.get(index);
        self.b.branch_imm(Cond::ULt, i, i64::from(ARGV_STRINGS), read, end);
        self.b.enter(read);
        let bytes = self.b.bin_imm(Ir::Shl, i, 3);
        let base = self.b.bin(Ir::Add, array, bytes);
        let string = self.load_scalar(Loc { space, mem: Mem { base, offset: 0 } }, &Type::U64);
        self.b.branch_imm(Cond::Ne, string, 0, there, end);
        self.b.enter(there);
        // Room for one more whole string, in a shape that the verifier follows.
        let room = self.b.block();
        let n = self.b.get(used);
        self.b.branch_imm(Cond::ULe, n, i64::from(ARGV_BYTES - ARGV_STRING), room, end);
        self.b.enter(room);
        let base = self.b.bin(Ir::Add, dst.base, n);
        let to = self.addr(Mem { base, offset: dst.offset });
        let size = self.b.iconst(i64::from(ARGV_STRING));
        let got = self.b.call(helper, &[to, size, string]);
        self.report_helper(helper, got);
        self.b.branch_imm(Cond::SGt, got, 0, good, end);
        self.b.enter(good);
        let n = self.b.bin(Ir::Add, n, got);
        self.b.set(used, n);
        let i = self.b.bin_imm(Ir::Add, i, 1);
        self.b.set(index, i);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(end);
        Length::Register(self.b.get(used))
    }

    /// `bpf_trace_printk`: the kernel wants the format's length with terminator, and strings as addresses.
    fn debug(&mut self, format: &Expr, values: &[Expr]) -> Value {
        let mut args = self.kernel_format(format).to_vec();
        for value in values {
            args.push(self.for_kernel(value));
        }
        self.b.call(helpers::TRACE_PRINTK, &args)
    }

    /// `bpf_seq_printf`: the values in an array, for the file that the context leads to.
    fn seq_print(&mut self, format: &Expr, values: &[Expr]) -> Value {
        let size = 8 * values.len() as u32;
        let array = self.temp_bytes(size.max(8));
        for (value, n) in values.iter().zip(0..) {
            let word = self.for_kernel(value);
            self.b.store(Width::W8, array.base, array.offset + 8 * n, word);
        }
        let [text, length] = self.kernel_format(format);
        // Both pointers are the first of their structs.
        let meta = self.b.load(Width::W8, self.ctx, 0);
        let file = self.b.load(Width::W8, meta, 0);
        let (words, size) = (self.addr(array), self.b.iconst(i64::from(size)));
        self.b.call(helpers::SEQ_PRINTF, &[file, text, length, words, size])
    }

    /// A format in local memory and its length, the terminator included.
    fn kernel_format(&mut self, format: &Expr) -> [Value; 2] {
        let mut bytes = literal(format).unwrap_or_default();
        bytes.push(0);
        let text = self.temp_bytes(bytes.len() as u32);
        self.store_bytes(text, &bytes);
        [self.addr(text), self.b.iconst(bytes.len() as i64)]
    }

    /// A number, or the address of a string.
    fn for_kernel(&mut self, value: &Expr) -> Value {
        if value.ty.is_scalar() {
            return self.scalar(value);
        }
        let place = self.local(value);
        self.addr(place)
    }
}
