//! Random scripts, and what must be true of them: the verifier takes their programs, and the kernel computes what the
//! interpreter of the IR computes from the code as it was lowered.
//!
//! `grow` makes a script as a [`tree`], `simulate` answers the helpers of the interpreter, `judge` compiles, runs both sides
//! and compares. Everything that a script prints is the same in every run on every kernel; what cannot be (clocks, the
//! task, stacks) it computes, but keeps in maps called `@opaque…`, which are not compared.

mod aggregates;
mod declarations;
mod grow;
pub mod judge;
mod loops;
mod output;
pub mod simulate;
mod statements;
pub mod tree;

pub use grow::script;

/// Where every script finds a page of known contents in its own process.
pub const PAGE: u64 = 0x2000_0000;

/// Contents of the page: pointers into itself first, then any bytes, then words of letters. The last byte ends a string.
pub fn page() -> [u8; 4096] {
    let mut random = crate::mutate::Random::new(4096);
    let mut page = [0; 4096];
    for (at, byte) in page.iter_mut().enumerate() {
        *byte = match at {
            0..2048 => random.bits() as u8,
            4095 => 0,
            _ if random.below(9) == 0 => 0,
            _ => b'a' + random.below(26) as u8,
        };
    }
    for (index, word) in page.chunks_exact_mut(8).take(32).enumerate() {
        word.copy_from_slice(&(PAGE + 8 * (index as u64 * 7 % 64)).to_le_bytes());
    }
    page
}
