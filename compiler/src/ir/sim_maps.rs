//! Hash maps for the interpreter, with the meaning that the kernel gives to lookup, update and delete.

use std::collections::{BTreeMap, HashMap};

use super::helpers::{self, E2BIG, EEXIST, ENOENT};
use super::interp::{Host, InterpError, Memory};
use super::{Helper, Module};

/// Flags of an update.
const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;

/// The hash maps of a module.
#[derive(Debug)]
pub struct SimMaps {
    /// Sizes of key and value, capacity.
    shapes: Vec<(u32, u32, usize)>,
    /// By map number and key: address of the value.
    entries: HashMap<u64, BTreeMap<Vec<u8>, u64>>,
}

impl SimMaps {
    /// Empty maps.
    pub fn new(module: &Module) -> Self {
        let shapes = module.maps.iter().map(|m| (m.key_size, m.value_size, m.max_entries as usize)).collect();
        Self { shapes, entries: HashMap::new() }
    }

    /// The entries of a map, in order of their keys.
    pub fn entries(&self, map: u32, memory: &Memory) -> Vec<(Vec<u8>, Vec<u8>)> {
        let size = self.shapes.get(map as usize).map_or(0, |s| s.1);
        let list = self.entries.get(&u64::from(map));
        list.into_iter()
            .flatten()
            .filter_map(|(k, &addr)| Some((k.clone(), memory.read(addr, size).ok()?.to_vec())))
            .collect()
    }
}

impl Host for SimMaps {
    fn call(&mut self, helper: Helper, args: &[u64], memory: &mut Memory) -> Result<u64, InterpError> {
        let arg = |n: usize| args.get(n).copied().unwrap_or(0);
        let map = arg(0) & u64::from(u32::MAX);
        let shape = usize::try_from(map).ok().and_then(|m| self.shapes.get(m).copied());
        let (key_size, value_size, capacity) = shape.ok_or(InterpError::Helper(helper))?;
        let entries = self.entries.entry(map).or_default();
        let key = memory.read(arg(1), key_size)?.to_vec();
        Ok(match helper {
            helpers::MAP_LOOKUP_ELEM => entries.get(&key).copied().unwrap_or(0),
            helpers::MAP_DELETE_ELEM => {
                if entries.remove(&key).is_some() {
                    0
                } else {
                    ENOENT as u64
                }
            }
            helpers::MAP_UPDATE_ELEM => {
                let (flags, present) = (arg(3), entries.contains_key(&key));
                if flags == NO_EXIST && present {
                    EEXIST as u64
                } else if flags == EXIST && !present {
                    ENOENT as u64
                } else if !present && entries.len() >= capacity {
                    E2BIG as u64
                } else {
                    let value = memory.read(arg(2), value_size)?.to_vec();
                    // A new element, as in the kernel: whoever holds the old address sees the old value.
                    let addr = memory.add(value, true);
                    entries.insert(key, addr);
                    0
                }
            }
            other => return Err(InterpError::Helper(other)),
        })
    }
}
