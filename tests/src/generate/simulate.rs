//! The kernel as far as generated scripts can see it: maps, the ring buffer, reading memory, the current task.

use std::collections::BTreeMap;

use tapline_compiler::ir::interp::{Host, InterpError, Memory};
use tapline_compiler::ir::{Helper, MapDef, MapKind, Module, helpers};
use tapline_compiler::program::MapId;

use super::PAGE;

const EFAULT: u64 = -14i64 as u64;
const ENOENT: u64 = -2i64 as u64;
const EEXIST: u64 = -17i64 as u64;
const E2BIG: u64 = -7i64 as u64;
const ENOMEM: u64 = -12i64 as u64;

/// Flags of an update.
const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;

/// What the clock, the task and the rest say: any number will do.
const SOMETHING: u64 = 0x1092_0000_1092;

/// A record in the ring buffer.
enum Record {
    /// Reserved, at this address.
    Open(u64, u32),
    /// Submitted.
    Done(Vec<u8>),
}

/// The simulated kernel.
pub struct Machine {
    maps: Vec<MapDef>,
    entries: BTreeMap<u32, BTreeMap<Vec<u8>, u64>>,
    ring: Vec<Record>,
    page: [u8; 4096],
    cpus: u32,
}

/// The words of a call.
struct Args<'a>(&'a [u64]);

impl Args<'_> {
    fn word(&self, n: usize) -> u64 {
        self.0.get(n).copied().unwrap_or(0)
    }
    fn len(&self, n: usize) -> u32 {
        u32::try_from(self.word(n)).unwrap_or(0)
    }
}

impl Machine {
    /// Empty maps; the program runs on the first of so many CPUs.
    pub fn new(module: &Module, cpus: u32) -> Self {
        let maps = module.maps.iter().cloned().collect();
        Self { maps, entries: BTreeMap::new(), ring: Vec::new(), page: super::page(), cpus }
    }

    fn map(&self, args: &Args<'_>, helper: Helper) -> Result<(MapId, MapDef), InterpError> {
        let id = MapId(args.word(0) as u32);
        let def = self.maps.get(id.0 as usize).cloned().ok_or(InterpError::Helper(helper))?;
        Ok((id, def))
    }

    /// The records since the last call, in order; those never submitted are left out.
    pub fn take_records(&mut self) -> Vec<Vec<u8>> {
        let records = std::mem::take(&mut self.ring).into_iter();
        records.filter_map(|record| if let Record::Done(bytes) = record { Some(bytes) } else { None }).collect()
    }

    /// Keys and values of a map, one after the other.
    pub fn contents(&self, id: MapId, memory: &mut Memory) -> Result<(Vec<u8>, Vec<u8>), InterpError> {
        let Some(def) = self.maps.get(id.0 as usize) else { return Ok((Vec::new(), Vec::new())) };
        if is_array(def.kind) {
            let addr = memory.map_value(id, def.value_size);
            return Ok((vec![0; def.key_size as usize], memory.read(addr, def.value_size)?.to_vec()));
        }
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (key, addr) in self.entries.get(&id.0).into_iter().flatten() {
            keys.extend_from_slice(key);
            values.extend_from_slice(memory.read(*addr, def.value_size)?);
        }
        Ok((keys, values))
    }

    /// Deletes all entries; those of an array are zeroed.
    pub fn clear(&mut self, id: MapId, memory: &mut Memory) -> Result<(), InterpError> {
        if self.maps.get(id.0 as usize).is_some_and(|def| is_array(def.kind)) {
            return self.zero(id, u32::MAX, memory);
        }
        self.entries.remove(&id.0);
        Ok(())
    }

    /// Sets the first `len` bytes of every value to zero.
    pub fn zero(&mut self, id: MapId, len: u32, memory: &mut Memory) -> Result<(), InterpError> {
        let Some(def) = self.maps.get(id.0 as usize) else { return Ok(()) };
        let len = len.min(def.value_size);
        if is_array(def.kind) {
            let addr = memory.map_value(id, def.value_size);
            memory.write(addr, len)?.fill(0);
        }
        for addr in self.entries.get(&id.0).into_iter().flat_map(BTreeMap::values) {
            memory.write(*addr, len)?.fill(0);
        }
        Ok(())
    }

    fn lookup(&mut self, args: &Args<'_>, memory: &mut Memory) -> Result<u64, InterpError> {
        let (id, def) = self.map(args, helpers::MAP_LOOKUP_ELEM)?;
        let key = memory.read(args.word(1), def.key_size)?;
        if is_array(def.kind) {
            let first = key.iter().all(|&b| b == 0);
            return Ok(if first { memory.map_value(id, def.value_size) } else { 0 });
        }
        Ok(self.entries.get(&id.0).and_then(|entries| entries.get(key)).copied().unwrap_or(0))
    }

    /// The copy of one CPU: those on which the program never ran hold zeros.
    fn lookup_on(&mut self, args: &Args<'_>, memory: &mut Memory) -> Result<u64, InterpError> {
        let found = self.lookup(args, memory)?;
        let cpu = args.word(2);
        Ok(match cpu {
            _ if found == 0 || cpu >= u64::from(self.cpus) => 0,
            0 => found,
            _ => {
                let (_, def) = self.map(args, helpers::MAP_LOOKUP_PERCPU_ELEM)?;
                memory.add(vec![0; def.value_size as usize], true)
            }
        })
    }

    fn update(&mut self, args: &Args<'_>, memory: &mut Memory) -> Result<u64, InterpError> {
        let (id, def) = self.map(args, helpers::MAP_UPDATE_ELEM)?;
        let key = memory.read(args.word(1), def.key_size)?.to_vec();
        let value = memory.read(args.word(2), def.value_size)?.to_vec();
        let entries = self.entries.entry(id.0).or_default();
        let (flags, present) = (args.word(3), entries.get(&key).copied());
        if is_array(def.kind) {
            let addr = memory.map_value(id, def.value_size);
            memory.write(addr, def.value_size)?.copy_from_slice(&value);
            return Ok(0);
        }
        match present {
            Some(_) if flags == NO_EXIST => return Ok(EEXIST),
            None if flags == EXIST => return Ok(ENOENT),
            None if entries.len() >= def.max_entries as usize => return Ok(E2BIG),
            // The CPU's own copy is written in place.
            Some(addr) if matches!(def.kind, MapKind::PercpuHash | MapKind::LruPercpuHash) => {
                memory.write(addr, def.value_size)?.copy_from_slice(&value);
            }
            // A new element: whoever holds the old address sees the old value.
            _ => {
                entries.insert(key, memory.add(value, true));
            }
        }
        Ok(0)
    }

    fn delete(&mut self, args: &Args<'_>, memory: &mut Memory) -> Result<u64, InterpError> {
        let (id, def) = self.map(args, helpers::MAP_DELETE_ELEM)?;
        let key = memory.read(args.word(1), def.key_size)?;
        Ok(if self.entries.entry(id.0).or_default().remove(key).is_some() { 0 } else { ENOENT })
    }

    /// The bytes that a program can read at an address of the kernel or of the process.
    fn readable<'m>(&'m self, addr: u64, len: u32, user: bool, memory: &'m Memory) -> Option<&'m [u8]> {
        if user {
            let start = usize::try_from(addr.checked_sub(PAGE)?).ok()?;
            return self.page.get(start..start.checked_add(len as usize)?);
        }
        memory.read(addr, len).ok()
    }

    /// `bpf_probe_read_*(dst, size, src)`.
    fn read(&mut self, args: &Args<'_>, user: bool, memory: &mut Memory) -> Result<u64, InterpError> {
        let len = args.len(1);
        let bytes = self.readable(args.word(2), len, user, memory).map(<[u8]>::to_vec);
        let to = memory.write(args.word(0), len)?;
        let Some(bytes) = bytes else {
            to.fill(0);
            return Ok(EFAULT);
        };
        to.copy_from_slice(&bytes);
        Ok(0)
    }

    /// `bpf_probe_read_*_str(dst, size, src)`: bytes copied, the terminator included.
    fn read_text(&mut self, args: &Args<'_>, user: bool, memory: &mut Memory) -> Result<u64, InterpError> {
        let len = args.len(1);
        if len == 0 {
            return Ok(0);
        }
        let mut text = Vec::new();
        let mut fault = false;
        while text.len() < len as usize {
            match self.readable(args.word(2).wrapping_add(text.len() as u64), 1, user, memory) {
                Some(&[byte]) => text.push(byte),
                _ => fault = true,
            }
            if fault || text.last() == Some(&0) {
                break;
            }
        }
        let to = memory.write(args.word(0), len)?;
        if fault {
            to.fill(0);
            return Ok(EFAULT);
        }
        if let Some(last) = text.last_mut() {
            *last = 0;
        }
        to.iter_mut().zip(&text).for_each(|(to, from)| *to = *from);
        Ok(text.len() as u64)
    }

    fn comm(args: &Args<'_>, memory: &mut Memory) -> Result<u64, InterpError> {
        let to = memory.write(args.word(0), args.len(1))?;
        to.fill(0);
        to.iter_mut().zip(b"generate").for_each(|(to, from)| *to = *from);
        Ok(0)
    }

    fn end_record(&mut self, addr: u64, submit: bool, memory: &Memory) -> Result<u64, InterpError> {
        let place = self.ring.iter_mut().find(|r| matches!(r, Record::Open(at, _) if *at == addr));
        let Some(record) = place else { return Err(InterpError::Access { addr, len: 0 }) };
        if let (Record::Open(at, len), true) = (&*record, submit) {
            *record = Record::Done(memory.read(*at, *len)?.to_vec());
        }
        Ok(0)
    }
}

const fn is_array(kind: MapKind) -> bool {
    matches!(kind, MapKind::Array | MapKind::PercpuArray)
}

impl Host for Machine {
    fn call(&mut self, helper: Helper, args: &[u64], memory: &mut Memory) -> Result<u64, InterpError> {
        let args = Args(args);
        match helper {
            helpers::MAP_LOOKUP_ELEM => self.lookup(&args, memory),
            helpers::MAP_LOOKUP_PERCPU_ELEM => self.lookup_on(&args, memory),
            helpers::MAP_UPDATE_ELEM => self.update(&args, memory),
            helpers::MAP_DELETE_ELEM => self.delete(&args, memory),
            helpers::PROBE_READ_KERNEL => self.read(&args, false, memory),
            helpers::PROBE_READ_USER => self.read(&args, true, memory),
            helpers::PROBE_READ_KERNEL_STR => self.read_text(&args, false, memory),
            helpers::PROBE_READ_USER_STR => self.read_text(&args, true, memory),
            helpers::GET_CURRENT_COMM => Self::comm(&args, memory),
            helpers::RINGBUF_OUTPUT => {
                let bytes = memory.read(args.word(1), args.len(2))?.to_vec();
                self.ring.push(Record::Done(bytes));
                Ok(0)
            }
            helpers::RINGBUF_RESERVE => {
                let len = args.len(1);
                // The memory of a reservation is not zeroed.
                let addr = memory.add(vec![0xa5; len as usize], true);
                self.ring.push(Record::Open(addr, len));
                Ok(addr)
            }
            helpers::RINGBUF_SUBMIT => self.end_record(args.word(0), true, memory),
            helpers::RINGBUF_DISCARD => self.end_record(args.word(0), false, memory),
            helpers::GET_STACK => Ok(ENOMEM),
            helpers::GET_SMP_PROCESSOR_ID | helpers::GET_NUMA_NODE_ID => Ok(0),
            helpers::KTIME_GET_NS
            | helpers::KTIME_GET_BOOT_NS
            | helpers::KTIME_GET_TAI_NS
            | helpers::JIFFIES64
            | helpers::GET_PRANDOM_U32
            | helpers::GET_CURRENT_PID_TGID
            | helpers::GET_CURRENT_UID_GID
            | helpers::GET_CURRENT_TASK
            | helpers::GET_CURRENT_CGROUP_ID
            | helpers::GET_FUNC_IP
            | helpers::GET_ATTACH_COOKIE => Ok(SOMETHING),
            other => Err(InterpError::Helper(other)),
        }
    }

    fn elements(&mut self, map: MapId, memory: &mut Memory) -> Result<Vec<(u64, u64)>, InterpError> {
        let entries = self.entries.get(&map.0).into_iter().flatten();
        Ok(entries.map(|(key, addr)| (memory.add(key.clone(), false), *addr)).collect())
    }
}
