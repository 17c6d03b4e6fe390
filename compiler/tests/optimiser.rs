//! The optimiser does not change what generated programs compute, and makes them smaller.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use tapline_compiler::index::Id;
use tapline_compiler::ir::generate::{self, CONTEXT_WORDS, OUTPUT_BYTES, Random};
use tapline_compiler::ir::interp::Interp;
use tapline_compiler::ir::sim_maps::SimMaps;
use tapline_compiler::ir::{FuncId, Module, parse, passes, verify};
use tapline_compiler::program::MapId;

/// Result, the array's value, the entries of the hash map.
type Outcome = (u64, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

fn run(module: &Module, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let mut interp = Interp::new(module, SimMaps::new(module), 1_000_000);
    let ctx = (0..CONTEXT_WORDS).flat_map(|_| random.number().to_le_bytes()).collect();
    let ctx = interp.memory.add(ctx, false);
    let result = interp.run(FuncId::new(0), &[ctx]).unwrap();
    let out = interp.map_value(MapId(0)).unwrap();
    let entries = interp.host.entries(1, &interp.memory);
    (result, interp.memory.read(out, OUTPUT_BYTES).unwrap().to_vec(), entries)
}

fn size(module: &Module) -> usize {
    module.functions.iter().flat_map(|f| &f.blocks).map(|b| b.insts.len() + 1).sum()
}

#[test]
fn results_stay_the_same() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..400 {
        let original = generate::module(seed);
        let mut optimised = original.clone();
        passes::optimise(&mut optimised).unwrap_or_else(|e| panic!("seed {seed}: {}\n{original}", e.message));
        verify::verify(&optimised).unwrap();
        for input in 0..3 {
            let (a, b) = (run(&original, seed * 3 + input), run(&optimised, seed * 3 + input));
            assert!(a == b, "seed {seed}\n{original}\n\n{optimised}");
        }
        before += size(&original);
        after += size(&optimised);
    }
    assert!(after * 10 < before * 8, "{before} -> {after} operations");
}

#[test]
fn text_is_read_back() {
    for seed in 0..50 {
        let module = generate::module(seed);
        let text = module.to_string();
        let again = parse::parse(&text).unwrap();
        assert_eq!(again.to_string(), text);
        assert_eq!(run(&module, seed), run(&again, seed));
    }
}
