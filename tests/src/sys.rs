//! The crate's only system calls by hand: what `std` does not offer to a workload or a runner.
//!
//! Everything here is a safe function over plain integers and owned buffers. No policy, no output, no knowledge of cases.
#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

/// Turns the `-1` convention of libc into a result.
fn checked(result: libc::c_long) -> io::Result<i64> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Limits the address space of this process.
pub fn limit_memory(bytes: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the structure lives until after the call.
    checked(libc::c_long::from(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) })).map(drop)
}

/// Sends `signal` to process `pid`, or to a process group when `pid` is negative.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers.
    checked(libc::c_long::from(unsafe { libc::kill(pid, signal) })).map(drop)
}

/// Makes a child that exits at once with `code`, and waits for it; its pid.
pub fn fork_and_wait(code: i32) -> io::Result<i32> {
    // SAFETY: the child calls nothing but _exit, which is async-signal-safe.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: ends this process without running any destructor of the parent's copies.
        unsafe { libc::_exit(code) }
    }
    checked(libc::c_long::from(pid))?;
    let mut status = 0;
    // SAFETY: `status` is a live integer, `pid` is our child.
    checked(libc::c_long::from(unsafe { libc::waitpid(pid, &raw mut status, 0) }))?;
    Ok(pid)
}

/// One `getpid` system call, past any cache of the C library.
pub fn getpid() -> i64 {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_getpid) }
}

/// What this process has used of the processors.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The kernel's id of the calling thread.
pub fn gettid() -> i64 {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// The user and the group of the process.
pub fn user_and_group() -> (u32, u32) {
    // SAFETY: no arguments.
    unsafe { (libc::getuid(), libc::getgid()) }
}

/// One `nanosleep` system call.
pub fn nanosleep(nanoseconds: u64) -> io::Result<()> {
    let request =
        libc::timespec { tv_sec: (nanoseconds / 1_000_000_000) as i64, tv_nsec: (nanoseconds % 1_000_000_000) as i64 };
    // SAFETY: `request` lives through the call, the remainder is not asked for.
    checked(unsafe { libc::syscall(libc::SYS_nanosleep, &raw const request, std::ptr::null::<u8>()) }).map(drop)
}

/// The processor time that the calling thread has used, in nanoseconds.
pub fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call, which fails only for unknown clocks.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Lets `signal` be delivered and ignored.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition for every catchable signal; others fail without effect.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// The result of touching fresh pages.
#[derive(Clone, Copy, Debug)]
pub struct TouchedPages {
    /// First address of the mapping.
    pub start: u64,
    /// First address after it.
    pub end: u64,
}

/// Maps `count` fresh anonymous pages without huge pages and writes one byte to each: `count` page faults in the range.
pub fn touch_pages(count: usize) -> io::Result<TouchedPages> {
    let page = 4096;
    let length = count * page;
    // SAFETY: a private anonymous mapping at an address of the kernel's choice; the result is checked.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range is the mapping just made; a refusal (no huge pages in this kernel) is harmless.
    unsafe { libc::madvise(base, length, libc::MADV_NOHUGEPAGE) };
    for index in 0..count {
        // SAFETY: index * page < length, inside the writable mapping.
        unsafe { base.cast::<u8>().add(index * page).write_volatile(1) };
    }
    let start = base as u64;
    // SAFETY: unmaps exactly the mapping made above; nothing points into it any more.
    checked(libc::c_long::from(unsafe { libc::munmap(base, length) }))?;
    Ok(TouchedPages { start, end: start + length as u64 })
}

/// A two-field structure that uprobe cases read through a pointer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// At offset 0.
    pub x: i32,
    /// At offset 8.
    pub y: i64,
}

/// Memory to be watched.
static WATCHED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// The address of the memory that [`workload_touch`] changes.
pub fn watched_address() -> usize {
    std::ptr::from_ref(&WATCHED) as usize
}

/// Changes eight bytes of memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_touch(value: i64) -> i64 {
    WATCHED.store(value.cast_unsigned(), std::sync::atomic::Ordering::Relaxed);
    value
}

/// Uprobe target: `tapline::seven(int)`, as a C++ compiler would name it.
#[unsafe(export_name = "_ZN7tapline5sevenEi")]
#[inline(never)]
pub extern "C" fn workload_cpp(value: i32) -> i32 {
    std::hint::black_box(value)
}

/// The address of [`workload_add`] as the file counts.
pub fn add_address() -> usize {
    unsafe extern "C" {
        static __ehdr_start: u8;
    }
    // The file begins where it is loaded: it is position-independent.
    (workload_add as *const () as usize).wrapping_sub(&raw const __ehdr_start as usize)
}

/// Variables for uprobes to find by name, one of each size.
#[unsafe(no_mangle)]
#[used]
#[allow(non_upper_case_globals)] // named as the functions are
pub static workload_byte: u8 = 0xa5;
/// See [`workload_byte`].
#[unsafe(no_mangle)]
#[used]
#[allow(non_upper_case_globals)] // named as the functions are
pub static workload_word: u32 = 0xdead_beef;
/// See [`workload_byte`].
#[unsafe(no_mangle)]
#[used]
#[allow(non_upper_case_globals)] // named as the functions are
pub static workload_text: [u8; 16] = *b"text of sixteen\0";

/// Uprobe target: the sum of two integers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_add(a: i64, b: i64) -> i64 {
    std::hint::black_box(a).wrapping_add(std::hint::black_box(b))
}

/// Uprobe target: six register arguments and two on the stack, weighted by position.
#[unsafe(no_mangle)]
#[inline(never)]
#[allow(clippy::too_many_arguments, clippy::many_single_char_names)] // the number of arguments is the point
pub extern "C" fn workload_mix(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64) -> i64 {
    std::hint::black_box(a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h)
}

/// Uprobe target: the length of a NUL-terminated string.
///
/// `text` must point to a NUL-terminated string; the function is public only so that its symbol is kept.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_greet(text: *const libc::c_char, repeat: u32) -> u64 {
    if text.is_null() {
        return 0;
    }
    // SAFETY: the only callers in this crate pass C string literals.
    let length = unsafe { libc::strlen(std::hint::black_box(text)) };
    length as u64 * u64::from(repeat)
}

/// Uprobe target: reads a structure through a pointer.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_point(point: Option<&Point>) -> i64 {
    std::hint::black_box(point).map_or(0, |point| i64::from(point.x) + point.y)
}

/// Calls a uprobe target through the C library, which has no frame pointers: `qsort` compares by `workload_add`.
#[inline(never)]
pub fn workload_sort(numbers: &mut [i64]) -> i64 {
    extern "C" fn compare(a: *const libc::c_void, b: *const libc::c_void) -> libc::c_int {
        // SAFETY: `qsort` hands over two elements of the slice.
        let (a, b) = unsafe { (*a.cast::<i64>(), *b.cast::<i64>()) };
        std::hint::black_box(workload_add(a, -b)) as libc::c_int
    }
    // SAFETY: the pointer and the count are those of the slice, the function compares such elements.
    unsafe { libc::qsort(numbers.as_mut_ptr().cast(), numbers.len(), size_of::<i64>(), Some(compare)) };
    numbers.first().copied().unwrap_or(0)
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(include_str!("usdt_x86_64.s"), options(att_syntax));

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    fn workload_tick(number: i32, text: *const libc::c_char, words: *const u64) -> u16;
    fn workload_forms(words: *const u64);
}

/// Passes the usdt probes `tapline:tick`, `tapline:tock` and `tapline:forms` with arguments of all kinds. Returns how many trace `tapline:tock`.
#[cfg(target_arch = "x86_64")]
pub fn workload_usdt(number: i32) -> i64 {
    let words = [11u64, 22, 33, 44];
    // SAFETY: the function uses the address of its argument only as a number.
    unsafe { workload_forms(words.as_ptr()) };
    // SAFETY: the function reads its arguments and a counter of its own.
    i64::from(unsafe { workload_tick(number, c"hello".as_ptr(), words.as_ptr()) })
}

/// Nothing on processors without usdt probes of ours.
#[cfg(not(target_arch = "x86_64"))]
pub fn workload_usdt(_number: i32) -> i64 {
    0
}

/// Uprobe target: calls itself `depth` times, so that a user stack has `depth + 1` such frames.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_nest(depth: u32) -> u32 {
    if depth == 0 {
        return workload_add(1, 2) as u32;
    }
    std::hint::black_box(workload_nest(depth - 1)) + 1
}

/// A page of this process at a fixed address, with these contents, to be read by a traced program. It stays for good.
pub fn page_at(address: usize, contents: &[u8; 4096]) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let wanted = std::ptr::without_provenance_mut(address);
    // SAFETY: the kernel refuses an address where something is mapped already.
    let page = unsafe { libc::mmap(wanted, contents.len(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    if page != wanted {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // SAFETY: the page has just been mapped writable, and nobody else knows of it.
    unsafe { page.cast::<[u8; 4096]>().write(*contents) };
    Ok(())
}

/// A function that was made while running.
pub struct Generated {
    /// Where it lies.
    pub address: usize,
    /// Its bytes.
    pub len: usize,
    /// The function.
    pub call: extern "C" fn() -> i64,
}

/// Makes a function that calls getpid, as a JIT would.
#[cfg(target_arch = "x86_64")]
pub fn generate_getpid() -> io::Result<Generated> {
    // push %rbp; mov %rsp, %rbp; mov $39, %eax; syscall; pop %rbp; ret
    const CODE: [u8; 13] = [0x55, 0x48, 0x89, 0xe5, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x5d, 0xc3];
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let size = 4096;
    // SAFETY: a fresh mapping, wherever the kernel likes.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is writable, longer than the code, and nobody else's; then it is never written again.
    unsafe {
        page.cast::<[u8; CODE.len()]>().write(CODE);
        if libc::mprotect(page, size, libc::PROT_READ | libc::PROT_EXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: what lies there is a whole function of this type, and stays.
    let call = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i64>(page) };
    Ok(Generated { address: page as usize, len: CODE.len(), call })
}

/// The code is that of another processor.
#[cfg(not(target_arch = "x86_64"))]
pub fn generate_getpid() -> io::Result<Generated> {
    Err(io::ErrorKind::Unsupported.into())
}
