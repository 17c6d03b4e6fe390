//! bpf(2): programs, links, test runs and maps as byte slices. The attribute structs below follow `union bpf_attr` of
//! linux/bpf.h, cut after the last field that is used (the kernel takes shorter ones), with all padding explicit.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use aya_obj::generated::bpf_insn;

const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;
const PROG_TEST_RUN: libc::c_int = 10;
pub(super) const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const ENABLE_STATS: libc::c_int = 32;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BTF_LOAD: libc::c_int = 18;
const MAP_FREEZE: libc::c_int = 22;
const MAP_LOOKUP_BATCH: libc::c_int = 24;
const MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;
const MAP_UPDATE_BATCH: libc::c_int = 26;
const LINK_CREATE: libc::c_int = 28;
const ITER_CREATE: libc::c_int = 33;

/// `BPF_PROG_TYPE_KPROBE`.
pub const PROG_TYPE_KPROBE: u32 = 2;
/// `BPF_PROG_TYPE_TRACEPOINT`.
pub const PROG_TYPE_TRACEPOINT: u32 = 5;
/// `BPF_PROG_TYPE_PERF_EVENT`.
pub const PROG_TYPE_PERF_EVENT: u32 = 7;
/// `BPF_PROG_TYPE_RAW_TRACEPOINT`.
pub const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
/// `BPF_PROG_TYPE_SYSCALL`: run by us alone, with [`syscall_run`].
pub const PROG_TYPE_SYSCALL: u32 = 31;
/// `BPF_F_SLEEPABLE`, without which the kernel takes no program of type syscall.
const F_SLEEPABLE: u32 = 1 << 4;
/// `BPF_PROG_TYPE_TRACING`.
pub const PROG_TYPE_TRACING: u32 = 26;
/// `BPF_TRACE_FENTRY`.
pub const ATTACH_FENTRY: u32 = 24;
/// `BPF_TRACE_FEXIT`.
pub const ATTACH_FEXIT: u32 = 25;
/// `BPF_TRACE_ITER`.
pub const ATTACH_ITER: u32 = 28;
/// `BPF_PERF_EVENT`.
pub const ATTACH_PERF_EVENT: u32 = 41;
/// `BPF_TRACE_KPROBE_MULTI`.
pub const ATTACH_KPROBE_MULTI: u32 = 42;
/// `BPF_TRACE_KPROBE_SESSION`.
pub const ATTACH_KPROBE_SESSION: u32 = 56;
/// Attach type of programs for links over many user probes.
pub const ATTACH_UPROBE_MULTI: u32 = 48;
/// `BPF_F_KPROBE_MULTI_RETURN`.
pub const KPROBE_MULTI_RETURN: u32 = 1;
/// `BPF_F_UPROBE_MULTI_RETURN`.
const UPROBE_MULTI_RETURN: u32 = 1;

/// Calls bpf(2). Descriptors, sizes and pointers in `attr` must be valid for the command.
pub(super) unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: attr is a live struct of the given size; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes ownership of a descriptor that a system call has just returned.
pub(super) fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just given us this descriptor; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

fn address<T>(data: &[T]) -> u64 {
    if data.is_empty() { 0 } else { data.as_ptr() as u64 }
}

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_btf_obj_fd: u32,
    pad: u32,
}

/// Debug information of a program: records of `record_size` bytes each, as in `.BTF.ext`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtInfo<'a> {
    /// The records.
    pub bytes: &'a [u8],
    /// Bytes of one record.
    pub record_size: u32,
}

impl ExtInfo<'_> {
    fn count(&self) -> u32 {
        (self.bytes.len() as u32).checked_div(self.record_size).unwrap_or(0)
    }
}

/// What `BPF_PROG_LOAD` is told.
#[derive(Clone, Copy, Debug)]
pub struct ProgLoad<'a> {
    /// `BPF_PROG_TYPE_*`.
    pub prog_type: u32,
    /// `BPF_*` attach type, where the type asks for one, else 0.
    pub expected_attach_type: u32,
    /// Shown by bpftool; letters, digits, `_` and `.`, at most 15 of them.
    pub name: &'a str,
    /// The code, relocated.
    pub insns: &'a [bpf_insn],
    /// Licence.
    pub license: &'a CStr,
    /// The object's BTF in the kernel, without which the two infos are not passed.
    pub btf: Option<BorrowedFd<'a>>,
    /// Types of the functions.
    pub func_info: ExtInfo<'a>,
    /// Source lines.
    pub line_info: ExtInfo<'a>,
    /// What a program of type tracing belongs to.
    pub target: Option<BtfTarget<'a>>,
}

/// A function by its BTF.
#[derive(Clone, Copy, Debug)]
pub struct BtfTarget<'a> {
    /// Its id.
    pub id: u32,
    /// BTF of its module, or the BPF program that it belongs to; `None` for the kernel itself.
    pub module: Option<BorrowedFd<'a>>,
}

/// How much the verifier writes: nothing, or a log of this level (1 on branches, 2 on all instructions, +4 statistics).
#[derive(Clone, Copy, Debug)]
pub struct LogRequest {
    /// `log_level`.
    pub level: u32,
    /// Bytes of the buffer.
    pub capacity: usize,
}

/// Loads a program. With a log request the verifier's text is appended to `log`, on success as on failure; `ENOSPC` says
/// that it did not fit.
pub fn prog_load(load: &ProgLoad<'_>, request: Option<LogRequest>, log: &mut Vec<u8>) -> io::Result<OwnedFd> {
    let mut buffer = request.map(|r| vec![0u8; r.capacity]).unwrap_or_default();
    let mut attr = LoadAttr {
        prog_type: load.prog_type,
        insn_cnt: load.insns.len() as u32,
        insns: address(load.insns),
        license: load.license.as_ptr() as u64,
        log_level: request.map_or(0, |r| r.level),
        log_size: buffer.len() as u32,
        log_buf: if buffer.is_empty() { 0 } else { buffer.as_mut_ptr() as u64 },
        prog_flags: if load.prog_type == PROG_TYPE_SYSCALL { F_SLEEPABLE } else { 0 },
        expected_attach_type: load.expected_attach_type,
        ..LoadAttr::default()
    };
    for (to, from) in attr.prog_name.iter_mut().zip(load.name.bytes().take(15)) {
        *to = from;
    }
    if let Some(btf) = load.btf {
        attr.prog_btf_fd = btf.as_raw_fd() as u32;
        attr.func_info = address(load.func_info.bytes);
        attr.func_info_cnt = load.func_info.count();
        attr.func_info_rec_size = load.func_info.record_size;
        attr.line_info = address(load.line_info.bytes);
        attr.line_info_cnt = load.line_info.count();
        attr.line_info_rec_size = load.line_info.record_size;
    }
    if let Some(target) = load.target {
        attr.attach_btf_id = target.id;
        attr.attach_btf_obj_fd = target.module.map_or(0, |fd| fd.as_raw_fd() as u32);
    }
    // SAFETY: all pointers come from slices borrowed by `load` or from `buffer`, which live until after the call.
    let result = unsafe { bpf(PROG_LOAD, &mut attr) };
    log.extend(buffer.iter().copied().take_while(|&b| b != 0));
    result.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct BtfAttr {
    btf: u64,
    log_buf: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    pad: u32,
}

/// Loads BTF; `log` receives the kernel's complaint on failure.
pub fn btf_load(btf: &[u8], log: &mut Vec<u8>) -> io::Result<OwnedFd> {
    let mut attr = BtfAttr { btf: address(btf), size: btf.len() as u32, ..BtfAttr::default() };
    // SAFETY: `btf` lives until after the call.
    let first = unsafe { bpf(BTF_LOAD, &mut attr) };
    if let Ok(fd) = first {
        return Ok(owned(fd));
    }
    let mut buffer = vec![0u8; 64 << 10];
    attr.log_buf = buffer.as_mut_ptr() as u64;
    attr.log_size = buffer.len() as u32;
    attr.log_level = 1;
    // SAFETY: `btf` and `buffer` live until after the call.
    let result = unsafe { bpf(BTF_LOAD, &mut attr) };
    log.extend(buffer.iter().copied().take_while(|&b| b != 0));
    result.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct LinkPerfAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

/// Links a program to a perf event (kprobe, uprobe, tracepoint, timer or counter) with a cookie.
pub fn link_perf_event(prog: BorrowedFd<'_>, event: BorrowedFd<'_>, cookie: u64) -> io::Result<OwnedFd> {
    let mut attr = LinkPerfAttr {
        prog_fd: prog.as_raw_fd() as u32,
        target_fd: event.as_raw_fd() as u32,
        attach_type: ATTACH_PERF_EVENT,
        flags: 0,
        cookie,
    };
    // SAFETY: no pointers.
    unsafe { bpf(LINK_CREATE, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct LinkIterAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_len: u32,
    pad: u32,
}

/// `union bpf_iter_link_info`, as it is read for cgroups.
#[repr(C)]
#[derive(Default)]
struct CgroupIterInfo {
    order: u32,
    cgroup_fd: u32,
    cgroup_id: u64,
}

/// Links a program to the iterator that it was loaded for; `order` is that of cgroups.
pub fn link_iter(prog: BorrowedFd<'_>, order: Option<u32>) -> io::Result<OwnedFd> {
    let info = CgroupIterInfo { order: order.unwrap_or(0), ..CgroupIterInfo::default() };
    let mut attr =
        LinkIterAttr { prog_fd: prog.as_raw_fd() as u32, attach_type: ATTACH_ITER, ..LinkIterAttr::default() };
    if order.is_some() {
        attr.info = std::ptr::from_ref(&info) as u64;
        attr.info_len = size_of::<CgroupIterInfo>() as u32;
    }
    // SAFETY: `info` has `info_len` bytes and lives until after the call.
    unsafe { bpf(LINK_CREATE, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct PinAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Gives a program, map or link a name in the file system of BPF, which keeps it.
pub fn pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut attr = PinAttr { path: path.as_ptr() as u64, fd: object.as_raw_fd() as u32, flags: 0 };
    // SAFETY: `path` is NUL-terminated and lives until after the call.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

#[repr(C)]
#[derive(Default)]
struct IterAttr {
    link_fd: u32,
    flags: u32,
}

/// A file whose reading runs the program of an iterator's link.
pub fn iter_create(link: &OwnedFd) -> io::Result<OwnedFd> {
    let mut attr = IterAttr { link_fd: link.as_raw_fd() as u32, flags: 0 };
    // SAFETY: no pointers.
    unsafe { bpf(ITER_CREATE, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct LinkKprobeMultiAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    multi_flags: u32,
    cnt: u32,
    syms: u64,
    addrs: u64,
    cookies: u64,
}

/// Where in functions a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At their entry.
    Entry,
    /// At their return.
    Return,
    /// At both: [`ATTACH_KPROBE_SESSION`].
    Session,
}

/// Links a program to many kernel functions, by name; `cookies` has one per function.
pub fn link_kprobe_multi(
    prog: BorrowedFd<'_>,
    functions: &[CString],
    cookies: &[u64],
    when: When,
) -> io::Result<OwnedFd> {
    if functions.len() != cookies.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let names: Vec<u64> = functions.iter().map(|f| f.as_ptr() as u64).collect();
    let mut attr = LinkKprobeMultiAttr {
        prog_fd: prog.as_raw_fd() as u32,
        attach_type: if when == When::Session { ATTACH_KPROBE_SESSION } else { ATTACH_KPROBE_MULTI },
        multi_flags: if when == When::Return { KPROBE_MULTI_RETURN } else { 0 },
        cnt: names.len() as u32,
        syms: address(&names),
        cookies: address(cookies),
        ..LinkKprobeMultiAttr::default()
    };
    // SAFETY: `names` points to NUL-terminated strings of `functions`, and all arrays have `cnt` elements.
    unsafe { bpf(LINK_CREATE, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct LinkUprobeMultiAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_counters: u64,
    cookies: u64,
    cnt: u32,
    multi_flags: u32,
    pid: u32,
    pad: u32,
}

/// Links a program to many places of one file, in all processes or in one; `cookies` has one per place.
pub fn link_uprobe_multi(
    prog: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    cookies: &[u64],
    is_return: bool,
    pid: Option<u32>,
) -> io::Result<OwnedFd> {
    if offsets.len() != cookies.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut attr = LinkUprobeMultiAttr {
        prog_fd: prog.as_raw_fd() as u32,
        attach_type: ATTACH_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: address(offsets),
        cookies: address(cookies),
        cnt: offsets.len() as u32,
        multi_flags: if is_return { UPROBE_MULTI_RETURN } else { 0 },
        pid: pid.unwrap_or(0),
        ..LinkUprobeMultiAttr::default()
    };
    // SAFETY: `path` is NUL-terminated, both arrays have `cnt` elements, and all live until after the call.
    unsafe { bpf(LINK_CREATE, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct RawTracepointAttr {
    name: u64,
    prog_fd: u32,
    pad: u32,
    cookie: u64,
}

/// Links a program to a raw tracepoint. A cookie other than 0 needs Linux 6.10.
pub fn raw_tracepoint_open(prog: BorrowedFd<'_>, name: &CStr, cookie: u64) -> io::Result<OwnedFd> {
    let mut attr = RawTracepointAttr { name: name.as_ptr() as u64, prog_fd: prog.as_raw_fd() as u32, pad: 0, cookie };
    // SAFETY: `name` is NUL-terminated and lives until after the call.
    unsafe { bpf(RAW_TRACEPOINT_OPEN, &mut attr) }.map(owned)
}

/// Links a program of type tracing to the function that it was loaded for.
pub fn link_tracing(prog: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = RawTracepointAttr { prog_fd: prog.as_raw_fd() as u32, ..RawTracepointAttr::default() };
    // SAFETY: no pointers.
    unsafe { bpf(RAW_TRACEPOINT_OPEN, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// Runs a program of type syscall once. It may read and write `context`; returns what it returned.
pub fn syscall_run(prog: BorrowedFd<'_>, context: &mut [u8]) -> io::Result<u32> {
    let mut attr = TestRunAttr {
        prog_fd: prog.as_raw_fd() as u32,
        ctx_in: if context.is_empty() { 0 } else { context.as_mut_ptr() as u64 },
        ctx_size_in: context.len() as u32,
        ..TestRunAttr::default()
    };
    // SAFETY: the kernel reads and writes `context`, which lives until after the call, within its length.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.retval)
}

/// Runs a `raw_tp` program once with these arguments; returns what it returned.
pub fn raw_tp_run(prog: BorrowedFd<'_>, args: &[u64; 12]) -> io::Result<u32> {
    let mut attr = TestRunAttr {
        prog_fd: prog.as_raw_fd() as u32,
        ctx_in: address(args),
        ctx_size_in: size_of_val(args) as u32,
        ..TestRunAttr::default()
    };
    // SAFETY: `args` lives until after the call.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.retval)
}

#[repr(C)]
#[derive(Default)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Sizes of a map as its creator gave them, so that no call reads or writes past a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value as it crosses the system call: with one padded copy per possible CPU for per-CPU maps.
    pub value_size: usize,
}

/// A map seen as bytes.
#[derive(Clone, Copy, Debug)]
pub struct MapRef<'a> {
    /// The map.
    pub fd: BorrowedFd<'a>,
    /// Its sizes.
    pub shape: MapShape,
}

fn check(condition: bool) -> io::Result<()> {
    if condition { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
}

impl MapRef<'_> {
    fn attr(&self) -> ElemAttr {
        ElemAttr { map_fd: self.fd.as_raw_fd() as u32, ..ElemAttr::default() }
    }

    /// Copies the value into `value`; `NotFound` when there is no such key.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        check(key.len() == self.shape.key_size && value.len() == self.shape.value_size)?;
        let mut attr = ElemAttr { key: address(key), value: value.as_mut_ptr() as u64, ..self.attr() };
        // SAFETY: both slices have the sizes that the kernel expects of this map.
        unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
    }

    /// Inserts or replaces.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        check(key.len() == self.shape.key_size && value.len() == self.shape.value_size)?;
        let mut attr = ElemAttr { key: address(key), value: address(value), ..self.attr() };
        // SAFETY: as in `lookup`.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    /// Deletes; `NotFound` when there is no such key.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        check(key.len() == self.shape.key_size)?;
        let mut attr = ElemAttr { key: address(key), ..self.attr() };
        // SAFETY: as in `lookup`.
        unsafe { bpf(MAP_DELETE_ELEM, &mut attr) }.map(drop)
    }

    /// Writes the key after `key` (the first for `None`) into `next`; false at the end.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
        check(key.is_none_or(|k| k.len() == self.shape.key_size) && next.len() == self.shape.key_size)?;
        let mut attr = ElemAttr { key: key.map_or(0, address), value: next.as_mut_ptr() as u64, ..self.attr() };
        // SAFETY: as in `lookup`.
        match unsafe { bpf(MAP_GET_NEXT_KEY, &mut attr) } {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Reads, and with `delete` removes, up to `capacity` entries in one call. `token` carries the position from call to
    /// call, empty at the start. Appends to `keys` and `values`; true when the end was reached. `ENOSPC` asks for a
    /// larger capacity, `EINVAL` or `ENOTSUP` means that the map cannot do it.
    pub fn lookup_batch(
        &self,
        token: &mut Vec<u8>,
        capacity: usize,
        keys: &mut Vec<u8>,
        values: &mut Vec<u8>,
        delete: bool,
    ) -> io::Result<bool> {
        let token_size = self.shape.key_size.max(8);
        let mut out_token = vec![0u8; token_size];
        let (key_start, value_start) = (keys.len(), values.len());
        keys.resize(key_start + capacity * self.shape.key_size, 0);
        values.resize(value_start + capacity * self.shape.value_size, 0);
        let mut attr = BatchAttr {
            in_batch: address(token),
            out_batch: out_token.as_mut_ptr() as u64,
            keys: keys.get_mut(key_start..).map_or(0, |k| k.as_mut_ptr() as u64),
            values: values.get_mut(value_start..).map_or(0, |v| v.as_mut_ptr() as u64),
            count: capacity as u32,
            map_fd: self.fd.as_raw_fd() as u32,
            ..BatchAttr::default()
        };
        let command = if delete { MAP_LOOKUP_AND_DELETE_BATCH } else { MAP_LOOKUP_BATCH };
        // SAFETY: the out slices hold `capacity` keys and values of this map's sizes, the tokens at least a key.
        let result = unsafe { bpf(command, &mut attr) };
        let ended = matches!(&result, Err(e) if e.kind() == io::ErrorKind::NotFound);
        let count = if result.is_ok() || ended { (attr.count as usize).min(capacity) } else { 0 };
        keys.truncate(key_start + count * self.shape.key_size);
        values.truncate(value_start + count * self.shape.value_size);
        if !ended {
            result?;
            *token = out_token;
        }
        Ok(ended)
    }

    /// Inserts or replaces entries in one call, one after the other in both slices.
    pub fn update_batch(&self, keys: &[u8], values: &[u8]) -> io::Result<()> {
        let count = keys.len() / self.shape.key_size.max(1);
        check(keys.len() == count * self.shape.key_size && values.len() == count * self.shape.value_size)?;
        let mut attr = BatchAttr {
            keys: address(keys),
            values: address(values),
            count: u32::try_from(count).map_err(io::Error::other)?,
            map_fd: self.fd.as_raw_fd() as u32,
            ..BatchAttr::default()
        };
        // SAFETY: the slices hold `count` keys and values of this map's sizes.
        unsafe { bpf(MAP_UPDATE_BATCH, &mut attr) }.map(drop)
    }

    /// Makes the map read-only for user space.
    pub fn freeze(&self) -> io::Result<()> {
        // SAFETY: no pointers.
        unsafe { bpf(MAP_FREEZE, &mut self.attr()) }.map(drop)
    }
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct InfoAttr {
    pub(super) fd: u32,
    pub(super) info_len: u32,
    pub(super) info: u64,
}

/// Reads an object's info struct as 64-bit words; those that the kernel does not know stay 0.
pub(super) fn object_info<const WORDS: usize>(fd: BorrowedFd<'_>) -> io::Result<[u64; WORDS]> {
    let mut words = [0u64; WORDS];
    let mut attr =
        InfoAttr { fd: fd.as_raw_fd() as u32, info_len: size_of_val(&words) as u32, info: words.as_mut_ptr() as u64 };
    // SAFETY: `words` has `info_len` bytes; a zeroed info struct asks for no arrays.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(words)
}

/// `recursion_misses` of `struct bpf_prog_info`: runs that the kernel skipped since a program was already running.
pub fn prog_recursion_misses(prog: BorrowedFd<'_>) -> io::Result<u64> {
    let [.., misses, _verified] = object_info::<28>(prog)?;
    Ok(misses)
}

/// How long a program has run so far, while somebody holds what [`enable_run_time`] gave.
pub fn prog_run_time(prog: BorrowedFd<'_>) -> io::Result<Duration> {
    let [.., nanoseconds, _runs, _misses, _verified] = object_info::<28>(prog)?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// Makes the kernel measure how long programs run, until the descriptor is closed.
pub fn enable_run_time() -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct EnableStatsAttr {
        kind: u32,
    }
    // SAFETY: the struct has no pointers.
    let fd = unsafe { bpf(ENABLE_STATS, &mut EnableStatsAttr::default()) }?;
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `missed` of `struct bpf_link_info` for kprobe links: hits that the kernel skipped. 0 for other links and before Linux 6.7.
pub fn link_missed(link: BorrowedFd<'_>) -> io::Result<u64> {
    const LINK_TYPE_PERF_EVENT: u32 = 7;
    const LINK_TYPE_KPROBE_MULTI: u32 = 8;
    const PERF_EVENT_KPROBE: u32 = 3;
    const PERF_EVENT_KRETPROBE: u32 = 4;
    let [type_id, _, event, _, multi_missed, _, missed, _] = object_info::<8>(link)?;
    Ok(match (type_id as u32, event as u32) {
        (LINK_TYPE_KPROBE_MULTI, _) => multi_missed,
        (LINK_TYPE_PERF_EVENT, PERF_EVENT_KPROBE | PERF_EVENT_KRETPROBE) => missed,
        _ => 0,
    })
}
