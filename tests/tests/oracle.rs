//! Generated programs compute the same in the interpreter and, compiled, in the kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use tapline_compiler::backend;
use tapline_compiler::index::Id;
use tapline_compiler::ir::generate::{self, CONTEXT_WORDS, OUTPUT_BYTES, Random};
use tapline_compiler::ir::interp::Interp;
use tapline_compiler::ir::sim_maps::SimMaps;
use tapline_compiler::ir::{FuncId, Module, verify};
use tapline_compiler::object;
use tapline_compiler::program::MapId;

/// Programs per run; `TAPLINE_ORACLE` asks for another number.
fn count() -> u64 {
    std::env::var("TAPLINE_ORACLE").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

fn context(seed: u64) -> [u64; CONTEXT_WORDS] {
    let mut random = Random(seed ^ 0x5eed);
    std::array::from_fn(|_| random.number() as u64)
}

/// Result, the array's value, the entries of the hash map.
type Outcome = (u32, Vec<u8>, Vec<(u64, u64)>);

fn interpret(module: &Module, context: &[u64; CONTEXT_WORDS]) -> Outcome {
    let mut interp = Interp::new(module, SimMaps::new(module), 1_000_000);
    let bytes = context.iter().flat_map(|w| w.to_le_bytes()).collect();
    let ctx = interp.memory.add(bytes, false);
    let result = interp.run(FuncId::new(0), &[ctx]).unwrap();
    let out = interp.map_value(MapId(0)).unwrap();
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let mut entries: Vec<(u64, u64)> =
        interp.host.entries(1, &interp.memory).iter().map(|(k, v)| (word(k), word(v))).collect();
    entries.sort_unstable();
    (result as u32, interp.memory.read(out, OUTPUT_BYTES).unwrap().to_vec(), entries)
}

#[test]
fn kernel_agrees_with_interpreter() {
    let Ok(mut kernel) = Kernel::new() else {
        assert!(std::env::var_os("TAPLINE_LADDER").is_none(), "the ladder runs with the right to load programs");
        eprintln!("skipped: needs the right to load programs");
        return;
    };
    for seed in 0..count() {
        let module = generate::module(seed);
        verify::verify(&module).unwrap();
        let context = context(seed);
        let expected = interpret(&module, &context);
        let compiled = backend::compile(module.clone()).unwrap();
        let elf = object::emit(&compiled.code, &compiled.module, &()).unwrap();
        let outcome = match kernel.run(&elf, &context) {
            Ok(r) => r,
            Err(e) => panic!("seed {seed}: {e:?}\n{module}"),
        };
        assert!(outcome == expected, "seed {seed}:\n{module}");
    }
}

struct Kernel {
    loader: aya::EbpfLoader<'static>,
}

impl Kernel {
    fn new() -> Result<Self, aya::EbpfError> {
        let mut kernel = Self { loader: aya::EbpfLoader::new() };
        let module = generate::module(0);
        let compiled = backend::compile(module).unwrap();
        let elf = object::emit(&compiled.code, &compiled.module, &()).unwrap();
        kernel.loader.load(&elf)?;
        Ok(kernel)
    }

    fn run(&mut self, elf: &[u8], context: &[u64; CONTEXT_WORDS]) -> Result<Outcome, Box<dyn std::error::Error>> {
        let mut ebpf = self.loader.load(elf)?;
        let prog: &mut RawTracePoint = ebpf.program_mut("p0").ok_or("no program")?.try_into()?;
        prog.load()?;
        let result = prog.test_run(RawTracePointRunOptions { args: *context, ..Default::default() })?;
        let out: aya::maps::Array<_, [u64; OUTPUT_BYTES as usize / 8]> =
            ebpf.map(".data.out").ok_or("no map")?.try_into()?;
        let words = out.get(&0, 0)?;
        let memory = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut entries = Vec::new();
        // A program that does not touch the hash map has none.
        if let Some(hash) = ebpf.map("hash") {
            let hash: aya::maps::HashMap<_, u64, u64> = hash.try_into()?;
            for entry in &hash {
                entries.push(entry?);
            }
        }
        entries.sort_unstable();
        Ok((result.return_value, memory, entries))
    }
}
