//! A program with exactly known effects, to be traced by the cases.
//!
//! It prints what it did as `key=value` lines (its *truth*), so that an expectation can name them. With `--wait` it
//! prints what is known beforehand (pid, ports, paths), then the line `ready`, and acts when a line or end of file comes
//! on standard input: a tracer can be attached in between. It does nothing that its subcommand does not name, apart
//! from writing its truth.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use tapline_tests::sys;

/// Every way in which the workload itself fails is a plain message: there is nobody to react to it.
type Outcome<T> = Result<T, String>;

const USAGE: &str = "\
usage: workload [--wait] [--quiet] [--comm NAME] [--cgroup PATH] SUBCOMMAND [ARGS]

--cgroup moves it into a cgroup (version 2) of its own, which it removes at its end.

  true                          nothing
  print TEXT...                 write one line to standard output
  opens N PATH                  open and close PATH N times (openat); a missing file counts as failed
  reads N SIZE PATH             N reads of SIZE bytes each from a file made beforehand
  writes N SIZE PATH            N writes of SIZE bytes each to PATH
  direct-write N SIZE PATH      N O_DIRECT writes of SIZE bytes each (SIZE a multiple of 4096)
  direct-read N SIZE PATH       N O_DIRECT reads
  direct-write-pieces N M PATH  N O_DIRECT writes of M pieces of 4096 bytes each, which lie apart in memory
  connect N [PORT] [v4|v6]      N TCP connections to an own listener on loopback (PORT 0: any), each accepted and closed
  datagrams N SIZE ADDRESS      N UDP datagrams of SIZE bytes each to the discard port (9) of ADDRESS
  socketpair N TEXT             send TEXT N times through a UNIX stream socket to itself, reading each time
  udp N TEXT                    send TEXT N times as a datagram over loopback to itself, reading each time
  slow-pipe-read MS N           N reads of a pipe, each answered MS milliseconds after it began
  exec N PROG [ARGS]            start PROG (a path) N times, one after the other
  become PROG [ARGS]            go on as PROG (a path), in the same process
  fork N                        N children that exit at once
  beside PROG [ARGS]            start PROG (a path) beforehand, go on when it writes a line on standard error, and interrupt it
                                when its turn comes
  symbol NAME                   say the address of the kernel's symbol as `address`
  exit CODE                     end with this exit code
  spin MS                       use the processor for MS milliseconds
  nanosleep N MS                N nanosleep calls of MS milliseconds
  getpid N                      N getpid calls
  kill N SIGNAL                 send SIGNAL (a number) to itself N times, ignored
  faults N                      touch N fresh pages
  jit N                         make a function, tell its name in /tmp/perf-PID.map, call it N times: each calls getpid
  threads N                     N threads, each calling getpid once
  call-add N / call-mix N / call-greet N TEXT / call-point N / call-nest DEPTH
                                call the functions workload_add(i, 2*i), workload_mix(1..8), workload_greet(TEXT, 3),
                                workload_point({x: 7, y: -9}), workload_nest(DEPTH)
  call-cpp N                    call a function N times that C++ knows as tapline::seven(int), with 7
  call-touch N                  change the eight bytes at `watched` N times
  touch-threads N               N threads, one after the other, each changing the eight bytes at `watched` once
  call-usdt N                   pass N times the usdt probes tapline:tick, tapline:tock and tapline:forms
  call-sort N                   N times sort three numbers with qsort, whose comparison calls workload_add
  then: several subcommands in one run, separated by the word `then`
";

/// What was prepared before the wait and is used after it.
enum Prepared {
    Nothing,
    Listener(TcpListener),
    File(File),
    Threads,
    Generated(sys::Generated),
    Beside(Child),
}

/// Prints truth unless it is told to be quiet.
struct Truth {
    quiet: bool,
}

impl Truth {
    fn say(&self, key: &str, value: impl std::fmt::Display) {
        if !self.quiet {
            println!("{key}={value}");
        }
    }
}

fn word(args: &[String], index: usize, what: &str) -> Outcome<String> {
    args.get(index).cloned().ok_or_else(|| format!("missing argument: {what}"))
}

fn number(args: &[String], index: usize, what: &str) -> Outcome<u64> {
    let text = word(args, index, what)?;
    text.parse().map_err(|_| format!("{what} must be a number, not {text:?}"))
}

fn failed(what: &str) -> impl FnOnce(std::io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// A buffer of `size` bytes at an address that `O_DIRECT` accepts, as an offset into a larger vector.
struct AlignedBuffer {
    bytes: Vec<u8>,
    offset: usize,
    size: usize,
}

impl AlignedBuffer {
    fn new(size: usize) -> AlignedBuffer {
        let bytes = vec![0x5a; size + 4096];
        let offset = (4096 - bytes.as_ptr() as usize % 4096) % 4096;
        AlignedBuffer { bytes, offset, size }
    }

    fn slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.offset..self.offset + self.size).unwrap_or_default()
    }
}

/// What can and must be done before the wait, with the truth that is known by then.
fn prepare(args: &[String], truth: &Truth) -> Outcome<Prepared> {
    match word(args, 0, "SUBCOMMAND")?.as_str() {
        "call-add" => {
            truth.say("add_address", format_args!("{:#x}", sys::add_address()));
            Ok(Prepared::Nothing)
        }
        "call-touch" | "touch-threads" => {
            truth.say("watched", format_args!("{:#x}", sys::watched_address()));
            Ok(Prepared::Nothing)
        }
        "connect" => {
            let port = if args.len() > 2 { number(args, 2, "PORT")? } else { 0 };
            let address = match args.get(3).map(String::as_str) {
                None | Some("v4") => "127.0.0.1",
                Some("v6") => "::1",
                Some(other) => return Err(format!("v4 or v6, not {other:?}")),
            };
            let port = u16::try_from(port).map_err(|_| "PORT is too large".to_owned())?;
            let listener = TcpListener::bind((address, port)).map_err(failed("bind"))?;
            let bound = listener.local_addr().map_err(failed("local address"))?;
            truth.say("port", bound.port());
            truth.say("address", address);
            Ok(Prepared::Listener(listener))
        }
        "reads" => {
            let (count, size) = (number(args, 1, "N")?, number(args, 2, "SIZE")?);
            let path = word(args, 3, "PATH")?;
            let bytes = vec![0x61; usize::try_from(count * size).map_err(|_| "too large")?];
            std::fs::write(&path, bytes).map_err(failed(&path))?;
            File::open(&path).map(Prepared::File).map_err(failed(&path))
        }
        "writes" => {
            let path = word(args, 3, "PATH")?;
            File::create(&path).map(Prepared::File).map_err(failed(&path))
        }
        "direct-write" | "direct-read" | "direct-write-pieces" => {
            let path = word(args, 3, "PATH")?;
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_DIRECT)
                .open(&path)
                .map(Prepared::File)
                .map_err(failed(&path))
        }
        "symbol" => {
            let name = word(args, 1, "NAME")?;
            let table = std::fs::read_to_string("/proc/kallsyms").map_err(failed("kallsyms"))?;
            let address = table.lines().find_map(|line| {
                let mut fields = line.split_whitespace();
                let address = fields.next()?;
                (fields.nth(1) == Some(&name)).then_some(address)
            });
            truth.say("address", address.ok_or_else(|| format!("the kernel has no symbol {name:?}"))?);
            Ok(Prepared::Nothing)
        }
        "beside" => {
            let program = word(args, 1, "PROG")?;
            let mut child = Command::new(&program)
                .args(args.get(2..).unwrap_or_default())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(failed(&program))?;
            let mut line = String::new();
            let messages = child.stderr.take().ok_or("no standard error")?;
            BufReader::new(messages).read_line(&mut line).map_err(failed(&program))?;
            truth.say("beside", line.trim());
            Ok(Prepared::Beside(child))
        }
        "threads" => Ok(Prepared::Threads),
        "jit" => {
            let function = sys::generate_getpid().map_err(failed("mmap"))?;
            let line = format!("{:x} {:x} generated::getpid\n", function.address, function.len);
            std::fs::write(format!("/tmp/perf-{}.map", std::process::id()), line).map_err(failed("the perf map"))?;
            Ok(Prepared::Generated(function))
        }
        _ => Ok(Prepared::Nothing),
    }
}

/// The effect itself; returns the exit code.
fn act(args: &[String], prepared: Prepared, truth: &Truth) -> Outcome<u8> {
    let subcommand = word(args, 0, "SUBCOMMAND")?;
    match (subcommand.as_str(), prepared) {
        ("true" | "symbol", _) => {}
        ("print", _) => println!("{}", args.get(1..).unwrap_or_default().join(" ")),
        ("opens", _) => {
            let (count, path) = (number(args, 1, "N")?, word(args, 2, "PATH")?);
            let opened = (0..count).filter(|_| File::open(&path).is_ok()).count() as u64;
            truth.say("opened", opened);
            truth.say("failed", count - opened);
        }
        ("connect", Prepared::Listener(listener)) => {
            let count = number(args, 1, "N")?;
            let address = listener.local_addr().map_err(failed("local address"))?;
            for _ in 0..count {
                let near = TcpStream::connect(address).map_err(failed("connect"))?;
                let (far, _) = listener.accept().map_err(failed("accept"))?;
                drop(near);
                drop(far);
            }
            truth.say("connects", count);
        }
        ("reads", Prepared::File(mut file)) => {
            let (count, size) = (number(args, 1, "N")?, number(args, 2, "SIZE")?);
            let mut buffer = vec![0; usize::try_from(size).map_err(|_| "too large")?];
            let mut total = 0;
            for _ in 0..count {
                total += file.read(&mut buffer).map_err(failed("read"))?;
            }
            truth.say("reads", count);
            truth.say("bytes", total);
        }
        ("writes", Prepared::File(mut file)) => {
            let (count, size) = (number(args, 1, "N")?, number(args, 2, "SIZE")?);
            let buffer = vec![0x62; usize::try_from(size).map_err(|_| "too large")?];
            let mut total = 0;
            for _ in 0..count {
                total += file.write(&buffer).map_err(failed("write"))?;
            }
            truth.say("writes", count);
            truth.say("bytes", total);
        }
        ("direct-write" | "direct-read", Prepared::File(mut file)) => {
            let (count, size) = (number(args, 1, "N")?, number(args, 2, "SIZE")?);
            let mut buffer = AlignedBuffer::new(usize::try_from(size).map_err(|_| "too large")?);
            let mut total = 0;
            for _ in 0..count {
                total += if subcommand == "direct-write" {
                    file.write(buffer.slice()).map_err(failed("write"))?
                } else {
                    file.read(buffer.slice()).map_err(failed("read"))?
                };
            }
            truth.say("transfers", count);
            truth.say("bytes", total);
        }
        ("direct-write-pieces", Prepared::File(mut file)) => {
            let (count, pieces) = (number(args, 1, "N")?, number(args, 2, "M")?);
            // The same page again and again: it never lies behind itself.
            let mut page = AlignedBuffer::new(4096);
            let page = IoSlice::new(page.slice());
            let pieces = vec![page; usize::try_from(pieces).map_err(|_| "too many")?];
            let mut total = 0;
            for _ in 0..count {
                total += file.write_vectored(&pieces).map_err(failed("write"))?;
            }
            truth.say("transfers", count);
            truth.say("bytes", total);
        }
        ("datagrams", _) => {
            let (count, size) = (number(args, 1, "N")?, number(args, 2, "SIZE")?);
            let address = word(args, 3, "ADDRESS")?;
            let text = vec![0x63; usize::try_from(size).map_err(|_| "SIZE is too large")?];
            let socket = UdpSocket::bind("0.0.0.0:0").map_err(failed("bind"))?;
            for _ in 0..count {
                socket.send_to(&text, (address.as_str(), 9)).map_err(failed("send"))?;
            }
            truth.say("datagrams", count);
        }
        ("socketpair", _) => {
            let (count, text) = (number(args, 1, "N")?, word(args, 2, "TEXT")?);
            let (mut near, mut far) = UnixStream::pair().map_err(failed("socketpair"))?;
            let mut buffer = vec![0; text.len()];
            for _ in 0..count {
                near.write_all(text.as_bytes()).map_err(failed("write"))?;
                far.read_exact(&mut buffer).map_err(failed("read"))?;
            }
            truth.say("messages", count);
        }
        ("udp", _) => {
            let (count, text) = (number(args, 1, "N")?, word(args, 2, "TEXT")?);
            let socket = UdpSocket::bind(("127.0.0.1", 0)).map_err(failed("bind"))?;
            let own = socket.local_addr().map_err(failed("getsockname"))?;
            let mut buffer = vec![0; text.len()];
            for _ in 0..count {
                socket.send_to(text.as_bytes(), own).map_err(failed("sendto"))?;
                socket.recv(&mut buffer).map_err(failed("recv"))?;
            }
            truth.say("messages", count);
        }
        ("slow-pipe-read", _) => {
            let (delay, count) = (number(args, 1, "MS")?, number(args, 2, "N")?);
            slow_pipe_read(Duration::from_millis(delay), count)?;
            truth.say("reads", count);
            truth.say("min_us", delay * 1000);
        }
        ("exec", _) => {
            let (count, program) = (number(args, 1, "N")?, word(args, 2, "PROG")?);
            for _ in 0..count {
                Command::new(&program)
                    .args(args.get(3..).unwrap_or_default())
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .status()
                    .map_err(failed(&program))?;
            }
            truth.say("execs", count);
        }
        ("become", _) => {
            let program = word(args, 1, "PROG")?;
            let error = Command::new(&program).args(args.get(2..).unwrap_or_default()).exec();
            return Err(failed(&program)(error));
        }
        ("fork", _) => {
            let count = number(args, 1, "N")?;
            for _ in 0..count {
                let child = sys::fork_and_wait(0).map_err(failed("fork"))?;
                truth.say("child", child);
            }
            truth.say("forks", count);
        }
        ("exit", _) => {
            let code = number(args, 1, "CODE")?;
            return u8::try_from(code).map_err(|_| "CODE is too large".to_owned());
        }
        ("spin", _) => {
            // Processor time, not time of day: samples of a profile are known however busy the machine is.
            let limit = sys::thread_time() + number(args, 1, "MS")? * 1_000_000;
            let mut rounds = 0_u64;
            while sys::thread_time() < limit {
                rounds = std::hint::black_box(rounds + 1);
            }
        }
        ("nanosleep", _) => {
            let (count, delay) = (number(args, 1, "N")?, number(args, 2, "MS")?);
            for _ in 0..count {
                sys::nanosleep(delay * 1_000_000).map_err(failed("nanosleep"))?;
            }
            truth.say("sleeps", count);
        }
        ("getpid", _) => {
            let count = number(args, 1, "N")?;
            for _ in 0..count {
                std::hint::black_box(sys::getpid());
            }
            truth.say("calls", count);
        }
        ("kill", _) => {
            let (count, signal) = (number(args, 1, "N")?, number(args, 2, "SIGNAL")?);
            let signal = i32::try_from(signal).map_err(|_| "SIGNAL is too large")?;
            sys::ignore_signal(signal);
            let own = i32::try_from(sys::getpid()).map_err(|_| "pid is too large")?;
            for _ in 0..count {
                sys::kill(own, signal).map_err(failed("kill"))?;
            }
            truth.say("signals", count);
        }
        ("faults", _) => {
            let count = number(args, 1, "N")?;
            let count = usize::try_from(count).map_err(|_| "N is too large")?;
            let pages = sys::touch_pages(count).map_err(failed("mmap"))?;
            truth.say("faults", count);
            truth.say("start", pages.start);
            truth.say("end", pages.end);
        }
        ("beside", Prepared::Beside(mut child)) => {
            let id = i32::try_from(child.id()).map_err(|_| "pid is too large")?;
            sys::kill(id, libc::SIGINT).map_err(failed("kill"))?;
            child.wait().map_err(failed("wait"))?;
        }
        ("jit", Prepared::Generated(function)) => {
            for _ in 0..number(args, 1, "N")? {
                std::hint::black_box((function.call)());
            }
        }
        ("touch-threads", _) => {
            for index in 0..number(args, 1, "N")? {
                let changed = std::thread::spawn(move || sys::workload_touch(i64::try_from(index).unwrap_or(0)));
                changed.join().map_err(|_| "a thread failed")?;
            }
        }
        ("threads", _) => {
            let count = number(args, 1, "N")?;
            for _ in 0..count {
                let thread = std::thread::spawn(|| {
                    std::hint::black_box(sys::getpid());
                    sys::gettid()
                });
                let tid = thread.join().map_err(|_| "a thread panicked".to_owned())?;
                truth.say("tid", tid);
            }
        }
        (function, _) if function.starts_with("call-") => call(function, args, truth)?,
        (other, _) => return Err(format!("unknown subcommand {other:?}\n{USAGE}")),
    }
    Ok(0)
}

/// Calls the uprobe targets, and tells what they returned.
fn call(function: &str, args: &[String], truth: &Truth) -> Outcome<()> {
    let count = number(args, 1, "N")?;
    for index in 1..=i64::try_from(count).map_err(|_| "N is too large")? {
        let result = match function {
            "call-add" => sys::workload_add(index, 2 * index),
            "call-mix" => sys::workload_mix(1, 2, 3, 4, 5, 6, 7, 8),
            "call-point" => sys::workload_point(Some(&sys::Point { x: 7, y: -9 })),
            "call-greet" => {
                let text = std::ffi::CString::new(word(args, 2, "TEXT")?).map_err(|_| "TEXT holds a NUL".to_owned())?;
                sys::workload_greet(text.as_ptr(), 3) as i64
            }
            "call-cpp" => i64::from(sys::workload_cpp(7)),
            "call-touch" => sys::workload_touch(index),
            "call-usdt" => sys::workload_usdt(-i32::try_from(index).map_err(|_| "N is too large")?),
            "call-sort" => sys::workload_sort(&mut [index + 2, index, index + 1]),
            "call-nest" => {
                let depth = u32::try_from(count).map_err(|_| "DEPTH is too large")?;
                truth.say("result", sys::workload_nest(depth));
                return Ok(());
            }
            other => return Err(format!("unknown subcommand {other:?}\n{USAGE}")),
        };
        truth.say("result", result);
    }
    Ok(())
}

/// Reads one byte `count` times from a pipe whose writer answers `delay` after each request.
/// Time for a thread to reach its system call, on an emulated machine too.
const READER_START: Duration = Duration::from_millis(20);

fn slow_pipe_read(delay: Duration, count: u64) -> Outcome<()> {
    let (mut reader, mut writer) = std::io::pipe().map_err(failed("pipe"))?;
    // The request travels over a channel, not over a pipe, so that the pipe's reads are the only vfs_read of this process.
    let (request, requests) = std::sync::mpsc::channel::<()>();
    let answering = std::thread::spawn(move || -> std::io::Result<()> {
        while requests.recv().is_ok() {
            // The reader may reach its read after the request: it has this long, so that the read takes no less than the delay.
            std::thread::sleep(delay + READER_START);
            writer.write_all(b"x")?;
        }
        Ok(())
    });
    let mut byte = [0];
    for _ in 0..count {
        request.send(()).map_err(|error| error.to_string())?;
        reader.read_exact(&mut byte).map_err(failed("pipe read"))?;
    }
    drop(request);
    answering.join().map_err(|_| "the writer panicked".to_owned())?.map_err(failed("pipe write"))
}

/// Folders that the workload has made for its cgroup, the outermost first. They are removed at the end.
struct OwnCgroup {
    root: PathBuf,
    made: Vec<PathBuf>,
}

impl OwnCgroup {
    fn enter(path: &str, truth: &Truth) -> Outcome<OwnCgroup> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").map_err(failed("mounts"))?;
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let dir = fields.nth(1)?;
            (fields.next() == Some("cgroup2")).then(|| PathBuf::from(dir))
        });
        let root = root.ok_or("there are no cgroups of version 2")?;
        let mut own = OwnCgroup { root: root.clone(), made: Vec::new() };
        let mut folder = root;
        for part in path.split('/') {
            folder.push(part);
            if !folder.exists() {
                std::fs::create_dir(&folder).map_err(failed("make a cgroup"))?;
                own.made.push(folder.clone());
            }
        }
        std::fs::write(folder.join("cgroup.procs"), "0").map_err(failed("enter a cgroup"))?;
        truth.say("cgroup", folder.display());
        truth.say("cgroup_id", std::fs::metadata(&folder).map_err(failed("look at a cgroup"))?.ino());
        Ok(own)
    }
}

impl Drop for OwnCgroup {
    /// Others may be in it still; then they remove it.
    fn drop(&mut self) {
        let _ = std::fs::write(self.root.join("cgroup.procs"), "0");
        for folder in self.made.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn run(mut args: Vec<String>) -> Outcome<u8> {
    let mut wait = false;
    let mut cgroup = None;
    let mut truth = Truth { quiet: false };
    loop {
        match args.first().map(String::as_str) {
            Some("--wait") => wait = true,
            Some("--quiet") => truth.quiet = true,
            Some("--comm") => {
                let name = word(&args, 1, "NAME")?;
                std::fs::write("/proc/self/comm", name).map_err(failed("comm"))?;
                args.remove(0);
            }
            Some("--cgroup") => {
                cgroup = Some(word(&args, 1, "PATH")?);
                args.remove(0);
            }
            _ => break,
        }
        args.remove(0);
    }
    if !truth.quiet {
        let (user, group) = sys::user_and_group();
        truth.say("pid", sys::getpid());
        truth.say("tid", sys::gettid());
        truth.say("uid", user);
        truth.say("gid", group);
    }
    let _cgroup = cgroup.map(|path| OwnCgroup::enter(&path, &truth)).transpose()?;
    let parts: Vec<&[String]> = args.split(|word| word == "then").collect();
    let mut prepared = Vec::new();
    for part in &parts {
        prepared.push(prepare(part, &truth)?);
    }
    if wait {
        println!("ready");
        std::io::stdout().flush().map_err(failed("stdout"))?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(failed("stdin"))?;
    }
    let mut code = 0;
    for (part, prepared) in parts.iter().zip(prepared) {
        code = act(part, prepared, &truth)?;
    }
    Ok(code)
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("workload: {message}");
            ExitCode::from(99)
        }
    }
}
