//! What decoding needs from outside a record: names of probes, symbols, stacks, users, clocks.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use tapline_compiler::program::{Clock, Manifest, StackMode, ValueType};

use crate::debug_info::Frame;
use crate::maps::table::Table;
use crate::sys::time::{KernelClock, now_ns, strftime};

use super::decode::read_uint;

/// A symbol found for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name, demangled if so configured.
    pub name: String,
    /// Bytes from its start to the address.
    pub offset: u64,
    /// File or kernel module that it lies in; empty for the kernel proper.
    pub module: String,
}

/// Where symbols come from.
pub trait Symbolizer {
    /// The kernel function or variable at an address.
    fn kernel(&self, address: u64) -> Option<Symbol>;
    /// The function of a process at an address. A symbol with an empty name knows its module alone.
    fn user(&self, tgid: u32, address: u64) -> Option<Symbol>;
    /// The source line of an address of a process, and the functions that were inlined there, the innermost first; empty when that is not
    /// known, or not asked for.
    fn source(&self, _tgid: u32, _address: u64) -> Vec<Frame> {
        Vec::new()
    }
    /// Build id (hexadecimal) and file offset of an address of a process.
    fn build_id(&self, tgid: u32, address: u64) -> Option<(String, u64)>;
    /// A process whose addresses will be asked for later, when it may be gone.
    fn remember(&self, _tgid: u32) {}
    /// From now on addresses of this process and its children, or of all, will be asked for, when they may be gone.
    fn watch(&self, _tgid: Option<u32>) {}
    /// Takes over what has been seen of the watched processes; to be called a few times a second.
    fn refresh(&self) {}
}

/// `@file:line`, where that is known.
fn write_source(source: Option<&Frame>, text: &mut String) {
    if let Some(Frame { file, line, .. }) = source.filter(|source| source.line > 0) {
        let _ = write!(text, "@{file}:{line}");
    }
}

/// A line for a function that was inlined: it has no code of its own, and so no offset.
fn write_inlined(frame: &Frame, address: u64, mode: StackMode, text: &mut String) {
    let name = frame.inlined.as_deref().unwrap_or_default();
    if mode == StackMode::Perf {
        let _ = writeln!(text, "\t{address:x} {name} [inlined]");
    } else {
        let _ = write!(text, "        {name}");
        write_source(Some(frame), text);
        text.push_str(" [inlined]\n");
    }
}

/// A symbolizer that knows nothing, for tests.
#[derive(Debug, Default)]
pub struct NoSymbols;

impl Symbolizer for NoSymbols {
    fn kernel(&self, _: u64) -> Option<Symbol> {
        None
    }
    fn user(&self, _: u32, _: u64) -> Option<Symbol> {
        None
    }
    fn build_id(&self, _: u32, _: u64) -> Option<(String, u64)> {
        None
    }
}

/// Everything that gives numbers their names. Nothing is read before it is asked for.
pub struct Context {
    probes: Vec<String>,
    longest: usize,
    trailer: String,
    stats_in_words: bool,
    symbols: Box<dyn Symbolizer>,
    stacks: Option<Table>,
    users: OnceCell<HashMap<u32, String>>,
    cgroups: RefCell<HashMap<(u64, String), String>>,
}

impl Context {
    /// For this script.
    pub fn new(manifest: &Manifest, symbols: Box<dyn Symbolizer>, stacks: Option<Table>) -> Self {
        Self {
            probes: manifest.probes.iter().map(|p| p.name.clone()).collect(),
            longest: manifest.config.max_strlen as usize,
            trailer: manifest.config.str_trunc_trailer.clone(),
            stats_in_words: manifest.config.stats_in_words,
            symbols,
            stacks,
            users: OnceCell::new(),
            cgroups: RefCell::default(),
        }
    }

    /// How `stats()` are printed.
    pub fn stats_in_words(&self) -> bool {
        self.stats_in_words
    }

    /// What follows a string of this many bytes in a place of that many: the trailer when it was cut. It was when it fills the place, or is
    /// as long as what is read at most, if the place is made for that. Longer ones, constants and what was put together, are whole.
    pub fn trailer(&self, bytes: usize, capacity: usize) -> &str {
        let cut = bytes >= capacity || (capacity > self.longest && bytes == self.longest);
        if cut { &self.trailer } else { "" }
    }

    /// The full name of an attach point.
    pub fn probe_name(&self, index: u64) -> &str {
        usize::try_from(index).ok().and_then(|i| self.probes.get(i)).map_or("", String::as_str)
    }

    /// `symbol+offset`, without `+0`; the address where there is no symbol.
    pub fn kernel_symbol(&self, address: u64) -> String {
        self.symbols.kernel(address).map_or_else(|| plain_address(address), |s| s.name)
    }

    /// As [`Self::kernel_symbol`], for a process.
    pub fn user_symbol(&self, tgid: u32, address: u64) -> String {
        match self.symbols.user(tgid, address) {
            Some(symbol) if !symbol.name.is_empty() => symbol.name,
            _ => plain_address(address),
        }
    }

    /// The stack with this id of the side map, for a process when `tgid` is given, else the kernel's: a newline, then a line per
    /// frame.
    pub fn stack(&self, id: u64, tgid: Option<u32>, mode: StackMode, limit: u32) -> String {
        let mut text = String::from("\n");
        if id == 0 {
            return text;
        }
        let Some(value) = self.stacks.as_ref().and_then(|table| table.lookup(&id.to_ne_bytes()).ok()) else {
            return text;
        };
        let room = (value.len() / 8).saturating_sub(1);
        let count = (read_uint(&value, 0, 8).min(u64::from(limit)) as usize).min(room);
        for frame in 1..=count {
            let address = read_uint(&value, frame * 8, 8);
            // A return address belongs to what follows the call.
            let inside = if frame > 1 { address.saturating_sub(1) } else { address };
            let mut source = match (tgid, mode) {
                (Some(tgid), StackMode::Bpftrace | StackMode::Perf) => self.symbols.source(tgid, inside),
                _ => Vec::new(),
            };
            let own = source.pop();
            for inlined in &source {
                write_inlined(inlined, address, mode, &mut text);
            }
            self.write_frame(address, tgid, mode, own.as_ref(), &mut text);
        }
        text
    }

    fn write_frame(&self, address: u64, tgid: Option<u32>, mode: StackMode, source: Option<&Frame>, text: &mut String) {
        let symbol = |text: &mut String| {
            let found = match tgid {
                None => self.symbols.kernel(address),
                Some(tgid) => self.symbols.user(tgid, address),
            };
            let _ = match &found {
                Some(symbol) if !symbol.name.is_empty() => write!(text, "{}+{}", symbol.name, symbol.offset),
                _ => write!(text, "{}", plain_address(address)),
            };
            found
        };
        match mode {
            StackMode::Bpftrace => {
                text.push_str("        ");
                symbol(text);
                write_source(source, text);
            }
            StackMode::Perf => {
                let _ = write!(text, "\t{address:x} ");
                let found = symbol(text);
                // The kernel's frames go without: their symbols are unique.
                if tgid.is_some() {
                    let module = found.map(|s| s.module).filter(|m| !m.is_empty());
                    let _ = write!(text, " ({})", module.as_deref().unwrap_or("[unknown]"));
                }
            }
            StackMode::Raw => {
                let _ = write!(text, "{address:x}");
            }
            StackMode::BuildId => match tgid.and_then(|tgid| self.symbols.build_id(tgid, address)) {
                Some((id, offset)) => {
                    let _ = write!(text, "{id} {offset:#x}");
                }
                None => {
                    let _ = write!(text, "{address:x}");
                }
            },
        }
        text.push('\n');
    }

    /// Looks at a process while it lives.
    pub fn remember(&self, tgid: u32) {
        self.symbols.remember(tgid);
    }

    /// Lets the kernel tell of the mappings of one process and its children, or of all.
    pub fn watch(&self, tgid: Option<u32>) {
        self.symbols.watch(tgid);
    }

    /// Takes over what the kernel has told.
    pub fn refresh(&self) {
        self.symbols.refresh();
    }

    /// Looks at the processes that the addresses in a map value or key belong to, while they live. `seen` holds those
    /// that have been looked at.
    pub fn remember_processes(&self, ty: &ValueType, data: &[u8], seen: &mut HashSet<u32>) {
        let mut found = Vec::new();
        processes_in(ty, data, 0, &mut found);
        for tgid in found {
            if seen.insert(tgid) {
                self.symbols.remember(tgid);
            }
        }
    }

    /// A time of a clock in local calendar form. Differences may be negative: before the system was started.
    pub fn timestamp(&self, format: &str, ns: u64, clock: Clock) -> String {
        let ns = i128::from(ns.cast_signed());
        let wall = match clock {
            Clock::Wall => ns,
            Clock::Boot => ns + offset_to_wall(KernelClock::Boot),
            Clock::Monotonic => ns + offset_to_wall(KernelClock::Monotonic),
            Clock::Tai => ns + offset_to_wall(KernelClock::Tai),
        };
        format_time(format, wall)
    }

    /// The name of a user by /etc/passwd; empty for an unknown one.
    pub fn username(&self, uid: u32) -> String {
        let users = self.users.get_or_init(|| {
            let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
            parse_passwd(&String::from_utf8_lossy(&passwd))
        });
        users.get(&uid).cloned().unwrap_or_default()
    }

    /// The path of a cgroup under the hierarchies that match `filter`.
    pub fn cgroup_path(&self, id: u64, filter: &str) -> String {
        let key = (id, filter.to_owned());
        if let Some(path) = self.cgroups.borrow().get(&key) {
            return path.clone();
        }
        let path = super::cgroup::path_of(id, filter);
        self.cgroups.borrow_mut().insert(key, path.clone());
        path
    }
}

/// True when values of this type hold addresses of user processes.
pub fn names_processes(ty: &ValueType) -> bool {
    match ty {
        ValueType::UserSymbol | ValueType::Stack { user: true, .. } => true,
        ValueType::Tuple { fields, .. } | ValueType::Struct { fields, .. } => {
            fields.iter().any(|f| names_processes(&f.ty))
        }
        _ => false,
    }
}

fn processes_in(ty: &ValueType, data: &[u8], depth: u32, found: &mut Vec<u32>) {
    match ty {
        ValueType::UserSymbol | ValueType::Stack { user: true, .. } => found.push(read_uint(data, 8, 4) as u32),
        ValueType::Tuple { fields, .. } | ValueType::Struct { fields, .. } if depth < 16 => {
            for field in fields {
                let data = data.get(field.offset as usize..).unwrap_or_default();
                processes_in(&field.ty, data, depth + 1, found);
            }
        }
        _ => {}
    }
}

fn plain_address(address: u64) -> String {
    if address == 0 { "0".to_owned() } else { format!("{address:#x}") }
}

/// The script's clocks are read in the kernel while it runs; the wall clock may be set meanwhile, so ask each time.
fn offset_to_wall(clock: KernelClock) -> i128 {
    i128::from(now_ns(KernelClock::Realtime)) - i128::from(now_ns(clock))
}

/// Local calendar time of `ns` since 1970 by a strftime format that also knows `%f`, six digits of microseconds.
pub fn format_time(format: &str, ns: i128) -> String {
    let seconds = i64::try_from(ns.div_euclid(1_000_000_000)).unwrap_or(0);
    let micros = ns.rem_euclid(1_000_000_000) / 1000;
    let mut expanded = String::with_capacity(format.len() + 4);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        expanded.push(c);
        if c == '%' {
            match chars.next() {
                Some('f') => {
                    expanded.pop();
                    let _ = write!(expanded, "{micros:06}");
                }
                Some(other) => expanded.push(other),
                None => {}
            }
        }
    }
    let mut out = Vec::new();
    strftime(&expanded, seconds, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn parse_passwd(text: &str) -> HashMap<u32, String> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, name))
    };
    // The first entry of a uid wins, as it does in the C library.
    let mut users = HashMap::new();
    for (uid, name) in text.lines().filter_map(entry) {
        users.entry(uid).or_insert(name);
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd() {
        let users = parse_passwd("root:x:0:0::/root:/bin/sh\ntoor:x:0:0\nbad\nann:x:1000:1000\n");
        assert_eq!(users.get(&0).map(String::as_str), Some("root"));
        assert_eq!(users.get(&1000).map(String::as_str), Some("ann"));
        assert_eq!(users.len(), 2);
    }

    #[test]
    fn microseconds() {
        assert_eq!(format_time("%f|%%f", 1_000_000_000_000_123_456), "000123|%f");
        assert_eq!(format_time("%Y.%f", 1_000_000_000_999_999_999), "2001.999999");
    }
}
