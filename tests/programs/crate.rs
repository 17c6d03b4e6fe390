// A program of Rust that the cases trace: its names are mangled in the one or the other way. The cases name lines of this
// file: append, do not insert.
use std::hint::black_box;

mod ship {
    use super::black_box;
    pub struct Cargo {
        pub weight: u32,
        pub crates: u64,
    }
    impl Cargo {
        #[inline(never)]
        pub fn load(&mut self, more: u32) -> u32 {
            self.weight = black_box(self.weight + more);
            self.weight
        }
    }
    #[inline(never)]
    pub fn sail(miles: u64) -> u64 {
        arrive(black_box(miles + 1)) + black_box(1)
    }
    #[inline(never)]
    pub fn arrive(miles: u64) -> u64 {
        black_box(miles * 2)
    }
}

fn main() {
    let rounds = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1u32);
    let mut cargo = ship::Cargo { weight: 100, crates: 3 };
    for n in 1..=rounds {
        black_box(cargo.load(n));
        black_box(ship::sail(u64::from(n) + cargo.crates));
        black_box(stow(black_box("sail cloth"), black_box(n as u8)));
    }
}

#[inline(never)]
fn stow(label: &str, mark: u8) -> usize {
    black_box(label).len() + usize::from(mark)
}
